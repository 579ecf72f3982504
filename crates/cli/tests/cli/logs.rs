//! `logs` and `diff`.

use session_core::event::{Event, EventKind};
use session_core::state::SessionState;

use crate::support::fake::{Fake, Step};
use crate::support::{User, fixtures, snapshot};

fn stored() -> Fake {
    let session = fixtures::session_id('f');
    let mut kinds = vec![
        EventKind::StateChanged {
            to: SessionState::Creating,
        },
        EventKind::Progress {
            message: "copying the workspace".to_owned(),
        },
        EventKind::StateChanged {
            to: SessionState::Ready,
        },
    ];
    kinds.extend(fixtures::work());
    kinds.push(EventKind::CommandStarted {
        command: fixtures::command_id(),
        argv: vec!["ls".to_owned(), "-la".to_owned()],
    });
    kinds.push(EventKind::CommandFinished {
        command: fixtures::command_id(),
        code: Some(2),
        signal: None,
        cause: session_core::command::ExitCause::Exited,
    });
    kinds.push(EventKind::FilesCopied {
        inward: false,
        path: "/workspace".to_owned(),
        bytes: 2048,
        entries: 3,
    });
    kinds.push(EventKind::StateChanged {
        to: SessionState::Destroyed,
    });
    let mut fake = Fake::new();
    fake.stored = (1..)
        .zip(kinds)
        .map(|(seq, kind)| fixtures::event(session, seq, None, kind))
        .collect::<Vec<Event>>();
    fake
}

#[tokio::test]
async fn the_history_with_the_time_of_day() {
    let user = User::new(stored());
    let outcome = user.runs("logs fix-it").await;
    snapshot!("logs", user, outcome);
}

#[tokio::test]
async fn the_newest_and_the_later_ones() {
    let user = User::new(stored());
    let sequence = |outcome: &crate::support::Outcome| -> Vec<u64> {
        outcome
            .lines()
            .iter()
            .map(|line| line["seq"].as_u64().unwrap())
            .collect()
    };
    let last = user.fake.stored.len() as u64;
    assert_eq!(
        sequence(&user.runs("logs fix-it --json -n 2").await),
        [last - 1, last]
    );
    assert_eq!(
        sequence(
            &user
                .runs(&format!("logs fix-it --json --since {}", last - 1))
                .await
        ),
        [last]
    );
    assert_eq!(
        sequence(&user.runs("logs fix-it --json -n 0").await),
        Vec::<u64>::new()
    );
}

#[tokio::test]
async fn following_goes_on_until_the_session_ends() {
    let mut fake = stored();
    fake.turn = vec![Step::Event(EventKind::AgentText {
        text: "one more thing".to_owned(),
    })];
    let user = User::new(fake);
    let outcome = user.runs("logs fix-it -f -n 1").await;
    assert_eq!(outcome.code, 0);
    assert!(
        outcome.stdout().ends_with("● one more thing\n"),
        "{}",
        outcome.stdout()
    );
    let after = user.fake.stored.len();
    assert!(
        user.fake
            .calls()
            .contains(&format!("events {} {after}", fixtures::session_id('f')))
    );
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let mut user = User::new(stored());
    user.stdout_limit = Some(100);
    let outcome = user.runs("logs fix-it").await;
    assert_eq!((outcome.code, outcome.stderr()), (141, String::new()));
}

#[tokio::test]
async fn a_diff_is_a_patch_for_programs_and_names_for_people() {
    let mut fake = Fake::new();
    fake.diff = fixtures::diff();
    let user = User::new(fake);
    assert_eq!(user.runs("diff fix-it").await.stdout(), fixtures::diff().patch);
    assert_eq!(
        user.runs("diff fix-it --name-status").await.stdout(),
        "M\tcalc.py\n"
    );
    assert_eq!(
        user.runs("diff fix-it --json").await.lines()[0]["files"][0]["status"],
        "M"
    );
}
