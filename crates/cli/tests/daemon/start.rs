//! Who starts a daemon, how many there are, and what becomes of it.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::sync::mpsc;

use rustix::process::{Signal, getsid, kill_process};

use crate::host::{Host, PATIENCE, PROGRAM, Said};

#[test]
fn twenty_clients_at_once_start_one_daemon() {
    let host = Host::new();
    let clients: Vec<_> = (0..20).map(|_| host.command(&["ls"]).spawn().unwrap()).collect();
    for client in clients {
        let said = Said::of(&client.wait_with_output().unwrap());
        assert_eq!(said.code, Some(0), "{said:?}\n{}", host.log());
    }
    assert_eq!(host.processes().len(), 1, "{}", host.log());
    assert_eq!(host.log().matches("ready").count(), 1, "{}", host.log());
    assert!(
        !host.log().contains("another process serves it"),
        "they took turns: {}",
        host.log()
    );
}

#[test]
fn it_leaves_its_client_and_keeps_nothing_of_it() {
    let host = Host::new();
    host.ok(&["ls"]);
    let pid = host.pid().unwrap();
    // Not compared with ours: in a PID namespace our session's leader may be outside, where it has no number.
    assert_eq!(getsid(Some(pid)).unwrap(), pid, "a session of its own");
    let link = |name: &str| std::fs::read_link(format!("/proc/{}/{name}", pid.as_raw_nonzero()));
    // What may not be looked at is not asked for: the process is closed to others, and its own user may not be root.
    if let Ok(directory) = link("cwd") {
        assert_eq!(directory.to_str(), Some("/"));
        assert_eq!(link("fd/0").unwrap().to_str(), Some("/dev/null"));
        let log = host.state().join("telemetry/serve.log");
        assert_eq!((link("fd/1").unwrap(), link("fd/2").unwrap()), (log.clone(), log));
    }
    let mode = |name: &str| host.state().join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode("cofferdam.sock"), mode("telemetry/serve.log")),
        (0o600, 0o600)
    );
}

/// What a shell has open when it calls us: here a lock that it holds, and the pipe that it reads our words from.
#[test]
fn it_keeps_no_file_that_its_client_had_open() {
    const MCP: &str = env!("CARGO_BIN_EXE_cofferdam-mcp");
    for (program, args) in [(PROGRAM, "ls"), (MCP, "")] {
        let host = Host::new();
        let path = host.dir().join("lock");
        let lock = File::create(&path).unwrap();
        lock.lock().unwrap();
        let call = format!("{program} {args} 8>&1 9<&0 </dev/null");
        // The command would hold it, too.
        let mut client = {
            let mut command = host.program("sh", &["-c", &call]);
            command.stdin(Stdio::from(lock)).spawn().unwrap()
        };
        let mut said = client.stdout.take().unwrap();
        let (ended, end) = mpsc::channel();
        std::thread::spawn(move || {
            let _ = ended.send(said.read_to_end(&mut Vec::new()));
        });
        assert!(client.wait().unwrap().success());
        assert!(host.pid().is_some(), "it started a daemon: {program}");
        let end = end.recv_timeout(PATIENCE);
        assert!(end.is_ok(), "the pipe does not end while it lives: {program}");
        let lock = File::open(&path).unwrap().try_lock();
        assert!(
            lock.is_ok(),
            "the lock is held for as long as it lives: {program}"
        );
    }
}

#[test]
fn the_second_is_refused_also_after_the_first_was_killed() {
    let host = Host::new();
    let first = host.serve(&[]);
    let refused = host.run(&["serve"]);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(
        refused.stderr.contains("another process serves it"),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("cofferdam serve --stop"), "{refused:?}");

    first.signal(Signal::KILL);
    first.ended();
    assert!(host.socket().exists(), "it left its socket behind");
    assert_eq!(host.run(&["health"]).code, Some(1));
    let second = host.serve(&[]);
    assert_eq!(host.run(&["serve"]).code, Some(4));
    drop(second);
}

#[test]
fn a_client_starts_another_when_the_first_was_killed() {
    let host = Host::new();
    host.ok(&["ls"]);
    let first = host.pid().unwrap();
    kill_process(first, Signal::KILL).unwrap();
    host.until("it is gone", || host.info().is_none());
    host.ok(&["ls"]);
    assert_ne!(host.pid().unwrap(), first);
}

#[test]
fn signals_end_it_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let host = Host::new();
        let serving = host.serve(&[]);
        serving.signal(signal);
        let said = serving.ended();
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.stdout.starts_with("ready: unix:"), "{said:?}");
        assert!(!host.socket().exists(), "its socket goes with it");
    }
}

#[test]
fn it_is_told_to_end_and_is_gone_then() {
    let host = Host::new();
    host.ok(&["ls"]);
    assert!(host.run(&["serve", "--stop"]).stderr.contains("sessions go on"));
    assert!(!host.socket().exists());
    host.until("its process is gone", || host.processes().is_empty());
    let again = host.run(&["serve", "--stop"]);
    assert_eq!(again.code, Some(0), "there is none to end: {again:?}");
}

#[test]
fn a_daemon_that_cannot_serve_says_why_to_its_client() {
    let host = Host::new();
    std::fs::write(host.dir().join("policy.toml"), "nonsense = 1\n").unwrap();
    let said = host.run_with(("COFFERDAM_POLICY", "policy.toml"), &["ls"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("unknown field `nonsense`"), "{said:?}");
    assert!(said.stderr.contains("serve.log"), "{said:?}");
    host.until("it has ended", || host.processes().is_empty());
}

/// What is judged last, when nearly everything is there: nobody is told that it is ready before.
#[test]
fn tokens_that_others_may_read_are_told_to_whoever_starts_it() {
    let host = Host::new();
    host.ok(&["token", "create", "ci", "--scope", "read"]);
    let file = host.state().join("keys/tokens.json");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = host.run(&["ls"]);
    assert_eq!(said.code, Some(11), "{said:?}\n{}", host.log());
    assert!(said.stderr.contains("tokens"), "{said:?}");
    assert!(said.stderr.contains("serve.log"), "{said:?}");
    assert!(!host.log().contains("ready"), "{}", host.log());
    host.until("it has ended", || host.processes().is_empty());
    let said = host.run(&["serve"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(11), ""), "{said:?}");
    assert!(!host.socket().exists(), "its socket goes with it");
}

#[test]
fn without_a_daemon_nothing_stays_behind() {
    let host = Host::new();
    host.ok(&["ls", "--embedded"]);
    assert_eq!(host.run_with(("COFFERDAM_EMBEDDED", "1"), &["ls"]).code, Some(0));
    assert!(host.processes().is_empty() && !host.socket().exists());
    // And beside one it works as well.
    host.ok(&["ls"]);
    let daemon = host.pid();
    host.ok(&["ls", "--embedded"]);
    assert_eq!(host.pid(), daemon);
}

#[test]
fn the_mcp_server_is_a_client_too() {
    let host = Host::new();
    let mut server = host.program(env!("CARGO_BIN_EXE_cofferdam-mcp"), &[]);
    let said = Said::of(&server.output().unwrap());
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        host.info().unwrap()["auto_started"].as_bool().unwrap(),
        "it outlives the client that started it"
    );
}

#[test]
fn health_asks_and_starts_nothing() {
    let host = Host::new();
    assert_eq!(host.run(&["health"]).code, Some(1));
    assert!(host.processes().is_empty());
    let doctor = host.run(&["doctor"]);
    assert!(doctor.stdout.contains("daemon      none runs"), "{doctor:?}");
    host.ok(&["ls"]);
    assert!(host.ok(&["health"]).contains("the daemon works: process"));
    let doctor = host.run(&["doctor"]);
    let shown = format!("daemon      process {}", host.pid().unwrap().as_raw_nonzero());
    assert!(doctor.stdout.contains(&shown), "{doctor:?}");
}

#[test]
fn a_log_that_cannot_be_kept_in_a_file_is_on_standard_error_alone() {
    let host = Host::new();
    let nowhere = host.dir().join("file");
    std::fs::write(&nowhere, "no directory").unwrap();
    for below in ["", "logs"] {
        let path = nowhere.join(below);
        let host = Host::new()
            .with("LOGS_PATH", path.to_str().unwrap())
            .with("COFFERDAM_LOG", "info");
        let serving = host.serve(&[]);
        serving.signal(Signal::TERM);
        let said = serving.ended();
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(
            said.stderr.contains("could not keep the log") && said.stderr.contains("ready"),
            "{said:?}"
        );
    }
}
