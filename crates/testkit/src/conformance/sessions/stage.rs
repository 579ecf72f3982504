//! Where one test of a manager plays.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Failed;
use session_core::api::{SessionApi, SessionApiExt};
use session_core::command::{CommandOutput, CommandRequest};
use session_core::event::Event;
use session_core::id::{ContainerName, SessionId};
use session_core::session::{CreateSession, EventQuery, PromptRequest, SessionInfo};
use session_core::state::StateName;
use session_core::turn::TurnOutcome;

use super::{Act, SessionLab, SessionSite};
use crate::conformance::{Outcome, Scene};

/// What is kept of each stream of a command.
const KEPT: usize = 4 << 20;

/// See the module.
pub(super) struct Stage {
    pub(super) site: Box<dyn SessionSite>,
    pub(super) api: Arc<dyn SessionApi>,
}

impl Scene for Stage {
    type Lab = dyn SessionLab;

    async fn open(lab: Arc<dyn SessionLab>) -> Result<Self, Failed> {
        let site = lab.open().await?;
        Ok(Self {
            api: site.api(),
            site,
        })
    }

    async fn close(&self) -> Outcome {
        let left = self.site.close().await;
        ensure!(left.is_empty(), "left behind: {left:?}");
        Ok(())
    }
}

impl Stage {
    /// A session that is ready.
    pub(super) async fn session(&self) -> Result<SessionInfo, Failed> {
        self.create(self.site.request()).await
    }

    pub(super) async fn create(&self, request: CreateSession) -> Result<SessionInfo, Failed> {
        Ok(self.api.create(request).await?)
    }

    /// Runs a command to its end.
    pub(super) async fn run(&self, session: &SessionId, argv: &[&str]) -> Result<CommandOutput, Failed> {
        self.run_request(session, CommandRequest::new(argv.iter().copied()))
            .await
    }

    pub(super) async fn run_request(
        &self,
        session: &SessionId,
        request: CommandRequest,
    ) -> Result<CommandOutput, Failed> {
        Ok(self.api.command_output(session, request, KEPT).await?)
    }

    /// Prompts and waits for the outcome of what the agent does.
    pub(super) async fn prompt(&self, session: &SessionId, act: Act) -> Result<TurnOutcome, Failed> {
        self.site.script(act);
        Ok(self.api.prompt_and_wait(session, prompt("Do it.")).await?)
    }

    pub(super) async fn state(&self, session: &SessionId) -> Result<StateName, Failed> {
        Ok(self.api.inspect(session).await?.info.state.name())
    }

    pub(super) async fn stored(&self, session: &SessionId) -> Result<Vec<Event>, Failed> {
        Ok(self
            .api
            .event_page(
                session,
                EventQuery {
                    after: 0,
                    limit: 10_000,
                    tail: false,
                },
            )
            .await?)
    }

    /// Fails when the engine still has a container of the session.
    pub(super) async fn expect_gone(&self, session: &SessionId) -> Outcome {
        let status = self.site.runtime().inspect(&ContainerName::of(session)).await?;
        ensure_eq!(
            status.state,
            session_core::runtime::ContainerState::Absent,
            "the container"
        );
        let directory = self.site.state_dir().join("sessions").join(session.to_string());
        ensure!(!directory.exists(), "the session's directory is still there");
        Ok(())
    }

    /// Waits until something is true; a test that waits for ever is ended from outside.
    pub(super) async fn until(&self, mut reached: impl AsyncFnMut() -> Result<bool, Failed>) -> Outcome {
        while !reached().await? {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// A prompt without limits.
pub(super) fn prompt(text: &str) -> PromptRequest {
    PromptRequest {
        prompt: text.to_owned(),
        ..PromptRequest::default()
    }
}
