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

use super::{TASK, answer_to, work_of};
use crate::client::Finished;
use crate::model::Ledger;

const LEDGER: &str = "/workspace/ledger";
const PROMPT: &str = "prompt ";
const COMMAND: &str = "command ";

pub(crate) struct Docker {
    model: ModelServer,
    runtime: DockerRuntime,
    state: PathBuf,
}

impl Docker {
    pub(super) async fn start(state: &Path) -> io::Result<Self> {
        Ok(Self {
            model: ModelServer::start(Script::new().answer(at_work).forever()).await?,
            runtime: DockerRuntime::connect(DockerOptions::default()).map_err(io::Error::other)?,
            state: state.to_owned(),
        })
    }

    pub(super) fn environment(&self) -> Vec<(OsString, OsString)> {
        vec![("ANTHROPIC_BASE_URL".into(), self.model.url().into())]
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
