//! Which commands are clients of the daemon, which work in their own process, and what goes with their requests.

use session_core::gateway::ProviderAccount;

use crate::support::User;
use crate::support::fake::Fake;

fn opened(user: &User) -> Vec<&'static str> {
    std::mem::take(&mut *user.opened.lock().unwrap())
}

#[tokio::test]
async fn sessions_are_the_daemons_unless_it_is_said_otherwise() {
    let mut user = User::new(Fake::working());
    for line in [
        "ls",
        "exec fix-it true",
        "create --empty",
        "prompt fix-it go",
        "mcp status",
    ] {
        user.runs(line).await;
        assert_eq!(opened(&user), ["daemon"], "{line}");
        user.runs(&format!("--embedded {line}")).await;
        assert_eq!(opened(&user), ["embedded"], "{line}");
    }
    for line in ["mcp test none", "mcp serve"] {
        user.runs(line).await;
        assert_eq!(
            opened(&user),
            ["embedded"],
            "it starts servers of its own: {line}"
        );
    }
    for line in ["health", "token list", "mcp list", "config cursor", "help"] {
        user.runs(line).await;
        assert!(opened(&user).is_empty(), "{line}");
    }
    user.environment
        .insert("COFFERDAM_EMBEDDED".to_owned(), "1".to_owned());
    user.runs("ls").await;
    assert_eq!(opened(&user), ["embedded"]);
    user.environment
        .insert("COFFERDAM_EMBEDDED".to_owned(), "perhaps".to_owned());
    assert_eq!(user.runs("ls").await.code, 2);
}

#[tokio::test]
async fn what_only_asks_reads_no_policy() {
    let mut user = User::new(Fake::working());
    user.environment.insert(
        "COFFERDAM_POLICY".to_owned(),
        "/nonexistent/policy.toml".to_owned(),
    );
    assert_eq!(user.runs("ls").await.code, 0);
    assert_eq!(user.runs("logs fix-it").await.code, 0);
    assert_eq!(
        user.runs("create --empty").await.code,
        11,
        "it says what new sessions are"
    );
}

#[tokio::test]
async fn a_key_for_one_session_goes_with_its_request() {
    let mut user = User::new(Fake::working());
    user.environment.remove("ANTHROPIC_API_KEY");
    user.environment
        .insert("WORK_KEY".to_owned(), "canary-work-key".to_owned());
    let outcome = user.runs("run --empty --api-key-env WORK_KEY go").await;
    assert_eq!(outcome.code, 0, "{}", outcome.shown());
    let created = user.fake.created();
    assert!(matches!(created[0].account, Some(ProviderAccount::ApiKey(_))));
    assert!(!outcome.shown().contains("canary"));
    user.runs("run --empty --embedded --api-key-env WORK_KEY go")
        .await;
    assert!(
        user.fake.created()[1].account.is_none(),
        "it is this process's own"
    );
    let unset = user.runs("run --empty --api-key-env UNSET go").await;
    assert_eq!(unset.code, 2, "{}", unset.shown());
}

#[tokio::test]
async fn a_detached_prompt_is_left_to_the_daemon() {
    let user = User::new(Fake::working());
    let outcome = user.runs("prompt --detach fix-it go").await;
    assert_eq!(outcome.code, 0, "{}", outcome.shown());
    assert_eq!(
        outcome.stdout().trim(),
        crate::support::fixtures::turn_id().to_string()
    );
    assert!(user.fake.calls().iter().any(|call| call.starts_with("prompt")));
    assert!(
        !user.fake.calls().iter().any(|call| call.starts_with("events")),
        "nobody waits"
    );
}
