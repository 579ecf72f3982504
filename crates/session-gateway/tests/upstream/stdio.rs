//! Programs on the host: each bad input, and what a program is given.

use std::path::Path;
use std::time::Duration;

use mcp_catalog::Transport;
use rmcp::model::ProtocolVersion;
use rmcp::service::ServiceError;
use serde_json::json;
use session_gateway::mcp::FailureCause;
use tokio::time::{Instant, timeout};

use crate::support::{
    CANARY, Lab, call, children, program, role, server, shell, soon, start_within, with_env,
};

crate::trials![
    true;
    a_server_is_started_called_and_closed,
    a_server_of_the_newest_revision_is_spoken_to_in_it,
    a_server_that_knows_initialize_alone_is_greeted_again,
    a_server_that_ignores_what_it_does_not_know_is_remembered,
    a_program_that_is_not_there_is_missing_at_once,
    a_program_that_ends_at_once_says_why,
    a_server_that_hangs_in_its_handshake_is_silent,
    answers_twice_and_noise_harm_no_call,
    a_flood_of_messages_is_outlived,
    a_message_without_an_end_is_dropped_and_the_connection_lives,
    answers_with_wrong_ids_reach_nobody,
    standard_error_is_read_and_bounded,
    a_server_that_dies_in_a_call_ends_the_connection_with_its_code,
    a_program_has_the_environment_that_is_declared_and_no_other,
    a_secret_that_cannot_be_read_is_named_and_nothing_is_started,
    a_server_that_prints_its_secret_is_masked,
    a_call_to_a_server_that_is_gone_never_left,
    a_start_that_is_given_up_leaves_nothing,
];

async fn a_server_is_started_called_and_closed() {
    let lab = Lab::new();
    let connection = lab.connect("kit", server(&[])).await.unwrap();
    let info = connection.info();
    assert!(info.protocol_version.has_initialize(), "{info:?}");
    assert!(info.server_info.is_some());
    assert_eq!(
        call(&connection, "echo", json!({ "text": "hello" }))
            .await
            .unwrap(),
        "hello"
    );
    let ended = connection.ended();
    connection.close(Duration::from_secs(5)).await;
    assert_eq!(ended.await.cause, FailureCause::Ended);
    assert_eq!(children(), 0, "nothing is left, not even to be reaped");
}

async fn a_server_of_the_newest_revision_is_spoken_to_in_it() {
    let lab = Lab::new();
    let connection = lab.connect("modern", role(&["__modern"])).await.unwrap();
    assert_eq!(connection.info().protocol_version, ProtocolVersion::V_2026_07_28);
    let tools = connection.peer().list_tools(None).await.unwrap();
    assert!(tools.tools.is_empty());
}

async fn a_server_that_knows_initialize_alone_is_greeted_again() {
    let lab = Lab::new();
    for _ in 0..2 {
        let connection = lab.connect("old", role(&["__old", "ends"])).await.unwrap();
        assert_eq!(connection.info().protocol_version, ProtocolVersion::V_2025_06_18);
        connection.close(Duration::from_secs(5)).await;
    }
}

async fn a_server_that_ignores_what_it_does_not_know_is_remembered() {
    let lab = Lab::new();
    let first = Instant::now();
    drop(lab.connect("old", role(&["__old", "ignores"])).await.unwrap());
    assert!(
        first.elapsed() > Duration::from_secs(5),
        "the library waits before it falls back"
    );
    let second = Instant::now();
    drop(lab.connect("old", role(&["__old", "ignores"])).await.unwrap());
    assert!(
        second.elapsed() < Duration::from_secs(3),
        "{:?}",
        second.elapsed()
    );
}

async fn a_program_that_is_not_there_is_missing_at_once() {
    for lab in [Lab::new(), Lab::new().unsupervised()] {
        let mut elsewhere = shell("true");
        if let Transport::Stdio { cwd, .. } = &mut elsewhere.transport {
            *cwd = Some("/nonexistent".into());
        }
        for (wanted, told) in [
            (program(Path::new("/nonexistent/server"), &[]), "not there"),
            (program(Path::new("no-such-program"), &[]), "not there"),
            (program(Path::new("/etc/passwd"), &[]), "cannot be executed"),
            (elsewhere, "working directory"),
            (shell("exec no-such-program"), "code 127"),
        ] {
            let begun = Instant::now();
            let failure = lab.connect("missing", wanted).await.unwrap_err();
            assert_eq!(failure.cause, FailureCause::Missing, "{failure:?}");
            assert!(failure.detail.contains(told), "{failure:?}");
            assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        }
    }
    assert_eq!(children(), 0);
}

async fn a_program_that_ends_at_once_says_why() {
    let lab = Lab::new();
    let failure = lab
        .connect("hasty", server(&["--mode", "exit-at-once"]))
        .await
        .unwrap_err();
    assert_eq!(failure.cause, FailureCause::Ended);
    assert_eq!(failure.detail, "it exited with code 3: this server ends at once");
    let script = "echo Traceback >&2; printf 'ModuleNotFoundError: no \\033[31mmodule\\n\\n' >&2; echo bye >&2; exit 1";
    let failure = lab.connect("python", shell(script)).await.unwrap_err();
    assert_eq!(
        failure.detail,
        "it exited with code 1: ModuleNotFoundError: no \\u{1b}[31mmodule"
    );
    let failure = lab.connect("killed", shell("kill -9 $$")).await.unwrap_err();
    assert_eq!(failure.detail, "it was ended by signal 9");
    let failure = lab
        .connect("quiet", shell("exec >&-; sleep 5"))
        .await
        .unwrap_err();
    assert_eq!(
        (failure.cause, failure.detail.as_str()),
        (FailureCause::Ended, "it closed the connection")
    );
    assert_eq!(children(), 0);
}

async fn a_server_that_hangs_in_its_handshake_is_silent() {
    let lab = Lab::new();
    for wanted in [server(&["--mode", "hang-initialize"]), shell("sleep 100")] {
        let begun = Instant::now();
        let failure = lab
            .connect("silent", start_within(wanted, 500))
            .await
            .unwrap_err();
        assert_eq!(failure.cause, FailureCause::Silent, "{failure:?}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }
    assert_eq!(children(), 0);
}

async fn answers_twice_and_noise_harm_no_call() {
    let lab = Lab::new();
    for modes in [
        &["--mode", "answer-twice"][..],
        &["--mode", "stdout-noise"],
        &[
            "--mode",
            "stdout-noise",
            "--mode",
            "answer-twice",
            "--mode",
            "stderr-noise",
        ],
    ] {
        let connection = lab.connect("odd", server(modes)).await.unwrap();
        for round in 0..500 {
            let text = format!("round {round}");
            assert_eq!(
                call(&connection, "echo", json!({ "text": text })).await.unwrap(),
                text,
                "{modes:?}"
            );
        }
    }
}

async fn a_flood_of_messages_is_outlived() {
    let lab = Lab::new();
    let connection = lab.connect("flood", server(&["--mode", "flood"])).await.unwrap();
    let other = lab.connect("calm", server(&[])).await.unwrap();
    let quick = async {
        for _ in 0..50 {
            call(&other, "echo", json!({ "text": "x" })).await.unwrap();
        }
    };
    timeout(Duration::from_secs(5), quick)
        .await
        .expect("another server is not held up");
    let answered = timeout(
        Duration::from_secs(20),
        call(&connection, "echo", json!({ "text": "still here" })),
    );
    assert_eq!(answered.await.unwrap().unwrap(), "still here");
}

async fn a_message_without_an_end_is_dropped_and_the_connection_lives() {
    let lab = Lab::new();
    let connection = lab
        .connect("huge", server(&["--mode", "huge-line"]))
        .await
        .unwrap();
    let before = resident();
    connection.peer().list_tools(None).await.unwrap();
    let grown = resident().saturating_sub(before);
    assert!(grown < 24 << 20, "{grown} bytes for a line of 64 MiB");
    assert_eq!(
        call(&connection, "echo", json!({ "text": "x" })).await.unwrap(),
        "x"
    );
    let error = call(&connection, "big", json!({ "bytes": 2 << 20 }))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ServiceError::McpError(error) if error.message.contains("longer")),
        "{error:?}"
    );
    assert_eq!(
        call(&connection, "echo", json!({ "text": "y" })).await.unwrap(),
        "y"
    );
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

async fn answers_with_wrong_ids_reach_nobody() {
    let lab = Lab::new();
    let connection = lab
        .connect("wrong", server(&["--mode", "wrong-ids"]))
        .await
        .unwrap();
    let waiting = timeout(
        Duration::from_millis(300),
        call(&connection, "echo", json!({ "text": "x" })),
    );
    assert!(waiting.await.is_err(), "the answer is nobody's");
    let stray = r#"{"jsonrpc":"2.0","id":4711,"result":{}}"#;
    let script = format!("read line; while :; do echo '{stray}'; done");
    let failure = lab.connect("strays", shell(&script)).await.unwrap_err();
    assert_eq!(failure.cause, FailureCause::Broken, "{failure:?}");
    let failure = lab
        .connect("banner", shell("while :; do echo loading; done"))
        .await
        .unwrap_err();
    assert_eq!(failure.cause, FailureCause::Broken, "{failure:?}");
    drop(connection);
    soon("nothing is left", || children() == 0).await;
}

async fn standard_error_is_read_and_bounded() {
    let lab = Lab::new();
    let connection = lab
        .connect("noisy", server(&["--mode", "stderr-noise"]))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(
        call(&connection, "echo", json!({ "text": "x" })).await.unwrap(),
        "x"
    );
    let size = lab.diary("noisy").len();
    assert!(size > 1000 && size <= 1 << 20, "{size}");
    for entry in std::fs::read_dir(lab.directory.join("telemetry")).unwrap() {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
}

async fn a_server_that_dies_in_a_call_ends_the_connection_with_its_code() {
    let lab = Lab::new();
    let connection = lab.connect("crash", server(&[])).await.unwrap();
    let error = call(&connection, "crash", json!({})).await.unwrap_err();
    assert!(
        !session_gateway::mcp::upstream::never_left(&error),
        "it may have run: {error:?}"
    );
    let failure = connection.ended().await;
    assert_eq!(failure.cause, FailureCause::Ended);
    assert!(
        failure.detail.starts_with("it exited with code 42"),
        "{failure:?}"
    );
}

async fn a_program_has_the_environment_that_is_declared_and_no_other() {
    let lab = Lab::new().secret("KIT_SECRET", CANARY);
    for lab in [lab, Lab::new().secret("KIT_SECRET", CANARY).unsupervised()] {
        let added = json!({ "SECRET": { "env": "KIT_SECRET" }, "PLAIN": "v" });
        let connection = lab.connect("kit", with_env(server(&[]), added)).await.unwrap();
        let names = call(&connection, "env_names", json!({})).await.unwrap();
        for name in ["SECRET", "PLAIN", "PATH", "HOME"] {
            assert!(names.contains(name), "{names}");
        }
        for name in ["CARGO", "KIT_SECRET", "PWD", "SHLVL", "USER"] {
            assert!(!names.contains(name), "{names}");
        }
        let length = call(&connection, "secret_length", json!({})).await.unwrap();
        assert!(length.contains(&CANARY.len().to_string()), "{length}");
        let other = lab.connect("other", server(&[])).await.unwrap();
        let names = call(&other, "env_names", json!({})).await.unwrap();
        assert!(!names.contains("SECRET"), "it is that server's alone: {names}");
    }
}

async fn a_secret_that_cannot_be_read_is_named_and_nothing_is_started() {
    let lab = Lab::new();
    let marker = lab.directory.join("started");
    let script = format!("touch {}", marker.display());
    let wanted = with_env(shell(&script), json!({ "SECRET": { "env": "NOT_SET" } }));
    let failure = lab.connect("kit", wanted).await.unwrap_err();
    assert_eq!(failure.cause, FailureCause::SecretMissing);
    assert!(failure.detail.contains("env NOT_SET"), "{failure:?}");
    assert!(!marker.exists());
}

async fn a_server_that_prints_its_secret_is_masked() {
    let lab = Lab::new().secret("KIT_SECRET", CANARY);
    let added = json!({ "TOKEN": { "env": "KIT_SECRET", "prefix": "Bearer " } });
    let wanted = with_env(role(&["__old", "prints TOKEN"]), added);
    let connection = lab.connect("printer", wanted).await.unwrap();
    let printed = call(&connection, "print", json!({})).await.unwrap();
    assert_eq!(printed, format!("TOKEN=Bearer {}", "*".repeat(CANARY.len())));
    soon("what it wrote is in its file", || {
        lab.diary("printer").contains("TOKEN=Bearer *")
    })
    .await;
    assert!(!lab.diary("printer").contains("canary"));
    let script = "echo \"fatal error: $TOKEN\" >&2; exit 1";
    let wanted = with_env(shell(script), json!({ "TOKEN": { "env": "KIT_SECRET" } }));
    let failure = lab.connect("printer", wanted).await.unwrap_err();
    assert!(
        failure.detail.contains("fatal error: *") && !failure.detail.contains("canary"),
        "{failure:?}"
    );
}

async fn a_call_to_a_server_that_is_gone_never_left() {
    let lab = Lab::new();
    // It closes its input, and goes on.
    let script = "read discover; echo '{\"jsonrpc\":\"2.0\",\"id\":0,\"error\":{\"code\":-32601,\"message\":\"no\"}}'; \
                  read initialize; echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"protocolVersion\":\"2025-06-18\",\
                  \"capabilities\":{},\"serverInfo\":{\"name\":\"x\",\"version\":\"1\"}}}'; read initialized; \
                  exec <&-; sleep 100";
    let connection = lab.connect("deaf", shell(script)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let error = call(&connection, "echo", json!({})).await.unwrap_err();
    assert!(session_gateway::mcp::upstream::never_left(&error), "{error:?}");
}

async fn a_start_that_is_given_up_leaves_nothing() {
    let lab = Lab::new();
    for wait in [0, 1, 3, 10, 50, 200] {
        let started = lab.connect("slow", shell("sleep 100"));
        assert!(timeout(Duration::from_millis(wait), started).await.is_err());
    }
    soon("nothing is left", || children() == 0).await;
}
