//! The server over the real manager, with containers that are tasks of this process: what a fake cannot show.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

#[path = "../protocol/support/client.rs"]
mod client;
#[path = "../protocol/support/options.rs"]
mod options;
#[path = "../protocol/support/validate.rs"]
mod validate;
#[path = "../protocol/support/verbs.rs"]
#[expect(dead_code, reason = "the tests over a fake use the rest of them")]
mod verbs;

use std::sync::Arc;
use std::time::Duration;

use mcp_frontend::McpServer;
use serde_json::json;
use testkit::harness::{ManagerProcess, Site};
use testkit::memory::AgentTurn;
use tokio::runtime::Runtime;

use crate::client::Client;

/// A server in front of a manager, and a client of it.
struct Front {
    manager: Arc<ManagerProcess>,
    client: Client,
    served: tokio::task::JoinHandle<session_core::error::Result<()>>,
    /// The server's own, so that it can be killed as a process would be.
    runtime: Runtime,
}

impl Front {
    async fn new(site: &Site) -> Self {
        let manager = Arc::new(site.manager().await.unwrap());
        let mut options = options::options();
        options.output_limit = 10_000;
        options.command_output_limit = 4 << 20;
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let (reader, writer) = tokio::io::split(theirs);
        let server = McpServer::new(manager.clone(), options);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let served = runtime.spawn(server.serve_streams(reader, writer, std::future::pending()));
        let mut client = Client::new(ours);
        client.initialize().await;
        Self {
            manager,
            client,
            served,
            runtime,
        }
    }

    async fn end(self) {
        drop(self.client);
        self.served.await.unwrap().unwrap();
        stop(self.runtime).await;
        Arc::into_inner(self.manager)
            .expect("nobody else has it")
            .shutdown()
            .await;
    }

    /// Ends server and manager as `kill -9` would.
    async fn kill(self) {
        stop(self.runtime).await;
        Arc::into_inner(self.manager)
            .expect("nobody else has it")
            .kill()
            .await;
    }
}

async fn stop(runtime: Runtime) {
    tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(5)))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_piece_of_work_from_beginning_to_end() {
    let site = Site::new().unwrap();
    let project = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(project.path().join("notes.txt"), "remember\n").unwrap();
    let mut front = Front::new(&site).await;
    let client = &mut front.client;
    let made = client
        .ok(
            "create_session",
            json!({ "projectPath": project.path(), "workspace": "copy", "labels": { "k": "v" } }),
        )
        .await;
    let id = made["sessionId"].clone();
    assert_eq!(made["state"], "ready");

    client.send_raw(b"no message").await;
    assert_eq!(client.stray_error().await["error"]["code"], -32700);
    let read = client.run(&id, "cat notes.txt; echo oh >&2; false").await;
    assert_eq!(read["stdout"]["text"], "remember\n");
    assert_eq!(read["stderr"]["text"], "oh\n");
    assert_eq!(read["exitCode"], 1);
    let missing = client
        .ok(
            "execute_command",
            json!({ "sessionId": id, "argv": ["no-such-program"] }),
        )
        .await;
    assert_eq!(
        (&missing["cause"], missing["note"].is_string()),
        (&json!("not_found"), true)
    );
    let fed = client
        .ok(
            "execute_command",
            json!({ "sessionId": id, "argv": ["cat"], "stdin": "through\n" }),
        )
        .await;
    assert_eq!(fed["stdout"]["text"], "through\n");

    site.memory
        .agents()
        .then(AgentTurn::new().write("answer.txt", "42").say("It is done."));
    let done = client.prompt(&id, "work").await;
    assert_eq!(done["result"], "It is done.");
    assert!(done["usage"]["outputTokens"].is_u64());

    let out = project.path().join("answer.txt");
    let source = json!({ "sessionId": id, "direction": "from_container", "sourcePath": "answer.txt", "destPath": out });
    client.ok("transfer_files", source).await;
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "42");
    let back = json!({ "sessionId": id, "direction": "to_container", "sourcePath": project.path(), "destPath": "copied" });
    client.ok("transfer_files", back).await;
    let read = client.run(&id, "cat copied/answer.txt").await;
    assert_eq!(read["stdout"]["text"], "42");

    let log = client
        .ok(
            "get_session_logs",
            json!({ "sessionId": id, "kind": "agent_text" }),
        )
        .await;
    assert_eq!(log["events"][0]["text"], "It is done.");
    let seen = client.look(&id).await;
    assert!(seen["carrier"].is_string() && seen["turns"] == 1, "{seen}");
    client.destroy(&id).await;
    let gone = client
        .err("execute_command", json!({ "sessionId": id, "command": "true" }))
        .await;
    assert!(gone.starts_with("state_conflict"), "{gone}");
    front.end().await;
    assert_eq!(site.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_cancelled_prompt_leaves_the_session_usable() {
    let site = Site::new().unwrap();
    let mut front = Front::new(&site).await;
    let id = front.client.session().await;
    site.memory
        .agents()
        .then(AgentTurn::new().say("I am at it.").hang());
    let arguments = json!({ "sessionId": id, "prompt": "x" });
    let call = front.client.begin_told("execute_in_session", arguments).await;
    while front.client.notification("notifications/progress").await["params"]["message"] != "I am at it." {}
    front.client.take_back(call).await;
    let done = front.client.prompt(&id, "again").await;
    assert_eq!(done["status"], "succeeded");
    assert_eq!(site.memory.agents().interrupts(), 1);
    front.client.destroy(&id).await;
    front.end().await;
}

#[tokio::test]
async fn a_flood_ends_at_its_bound() {
    let site = Site::new().unwrap();
    let mut front = Front::new(&site).await;
    let id = front.client.session().await;
    let flood = front
        .client
        .ok("execute_command", json!({ "sessionId": id, "argv": ["yes"] }))
        .await;
    assert_eq!(flood["cause"], "output_limit");
    assert!(flood["outputBytes"].as_u64().unwrap() >= 4 << 20);
    assert_eq!(flood["truncated"], true);
    let timed = json!({ "sessionId": id, "argv": ["sleep", "60"], "timeoutSeconds": 1 });
    let timed = front.client.ok("execute_command", timed).await;
    assert_eq!(
        (&timed["cause"], &timed["timedOut"]),
        (&json!("timed_out"), &json!(true))
    );
    front.client.destroy(&id).await;
    front.end().await;
}

#[tokio::test]
async fn tasks_go_on_when_server_and_manager_are_killed() {
    let site = Site::new().unwrap();
    let mut front = Front::new(&site).await;
    let id = front.client.session().await;
    let command = json!({ "sessionId": id, "command": "echo begun; sleep 2; echo ended" });
    let command = front.client.ok("start_task", command).await;
    site.memory.agents().then(AgentTurn::new().say("still here"));
    let prompt = front.client.start(&id, "x").await;
    front.kill().await;

    let mut next = Front::new(&site).await;
    let done = next.client.wait(&prompt["taskId"]).await;
    assert_eq!(
        (&done["status"], &done["result"]),
        (&json!("succeeded"), &json!("still here"))
    );
    let done = next.client.wait(&command["taskId"]).await;
    assert_eq!(
        (&done["status"], &done["exitCode"]),
        (&json!("exited"), &json!(0)),
        "{done}"
    );
    assert!(
        done["stdout"]["text"].as_str().unwrap().ends_with("ended\n"),
        "{done}"
    );
    next.client.destroy(&id).await;
    next.end().await;
}

#[tokio::test]
async fn one_call_leaves_nothing_behind_even_when_it_fails() {
    let site = Site::new().unwrap();
    let mut front = Front::new(&site).await;
    // These containers have no git, so the comparison fails after the agent did its work.
    let text = front
        .client
        .err("spawn_claude_container", json!({ "taskDescription": "x" }))
        .await;
    assert!(text.contains("could not"), "{text}");
    front.end().await;
    assert_eq!(site.leftovers(), Vec::<String>::new());
}
