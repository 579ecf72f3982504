//! MCP servers of sessions: planned once, served to the agent alone, and told of truthfully by every process.

use secrecy::ExposeSecret;
use session_core::api::{SessionApi, SessionApiExt};
use session_core::command::CommandRequest;
use session_core::error::ErrorKind;
use session_core::gateway::{DoorEvent, MCP_DOOR, MCP_PORT, MODEL_PORT};
use session_core::id::SessionId;
use session_core::mcp::{McpSelection, ServerName, ServerState, ServerStatus};
use session_core::session::CreateSession;
use testkit::harness::{ManagerProcess, idle};
use testkit::memory::Exit;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::world::{World, ask, create, soon};

fn name(text: &str) -> ServerName {
    text.parse().unwrap()
}

fn server(text: &str, state: ServerState) -> ServerStatus {
    ServerStatus {
        state,
        ..idle(name(text))
    }
}

/// A world whose operator has declared two servers.
fn world() -> World {
    let world = World::new();
    for declared in ["git", "docs"] {
        world.site.gateway.declare(idle(name(declared)));
    }
    world
}

fn asks_for(servers: &[&str]) -> CreateSession {
    CreateSession {
        mcp: McpSelection {
            servers: servers.iter().map(|server| name(server)).collect(),
            ..McpSelection::default()
        },
        ..CreateSession::default()
    }
}

fn brings(server: &str) -> CreateSession {
    CreateSession {
        mcp_config: Some(serde_json::json!({ "mcpServers": { server: { "command": "x" } } })),
        ..CreateSession::default()
    }
}

async fn made(manager: &ManagerProcess, request: CreateSession) -> SessionId {
    soon("a session", manager.create(request)).await.unwrap().id
}

/// The states of a session's servers, and whether its configuration has drifted.
async fn told(manager: &ManagerProcess, session: &SessionId) -> (Vec<(String, ServerState)>, bool) {
    let status = manager.mcp_status(Some(session)).await.unwrap();
    let inspected = manager.inspect(session).await.unwrap().mcp_status;
    assert_eq!(inspected.as_ref(), Some(&status), "both say the same");
    let servers = status.servers.into_iter();
    let states = servers.map(|server| (server.name.to_string(), server.state));
    (states.collect(), status.drifted)
}

/// Has an event about a server stored, as the gateway of the process that serves the session would.
async fn tells(world: &World, session: &SessionId, status: ServerStatus) {
    let grant = world.site.gateway.grant(session).unwrap();
    grant
        .ledger
        .record(DoorEvent::McpServer { status })
        .await
        .unwrap();
}

#[tokio::test]
async fn the_plan_is_made_before_anything_else_and_is_part_of_the_session() {
    let world = world();
    world.site.gateway.configure("sha256:1");
    let manager = world.manager().await;
    let session = made(&manager, asks_for(&["git"])).await;
    let info = manager.inspect(&session).await.unwrap().info;
    let plan = info.mcp.unwrap();
    assert_eq!(plan.servers, [name("git")]);
    assert_eq!(plan.configuration, "sha256:1");
    let grant = world.site.gateway.grant(&session).unwrap();
    assert_eq!((grant.mcp.plan, grant.mcp.own), (plan, None));

    // Another process, when the operator has changed everything, grants the same.
    manager.shutdown().await;
    world.site.gateway.configure("sha256:2");
    world.site.gateway.undeclare(&name("git"));
    let second = world.manager().await;
    ask(&second, &session, "Hello").await;
    let grant = world.site.gateway.grant(&session).unwrap();
    assert_eq!(grant.mcp.plan.configuration, "sha256:1");

    let plain = create(&second).await;
    assert_eq!(second.inspect(&plain).await.unwrap().info.mcp, None);
    assert_eq!(second.inspect(&plain).await.unwrap().mcp_status, None);
    world.finish(&second).await;
}

#[tokio::test]
async fn servers_that_cannot_be_planned_leave_no_session() {
    let world = world();
    let manager = world.manager().await;
    for request in [asks_for(&["missing"]), brings("Not A Name")] {
        let error = manager.create(request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.hint().is_some());
    }
    assert_eq!(super::world::all(&manager).await, []);
    assert_eq!(world.site.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn the_same_key_with_other_servers_is_another_request() {
    let world = world();
    let manager = world.manager().await;
    let keyed = |servers: &[&str]| CreateSession {
        idempotency_key: Some("key".to_owned()),
        ..asks_for(servers)
    };
    let first = made(&manager, keyed(&["git"])).await;
    // What is planned may differ by now; what was asked for is the same.
    world.site.gateway.configure("sha256:2");
    assert_eq!(made(&manager, keyed(&["git"])).await, first);
    let error = manager.create(keyed(&["git", "docs"])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::IdempotencyMismatch);
    world.finish(&manager).await;
}

#[tokio::test]
async fn the_agent_finds_one_endpoint_and_programs_find_none() {
    let world = world();
    let dial = async |context: testkit::memory::Context| {
        let Ok(mut door) = context.machine.dial(MCP_PORT).await else {
            return Exit::Code(7);
        };
        let mut answer = [0; 5];
        let spoke = door.write_all(b"hello").await.is_ok();
        Exit::Code(i32::from(!spoke || door.read_exact(&mut answer).await.is_err()))
    };
    world.site.memory.program("dial-mcp", dial);
    let manager = world.manager().await;
    let session = made(&manager, asks_for(&["git"])).await;
    let ran = manager
        .command(&session, CommandRequest::new(["env"]))
        .await
        .unwrap();
    drop(ran);
    assert!(!world.container(&session).ports().contains(&MCP_PORT));

    ask(&manager, &session, "Hello").await;
    assert!(world.container(&session).ports().contains(&MCP_PORT));
    let start = world.site.memory.agents().starts().pop().unwrap();
    let at = start.args.iter().position(|arg| arg == "--mcp-config").unwrap();
    let config: serde_json::Value = serde_json::from_str(&start.args[at + 1]).unwrap();
    let endpoint = &config["mcpServers"]["gw"];
    assert_eq!(endpoint["url"], "http://127.0.0.1:9103/mcp");
    assert_eq!(
        endpoint["headers"]["Authorization"],
        "Bearer ${COFFERDAM_MCP_TOKEN}"
    );
    let token = world.site.gateway.grant(&session).unwrap().token;
    assert_eq!(start.env["COFFERDAM_MCP_TOKEN"], token.expose_secret());
    assert!(start.args.contains(&"--strict-mcp-config".to_owned()));
    // The door is the session's, and leads to the gateway.
    let request = CommandRequest::new(["dial-mcp"]);
    let output = manager.command_output(&session, request, 100);
    assert_eq!(soon("a command", output).await.unwrap().exit.code, Some(0));
    assert_eq!(world.site.gateway.connections(MCP_DOOR), 1);

    let plain = create(&manager).await;
    ask(&manager, &plain, "Hello").await;
    assert!(world.container(&plain).ports().contains(&MODEL_PORT));
    assert!(!world.container(&plain).ports().contains(&MCP_PORT));
    let start = world.site.memory.agents().starts().pop().unwrap();
    assert!(!start.args.contains(&"--mcp-config".to_owned()));
    assert!(!start.env.contains_key("COFFERDAM_MCP_TOKEN"));
    world.finish(&manager).await;
}

#[tokio::test]
async fn what_a_session_brings_itself_runs_through_the_gateway() {
    let world = world();
    let manager = world.manager().await;
    let session = made(&manager, brings("own")).await;
    ask(&manager, &session, "Hello").await;
    let start = world.site.memory.agents().starts().pop().unwrap();
    assert!(start.args.iter().any(|arg| arg.contains("127.0.0.1:9103")));
    assert!(!start.args.iter().any(|arg| arg.contains("\"own\"")));
    let grant = world.site.gateway.grant(&session).unwrap();
    assert_eq!(grant.mcp.plan.own, [name("own")]);
    assert_eq!(grant.mcp.own.unwrap()["mcpServers"]["own"]["command"], "x");
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_session_from_before_the_gateway_keeps_the_servers_that_it_brought() {
    let world = world();
    let manager = world.manager().await;
    // So its record says nothing of any plan.
    world.site.gateway.plan_nothing(true);
    let session = made(&manager, brings("own")).await;
    manager.shutdown().await;
    world.site.gateway.plan_nothing(false);
    let second = world.manager().await;
    assert_eq!(
        told(&second, &session).await.0,
        [("own".to_owned(), ServerState::Idle)]
    );
    ask(&second, &session, "Hello").await;
    assert_eq!(
        world.site.gateway.grant(&session).unwrap().mcp.plan.own,
        [name("own")]
    );
    assert_eq!(
        second.inspect(&session).await.unwrap().info.mcp,
        None,
        "nothing is stored"
    );
    second.shutdown().await;

    // Servers that cannot be used any more are no reason not to work.
    world.site.gateway.refuse_plans(Some("they are no good"));
    let third = world.manager().await;
    assert_eq!(ask(&third, &session, "And now?").await.text, "And now?");
    assert!(world.site.gateway.grant(&session).unwrap().mcp.plan.is_empty());
    world.finish(&third).await;
}

#[tokio::test]
async fn servers_are_told_exactly_where_they_are_served_and_from_events_elsewhere() {
    let world = world();
    let owner = world.manager().await;
    let mut request = asks_for(&["git", "docs"]);
    request.mcp_config = brings("own").mcp_config;
    let session = made(&owner, request).await;
    let on_file = ServerStatus {
        tools: Some(12),
        held: vec!["commit".to_owned()],
        ..idle(name("git"))
    };
    world.site.gateway.declare(on_file);
    ask(&owner, &session, "Hello").await;
    let other = world.manager().await;
    let names = ["git", "docs", "own"].map(str::to_owned);
    let states = |states: [ServerState; 3]| names.iter().cloned().zip(states).collect::<Vec<_>>();
    use ServerState::{Failed, Idle, Ready};
    assert_eq!(told(&owner, &session).await.0, states([Idle; 3]));
    assert_eq!(told(&other, &session).await.0, states([Idle; 3]));

    for status in [
        server("git", Failed),
        server("docs", Ready),
        server("own", Ready),
        server("git", Ready),
        server("docs", Failed),
    ] {
        tells(&world, &session, status).await;
    }
    assert_eq!(
        told(&owner, &session).await.0,
        states([Idle; 3]),
        "the gateway knows"
    );
    assert_eq!(told(&other, &session).await.0, states([Ready, Failed, Ready]));
    let git = other.mcp_status(Some(&session)).await.unwrap().servers.remove(0);
    assert_eq!((git.tools, git.held), (Some(12), vec!["commit".to_owned()]));
    let all = other.mcp_status(None).await.unwrap();
    assert_eq!(all.servers.len(), 2, "what the operator declared");

    // Nobody serves it any more: what was told of it is not true any more.
    owner.shutdown().await;
    assert_eq!(told(&other, &session).await, (states([Idle; 3]), false));
    world.site.gateway.undeclare(&name("docs"));
    let expected = states([Idle, ServerState::Removed, Idle]);
    assert_eq!(told(&other, &session).await, (expected, true));
    other.destroy(&session).await.unwrap();
    assert_eq!(other.inspect(&session).await.unwrap().mcp_status, None);
    world.finish(&other).await;
}

#[tokio::test]
async fn a_configuration_that_changed_is_called_drifted() {
    let world = world();
    world.site.gateway.configure("sha256:1");
    let manager = world.manager().await;
    let session = made(&manager, asks_for(&["git"])).await;
    assert!(!told(&manager, &session).await.1);
    world.site.gateway.configure("sha256:2");
    assert!(told(&manager, &session).await.1);
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_session_that_never_was_has_no_servers() {
    let world = world();
    let manager = world.manager().await;
    let error = manager.mcp_status(Some(&SessionId::new())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let plain = create(&manager).await;
    assert_eq!(manager.mcp_status(Some(&plain)).await.unwrap().servers, []);
    world.finish(&manager).await;
}
