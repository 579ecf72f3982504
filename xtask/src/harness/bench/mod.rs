//! Measures ours and the engine's own in the same run, on the same engine, in alternating pairs.
//!
//! A baseline is what somebody without us would do, done as directly as possible: the engine's API over one kept connection,
//! or the engine's own command line where ours is a command line, too.

mod cases;
mod commands;
mod copies;
mod doors;
mod durable;
mod facts;
mod gateway;
mod lifecycle;
mod mcp;
mod memory;
mod page;
mod pairs;
mod prompts;
mod served;
mod stats;
mod table;

use std::path::PathBuf;

use secrecy::SecretString;
use serde_json::{Value, json};
use session_core::api::SessionApi;
use session_core::manager::SessionManager;
use session_core::session::SessionFilter;
use tempfile::TempDir;
use testkit::model::{ModelServer, Script};
use xtask::error::{Context, Error, Result};
use xtask::reporter::Reporter;
use xtask::tasks::BenchArgs;

use self::cases::{CASES, Case};
use self::facts::Facts;
use self::lifecycle::end_session;
pub(crate) use self::memory::hold;
use self::table::Row;
use crate::daemon::Daemon;
use crate::hosts;
use crate::lab::{Provider, State, manager_with};
use crate::raw::Engine;

/// The image of every container here, ours and baseline alike.
const IMAGE: &str = "cofferdam-session:latest";
/// What baselines are found by when a run was broken off.
const BASELINE_LABEL: &str = "dev.cofferdam.baseline";

/// What all measurements share.
pub(crate) struct Lab {
    host: String,
    engine: Engine,
    state: State,
    manager: SessionManager,
    model: ModelServer,
    /// The command line as users run it, with the daemon that it starts on the same state directory.
    daemon: Daemon,
    /// How many times as many rounds as usual.
    rounds: f64,
    /// Removed at the end of the run, see [`copies`].
    kept: Vec<TempDir>,
}

impl Lab {
    async fn open(host: &str, rounds: f64) -> Result<Self> {
        let model = ModelServer::start(Script::always("Done.")).await;
        let model = model.context(|| "cannot start the scripted model".to_owned())?;
        let state = State::new()?;
        let provider = scripted(&model.url());
        Ok(Self {
            manager: manager_with(state.path(), host, &provider, hosts::here_as(doors::HOST)).await?,
            engine: Engine::connect(host).await?,
            host: host.to_owned(),
            daemon: Daemon::new(state.path(), host, &provider, [])?,
            state,
            model,
            rounds,
            kept: Vec::new(),
        })
    }

    /// So many rounds as usual, times what the user asked for; never none.
    fn rounds(&self, usual: u32) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small positive number"
        )]
        let rounds = (f64::from(usual) * self.rounds).ceil() as usize;
        rounds.max(1)
    }

    /// Keeps a directory until the end.
    fn keep(&mut self, dir: TempDir) -> PathBuf {
        let path = dir.path().to_owned();
        self.kept.push(dir);
        path
    }

    /// Removes what is left, whatever became of the run.
    async fn close(mut self) -> Result<()> {
        let sessions = self.manager.list(SessionFilter::default()).await;
        for session in sessions.context(|| "cannot list the sessions".to_owned())? {
            end_session(&self.manager, &session.id).await?;
        }
        self.daemon.stop().await?;
        self.manager.shutdown().await;
        for container in self.engine.labelled(BASELINE_LABEL).await? {
            self.engine.remove(container.trim_start_matches('/')).await?;
        }
        self.model.shutdown().await;
        Ok(())
    }
}

/// The scripted model takes any key.
fn scripted(url: &str) -> Provider {
    Provider {
        url: Some(url.to_owned()),
        key: SecretString::from("not-a-key-of-anybody"),
    }
}

/// A container that does nothing and has nothing of ours.
fn plain_container(network: &str) -> Value {
    json!({
        "Image": IMAGE,
        "Entrypoint": ["sleep"],
        "Cmd": ["infinity"],
        "User": "1000:1000",
        "Labels": { BASELINE_LABEL: "" },
        "HostConfig": { "NetworkMode": network },
    })
}

/// Runs the measurements and prints what came of them.
pub(crate) async fn run(args: &BenchArgs, host: &str, reporter: &Reporter) -> Result<()> {
    let chosen: Vec<&Case> = CASES.iter().filter(|case| wanted(case, &args.only)).collect();
    if chosen.is_empty() {
        let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
        return Err(
            Error::new("no measurement has such a name").hint(format!("there are: {}", names.join(", ")))
        );
    }
    let mut lab = Lab::open(host, args.rounds).await?;
    let facts = Facts::gather(&mut lab.engine).await?;
    let measured = measure(&mut lab, &chosen, reporter).await;
    lab.close().await?;
    let rows = measured?;
    if args.json {
        reporter.data(&table::to_json(&facts, &rows).to_string());
    } else {
        reporter.data(&format!("{facts}\n\n{}", table::to_text(&rows)));
    }
    if args.write {
        page::write(&facts, &rows)?;
        reporter.notice("docs/benchmarks.md is written");
    }
    Ok(())
}

fn wanted(case: &Case, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|part| case.name.contains(part.as_str()))
}

async fn measure(lab: &mut Lab, chosen: &[&Case], reporter: &Reporter) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for case in chosen {
        let step = reporter.step(case.what);
        let figures = case
            .run(lab)
            .await
            .context(|| format!("cannot measure `{}`", case.name))?;
        let row = Row::new(case, figures);
        step.done(&row.summary());
        rows.push(row);
    }
    Ok(rows)
}
