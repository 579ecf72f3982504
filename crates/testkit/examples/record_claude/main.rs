//! Records what the real Claude Code says on its standard output, as test data for whoever parses it, because no release of it
//! documents all of that and every release changes some. Run it again when the pinned version moves, and read the diff.
//!
//! `cargo run -p testkit --example record_claude -- PATH-OF-CLAUDE [SCENARIO…]`
#![expect(clippy::print_stdout, reason = "a program for a terminal")]

mod agent;
mod scenarios;
mod scrub;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use agent::{Agent, Line};
use scenarios::{Scenario, Step};
use scrub::Scrubber;
use testkit::fixtures::{Repository, buggy_calculator};
use testkit::model::{ModelServer, RequestKind};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(program) = arguments.next() else {
        return Err("usage: record_claude PATH-OF-CLAUDE [SCENARIO…]".into());
    };
    let wanted: Vec<String> = arguments.collect();
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/claude");
    fs::create_dir_all(&samples)?;
    for scenario in scenarios::all() {
        if wanted.is_empty() || wanted.iter().any(|name| name == scenario.name) {
            record(&PathBuf::from(&program), &scenario, &samples).await?;
        }
    }
    Ok(())
}

async fn record(program: &Path, scenario: &Scenario, samples: &Path) -> Outcome<()> {
    println!("== {}", scenario.name);
    let repository = buggy_calculator()?;
    let home = tempfile::tempdir()?;
    let script = (scenario.script)(&repository.path().display().to_string());
    let server = ModelServer::start(script).await?;
    let started = Instant::now();
    let mut agent = Agent::start(program, repository.path(), home.path(), &server.url(), scenario)?;
    for step in &scenario.steps {
        play(&mut agent, &server, step, started).await?;
    }
    let status = agent.finish(|line| show(line, started)).await?;
    println!("{:8.3}  exit {status}", started.elapsed().as_secs_f64());
    report_requests(&server);
    report_work(&repository)?;
    let mut scrubber = Scrubber::new(
        repository.path(),
        home.path(),
        program,
        server.address().port(),
        agent.pid,
    );
    fs::write(
        samples.join(format!("{}.in.jsonl", scenario.name)),
        scrubber.lines(&agent.sent),
    )?;
    fs::write(
        samples.join(format!("{}.jsonl", scenario.name)),
        scrubber.lines(&agent.received),
    )?;
    server.shutdown().await;
    Ok(())
}

async fn play(agent: &mut Agent, server: &ModelServer, step: &Step, started: Instant) -> Outcome<()> {
    match step {
        Step::Send(line) => agent.send(line.to_string()).await,
        Step::SendRaw(line) => agent.send((*line).to_owned()).await,
        Step::Answer(answer) => agent.answer(answer).await,
        Step::Close => {
            agent.close_input();
            Ok(())
        }
        Step::Until(kind) => agent.until(kind, |line| show(line, started)).await,
        Step::Asked(count) => {
            server.wait_for_conversation(*count).await;
            println!(
                "{:8.3}  [request {count} of the conversation has arrived]",
                started.elapsed().as_secs_f64()
            );
            Ok(())
        }
        Step::Wait(delay) => agent.listen_for(*delay, |line| show(line, started)).await,
        Step::Open(gate) => {
            gate.open();
            Ok(())
        }
    }
}

fn show(line: &Line, started: Instant) {
    let short: String = line.text.chars().take(400).collect();
    println!("{:8.3}  {short}", started.elapsed().as_secs_f64());
}

fn report_requests(server: &ModelServer) {
    for request in server.requests() {
        let facts = request.json();
        println!(
            "{:8.3}  {:?} {} {} model={} max_tokens={} stream={} tools={} messages={} retry={:?}",
            request.at.as_secs_f64(),
            request.kind,
            request.method,
            request.path,
            request.model(),
            facts["max_tokens"],
            facts["stream"],
            facts["tools"].as_array().map_or(0, Vec::len),
            facts["messages"].as_array().map_or(0, Vec::len),
            request.header("x-stainless-retry-count"),
        );
        if request.kind == RequestKind::Side {
            println!("          system: {:.600}", facts["system"].to_string());
        }
    }
    println!("steps left over: {}", server.unused_steps());
}

fn report_work(repository: &Repository) -> Outcome<()> {
    println!("{}", repository.git(&["diff", "--stat"])?);
    Ok(())
}
