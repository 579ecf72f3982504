//! Agent to agent: the real Claude Code hands work to the real Claude Code in a sealed session, and takes over what came of it.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use testkit::fixtures;
use testkit::model::{ApiRequest, Message, Script};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::claude::{Conversation, converse};
use super::world::{SERVER, World, text};
use super::{Result, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test(
            "claude_code_delegates_over_stdio",
            || fixtures::fix_calculator_script().paced(PACE),
            over_stdio,
        ),
        test("claude_code_delegates_over_http", inner_note, over_http),
    ]
}

/// Longer than lines of progress are apart, so that each step of the agent has one.
const PACE: Duration = Duration::from_millis(500);
const TASK: &str = "Let an agent in a session of its own fix the calculator.";
const DONE: &str = "The calculator is fixed.";

/// Calls a tool for the session that the results so far speak of.
fn call(tool: &'static str, more: Value) -> impl Fn(&ApiRequest) -> testkit::model::Reply + Send + Sync {
    move |request| {
        let told = request.tool_results();
        let told: Value = told
            .last()
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let mut arguments = more.clone();
        arguments["sessionId"] = told["sessionId"].clone();
        Message::new()
            .tool(format!("mcp__cofferdam__{tool}"), arguments)
            .into()
    }
}

/// The outer model: creates a session, prompts its agent, looks at the diff, destroys the session.
fn delegate(project: &Path, prompt: &str) -> Script {
    let create = json!({ "projectPath": text(project), "workspace": "copy", "sessionName": "delegated" });
    Script::new()
        .tool("mcp__cofferdam__create_session", create)
        .answer(call("execute_in_session", json!({ "prompt": prompt })))
        .answer(call("get_session_diff", json!({})))
        .answer(call("destroy_session", json!({})))
        .say(DONE)
}

async fn over_stdio(world: Arc<World>) -> Result<()> {
    let project = fixtures::buggy_calculator()?;
    let (heard, said) = (world.record("in"), world.record("wire"));
    let servers = json!({ "mcpServers": { "cofferdam": {
        "command": "sh",
        "args": ["-c", RECORDED, "sh", SERVER, heard, said, world.record("log")],
        "env": Value::from_iter(world.environment()),
    } } });
    let script = delegate(project.path(), fixtures::FIX_CALCULATOR_PROMPT);
    let conversation = converse(&world, &servers, TASK, script).await?;

    let end = conversation.end()?;
    assert_eq!(
        (&end["is_error"], &end["result"]),
        (&json!(false), &json!(DONE)),
        "{end}"
    );
    let session = expect_created(&conversation, project.path())?;
    expect_executed(&conversation, &session)?;
    expect_diff(&conversation, &session)?;
    expect_destroyed(&conversation, &session)?;
    assert_eq!(
        world.model.unused_steps(),
        0,
        "the inner agent did all of its work"
    );
    assert_eq!(
        project.git(&["status", "--porcelain"])?,
        "",
        "the project is as it was"
    );
    assert_eq!(
        world.belongings().await?,
        Vec::<String>::new(),
        "nothing is left on the engine"
    );
    expect_progress(&heard, &said)
}

/// Runs the server ($1) and keeps what the client says ($2), what the server says ($3) and what it logs ($4).
const RECORDED: &str = r#"tee "$2" | "$1" 2>"$4" | tee "$3""#;

fn expect_created(conversation: &Conversation, project: &Path) -> Result<String> {
    let mut told = conversation.told(0)?;
    let session = told["sessionId"]
        .as_str()
        .ok_or("a session has an id")?
        .to_owned();
    for time in ["createdAt", "updatedAt"] {
        let text = take(&mut told, time)?;
        assert!(
            text.as_str().is_some_and(|text| text.ends_with('Z')),
            "{time}: {text}"
        );
    }
    assert!(take(&mut told, "lastEvent")?.as_u64() >= Some(1));
    assert_eq!(
        told,
        json!({
            "sessionId": session,
            "containerName": format!("cofferdam-{session}"),
            "message": format!(
                "Session {session} is ready. Next: execute_in_session gives its agent work, execute_command runs a program \
                 in it, get_session_diff shows what changed, destroy_session removes it."
            ),
            "name": "delegated",
            "state": "ready",
            "projectPath": text(project),
            "workspace": { "kind": "copy", "path": text(project) },
            "image": "cofferdam-session:latest",
            "network": "sealed",
            "memoryBytes": 2_u64 << 30,
            "cpus": 1,
            "pids": 1024,
            "strictPermissions": false,
            "useBedrock": false,
            "mcpMounts": [],
            "turns": 0,
            "costUsd": 0,
        })
    );
    Ok(session)
}

fn expect_executed(conversation: &Conversation, session: &str) -> Result<()> {
    let mut told = conversation.told(1)?;
    let task = take(&mut told, "taskId")?;
    assert!(
        task.as_str()
            .is_some_and(|task| task.starts_with(&format!("turn:{session}:"))),
        "{task}"
    );
    assert!(take(&mut told, "modelCalls")?.as_u64() >= Some(4));
    assert!(take(&mut told, "durationMs")?.as_u64() > Some(0));
    assert!(take(&mut told, "costUsd")?.as_f64() > Some(0.0));
    assert_eq!(
        told,
        json!({
            "sessionId": session,
            "status": "succeeded",
            "result": fixtures::FIX_CALCULATOR_SUMMARY,
            "resultBytes": fixtures::FIX_CALCULATOR_SUMMARY.len(),
            // The scripted model counts 100 tokens in and 10 out for each answer.
            "usage": { "inputTokens": 400, "outputTokens": 40, "cacheReadTokens": 0, "cacheCreationTokens": 0 },
        })
    );
    Ok(())
}

fn expect_diff(conversation: &Conversation, session: &str) -> Result<()> {
    let mut told = conversation.told(2)?;
    let patch = take(&mut told, "patch")?;
    let patch = patch.as_str().ok_or("a patch is text")?;
    assert_eq!(
        told,
        json!({
            "sessionId": session,
            "changed": true,
            "files": [{ "status": "M", "path": "calc.py" }],
            "filesTotal": 1,
            "patchBytes": patch.len(),
            "incomplete": false,
        })
    );
    let changed: Vec<_> = patch
        .lines()
        .filter(|line| line.starts_with(['+', '-']) && !line.starts_with("+++") && !line.starts_with("---"))
        .map(|line| line.replace("  ", ""))
        .collect();
    assert_eq!(
        changed,
        ["-value -= self._sum()", "+value -= self._product()"],
        "{patch}"
    );
    Ok(())
}

fn expect_destroyed(conversation: &Conversation, session: &str) -> Result<()> {
    assert_eq!(
        conversation.told(3)?,
        json!({
            "sessionId": session,
            "destroyed": true,
            "message":
                "The container and everything that was only in it are gone; get_session_logs still reads its log.",
        })
    );
    Ok(())
}

/// Calls that take a while tell under the caller's token what goes on, and each time count further.
fn expect_progress(heard: &Path, said: &Path) -> Result<()> {
    let (heard, said) = (messages(heard)?, messages(said)?);
    for (tool, at_least) in [("create_session", 1), ("execute_in_session", 3)] {
        let call = heard.iter().find(|message| message["params"]["name"] == tool);
        let token = &call.ok_or("the tool was called")?["params"]["_meta"]["progressToken"];
        assert!(!token.is_null(), "the client wants to hear of {tool}");
        let told: Vec<_> = said
            .iter()
            .filter(|message| message["method"] == "notifications/progress")
            .map(|message| &message["params"])
            .filter(|params| params["progressToken"] == *token)
            .collect();
        assert!(told.len() >= at_least, "{tool}: {told:#?}");
        assert!(
            told.iter().all(|params| params["message"].is_string()),
            "{told:#?}"
        );
        assert!(
            told.is_sorted_by(|one, next| one["progress"].as_f64() < next["progress"].as_f64()),
            "{told:#?}"
        );
    }
    Ok(())
}

fn messages(record: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(record)?;
    Ok(text
        .lines()
        .map(serde_json::from_str)
        .collect::<std::result::Result<_, _>>()?)
}

fn take(told: &mut Value, field: &str) -> Result<Value> {
    let fields = told.as_object_mut().ok_or("a result is an object")?;
    fields
        .remove(field)
        .ok_or_else(|| format!("a result has {field}").into())
}

const NOTE: &str = "Write a note.";

/// An inner agent that makes one file.
fn inner_note() -> Script {
    Script::new()
        .tool(
            "Write",
            json!({ "file_path": "/workspace/note.txt", "content": "Noted.\n" }),
        )
        .say("It is written.")
}

async fn over_http(world: Arc<World>) -> Result<()> {
    let project = fixtures::buggy_calculator()?;
    let token = "a-token-of-more-than-sixteen-characters";
    let (mut server, address) = serve(&world, token).await?;
    let servers = json!({ "mcpServers": { "cofferdam": {
        "type": "http",
        "url": format!("http://{address}/mcp"),
        "headers": { "Authorization": format!("Bearer {token}") },
    } } });
    let conversation = converse(&world, &servers, TASK, delegate(project.path(), NOTE)).await?;
    stop(&mut server).await?;

    assert_eq!(conversation.end()?["result"], DONE);
    let session = expect_created(&conversation, project.path())?;
    assert_eq!(conversation.told(1)?["result"], "It is written.");
    let diff = conversation.told(2)?;
    assert_eq!(diff["files"], json!([{ "status": "A", "path": "note.txt" }]));
    assert!(
        diff["patch"]
            .as_str()
            .is_some_and(|patch| patch.contains("+Noted.")),
        "{diff}"
    );
    expect_destroyed(&conversation, &session)?;
    assert_eq!(
        world.belongings().await?,
        Vec::<String>::new(),
        "nothing is left on the engine"
    );
    Ok(())
}

/// Starts the server on a port that was free a moment ago and waits until it takes connections.
async fn serve(world: &World, token: &str) -> Result<(Child, String)> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let log: PathBuf = world.record("log");
    let mut server = Command::new(SERVER)
        .arg("--http")
        .env_clear()
        .envs(world.environment())
        .envs([("MCP_PORT", port.to_string()), ("MCP_API_KEY", token.to_owned())])
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(&log)?)
        .kill_on_drop(true)
        .spawn()?;
    let address = format!("127.0.0.1:{port}");
    let connecting = tokio::time::timeout(Duration::from_secs(10), connect(&mut server, &address));
    connecting.await.map_err(|_| "nobody listens")??;
    Ok((server, address))
}

async fn connect(server: &mut Child, address: &str) -> Result<()> {
    while TcpStream::connect(address).await.is_err() {
        if let Some(status) = server.try_wait()? {
            return Err(format!("the server ends with {status}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Asks the server to end, as a service manager does.
async fn stop(server: &mut Child) -> Result<()> {
    let pid = server
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.ok_or("the server runs")?, rustix::process::Signal::TERM)?;
    let ended = tokio::time::timeout(Duration::from_secs(20), server.wait()).await;
    let status = ended.map_err(|_| "the server does not end when it is told to")??;
    assert!(status.success(), "the server ends with {status}");
    Ok(())
}
