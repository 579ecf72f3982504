//! `run`: nothing left behind, no work lost.

use cli::interrupts::Interrupt;
use session_core::error::ErrorKind;
use session_core::event::EventKind;
use session_core::turn::{TurnFailure, TurnFailureCause, TurnStatus};

use crate::support::fake::{Fake, Step};
use crate::support::{User, fixtures, snapshot};

fn destroyed(user: &User) -> bool {
    user.fake.calls().iter().any(|call| call.starts_with("destroy "))
}

fn kept_patches(user: &User) -> usize {
    std::fs::read_dir(user.state_dir().join("patches")).map_or(0, Iterator::count)
}

#[tokio::test]
async fn the_patch_goes_to_stdout_and_the_course_to_stderr() {
    let user = User::new(Fake::working());
    let outcome = user.runs_args(&["run", "Make the failing test pass"]).await;
    snapshot!("run", user, outcome);
    assert!(destroyed(&user));
    assert_eq!(kept_patches(&user), 1);
}

#[tokio::test]
async fn on_a_terminal_the_user_is_asked_and_may_decline() {
    let mut user = User::new(Fake::working()).on_a_terminal();
    user.stdin = b"n\n".to_vec();
    let outcome = user.runs_args(&["run", "Make it work"]).await;
    snapshot!("run_terminal_declined", user, outcome);
    assert_eq!(kept_patches(&user), 1);
}

#[tokio::test]
async fn a_yes_applies_the_changes() {
    let project = tempfile::tempdir().unwrap();
    let file = project.path().join("calc.py");
    std::fs::write(&file, "def add(a, b):\n    return a - b\n").unwrap();
    let mut user = User::new(Fake::working()).on_a_terminal();
    user.stdin = b"y\n".to_vec();
    user.current_dir = project.path().to_owned();
    let outcome = user.runs_args(&["run", "Make it work"]).await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr());
    assert!(std::fs::read_to_string(&file).unwrap().contains("a + b"));
    assert!(outcome.stderr().contains("applied to"));
}

#[tokio::test]
async fn apply_that_does_not_fit_keeps_the_patch_and_says_so() {
    let project = tempfile::tempdir().unwrap();
    let mut user = User::new(Fake::working());
    user.current_dir = project.path().to_owned();
    let outcome = user.runs_args(&["run", "--apply", "Make it work"]).await;
    assert_eq!(outcome.code, 4, "{}", outcome.stderr());
    assert!(outcome.stderr().contains("the patch is kept"));
    assert_eq!(kept_patches(&user), 1);
    assert!(destroyed(&user));
}

#[tokio::test]
async fn json_is_one_event_a_line_and_then_the_changes() {
    let user = User::new(Fake::working());
    let outcome = user.runs_args(&["run", "--json", "Make it work"]).await;
    let lines = outcome.lines();
    let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events.first(), Some(&"turn_queued"));
    assert_eq!(
        events[events.len() - 3..],
        ["turn_finished", "diff", "patch_kept"]
    );
    assert_eq!(outcome.stderr(), "");
    assert_eq!(outcome.code, 0);
}

#[tokio::test]
async fn quiet_leaves_the_patch_alone() {
    let user = User::new(Fake::working());
    let outcome = user.runs_args(&["-q", "run", "Make it work"]).await;
    assert_eq!(outcome.stdout(), fixtures::diff().patch);
    assert_eq!(outcome.stderr(), "");
}

#[tokio::test]
async fn a_failed_turn_names_its_cause_and_applies_nothing() {
    let mut fake = Fake::working();
    let mut failed = fixtures::outcome(TurnStatus::Failed);
    failed.failure = Some(TurnFailure {
        cause: TurnFailureCause::ModelUnauthorized,
        error: session_core::error::Error::new(
            ErrorKind::AgentFailed,
            "ask the model",
            "the provider answered 401",
        )
        .with_hint("check the key")
        .report(),
    });
    fake.turn = vec![
        Step::Event(EventKind::TurnQueued {
            prompt: "Do it".to_owned(),
        }),
        Step::End(failed),
    ];
    let user = User::new(fake);
    let outcome = user.runs_args(&["run", "--apply", "Do it"]).await;
    snapshot!("run_failed", user, outcome);
    assert!(destroyed(&user));
}

#[tokio::test]
async fn the_first_ctrl_c_interrupts_and_then_destroys() {
    let mut fake = Fake::working();
    fake.turn.truncate(4);
    fake.turn.extend([
        Step::Signal(Interrupt::Interrupt),
        Step::UntilInterrupted,
        Step::End(fixtures::outcome(TurnStatus::Interrupted)),
    ]);
    let user = User::new(fake);
    let outcome = user.runs_args(&["run", "Do it"]).await;
    assert_eq!(outcome.code, 130, "{}", outcome.stderr());
    let calls = user.fake.calls();
    let place = |what: &str| calls.iter().position(|call| call.starts_with(what)).unwrap();
    assert!(place("interrupt") < place("diff") && place("diff") < place("destroy"));
}

#[tokio::test]
async fn the_second_ctrl_c_destroys_at_once() {
    let mut fake = Fake::working();
    fake.turn.truncate(4);
    fake.turn.extend([
        Step::Signal(Interrupt::Interrupt),
        Step::UntilInterrupted,
        Step::Signal(Interrupt::Interrupt),
        Step::Hang,
    ]);
    let user = User::new(fake);
    let outcome = user.runs_args(&["run", "Do it"]).await;
    assert_eq!(outcome.code, 130, "{}", outcome.stderr());
    assert!(destroyed(&user));
    assert!(!user.fake.calls().iter().any(|call| call.starts_with("diff")));
}

#[tokio::test]
async fn sigterm_is_143() {
    let mut fake = Fake::working();
    fake.turn = vec![
        Step::Signal(Interrupt::Terminate),
        Step::UntilInterrupted,
        Step::End(fixtures::outcome(TurnStatus::Interrupted)),
    ];
    let user = User::new(fake);
    assert_eq!(user.runs_args(&["run", "Do it"]).await.code, 143);
    assert!(destroyed(&user));
}

#[tokio::test]
async fn a_prompt_that_fails_still_destroys() {
    let user = User::new(Fake::working().failing("prompt", ErrorKind::LimitExceeded));
    let outcome = user.runs_args(&["run", "Do it"]).await;
    assert_eq!(outcome.code, 10, "{}", outcome.stderr());
    assert!(destroyed(&user));
}

#[tokio::test]
async fn changes_that_cannot_be_read_keep_the_session() {
    let user = User::new(Fake::working().failing("diff", ErrorKind::LinkLost));
    let outcome = user.runs_args(&["run", "Do it"]).await;
    assert_eq!(outcome.code, 8);
    assert!(!destroyed(&user));
    assert!(outcome.stderr().contains("cofferdam cp"), "{}", outcome.stderr());
}

#[tokio::test]
async fn a_lost_container_has_nothing_to_keep() {
    let mut fake = Fake::working().failing("diff", ErrorKind::ContainerLost);
    fake.sessions[0] = fixtures::session(
        'f',
        None,
        serde_json::json!({"state": "interrupted", "cause": "out_of_memory"}),
    );
    let user = User::new(fake);
    assert_eq!(user.runs_args(&["run", "Do it"]).await.code, 8);
    assert!(destroyed(&user));
}

#[tokio::test]
async fn a_store_that_fails_in_the_middle_loses_no_work() {
    let user = User::new(Fake::working().failing("events", ErrorKind::StoreFailed));
    let outcome = user.runs_args(&["run", "--apply", "Do it"]).await;
    assert_eq!(outcome.code, 11);
    assert_eq!(outcome.stdout(), fixtures::diff().patch);
    assert_eq!(kept_patches(&user), 1);
    assert!(destroyed(&user));
}

#[tokio::test]
async fn a_patch_that_was_cut_keeps_the_session() {
    let mut fake = Fake::working();
    fake.diff.truncated = true;
    let user = User::new(fake);
    let outcome = user.runs_args(&["run", "--apply", "Do it"]).await;
    assert_eq!(outcome.code, 10, "{}", outcome.stderr());
    assert!(!destroyed(&user));
}

#[tokio::test]
async fn keep_keeps() {
    let user = User::new(Fake::working());
    let outcome = user.runs_args(&["run", "--keep", "Do it"]).await;
    assert_eq!(outcome.code, 0);
    assert!(!destroyed(&user));
    assert!(outcome.stderr().contains("is kept"));
}

#[tokio::test]
async fn a_mounted_workspace_is_shown_and_not_applied() {
    let user = User::new(Fake::working());
    let outcome = user.runs_args(&["run", "--mount", "Do it"]).await;
    assert_eq!(outcome.stdout(), fixtures::diff().patch);
    assert_eq!(kept_patches(&user), 0);
    assert!(user.fake.calls()[0].contains("Mount"), "{:?}", user.fake.calls());
}

#[tokio::test]
async fn without_a_credential_nothing_is_made() {
    let mut user = User::new(Fake::working());
    user.environment.remove("ANTHROPIC_API_KEY");
    let outcome = user.runs_args(&["run", "Do it"]).await;
    snapshot!("run_without_credential", user, outcome);
    assert_eq!(user.fake.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn a_reader_of_stdout_that_goes_away_is_quiet_and_leaves_nothing() {
    let mut user = User::new(Fake::working());
    user.stdout_limit = Some(10);
    let outcome = user.runs_args(&["-q", "run", "Do it"]).await;
    assert_eq!(outcome.code, 141);
    assert!(!outcome.stderr().contains("error"), "{}", outcome.stderr());
    // The patch was kept before it was printed, so the session can go.
    assert_eq!(kept_patches(&user), 1);
    assert!(destroyed(&user));
    let outcome = user.runs_args(&["--json", "run", "Do it"]).await;
    assert_eq!(outcome.code, 141);
}

#[tokio::test]
async fn the_prompt_may_come_from_stdin() {
    let mut user = User::new(Fake::working());
    user.stdin = b"Do it from a pipe\n".to_vec();
    let outcome = user.runs("run --timeout 30m -").await;
    assert_eq!(outcome.code, 0);
    let calls = user.fake.calls();
    let prompt = calls.iter().find(|call| call.starts_with("prompt")).unwrap();
    assert!(
        prompt.ends_with("\"Do it from a pipe\\n\" Some(1800s)"),
        "{prompt}"
    );
}
