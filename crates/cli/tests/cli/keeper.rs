//! The process that keeps turns for a server: it answers for each, and stays until they have ended.

use std::time::Duration;

use cli::mcp::keeper;
use cli::settings::{Overrides, Settings};
use serde_json::{Value, json};
use session_core::turn::TurnStatus;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use crate::support::fake::{Fake, Step};
use crate::support::{User, fixtures};

/// How long a keeper that shall stay is watched.
const WATCHED: Duration = Duration::from_millis(300);

/// What a keeper answered, and whether it ended by itself after that.
async fn asked(fake: Fake, wishes: &[Value], then_leave: bool) -> (Vec<Value>, bool) {
    let user = User::new(fake);
    let settings = Settings::resolve(&Overrides::default(), &user.environment).unwrap();
    let (ours, theirs) = tokio::io::duplex(4096);
    let (out_theirs, out_ours) = tokio::io::duplex(4096);
    let asking = async {
        let (mut ours, mut answers) = (ours, BufReader::new(out_ours).lines());
        let mut heard = Vec::new();
        for wish in wishes {
            ours.write_all(format!("{wish}\n").as_bytes()).await.unwrap();
            let line = answers.next_line().await.unwrap().unwrap();
            heard.push(serde_json::from_str(&line).unwrap());
        }
        // A server that lives keeps its end.
        (heard, (!then_leave).then_some(ours))
    };
    let staying = keeper::stay(&settings, &user, Box::new(theirs), Box::new(out_theirs));
    tokio::pin!(staying);
    let (heard, _server) = tokio::select! {
        ended = &mut staying => panic!("it ended too early: {ended:?}"),
        heard = asking => heard,
    };
    let ended = tokio::time::timeout(WATCHED, staying).await;
    (heard, ended.is_ok())
}

fn wish() -> Value {
    json!({ "session": fixtures::session_id('f'), "turn": fixtures::turn_id() })
}

#[tokio::test]
async fn it_ends_when_its_server_and_its_turns_have() {
    let (heard, ended) = asked(Fake::working(), &[wish(), wish()], true).await;
    assert_eq!(
        heard,
        [
            json!({ "kept": fixtures::turn_id() }),
            json!({ "kept": fixtures::turn_id() })
        ]
    );
    assert!(ended);
}

#[tokio::test]
async fn it_stays_for_a_turn_without_a_server_and_for_a_server_without_a_turn() {
    let mut hanging = Fake::new();
    hanging.turn = vec![
        Step::UntilInterrupted,
        Step::End(fixtures::outcome(TurnStatus::Succeeded)),
    ];
    let (_, ended) = asked(hanging, &[wish()], true).await;
    assert!(!ended, "the turn has not ended");
    let (_, ended) = asked(Fake::working(), &[wish()], false).await;
    assert!(!ended, "the server may have more to keep");
}

#[tokio::test]
async fn what_it_cannot_keep_it_refuses_and_goes_on() {
    let failing = Fake::working().failing("events", session_core::error::ErrorKind::NotFound);
    let (heard, ended) = asked(failing, &[wish(), json!("nonsense"), wish()], true).await;
    assert_eq!(heard[0]["refused"]["code"], "not_found");
    assert_eq!(heard[1]["refused"]["code"], "internal");
    assert_eq!(heard[2]["refused"]["code"], "not_found");
    assert!(ended);
}
