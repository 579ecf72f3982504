//! What cannot be done is said before anything is done.

use session_core::error::ErrorKind;

use crate::support::fake::Fake;
use crate::support::{User, snapshot};

#[tokio::test]
async fn wrong_command_lines_end_with_2_and_do_nothing() {
    let user = User::new(Fake::new());
    for line in [
        "",
        "nonsense",
        "run",
        "run --copy --mount x",
        "run --mount --apply x",
        "run --apply-executable-config x",
        "run --memory lots x",
        "run --cpus 0 x",
        "run --pids 1 x",
        "run --timeout never x",
        "run --network host x",
        "run --network allow x",
        "create --network allow",
        "run --network open --allow npm x",
        "create --allow *.com",
        "create --allow 10.0.0.1",
        "create --budget-usd 0",
        "create --budget-tokens 0",
        "create --budget-requests -1",
        "create --budget-minutes soon",
        "egress",
        "egress nonsense",
        "egress approve",
        "egress approve fix-it npm",
        "egress deny fix-it https://example.com/",
        "run --image ../evil x",
        "run --env NOVALUE x",
        "run --ref main x",
        "exec",
        "exec fix-it",
        "exec -i -d fix-it cat",
        "output fix-it not-a-uuid",
        "logs fix-it -n 1 --since 2",
        "cp one",
        "rm",
        "completions tcl",
        "help nonsense",
        "ls --color sometimes",
    ] {
        let outcome = user.runs(line).await;
        assert_eq!(outcome.code, 2, "{line}: {}", outcome.stderr());
        assert_eq!(outcome.stdout(), "", "{line}");
        assert_ne!(outcome.stderr(), "", "{line}");
    }
    assert_eq!(user.fake.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn values_show_the_right_form() {
    let user = User::new(Fake::new());
    let outcome = user.runs("run --memory lots x").await;
    snapshot!("usage_memory", user, outcome);
    for (line, said) in [
        ("create --network allow", "needs at least one --allow"),
        (
            "create --network open --allow npm",
            "cannot be used with --network open",
        ),
        ("create --allow *.com", "too wide"),
        ("egress approve fix-it npm", "--allow npm"),
    ] {
        let outcome = user.runs(line).await;
        assert!(outcome.stderr().contains(said), "{line}: {}", outcome.stderr());
    }
    let outcome = user.runs("exec -e SECRET fix-it true").await;
    assert!(
        outcome.stderr().contains("never taken over"),
        "{}",
        outcome.stderr()
    );
}

#[tokio::test]
async fn help_is_data() {
    let user = User::new(Fake::new());
    for line in [
        "--help",
        "help",
        "help run",
        "help egress",
        "egress approve --help",
        "run --help",
        "help environment",
        "help exit-codes",
        "--version",
        "completions bash",
        "completions fish",
        "man",
    ] {
        let outcome = user.runs(line).await;
        assert_eq!(outcome.code, 0, "{line}: {}", outcome.stderr());
        assert_ne!(outcome.stdout(), "", "{line}");
        assert_eq!(outcome.stderr(), "", "{line}");
    }
    let outcome = user.runs("help exit-codes").await;
    snapshot!("help_exit_codes", user, outcome);
}

#[tokio::test]
async fn man_pages_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let user = User::new(Fake::new());
    let outcome = user.runs_args(&["man", dir.path().to_str().unwrap()]).await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr());
    for page in ["cofferdam.1", "cofferdam-run.1", "cofferdam-egress-approve.1"] {
        assert!(dir.path().join(page).exists(), "{page}");
    }
    assert!(!dir.path().join("cofferdam-__own-turn.1").exists());
}

#[tokio::test]
async fn causes_are_for_those_who_ask() {
    let user = User::new(Fake::new().failing("inspect", ErrorKind::EngineTimeout));
    let outcome = user.runs("inspect fix-it").await;
    snapshot!("error", user, outcome);
    let outcome = user.runs("-v inspect fix-it").await;
    snapshot!("error_verbose", user, outcome);
    let outcome = user.runs("-v --json inspect fix-it").await;
    let error: serde_json::Value = serde_json::from_str(&outcome.stderr()).unwrap();
    assert_eq!(error["causes"][0], "a cause inside");
}

#[tokio::test]
async fn every_kind_has_its_exit_code() {
    for (kind, code) in [
        (ErrorKind::InvalidArgument, 2),
        (ErrorKind::NotFound, 3),
        (ErrorKind::StateConflict, 4),
        (ErrorKind::Busy, 4),
        (ErrorKind::EngineUnavailable, 5),
        (ErrorKind::EngineFailed, 5),
        (ErrorKind::WorkspaceRefused, 6),
        (ErrorKind::WorkspaceNotWritable, 6),
        (ErrorKind::ImageNotFound, 7),
        (ErrorKind::LinkLost, 8),
        (ErrorKind::AgentFailed, 9),
        (ErrorKind::LimitExceeded, 10),
        (ErrorKind::StateDirRefused, 11),
        (ErrorKind::StoreFailed, 11),
        (ErrorKind::Internal, 70),
    ] {
        let user = User::new(Fake::new().failing("create", kind));
        assert_eq!(user.runs("create").await.code, code, "{kind:?}");
    }
}

#[tokio::test]
async fn a_wrong_environment_is_a_usage_error() {
    let mut user = User::new(Fake::new());
    user.environment
        .insert("COFFERDAM_LOG".to_owned(), "a=b=c".to_owned());
    assert_eq!(user.runs("ls").await.code, 2);
    let mut user = User::new(Fake::new());
    user.environment
        .insert("COFFERDAM_IMAGE".to_owned(), "../x".to_owned());
    assert_eq!(user.runs("create").await.code, 2);
}
