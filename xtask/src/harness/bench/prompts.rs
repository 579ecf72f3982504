//! Prompts to an agent that stays, against one that is started for each.

use std::time::{Duration, Instant};

use session_core::api::SessionApiExt;
use session_core::id::SessionId;
use session_core::manager::SessionManager;
use session_core::session::PromptRequest;
use session_core::turn::TurnStatus;
use xtask::error::{Context, Error, Result};

use super::Lab;
use super::cases::Figures;
use super::lifecycle::{end_session, new_container, new_session};
use super::pairs::{Side, alternate};
use crate::raw::Engine;

const PROMPT: &str = "Say that it is done.";

/// From the prompt to the outcome. The first prompt of each side warms up, so that ours is the second and later ones.
pub(super) async fn prompt(lab: &mut Lab) -> Result<Figures> {
    let session = new_session(&lab.manager).await?;
    // Its own agent reaches the model without us, by the host's network.
    let container = new_container(&mut lab.engine, "host").await?;
    let mut ours = OurPrompt(lab.manager.clone(), session);
    let mut baseline = RawPrompt {
        engine: lab.engine.another().await?,
        container: container.clone(),
        env: environment(&lab.model.url()),
    };
    let figures = alternate(lab.rounds(20), &mut ours, &mut baseline).await;
    end_session(&lab.manager, &session).await?;
    lab.engine.remove(&container).await?;
    figures
}

fn environment(model: &str) -> Vec<String> {
    [
        "HOME=/home/agent",
        &format!("ANTHROPIC_BASE_URL={model}"),
        "ANTHROPIC_API_KEY=not-a-key-of-anybody",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1",
        "DISABLE_AUTOUPDATER=1",
    ]
    .map(str::to_owned)
    .to_vec()
}

struct OurPrompt(SessionManager, SessionId);

impl Side for OurPrompt {
    async fn once(&mut self) -> Result<Duration> {
        let request = PromptRequest {
            prompt: PROMPT.to_owned(),
            ..PromptRequest::default()
        };
        let started = Instant::now();
        let outcome = self.0.prompt_and_wait(&self.1, request).await;
        let taken = started.elapsed();
        let outcome = outcome.context(|| "cannot prompt the agent".to_owned())?;
        match outcome.status {
            TurnStatus::Succeeded => Ok(taken),
            _ => Err(Error::new("the turn failed").output(format!("{:?}", outcome.failure))),
        }
    }
}

struct RawPrompt {
    engine: Engine,
    container: String,
    env: Vec<String>,
}

impl Side for RawPrompt {
    async fn once(&mut self) -> Result<Duration> {
        let argv = [
            "claude",
            "-p",
            PROMPT,
            "--output-format",
            "json",
            "--dangerously-skip-permissions",
        ];
        let started = Instant::now();
        let executed = self.engine.exec(&self.container, &argv, &self.env).await?;
        let taken = started.elapsed();
        match executed.exit_code {
            0 => Ok(taken),
            code => Err(Error::new(format!("`claude -p` ended with {code}"))
                .output(String::from_utf8_lossy(&executed.output))),
        }
    }
}
