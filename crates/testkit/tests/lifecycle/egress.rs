//! The way out of sealed sessions: who serves it to commands, what is kept of what happened there, and what a clone says
//! that was stopped.

use std::sync::Arc;
use std::time::Duration;

use session_core::api::{SessionApi, SessionApiExt};
use session_core::budget::Spending;
use session_core::command::{CommandRequest, ExitCause};
use session_core::egress::DecideEgress;
use session_core::error::ErrorKind;
use session_core::event::EventKind;
use session_core::gateway::{EGRESS_DOOR, EGRESS_PORT, Gateway, MODEL_DOOR, MODEL_PORT};
use session_core::id::SessionId;
use session_core::manager::ManagerOptions;
use session_core::runtime::NetworkMode;
use session_core::session::{CreateSession, WorkspaceSource};
use testkit::harness::{EchoGateway, ManagerProcess};
use testkit::memory::{Context, Exit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::world::{World, ask, create, outcome, send, soon, stored};

/// A world whose containers have `knock`: it goes out through the egress door and writes what comes back.
fn world() -> World {
    let world = World::new();
    world
        .site
        .memory
        .program("knock", async |context| knock(&context).await);
    world
}

async fn knock(context: &Context) -> Exit {
    let Ok(mut door) = context.machine.dial(EGRESS_PORT).await else {
        return Exit::Code(7);
    };
    let mut answer = Vec::new();
    let spoke = door.write_all(b"hello").await.is_ok() && door.shutdown().await.is_ok();
    let heard = door.read_to_end(&mut answer).await.is_ok();
    context.stdout.write(answer).await;
    Exit::Code(i32::from(!spoke || !heard))
}

/// A manager with a gateway of its own.
async fn other(world: &World) -> (ManagerProcess, Arc<EchoGateway>) {
    let gateway = Arc::new(EchoGateway::default());
    let (dir, engine) = (world.site.state_dir(), Arc::new(world.site.faulty.clone()));
    let started = ManagerProcess::start(&dir, world.site.options(), engine, gateway.clone());
    (started.await.unwrap(), gateway)
}

async fn run(manager: &ManagerProcess, session: &SessionId, argv: &[&str]) -> (String, Option<i32>) {
    let request = CommandRequest::new(argv.iter().copied());
    let ran = manager.command_output(session, request, 1 << 16);
    let output = soon("a command", ran).await.unwrap();
    assert_eq!(output.exit.cause, ExitCause::Exited);
    let said = String::from_utf8(output.stdout).unwrap();
    (said, output.exit.code)
}

async fn goes_out(manager: &ManagerProcess, session: &SessionId) {
    assert_eq!(
        run(manager, session, &["knock"]).await,
        ("hello".to_owned(), Some(0))
    );
}

#[tokio::test]
async fn a_command_in_a_sealed_session_finds_the_way_out_and_no_other_door() {
    let world = world();
    world.site.gateway.know(&["git.example"]);
    let manager = world.manager().await;
    let session = create(&manager).await;
    assert!(world.container(&session).ports().is_empty());
    goes_out(&manager, &session).await;
    assert_eq!(world.container(&session).ports(), [EGRESS_PORT]);
    assert_eq!(world.site.gateway.connections(EGRESS_DOOR), 1);

    let (env, _) = run(&manager, &session, &["env"]).await;
    for line in [
        "HTTP_PROXY=http://127.0.0.1:9102",
        "https_proxy=http://127.0.0.1:9102",
        "NO_PROXY=127.0.0.1,localhost,::1",
        "GIT_CONFIG_COUNT=1",
        "GIT_CONFIG_KEY_0=url.http://git.example/.insteadOf",
        "GIT_CONFIG_VALUE_0=https://git.example/",
    ] {
        assert!(env.lines().any(|had| had == line), "{line} in {env}");
    }
    let mut request = CommandRequest::new(["env"]);
    request.env = [("https_proxy".to_owned(), "http://own:1".to_owned())].into();
    let output = manager.command_output(&session, request, 1 << 16).await.unwrap();
    let env = String::from_utf8(output.stdout).unwrap();
    assert!(
        env.contains("https_proxy=http://own:1") && !env.contains("HTTPS_PROXY"),
        "{env}"
    );

    // The agent's owner opens the rest.
    assert_eq!(ask(&manager, &session, "Hello").await.text, "Hello");
    let mut ports = world.container(&session).ports();
    ports.sort_unstable();
    assert_eq!(ports, [MODEL_PORT, EGRESS_PORT]);
    goes_out(&manager, &session).await;
    world.finish(&manager).await;
}

#[tokio::test]
async fn an_open_session_needs_no_door_for_commands() {
    let world = world();
    let manager = world.manager().await;
    let request = CreateSession {
        network: NetworkMode::Open,
        ..CreateSession::default()
    };
    let session = manager.create(request).await.unwrap().id;
    let (env, _) = run(&manager, &session, &["env"]).await;
    assert!(!env.to_lowercase().contains("proxy"), "{env}");
    assert!(world.container(&session).ports().is_empty());
    world.finish(&manager).await;
}

#[tokio::test]
async fn the_way_out_is_made_again_with_the_link() {
    let world = world();
    let manager = world.manager().await;
    let session = create(&manager).await;
    goes_out(&manager, &session).await;
    world.container(&session).cut_links();
    // Whoever runs a program before the manager has seen the end of the link is told to try again.
    soon("a new link", async {
        let request = || CommandRequest::new(["true"]);
        while let Err(error) = manager.command_output(&session, request(), 1 << 10).await {
            assert!(
                error.kind() == ErrorKind::LinkLost && error.is_retryable(),
                "{error:?}"
            );
        }
    })
    .await;
    goes_out(&manager, &session).await;
    world.finish(&manager).await;
}

#[tokio::test]
async fn one_process_serves_the_way_out_and_the_next_one_when_it_is_gone() {
    let world = world();
    let first = world.manager().await;
    let session = create(&first).await;
    goes_out(&first, &session).await;
    let (second, gateway) = other(&world).await;
    goes_out(&second, &session).await;
    assert_eq!(gateway.connections(EGRESS_DOOR), 0, "connections were taken away");
    assert_eq!(world.site.gateway.connections(EGRESS_DOOR), 2);
    first.kill().await;
    goes_out(&second, &session).await;
    assert_eq!(gateway.connections(EGRESS_DOOR), 1);
    // It went with its process.
    world.site.gateway.dismiss(&session).await;
    world.finish(&second).await;
}

#[tokio::test]
async fn the_agent_s_owner_serves_the_commands_of_others() {
    let world = world();
    let owner = world.manager().await;
    let session = create(&owner).await;
    let gate = world.hold("Done.");
    let turn = send(&owner, &session, "Work.").await;
    world.asked(1).await;
    let (guest, gateway) = other(&world).await;
    goes_out(&guest, &session).await;
    // Long enough for a guest that would take the place to have taken it.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    goes_out(&guest, &session).await;
    assert_eq!(gateway.connections(EGRESS_DOOR), 0);
    assert_eq!(gateway.connections(MODEL_DOOR), 0);
    gate.open();
    assert_eq!(outcome(&owner, &turn).await.text, "Done.");
    owner.shutdown().await;
    goes_out(&guest, &session).await;
    assert_eq!(gateway.connections(EGRESS_DOOR), 1);
    // It went with its process.
    world.site.gateway.dismiss(&session).await;
    world.finish(&guest).await;
}

#[tokio::test]
async fn a_gateway_that_refuses_costs_a_command_its_way_out_and_nothing_else() {
    let world = world();
    let manager = world.manager().await;
    let session = create(&manager).await;
    let (guest, gateway) = other(&world).await;
    gateway.refuse(true);
    assert_eq!(
        run(&guest, &session, &["echo", "hi"]).await,
        ("hi\n".to_owned(), Some(0))
    );
    assert_eq!(run(&guest, &session, &["knock"]).await.1, Some(7));
    guest.shutdown().await;
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_denial_waits_for_a_word_and_every_process_sees_it() {
    let world = world();
    let manager = world.manager().await;
    let session = create(&manager).await;
    world.site.gateway.deny("pkg.example");
    let (said, _) = run(&manager, &session, &["knock"]).await;
    assert_eq!(said, "403");

    let (second, _) = other(&world).await;
    let waiting = second.egress_requests(Some(&session)).await.unwrap();
    assert_eq!(waiting.len(), 1);
    assert_eq!((waiting[0].host.as_str(), waiting[0].port), ("pkg.example", 443));
    let decision = DecideEgress {
        session: Some(session),
        rule: waiting[0].rule.clone(),
        allow: true,
    };
    let decided = second.decide_egress(decision).await.unwrap();
    assert!(manager.egress_requests(None).await.unwrap().is_empty());
    assert_eq!(
        manager.egress_decisions(Some(&session)).await.unwrap(),
        std::slice::from_ref(&decided)
    );
    let ledger = world.site.gateway.grant(&session).unwrap().ledger;
    assert_eq!(ledger.decisions().await.unwrap(), [decided]);
    let kinds: Vec<_> = stored(&manager, &session)
        .await
        .into_iter()
        .map(|event| event.kind)
        .collect();
    let told = |wanted: fn(&EventKind) -> bool| kinds.iter().filter(|kind| wanted(kind)).count();
    assert_eq!(told(|kind| matches!(kind, EventKind::EgressDenied { .. })), 1);
    assert_eq!(
        told(|kind| matches!(kind, EventKind::EgressDecided { allow: true, .. })),
        1
    );
    second.shutdown().await;
    world.finish(&manager).await;
}

#[tokio::test]
async fn only_sealed_sessions_that_live_are_decided_about() {
    let world = world();
    let manager = world.manager().await;
    let request = CreateSession {
        network: NetworkMode::Open,
        ..CreateSession::default()
    };
    let open = manager.create(request).await.unwrap().id;
    let about = |session| DecideEgress {
        session: Some(session),
        rule: "a.example".parse().unwrap(),
        allow: true,
    };
    for (session, kind) in [
        (open, ErrorKind::InvalidArgument),
        (SessionId::new(), ErrorKind::NotFound),
    ] {
        let error = manager.decide_egress(about(session)).await.unwrap_err();
        assert_eq!(error.kind(), kind);
    }
    let sealed = create(&manager).await;
    manager.destroy(&sealed).await.unwrap();
    let error = manager.decide_egress(about(sealed)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StateConflict);
    world.finish(&manager).await;
}

#[tokio::test]
async fn what_is_charged_in_one_process_is_spent_in_every_other() {
    let world = world();
    let manager = world.manager().await;
    let session = create(&manager).await;
    let used = Spending {
        requests: 1,
        cost_microusd: 5,
        ..Spending::default()
    };
    let ledger = world.site.gateway.grant(&session).unwrap().ledger;
    ledger.charge(used).await.unwrap();
    let (second, _) = other(&world).await;
    let spent = second.usage(Some(&session)).await.unwrap();
    assert_eq!((spent.session, spent.today), (used, used));
    assert_eq!(second.usage(None).await.unwrap(), ledger.spent().await.unwrap());
    second.shutdown().await;
    world.finish(&manager).await;
}

/// A session whose clone runs `git`, which goes out as the real one would.
fn clone_request() -> CreateSession {
    CreateSession {
        workspace: WorkspaceSource::Clone {
            url: "https://git.example/a.git".to_owned(),
            reference: None,
        },
        ..CreateSession::default()
    }
}

/// Has `sh` do what the scripts for git do.
fn add_git(world: &World) {
    world.site.memory.program("sh", async |context| {
        if !context.argv[2].to_string_lossy().contains("git \"$@\" clone") {
            return Exit::Code(97);
        }
        let seen: Vec<String> = context.args().into_iter().skip(3).collect();
        let path = context.host_path("/workspace/seen");
        let proxy = context.env.get("https_proxy").cloned().unwrap_or_default();
        std::fs::write(path, format!("{proxy} {}", seen.join(" "))).unwrap();
        match knock(&context).await {
            Exit::OK if context.machine.dial(MODEL_PORT).await.is_err() => Exit::OK,
            _ => Exit::Code(128),
        }
    });
}

#[tokio::test]
async fn a_clone_in_a_sealed_session_goes_out_through_the_egress_door() {
    let world = world();
    add_git(&world);
    world.site.gateway.know(&["git.example"]);
    let manager = world.manager().await;
    let session = soon("a clone", manager.create(clone_request())).await.unwrap().id;
    assert_eq!(world.site.gateway.connections(EGRESS_DOOR), 1);
    let seen = std::fs::read_to_string(world.container(&session).path("/workspace/seen")).unwrap();
    assert_eq!(
        seen,
        "http://127.0.0.1:9102 https://git.example/a.git  -c url.http://git.example/.insteadOf=https://git.example/"
    );
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_clone_that_the_wall_stopped_says_which_host_and_how_to_allow_it() {
    let world = world();
    add_git(&world);
    world.site.memory.program("sh", async |context| {
        knock(&context).await;
        Exit::Code(128)
    });
    let manager = world.manager().await;
    // A clone that fails by itself is not blamed on the wall.
    let error = soon("a failure", manager.create(clone_request()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);

    world.site.gateway.deny("git.example");
    let error = soon("a denial", manager.create(clone_request()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WorkspaceRefused);
    let context: Vec<_> = error
        .context()
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    assert!(context.contains(&"host=git.example".to_owned()), "{context:?}");
    assert!(
        context.contains(&"rule=git.example:443".to_owned()),
        "{context:?}"
    );
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("--allow git.example") && hint.contains("--allow git`")),
        "{error:?}"
    );
    assert!(std::error::Error::source(&error).is_some());
    world.finish(&manager).await;
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

#[tokio::test]
async fn the_operator_s_certificates_are_inside_and_named_to_programs() {
    let world = world();
    let trusting = ManagerOptions {
        certificates: Some(format!("# ours\n{CERTIFICATE}").into()),
        ..world.site.options()
    };
    let plain = world.manager().await;
    let before = create(&plain).await;
    plain.shutdown().await;
    let manager = world.site.manager_with(trusting).await.unwrap();
    for network in [NetworkMode::Sealed, NetworkMode::Open] {
        let request = CreateSession {
            network,
            ..CreateSession::default()
        };
        let session = manager.create(request).await.unwrap().id;
        let path = "/home/agent/.cofferdam/ca-certificates.crt";
        let inside = std::fs::read_to_string(world.container(&session).path(path)).unwrap();
        assert_eq!(inside, CERTIFICATE);
        let (env, _) = run(&manager, &session, &["env"]).await;
        for name in [
            "SSL_CERT_FILE",
            "NODE_EXTRA_CA_CERTS",
            "GIT_SSL_CAINFO",
            "PIP_CERT",
        ] {
            let line = format!("{name}={path}");
            assert!(env.lines().any(|had| had == line), "{line} in {env}");
        }
    }
    // A session that was made without them has no such file.
    let (env, _) = run(&manager, &before, &["env"]).await;
    assert!(!env.contains("SSL_CERT_FILE"), "{env}");
    world.finish(&manager).await;
}

#[tokio::test]
async fn i3_a_private_key_among_the_certificates_is_refused() {
    let world = world();
    let key = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n";
    let options = ManagerOptions {
        certificates: Some(format!("{CERTIFICATE}{key}").into()),
        ..world.site.options()
    };
    let error = world.site.manager_with(options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("private key"), "{error}");
}
