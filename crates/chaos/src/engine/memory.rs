//! The in-memory engine of `testkit` behind a socket: cheap enough for ten thousand daemons.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use testkit::memory::{AgentTurn, Exit, MemoryOptions, MemoryRuntime};
use testkit::model::Gate;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use super::{answer_to, work_of};
use crate::model::Ledger;

/// The program of which the ledger counts every run.
pub(super) const COUNTED: &str = "counted";

type Runs = Arc<Mutex<BTreeMap<String, u64>>>;

pub(crate) struct Memory {
    pub(super) runtime: MemoryRuntime,
    runs: Runs,
    socket: PathBuf,
    server: JoinHandle<()>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Memory {
    pub(super) fn start(socket: &Path) -> io::Result<Self> {
        let mut options = MemoryOptions::default();
        options.images.extend("cofferdam-session:latest".parse());
        let runtime = MemoryRuntime::with_options(options);
        runtime.agents().otherwise(at_work);
        let runs = Runs::default();
        count_runs(&runtime, &runs);
        let listener = UnixListener::bind(socket)?;
        let server = tokio::spawn(engine_rpc::serve(listener, Arc::new(runtime.clone())));
        Ok(Self {
            runtime,
            runs,
            socket: socket.to_owned(),
            server,
        })
    }

    pub(super) fn environment(&self) -> Vec<(OsString, OsString)> {
        vec![("COFFERDAM_TEST_ENGINE".into(), self.socket.clone().into())]
    }

    pub(super) fn ledger(&self) -> Ledger {
        let mut prompts = BTreeMap::new();
        for seen in self.runtime.agents().prompts() {
            *prompts.entry(seen.text).or_default() += 1;
        }
        let commands = self.runs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ledger { prompts, commands }
    }
}

fn count_runs(runtime: &MemoryRuntime, runs: &Runs) {
    let runs = Arc::clone(runs);
    runtime.program(COUNTED, move |context| {
        let runs = Arc::clone(&runs);
        async move {
            let name = context.args().into_iter().next().unwrap_or_default();
            let count = |mut runs: std::sync::MutexGuard<'_, BTreeMap<String, u64>>| {
                *runs.entry(name.clone()).or_default() += 1;
            };
            count(runs.lock().unwrap_or_else(PoisonError::into_inner));
            tokio::time::sleep(work_of(&name)).await;
            context.stdout.line(answer_to(&name)).await;
            Exit::OK
        }
    });
}

/// Says something, works for as long as the prompt says, and answers.
fn at_work(prompt: &str) -> AgentTurn {
    let (gate, work) = (Gate::new(), work_of(prompt));
    let opening = gate.clone();
    tokio::spawn(async move {
        tokio::time::sleep(work).await;
        opening.open();
    });
    AgentTurn::new()
        .say("I begin.")
        .hold(&gate)
        .say(answer_to(prompt))
}
