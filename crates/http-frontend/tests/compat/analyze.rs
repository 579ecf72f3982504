//! Analyses.

use serde_json::json;
use session_core::api::SessionApi;
use session_core::runtime::NetworkMode;
use session_core::session::{SessionFilter, WorkspaceSource};
use session_core::state::SessionState;
use testkit::memory::{AgentTurn, Exit};

use crate::support::{House, is_time};

const PROGRAM: &str = "/opt/cofferdam/bin/project-analysis";

fn files() -> [(&'static str, &'static str); 4] {
    [
        (
            "Cargo.toml",
            "[package]\nname = \"thing\"\nversion = \"1.0.0\"\n[dependencies]\nserde = \"1\"\n",
        ),
        ("src/main.rs", concat!("fn main() {\n    // TO", "DO: more\n}\n")),
        ("README.md", "# Thing\n\n[gone](docs/gone.md)\n"),
        ("tests/it.rs", "#[test]\nfn it() {}\n"),
    ]
}

#[tokio::test]
async fn each_analysis_answers_with_a_document_and_leaves_nothing() {
    let house = House::new().await;
    house.project("thing", &files());
    for kind in ["structure", "health", "dependencies", "issues"] {
        let body = json!({ "project_path": "thing", "analysis_type": kind });
        let reply = house.post("/claude-code/analyze", body).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(reply.body["status"], "success");
        assert_eq!(reply.body["analysis_type"], kind);
        assert_eq!(reply.body["project_path"], "thing");
        assert!(is_time(&reply.body["timestamp"]));
        let results = &reply.body["results"];
        assert_eq!(results["analysis_type"], kind);
        assert_eq!(results["schema_version"], 1);
        assert_eq!(results["coverage"]["files"], 4, "{results}");
        let found = match kind {
            "structure" => results["modules"]["items"][0]["name"] == "thing",
            "health" => results["score"].is_u64() && results["tests"]["files"] == 1,
            "dependencies" => results["declared"]["items"][0]["name"] == "serde",
            _ => results["marker_counts"]["todo"] == 1 && results["dead_links"]["total"] == 1,
        };
        assert!(found, "{results}");
    }
    house.cleared().await;
}

#[tokio::test]
async fn structure_is_what_is_analysed_by_default_in_a_sealed_copy() {
    let house = House::new().await;
    let project = house.project("thing", &files());
    let reply = house
        .post(
            "/claude-code/analyze",
            json!({ "project_path": "./thing/", "analysis_type": null }),
        )
        .await;
    assert_eq!(reply.body["analysis_type"], "structure", "{}", reply.body);
    assert_eq!(reply.body["project_path"], "./thing/");
    let all = SessionFilter {
        all: true,
        ..SessionFilter::default()
    };
    let sessions = house.manager().list(all).await.unwrap();
    let session = sessions.first().expect("a session");
    assert_eq!(session.workspace, WorkspaceSource::Copy { path: project });
    assert_eq!(session.network, NetworkMode::Sealed);
    assert_eq!(session.state, SessionState::Destroyed);
    assert_eq!(session.limits.memory_bytes, 2 << 30);
    assert_eq!(session.limits.milli_cpus, 1000);
    assert_eq!(session.turns, 0, "no model was asked");
}

#[tokio::test]
async fn the_agent_adds_its_words_when_it_is_asked_and_can() {
    let house = House::new().await;
    house.project("thing", &files());
    let body = json!({ "project_path": "thing", "enrich": true });
    house
        .site
        .memory
        .agents()
        .then(AgentTurn::new().say("Write more tests."));
    let reply = house.post("/claude-code/analyze", body.clone()).await;
    assert_eq!(
        reply.body["results"]["enrichment"]["available"], true,
        "{}",
        reply.body
    );
    assert_eq!(reply.body["results"]["enrichment"]["text"], "Write more tests.");

    house.site.memory.agents().then(AgentTurn::new().exit(1));
    let reply = house.post("/claude-code/analyze", body).await;
    assert_eq!(reply.status, 200, "the document stands by itself");
    assert_eq!(reply.body["results"]["enrichment"]["available"], false);
    assert!(reply.body["results"]["languages"].is_array());
    house.cleared().await;
}

#[tokio::test]
async fn a_program_that_fails_floods_or_lies_is_an_error_and_leaves_nothing() {
    let house = House::new().await;
    house.project("thing", &files());
    let post = || house.post("/claude-code/analyze", json!({ "project_path": "thing" }));
    house.site.memory.program(PROGRAM, async |context| {
        context.stderr.line("it broke").await;
        Exit::Code(1)
    });
    let failed = post().await;
    house.site.memory.program(PROGRAM, async |context| {
        loop {
            context.stdout.write(vec![b'['; 64 << 10]).await;
        }
    });
    let flooded = post().await;
    house.site.memory.program(PROGRAM, async |context| {
        context.stdout.line("[1, 2").await;
        Exit::OK
    });
    let lied = post().await;
    house.site.memory.remove_program(PROGRAM);
    let absent = post().await;
    for reply in [&failed, &flooded, &lied, &absent] {
        assert_eq!(reply.status, 500, "{}", reply.body);
        assert_eq!(reply.body["status"], "error");
        assert!(reply.body["error"].is_string() && is_time(&reply.body["timestamp"]));
        assert_eq!(reply.body.as_object().unwrap().len(), 3);
    }
    assert!(failed.body["error"].as_str().unwrap().contains("it broke"));
    house.cleared().await;
}
