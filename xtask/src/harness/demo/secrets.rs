//! That the key is nowhere in the container, nor in what the host keeps. Everything is searched from outside: a search that ran
//! inside would bring the key in.

use std::path::Path;

use futures::StreamExt;
use session_core::api::SessionApi;
use session_core::id::{ContainerName, SessionId};
use testkit::canary::Canary;
use xtask::error::{Context, Result};

use super::claims::Claims;
use crate::raw::Engine;

/// What the container's own file system does not show: storage and memory that are mounted into it.
const MOUNTED: [&str; 3] = ["/workspace", "/home/agent", "/tmp"];

pub(super) async fn check(
    key: &Canary,
    api: &dyn SessionApi,
    engine: &mut Engine,
    session: &SessionId,
    state: &Path,
    claims: &mut Claims<'_>,
) -> Result<()> {
    let container = ContainerName::of(session).to_string();
    let inspected = engine.inspect(&container).await?.to_string();
    claims.check(
        "not in what the engine says of the container",
        !key.is_in(inspected.as_bytes()),
        "",
    );
    processes(key, engine, &container, claims).await?;
    files(key, api, engine, session, claims).await?;
    let kept = key
        .files_in(state)
        .context(|| "cannot search the state directory".to_owned())?;
    claims.check(
        "not in the store and the state directory",
        kept.is_empty(),
        &shown(&kept),
    );
    Ok(())
}

/// From the host's side of the process table: arguments, environment and, where we may, the memory itself.
async fn processes(
    key: &Canary,
    engine: &mut Engine,
    container: &str,
    claims: &mut Claims<'_>,
) -> Result<()> {
    let pids = engine.processes(container).await?;
    let (mut found, mut memory) = (Vec::new(), true);
    for pid in &pids {
        let parts = match key.in_process(*pid, memory) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                memory = false;
                key.in_process(*pid, false).unwrap_or_default()
            }
            outcome => outcome.context(|| "cannot search the processes of the container".to_owned())?,
        };
        found.extend(parts.into_iter().map(|part| format!("{part} of {pid}")));
    }
    let what = if memory {
        "environment, arguments and memory"
    } else {
        "environment and arguments"
    };
    let claim = format!("not in {what} of the {} processes", pids.len());
    claims.check(&claim, found.is_empty() && !pids.is_empty(), &found.join(", "));
    Ok(())
}

async fn files(
    key: &Canary,
    api: &dyn SessionApi,
    engine: &mut Engine,
    session: &SessionId,
    claims: &mut Claims<'_>,
) -> Result<()> {
    let mut search = key.search();
    engine
        .export(ContainerName::of(session).as_str(), |bytes| search.feed(bytes))
        .await?;
    for path in MOUNTED {
        let doing = || format!("cannot read {path} out of the session");
        let mut archive = api.copy_out(session, path).await.context(doing)?;
        while let Some(bytes) = archive.next().await {
            search.feed(&bytes.context(doing)?);
        }
    }
    let seen = format!("{} MB searched", search.bytes() / 1_000_000);
    claims.check(
        "not in any file of the container",
        !search.found() && search.bytes() > 0,
        &seen,
    );
    Ok(())
}

fn shown(paths: &[std::path::PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}
