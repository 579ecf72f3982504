//! What is claimed about the server in its container, one by one.

use std::fs::File;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use xtask::error::{Context, Error, Result};
use xtask::reporter::Step;

use super::Tally;
use super::compose::Compose;
use super::curl::{ask, ask_as_nobody};
use super::place::{PROJECT, Place, USER};
use crate::engine::Engine;

/// How long the server may take until its health is known.
const HEALTHY_WITHIN: Duration = Duration::from_secs(60);
const GIGABYTE: u64 = 1 << 30;
/// What a client that speaks over standard input begins with.
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"xtask","version":"0"}}}"#;

/// What was found so far.
pub(super) struct Findings<'a> {
    step: &'a mut Step,
    tally: Tally,
}

impl<'a> Findings<'a> {
    pub(super) fn new(step: &'a mut Step) -> Self {
        Self {
            step,
            tally: Tally::default(),
        }
    }

    /// Whether a claim holds, and what was seen when it does not.
    pub(super) fn check(&mut self, claim: &str, holds: bool, seen: &str) {
        self.step.update(claim);
        if holds {
            self.tally.passed += 1;
        } else {
            self.tally.failures.push(format!("{claim}: {}", seen.trim()));
        }
    }

    pub(super) fn into_tally(self) -> Tally {
        self.tally
    }
}

/// All of them.
pub(super) fn all(
    engine: &Engine,
    compose: &Compose<'_>,
    place: &Place,
    findings: &mut Findings<'_>,
) -> Result<()> {
    let server = compose.container()?;
    turns_healthy(engine, &server, findings)?;
    is_confined(&inspect(engine, &server)?, findings);
    keeps_strangers_out(place, findings)?;
    let session = works(place, findings)?;
    speaks_mcp(engine, &server, place, findings)?;
    old_clients_are_served(place, findings)?;
    outlives_a_restart(engine, compose, place, &session, findings)?;
    let gone = ask(place, "DELETE", &format!("/v1/sessions/{session}"), None)?;
    let left = compose.of_session(&["ps", "--all", "--quiet"])?;
    findings.check(
        "a session that was deleted is gone",
        gone.status == 204 && left.is_empty(),
        &format!("{} {}", gone.shown(), left.join(" ")),
    );
    ends_in_order(engine, compose, place, findings)
}

fn inspect(engine: &Engine, container: &str) -> Result<Value> {
    let said = engine.docker().args(["inspect", container]).output()?.stdout;
    let mut found: Value = serde_json::from_str(&said).context(|| "the engine says no JSON".to_owned())?;
    Ok(found[0].take())
}

fn turns_healthy(engine: &Engine, server: &str, findings: &mut Findings<'_>) -> Result<()> {
    let started = Instant::now();
    loop {
        let state = inspect(engine, server)?["State"].take();
        let health = state["Health"]["Status"].as_str().unwrap_or_default();
        if health == "healthy" {
            findings.check("its health turns healthy", true, "");
            return Ok(());
        }
        if state["Running"] != true || started.elapsed() > HEALTHY_WITHIN {
            return Err(Error::new("the server does not turn healthy").output(state.to_string()));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The engine's own account of how it runs.
fn is_confined(container: &Value, findings: &mut Findings<'_>) {
    let (host, config) = (&container["HostConfig"], &container["Config"]);
    let bindings = host["PortBindings"]["3001/tcp"].as_array();
    let addresses: Vec<_> = bindings
        .into_iter()
        .flatten()
        .map(|port| &port["HostIp"])
        .collect();
    let options = host["SecurityOpt"].to_string();
    for (claim, holds, seen) in [
        (
            "it is not root",
            config["User"] == format!("{USER}:{USER}"),
            &config["User"],
        ),
        (
            "it has no capability",
            host["CapDrop"] == json!(["ALL"]),
            &host["CapDrop"],
        ),
        (
            "it gains no privileges",
            options.contains("no-new-privileges"),
            &host["SecurityOpt"],
        ),
        (
            "its files are read-only",
            host["ReadonlyRootfs"] == true,
            &host["ReadonlyRootfs"],
        ),
        ("it has 2 GB", host["Memory"] == 2 * GIGABYTE, &host["Memory"]),
        (
            "it has 1 CPU",
            host["NanoCpus"] == 1_000_000_000,
            &host["NanoCpus"],
        ),
        (
            "its port is on loopback alone",
            addresses == [&json!("127.0.0.1")],
            &host["PortBindings"],
        ),
    ] {
        findings.check(claim, holds, &seen.to_string());
    }
}

fn keeps_strangers_out(place: &Place, findings: &mut Findings<'_>) -> Result<()> {
    for path in ["/v1/sessions", "/healthz", "/metrics"] {
        let refused = ask_as_nobody(place, path)?;
        findings.check(
            &format!("{path} is refused without a token"),
            refused.status == 401,
            &refused.shown(),
        );
    }
    Ok(())
}

/// A session: made, used, prompted.
fn works(place: &Place, findings: &mut Findings<'_>) -> Result<String> {
    let made = ask(
        place,
        "POST",
        "/v1/sessions",
        Some(&json!({ "name": "deployed" })),
    )?;
    let made = made.expect(201, "a session to be made")?;
    let session = made["id"].as_str().unwrap_or_default().to_owned();
    let session = place.session.get_or_init(|| session).clone();
    findings.check("it makes a session", !session.is_empty(), &made.to_string());

    let details = ask(place, "GET", &format!("/v1/sessions/{session}/details"), None)?;
    findings.check(
        "its link goes through the engine",
        details.json()["carrier"] == "bridge",
        &details.shown(),
    );
    run_a_command(place, &session, findings)?;
    let prompt = json!({ "prompt": "Say that it is done." });
    let path = format!("/v1/sessions/{session}/turns?wait_ms=60000");
    let turn = ask(place, "POST", &path, Some(&prompt))?;
    let outcome = &turn.json()["outcome"];
    findings.check(
        "its agent answers a prompt",
        outcome["status"] == "succeeded" && outcome["text"] == "Done.",
        &turn.shown(),
    );
    Ok(session)
}

fn run_a_command(place: &Place, session: &str, findings: &mut Findings<'_>) -> Result<()> {
    let path = format!("/v1/sessions/{session}/commands");
    let ran = ask(place, "POST", &path, Some(&json!({ "argv": ["id", "-u"] })))?;
    findings.check(
        "a command runs in it",
        ran.status == 200 && ran.json()["stdout"] == "1000\n",
        &ran.shown(),
    );
    Ok(())
}

/// By the program's other name, in the container that runs.
fn speaks_mcp(engine: &Engine, server: &str, place: &Place, findings: &mut Findings<'_>) -> Result<()> {
    let file = place.path().join("initialize");
    std::fs::write(&file, format!("{INITIALIZE}\n")).context(|| "cannot write a request".to_owned())?;
    let input = File::open(&file).context(|| "cannot read a request".to_owned())?;
    let said = engine
        .docker()
        .args(["exec", "--interactive", server, "cofferdam-mcp"])
        .stdin(input)
        .limit(Duration::from_secs(30))
        .output();
    let (holds, seen) = match said {
        Ok(said) => (said.stdout.contains("\"serverInfo\""), said.stdout),
        Err(error) => (false, error.report()),
    };
    findings.check("it speaks MCP over standard input", holds, &seen);
    Ok(())
}

/// What clients of the older interface ask for, about a project that is mounted.
fn old_clients_are_served(place: &Place, findings: &mut Findings<'_>) -> Result<()> {
    let body = json!({ "project_path": PROJECT, "analysis_type": "structure" });
    let analysed = ask(place, "POST", "/claude-code/analyze", Some(&body))?;
    findings.check(
        "a mounted project is analysed",
        analysed.status == 200 && analysed.json()["status"] == "success",
        &analysed.shown(),
    );
    Ok(())
}

/// What must not be lost is in the volumes.
fn outlives_a_restart(
    engine: &Engine,
    compose: &Compose<'_>,
    place: &Place,
    session: &str,
    findings: &mut Findings<'_>,
) -> Result<()> {
    // It shares the network of the container, which goes away with it.
    compose.stop_model()?;
    compose.call(["rm", "--force", "--stop", "server"]).output()?;
    compose.call(["up", "--detach"]).output()?;
    let server = compose.container()?;
    turns_healthy(engine, &server, findings)?;
    let listed = ask(place, "GET", "/v1/sessions", None)?;
    let there = listed.json().to_string().contains(session);
    findings.check(
        "another server on its volumes knows the session",
        there,
        &listed.shown(),
    );
    run_a_command(place, session, findings)
}

fn ends_in_order(
    engine: &Engine,
    compose: &Compose<'_>,
    place: &Place,
    findings: &mut Findings<'_>,
) -> Result<()> {
    let server = compose.container()?;
    compose.call(["stop"]).output()?;
    let state = inspect(engine, &server)?["State"].take();
    findings.check(
        "it ends in order when it is told to",
        state["ExitCode"] == 0,
        &state.to_string(),
    );
    let kept =
        std::fs::read_dir(place.path().join("deploy/logs")).context(|| "cannot list the logs".to_owned())?;
    let bytes: u64 = kept
        .filter_map(|file| Some(file.ok()?.metadata().ok()?.len()))
        .sum();
    findings.check(
        "its log is kept in a file, too",
        bytes > 0,
        "nothing is in deploy/logs",
    );
    let mut log = String::new();
    // Both streams: what it logs goes to its standard error.
    let logs = engine.docker().args(["logs", &server]);
    logs.run(|line| log.push_str(&format!("{line}\n")))?;
    let structured = log
        .lines()
        .all(|line| serde_json::from_str::<Value>(line).is_ok());
    findings.check("its log is JSON", structured, &log);
    let told = [&place.token, &place.key]
        .into_iter()
        .any(|secret| log.contains(secret.as_str()));
    findings.check("its log tells no secret", !told, "the token or the key is in it");
    Ok(())
}
