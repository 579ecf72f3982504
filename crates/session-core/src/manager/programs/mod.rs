//! Programs that the gateway asks for: MCP servers that speak on their standard streams and have no business on the host.
//!
//! One runs in its session's container, on the link that commands use, or in a sidecar: a sealed container of its own,
//! see [`sidecar`]. Whoever asks gets a byte stream and owns the program by it: a task of the manager's ([`owner`]) carries
//! the bytes, and ends the program with everything that it started as soon as the stream is dropped, the manager stops or
//! the link is lost. Nothing of it is an event: it is the gateway that tells of its servers.

mod owner;
mod sidecar;

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use session_link::{ProcessId, SpoolLimits};
use tokio::sync::oneshot;

use self::owner::Owner;
use self::sidecar::Sidecar;
pub(super) use self::sidecar::{MAX_SIDECARS, is_sidecar};
use super::commands::spawn_spec;
use super::{Inner, SessionManager};
use crate::command::CommandRequest;
use crate::error::{Error, ErrorKind, Result};
use crate::gateway::{ProgramPlace, ProgramSpec, Programs, RunningProgram};
use crate::id::SessionId;
use crate::link_error::from_link;
use crate::policy;
use crate::state::Operation;

const OPERATION: &str = "start an MCP server in a container";

/// Of a program that is not read little is kept, and then it waits: what it says is answered or ends it.
const SPOOL: SpoolLimits = SpoolLimits {
    memory: 256 << 10,
    file: 1 << 20,
};

/// What a gateway gets. It does not keep the manager, which keeps the gateway.
pub(super) struct Attached(pub(super) Weak<Inner>);

#[async_trait]
impl Programs for Attached {
    async fn start(&self, place: ProgramPlace, program: ProgramSpec) -> Result<RunningProgram> {
        let inner = self.0.upgrade().ok_or_else(stopping)?;
        SessionManager { inner }.start_program(place, program).await
    }
}

impl SessionManager {
    /// Starts programs in containers, as the gateway has it.
    pub fn programs(&self) -> Arc<dyn Programs> {
        Arc::new(Attached(Arc::downgrade(&self.inner)))
    }

    /// Seen to its end whatever becomes of the caller: what nobody waits for any more is dropped, and that ends it.
    async fn start_program(&self, place: ProgramPlace, program: ProgramSpec) -> Result<RunningProgram> {
        if self.inner.programs.is_closed() {
            return Err(stopping());
        }
        let (told, answer) = oneshot::channel();
        let manager = self.clone();
        self.inner.programs.spawn(async move {
            let started = match place {
                ProgramPlace::Session(session) => manager.run_program(&session, &program, None).await,
                ProgramPlace::Sidecar(spec) => match manager.make_sidecar(spec).await {
                    Ok(sidecar) => {
                        let session = *sidecar.session();
                        manager.run_program(&session, &program, Some(sidecar)).await
                    }
                    Err(error) => Err(error),
                },
            };
            drop(told.send(started));
        });
        answer.await.map_err(|_| stopping())?
    }

    /// Runs a program in a session's container; `sidecar` when that is there for the program alone.
    async fn run_program(
        &self,
        session: &SessionId,
        program: &ProgramSpec,
        sidecar: Option<Sidecar>,
    ) -> Result<RunningProgram> {
        match self.own_program(session, program).await {
            Ok((running, owner)) => {
                let (manager, stop) = (Arc::downgrade(&self.inner), self.inner.programs_stop.clone());
                self.inner.programs.spawn(async move {
                    owner.run(stop).await;
                    if let (Some(sidecar), Some(inner)) = (sidecar, manager.upgrade()) {
                        SessionManager { inner }.end_sidecar(sidecar).await;
                    }
                });
                Ok(running)
            }
            Err(error) => {
                if let Some(sidecar) = sidecar {
                    self.end_sidecar(sidecar).await;
                }
                Err(error)
            }
        }
    }

    async fn own_program(
        &self,
        session: &SessionId,
        program: &ProgramSpec,
    ) -> Result<(RunningProgram, Owner)> {
        let request = CommandRequest {
            env: program.env.clone(),
            cwd: program.cwd.clone(),
            stdin: true,
            ..CommandRequest::new(program.argv.iter().map(|argument| argument.clone().into_bytes()))
        };
        policy::limits::validate_command(&request)?;
        let record = self.record(session, OPERATION).await?;
        record.info.state.permits(Operation::Command)?;
        let (link, ambient) = self.driver(&record).link_for_programs(&record).await?;
        let id = ProcessId::new(format!("program-{:016x}", rand::random::<u64>()))
            .map_err(|error| from_link(OPERATION, error))?;
        let mut spec = spawn_spec(id, &record.info, &request, &ambient);
        spec.spool = SPOOL;
        let process = link
            .run(spec)
            .await
            .map_err(|error| from_link(OPERATION, error).with_context("session", session))?;
        let program = request
            .argv
            .first()
            .map(|program| program.escape_ascii().to_string());
        tracing::debug!(%session, process = %process.id(), program, "a program runs for the gateway");
        Ok(owner::own(link, process))
    }
}

fn stopping() -> Error {
    Error::new(ErrorKind::Cancelled, OPERATION, "the manager of sessions stops")
}
