//! `ls`, `inspect`, `rm`, and how sessions are named.

use serde_json::json;
use session_core::error::ErrorKind;

use crate::support::fake::Fake;
use crate::support::{User, fixtures, snapshot};

fn several() -> Fake {
    let mut fake = Fake::new();
    let mut labelled = fixtures::session('a', Some("review"), json!({"state": "busy"}));
    labelled.labels.insert("team".to_owned(), "core".to_owned());
    fake.sessions = vec![
        fixtures::ready('f', Some("fix-it")),
        labelled,
        fixtures::session(
            'b',
            None,
            json!({"state": "interrupted", "cause": "out_of_memory"}),
        ),
        fixtures::session('c', Some("fix-it"), json!({"state": "destroyed"})),
    ];
    fake
}

#[tokio::test]
async fn a_table_for_people() {
    let user = User::new(several());
    let mut settings = insta::Settings::clone_current();
    // The clock decides the age, and with it the width of its column.
    settings.add_filter(r"\b\d+[smhd] +", "[AGE] ");
    settings.add_filter(r"AGE +", "AGE ");
    let outcome = user.runs("ls --all").await;
    settings.bind(|| snapshot!("ls", user, outcome));
}

#[tokio::test]
async fn ids_for_scripts() {
    let user = User::new(several());
    let outcome = user.runs("ls -q -l team=core").await;
    assert_eq!(outcome.stdout(), format!("{}\n", fixtures::session_id('a')));
    assert_eq!(outcome.stderr(), "");
}

#[tokio::test]
async fn objects_for_programs() {
    let user = User::new(several());
    let lines = user.runs("ls --json -a").await.lines();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[2]["state"], "interrupted");
    assert_eq!(lines[2]["cause"], "out_of_memory");
}

#[tokio::test]
async fn an_empty_list_is_no_failure() {
    let mut fake = Fake::new();
    fake.sessions.clear();
    let user = User::new(fake);
    let outcome = user.runs("ls").await;
    assert_eq!((outcome.code, outcome.stdout()), (0, String::new()));
    assert!(outcome.stderr().contains("no sessions"));
}

#[tokio::test]
async fn a_name_of_the_living_goes_before_one_of_the_dead() {
    let user = User::new(several());
    let outcome = user.runs("rm fix-it").await;
    assert_eq!(outcome.stdout(), format!("{}\n", fixtures::session_id('f')));
}

#[tokio::test]
async fn the_dead_can_still_be_named() {
    let mut fake = several();
    fake.sessions.remove(0);
    let user = User::new(fake);
    let outcome = user.runs("logs fix-it").await;
    assert_eq!(outcome.code, 0);
    assert!(
        user.fake
            .calls()
            .iter()
            .any(|call| call.starts_with("event_page c1d4"))
    );
}

#[tokio::test]
async fn what_matches_several_or_none_is_refused() {
    let mut fake = several();
    fake.sessions.push(fixtures::ready('e', Some("review")));
    let user = User::new(fake);
    let outcome = user.runs("inspect review").await;
    snapshot!("ambiguous", user, outcome);
    let outcome = user.runs("inspect nothing-like-it").await;
    snapshot!("not_found", user, outcome);
    assert!(user.runs("inspect f1d").await.stderr().contains("at least four"));
}

#[tokio::test]
async fn inspect_says_everything() {
    let user = User::new(several());
    let outcome = user.runs("inspect F1D4FAE0").await;
    snapshot!("inspect", user, outcome);
    assert_eq!(
        user.runs("inspect f1d4 --json").await.lines()[0]["carrier"],
        "socket"
    );
}

#[tokio::test]
async fn rm_goes_on_after_a_failure() {
    let user = User::new(several());
    let outcome = user.runs("rm nothing-like-it review").await;
    assert_eq!(outcome.code, 3);
    assert_eq!(outcome.stdout(), format!("{}\n", fixtures::session_id('a')));
    let user = User::new(several().failing("destroy", ErrorKind::EngineUnavailable));
    let outcome = user.runs("rm --json review").await;
    assert_eq!(outcome.code, 5);
    let error: serde_json::Value = serde_json::from_str(&outcome.stderr()).unwrap();
    assert_eq!(error["event"], "error");
    assert_eq!(error["code"], "engine_unavailable");
    assert_eq!(error["retryable"], true);
    assert!(error.get("causes").is_none());
}
