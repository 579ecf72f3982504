//! Programs in containers: a sidecar of their own, or the session's.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use mcp_catalog::Transport;
use session_core::error::{Error, ErrorKind};
use session_core::gateway::{ProgramPlace, ProgramSpec, RunningProgram, SidecarSpec};
use session_core::id::SessionId;
use session_core::mcp::ServerName;
use session_core::runtime::HostMount;
use tokio::time::timeout;

use super::Inner;
use super::diary::{Diary, DiaryFile};
use super::life::{Carrier, Reason};
use crate::mcp::call::FailureCause;
use crate::mcp::wire::Mask;

/// How long what a program wrote to its standard error may take to be read once it has ended.
const LAST_LINES: Duration = Duration::from_millis(200);

/// Where a definition's program runs, and what it is. `None` for other definitions.
pub(super) fn wanted(
    name: &ServerName,
    transport: &Transport,
    owner: Option<SessionId>,
) -> Option<Result<(ProgramPlace, ProgramSpec), Reason>> {
    let spec = |command: &String, args: &[String], env: &std::collections::BTreeMap<String, String>, cwd| {
        let argv = std::iter::once(command).chain(args).cloned().collect();
        ProgramSpec {
            argv,
            env: env.clone(),
            cwd,
        }
    };
    match transport {
        Transport::Session {
            command,
            args,
            env,
            cwd,
        } => {
            let place = owner.map(ProgramPlace::Session).ok_or_else(|| {
                (
                    FailureCause::Unavailable,
                    "it runs in a session, and there is none".to_owned(),
                )
            });
            Some(place.map(|place| (place, spec(command, args, env, cwd.clone()))))
        }
        Transport::Container {
            image,
            command,
            args,
            env,
            cwd,
            allow,
            mounts,
        } => {
            let mount = |mount: &mcp_catalog::Mount| HostMount {
                source: mount.source.clone(),
                target: mount.target.clone(),
                read_only: !mount.writable,
            };
            let sidecar = SidecarSpec {
                name: name.to_string(),
                image: image.clone(),
                allow: allow.clone(),
                mounts: mounts.iter().map(mount).collect(),
                limits: None,
            };
            Some(Ok((
                ProgramPlace::Sidecar(sidecar),
                spec(command, args, env, cwd.clone()),
            )))
        }
        Transport::Stdio { .. } | Transport::Http { .. } => None,
    }
}

/// Starts a program in a container.
pub(super) async fn start(
    inner: &Inner,
    place: ProgramPlace,
    spec: ProgramSpec,
) -> Result<RunningProgram, Reason> {
    let Some(programs) = inner.programs.get() else {
        let detail = "nobody starts programs in containers here".to_owned();
        return Err((FailureCause::Unavailable, detail));
    };
    programs.start(place, spec).await.map_err(|error| reason(&error))
}

fn reason(error: &Error) -> Reason {
    let cause = match error.kind() {
        ErrorKind::NotFound => FailureCause::Missing,
        _ => FailureCause::Unavailable,
    };
    (cause, format!("it could not be started: {}", error.message()))
}

/// Owns a program in a container. Its streams are its life: whoever drops them ends it.
pub(super) struct ProgramCarrier {
    ending: BoxFuture<'static, String>,
    ended: Option<String>,
    diary: Diary,
}

impl ProgramCarrier {
    pub(super) fn new(
        ended: BoxFuture<'static, String>,
        stderr: futures::stream::BoxStream<'static, Bytes>,
        file: Arc<DiaryFile>,
        whose: String,
    ) -> Self {
        Self {
            ending: ended,
            ended: None,
            // It has no secrets.
            diary: Diary::keep(stderr, file, whose, Mask::default()),
        }
    }

    async fn over(&mut self) -> &str {
        if self.ended.is_none() {
            let ended = (&mut self.ending).await;
            return self.ended.insert(ended);
        }
        self.ended.as_deref().unwrap_or_default()
    }
}

#[async_trait]
impl Carrier for ProgramCarrier {
    async fn ended(&mut self) -> Reason {
        let how = self.over().await.to_owned();
        let _ = timeout(LAST_LINES, self.diary.finished()).await;
        let detail = match self.diary.last_words() {
            Some(line) => format!("{how}: {line}"),
            None => how,
        };
        (FailureCause::Ended, detail)
    }

    async fn close(&mut self, grace: Duration) {
        let _ = timeout(grace, self.over()).await;
    }

    async fn kill(&mut self) {
        // The transport has dropped the streams by now, or does so at once; whoever runs the program ends it then.
        let _ = timeout(Duration::from_secs(10), self.over()).await;
    }
}
