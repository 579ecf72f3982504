//! Settings that cannot be used are said before anything is served.

use serde_json::{Value, json};

use crate::server::{KEY, Server};

#[tokio::test]
async fn a_wrong_setting_ends_with_2_and_says_which() {
    let secret = "s3cret-in-the-wrong-place";
    for (args, name, value) in [
        (&[][..], "CONTAINER_MEMORY_LIMIT", secret),
        (&[], "CONTAINER_CPU_LIMIT", "0"),
        (&[], "CLAUDE_CODE_TIMEOUT", "-1"),
        (&[], "CLAUDE_CODE_LOG_LEVEL", secret),
        (&[], "MCP_CLAUDE_DEBUG", secret),
        (&[], "LOG_FORMAT", "xml"),
        (&[], "COFFERDAM_LOG", "a=b=c"),
        (&[], "DEFAULT_CLAUDE_IMAGE", "../x"),
        (
            &[],
            "ANTHROPIC_SMALL_FAST_MODEL",
            "sk-ant-0123456789012345678901234567890",
        ),
        (&["--http"], "MCP_PORT", "65536"),
        (&["--http"], "MCP_API_KEY", KEY),
    ] {
        let mut environment = vec![("MCP_API_KEY", "token-token-token-token")];
        environment.retain(|(other, _)| *other != name);
        environment.push((name, value));
        let ended = Server::start(args, &environment).end().await;
        assert_eq!(ended.status.code(), Some(2), "{name}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{name}");
        assert!(ended.stderr.contains(name), "{name}: {}", ended.stderr);
        assert!(
            !ended.stderr.contains(secret) && !ended.stderr.contains(KEY),
            "{}",
            ended.stderr
        );
    }
}

#[tokio::test]
async fn an_address_of_the_provider_that_leaks_the_key_is_refused() {
    let environment = [("ANTHROPIC_BASE_URL", "http://example.com")];
    let ended = Server::start(&[], &environment).end().await;
    assert_eq!(
        (ended.status.code(), ended.stdout.as_str()),
        (Some(2), ""),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn errors_take_the_form_of_the_log() {
    let environment = [("LOG_FORMAT", "json"), ("MCP_CLAUDE_DEBUG", "perhaps")];
    let ended = Server::start(&[], &environment).end().await;
    let error: Value = serde_json::from_str(&ended.stderr).unwrap();
    assert_eq!(
        (&error["event"], &error["code"]),
        (&json!("error"), &json!("invalid_argument"))
    );
}

#[tokio::test]
async fn help_and_version_are_data() {
    for (flag, wanted) in [
        ("--help", "Usage: cofferdam-mcp"),
        ("--version", "cofferdam-mcp "),
    ] {
        let ended = Server::start(&[flag], &[]).end().await;
        assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
        assert!(ended.stdout.contains(wanted), "{}", ended.stdout);
        assert!(!ended.stdout.contains("keep-turns"), "{}", ended.stdout);
    }
    let ended = Server::start(&["--allow-remote"], &[]).end().await;
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(2), ""));
}
