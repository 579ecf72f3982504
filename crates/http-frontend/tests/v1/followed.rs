//! A request followed through the log, as the guide of operations says.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::support::House;

/// What the daemon logs when nobody says otherwise.
const USUAL: &str = "warn,cli=info,http_frontend=info,session_core=info";
/// The guide.
const GUIDE: &str = include_str!("../../../../docs/guides/operations.md");
/// Its filter, which [`bears`] is.
const FILTER: &str = "select(any(., .spans[]?; .request_id == $id or .session == $id or .turn == $id))";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    fn lines(&self) -> Vec<Value> {
        let bytes = self.0.lock().unwrap().clone();
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    fn about(&self, id: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| bears(line, id)).collect()
    }
}

fn bears(line: &Value, id: &str) -> bool {
    let spans = line["spans"].as_array().into_iter().flatten();
    std::iter::once(line).chain(spans).any(|place| {
        ["request_id", "session", "turn"]
            .iter()
            .any(|name| place[name] == id)
    })
}

fn messages(lines: &[Value]) -> BTreeSet<&str> {
    lines.iter().filter_map(|line| line["message"].as_str()).collect()
}

#[tokio::test]
async fn a_request_is_followed_to_its_turn_as_the_guide_says() {
    assert!(
        GUIDE.contains(FILTER),
        "the guide's filter is the one tested here"
    );
    let log = Log::default();
    let form = tracing_subscriber::fmt::layer().json().flatten_event(true);
    let subscriber = tracing_subscriber::registry()
        .with(USUAL.parse::<Targets>().unwrap())
        .with(form.with_writer(log.clone()));
    // For all threads: what others have found nobody to listen to would stay unheard otherwise.
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let house = House::new().await;
    let secret = "canary-of-this-test-0123456789";
    let created = house
        .admin
        .post("/v1/sessions", json!({ "env": { "TOKEN": secret } }))
        .await;
    let session = created.json()["id"].as_str().unwrap().to_owned();
    let prompted = house
        .admin
        .post_with(
            &format!("/v1/sessions/{session}/turns"),
            json!({ "prompt": secret }),
            &[("prefer", "wait=20")],
        )
        .await;
    let turn = prompted.json()["id"].as_str().unwrap().to_owned();
    let [creating, prompting] = [&created, &prompted].map(|answer| answer.header("x-request-id").unwrap());

    let lines = log.about(creating);
    assert!(lines.iter().any(|line| bears(line, &session)), "{lines:?}");
    assert!(
        messages(&lines).is_superset(&["a session is made", "answered"].into()),
        "{lines:?}"
    );
    let lines = log.about(prompting);
    assert!(lines.iter().any(|line| bears(line, &turn)), "{lines:?}");
    assert!(
        messages(&lines).is_superset(&["a prompt was accepted", "answered"].into()),
        "{lines:?}"
    );
    let lines = log.about(&turn);
    assert!(
        messages(&lines).is_superset(&["a prompt was accepted", "a turn begins", "a turn ended"].into()),
        "{lines:?}"
    );
    assert!(lines.iter().all(|line| bears(line, &session)), "{lines:?}");
    for line in log.lines() {
        assert!(!line.to_string().contains(secret), "{line}");
    }
}
