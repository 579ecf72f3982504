//! `prompt`, `interrupt`, `pause`, `resume`, `create`.

use cli::interrupts::Interrupt;
use session_core::error::ErrorKind;
use session_core::turn::TurnStatus;

use crate::support::fake::{Fake, Step};
use crate::support::{User, fixtures, snapshot};

#[tokio::test]
async fn the_answer_goes_to_stdout() {
    let user = User::new(Fake::working());
    let outcome = user.runs_args(&["prompt", "fix-it", "Go on"]).await;
    assert_eq!(outcome.stdout(), "The test passes now.\n");
    assert_eq!(outcome.code, 0);
}

#[tokio::test]
async fn on_a_terminal_the_answer_is_shown_once() {
    let user = User::new(Fake::working()).on_a_terminal();
    let outcome = user.runs_args(&["prompt", "fix-it", "Go on"]).await;
    assert_eq!(outcome.stdout(), "");
    assert_eq!(outcome.stderr().matches("The test passes now.").count(), 1);
}

#[tokio::test]
async fn verbose_shows_thoughts_and_details() {
    let user = User::new(Fake::working());
    let outcome = user.runs_args(&["-v", "execute", "f1d4", "Go on"]).await;
    snapshot!("prompt_verbose", user, outcome);
}

#[tokio::test]
async fn ctrl_c_twice_leaves_the_turn_alone() {
    let mut fake = Fake::working();
    fake.turn = vec![
        Step::Signal(Interrupt::Interrupt),
        Step::UntilInterrupted,
        Step::Signal(Interrupt::Interrupt),
        Step::Hang,
    ];
    let user = User::new(fake);
    let outcome = user.runs_args(&["prompt", "fix-it", "Go on"]).await;
    assert_eq!(outcome.code, 130);
    assert!(outcome.stderr().contains("the turn may still run"));
}

#[tokio::test]
async fn a_turn_that_somebody_else_interrupted_has_failed() {
    let mut fake = Fake::working();
    fake.turn = vec![Step::End(fixtures::outcome(TurnStatus::Interrupted))];
    let user = User::new(fake);
    assert_eq!(user.runs_args(&["prompt", "fix-it", "Go on"]).await.code, 1);
}

#[tokio::test]
async fn a_session_that_ends_in_the_middle_is_said() {
    let mut fake = Fake::working();
    fake.turn.truncate(3);
    let user = User::new(fake);
    let outcome = user.runs_args(&["prompt", "fix-it", "Go on"]).await;
    assert_eq!(outcome.code, 8, "{}", outcome.stderr());
}

#[tokio::test]
async fn empty_and_endless_prompts_are_refused() {
    let mut user = User::new(Fake::working());
    assert_eq!(user.runs_args(&["prompt", "fix-it", " "]).await.code, 2);
    user.stdin = vec![b'a'; (4 << 20) + 1];
    assert_eq!(user.runs_args(&["prompt", "fix-it", "-"]).await.code, 10);
    user.stdin = vec![0xff];
    assert_eq!(user.runs_args(&["prompt", "fix-it", "-"]).await.code, 2);
}

#[tokio::test]
async fn the_hidden_owner_answers_and_stays_to_the_end() {
    let mut user = User::new(Fake::working());
    user.stdin = b"Go on".to_vec();
    let session = fixtures::session_id('f').to_string();
    let outcome = user
        .runs(&format!("__own-turn {session} --timeout-ms 5000"))
        .await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr());
    assert_eq!(
        outcome.lines()[0]["accepted"]["id"],
        fixtures::turn_id().to_string()
    );

    let mut user = User::new(Fake::working().failing("prompt", ErrorKind::StateConflict));
    user.stdin = b"Go on".to_vec();
    let outcome = user.runs(&format!("__own-turn {session}")).await;
    assert_eq!(outcome.code, 4);
    assert_eq!(outcome.lines()[0]["refused"]["code"], "state_conflict");
}

#[tokio::test]
async fn what_creates_or_prompts_hands_its_key_on() {
    let mut user = User::new(Fake::working());
    user.stdin = b"Go on".to_vec();
    let session = fixtures::session_id('f');
    for (command, key) in [
        ("create --empty --idempotency-key k1".to_owned(), " key k1"),
        ("prompt fix-it Go --idempotency-key k2".to_owned(), " key k2"),
        (format!("__own-turn {session} --idempotency-key=-k3"), " key -k3"),
        ("restore fix-it --idempotency-key k4".to_owned(), " key k4"),
    ] {
        let outcome = user.runs(&command).await;
        assert_eq!(outcome.code, 0, "{command}: {}", outcome.stderr());
        let calls = user.fake.calls();
        assert!(
            calls.iter().any(|call| call.ends_with(key)),
            "{command}: {calls:?}"
        );
    }
    let outcome = user.runs("restore fix-it --patch - --idempotency-key k").await;
    assert_eq!(outcome.code, 2, "a patch makes no session");
}

#[tokio::test]
async fn create_prints_the_id_alone() {
    let user = User::new(Fake::new());
    let outcome = user
        .runs(
            "create-session --name fix-it --memory 2g --cpus 0.5 --network open -e A=b -l team=core --empty",
        )
        .await;
    assert_eq!(outcome.stdout(), format!("{}\n", fixtures::session_id('f')));
    assert_eq!(user.fake.calls(), ["create Empty Open"]);
    let outcome = user.runs("create --json --memory 2g").await;
    assert_eq!(outcome.lines()[0]["limits"]["memory_bytes"], 2_u64 << 30);
    assert_eq!(outcome.lines()[0]["workspace"]["path"], "/work/project");
}

#[tokio::test]
async fn steering_answers() {
    let user = User::new(Fake::new());
    for (command, event) in [
        ("interrupt", "interrupted"),
        ("pause", "paused"),
        ("resume", "resumed"),
    ] {
        let outcome = user.runs(&format!("{command} fix-it --json")).await;
        assert_eq!(outcome.lines()[0]["event"], event);
        assert_eq!(outcome.code, 0);
    }
    // The second interrupt finds nothing to interrupt.
    let outcome = user.runs("interrupt fix-it").await;
    assert_eq!(outcome.stderr(), "the agent was not working\n");
    assert_eq!(outcome.code, 0);
}
