//! A real engine with the real agent, and a scripted model that lets it do what each prompt says. The ledger is a file of each
//! session: the agent's tool and every counted command add a line when they run.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use runtime_docker::{DockerOptions, DockerRuntime};
use serde_json::json;
use session_core::label::Signer;
use session_core::runtime::ContainerRuntime as _;
use session_core::state_dir::StateDir;
use testkit::model::{ApiRequest, Message, ModelServer, Reply, Script};
use testkit::second_engine::SecondEngine;
use tokio::sync::Mutex;

use super::{TASK, answer_to, work_of};
use crate::client::Finished;
use crate::model::Ledger;

const LEDGER: &str = "/workspace/ledger";
const PROMPT: &str = "prompt ";
const COMMAND: &str = "command ";

/// What sessions are made of. `cargo xtask image` builds it.
const IMAGE: &str = "cofferdam-session:latest";
/// Where the engine of the machine listens.
const SOCKET: &str = "/var/run/docker.sock";

pub(crate) struct Docker {
    model: ModelServer,
    runtime: DockerRuntime,
    state: PathBuf,
    /// Where the world's own one listens.
    host: Option<String>,
    /// Of this world alone.
    own: Option<Mutex<SecondEngine>>,
}

/// Starts an engine that may be killed, with what sessions are made of.
pub(super) async fn own_engine(root: &Path) -> io::Result<SecondEngine> {
    if let Some(why) = SecondEngine::unavailable() {
        return Err(io::Error::other(why));
    }
    let engine = SecondEngine::open(root).await?;
    engine.load(Path::new(SOCKET), &[IMAGE]).await?;
    Ok(engine)
}

impl Docker {
    pub(super) async fn start(dir: &Path, own: Option<SecondEngine>) -> io::Result<Self> {
        let host = own.as_ref().map(SecondEngine::host);
        let options = DockerOptions {
            host: host.clone(),
            ..DockerOptions::default()
        };
        Ok(Self {
            model: ModelServer::start(Script::new().answer(at_work).forever()).await?,
            runtime: DockerRuntime::connect(options).map_err(io::Error::other)?,
            state: dir.join("state"),
            host,
            own: own.map(Mutex::new),
        })
    }

    pub(super) fn environment(&self) -> Vec<(OsString, OsString)> {
        let model = ("ANTHROPIC_BASE_URL".into(), self.model.url().into());
        let own = self.host.as_ref().map(|host| ("DOCKER_HOST".into(), host.into()));
        std::iter::once(model).chain(own).collect()
    }

    pub(super) async fn restart(&self) -> io::Result<()> {
        match &self.own {
            Some(own) => own.lock().await.restart().await,
            None => Ok(()),
        }
    }

    pub(super) async fn left_over(&self) -> Vec<String> {
        match self.list().await {
            Ok(names) => names,
            Err(error) => vec![format!("the engine cannot be asked: {error}")],
        }
    }

    async fn list(&self) -> session_core::error::Result<Vec<String>> {
        let key = StateDir::open(&self.state)?.signing_key()?;
        let listed = self.runtime.list(Signer::new(key).owner()).await?;
        Ok(listed.iter().map(|found| found.name.to_string()).collect())
    }
}

/// What each session's ledger told before it was ended.
pub(super) fn ledger(finished: &[Finished]) -> Ledger {
    let mut ledger = Ledger::default();
    for line in finished.iter().flat_map(|session| session.ledger.lines()) {
        if let Some(name) = line.strip_prefix(PROMPT) {
            *ledger.prompts.entry(name.to_owned()).or_default() += 1;
        } else if let Some(name) = line.strip_prefix(COMMAND) {
            *ledger.commands.entry(name.to_owned()).or_default() += 1;
        }
    }
    ledger
}

pub(super) fn counted(name: &str) -> Vec<String> {
    vec!["sh".to_owned(), "-c".to_owned(), work(COMMAND, name)]
}

pub(super) fn tell_ledger() -> Vec<String> {
    vec![
        "sh".to_owned(),
        "-c".to_owned(),
        format!("cat {LEDGER} 2>/dev/null || true"),
    ]
}

/// Adds a line to the ledger, works, and answers. Names have no character that means anything to a shell.
fn work(what: &str, name: &str) -> String {
    let seconds = work_of(name).as_secs_f64();
    format!(
        "echo '{what}{name}' >>{LEDGER}; sleep {seconds}; echo '{}'",
        answer_to(name)
    )
}

/// A prompt is done by a tool, and its result is the answer.
fn at_work(request: &ApiRequest) -> Reply {
    if let Some(result) = request.tool_results().first() {
        return Message::new().text(result.trim()).into();
    }
    let text = request.last_user_text();
    let name = text
        .rfind(TASK)
        .and_then(|at| Some(&text[at..at + text[at..].find("ms")? + 2]));
    match name {
        Some(name) => Message::new()
            .tool(
                "Bash",
                json!({ "command": work(PROMPT, name), "description": "Work" }),
            )
            .into(),
        None => Message::new().text("What shall I do?").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_one_line_of_the_ledger_and_an_answer() {
        let line = work(PROMPT, "task:a-1 250ms");
        assert_eq!(
            line,
            "echo 'prompt task:a-1 250ms' >>/workspace/ledger; sleep 0.25; echo 'done: task:a-1 250ms'"
        );
    }
}
