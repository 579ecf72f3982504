//! That a session has no way out but its doors. Dials go to this machine only: nobody else is asked to be absent.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use session_core::api::SessionApi;
use session_core::command::CommandRequest;
use session_core::id::SessionId;
use testkit::model::ModelServer;
use tokio::net::{TcpListener, TcpStream};
use xtask::error::{Context, Result};

use super::claims::Claims;
use super::run_inside;
use crate::raw::Engine;

const DIAL_LIMIT: Duration = Duration::from_secs(5);

pub(super) async fn check(
    api: &dyn SessionApi,
    engine: &mut Engine,
    session: &SessionId,
    model: Option<&ModelServer>,
    claims: &mut Claims<'_>,
) -> Result<()> {
    devices(api, session, claims).await?;
    if let Some(gateway) = engine.bridge_address().await? {
        bridge(api, session, gateway, claims).await?;
    }
    if let Some(model) = model {
        let reached = dial(api, session, model.address()).await?;
        claims.check(
            "the model's port of this machine is not there",
            !reached,
            &model.address().to_string(),
        );
    }
    Ok(())
}

/// The kernel's own list of the devices in the session's network namespace.
async fn devices(api: &dyn SessionApi, session: &SessionId, claims: &mut Claims<'_>) -> Result<()> {
    let listed = run_inside(api, session, CommandRequest::new(["cat", "/proc/net/dev"])).await?;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let devices: Vec<_> = text
        .lines()
        .skip(2)
        .filter_map(|line| Some(line.split_once(':')?.0.trim()))
        .collect();
    claims.check(
        "no network device but loopback",
        devices == ["lo"],
        &devices.join(", "),
    );
    let routes = run_inside(api, session, CommandRequest::new(["cat", "/proc/net/route"])).await?;
    let routes = String::from_utf8_lossy(&routes.stdout).lines().skip(1).count();
    claims.check("no route", routes == 0, &format!("{routes} in /proc/net/route"));
    Ok(())
}

/// A listener where every ordinary container could reach it: we can, the session cannot, and nothing arrives.
async fn bridge(
    api: &dyn SessionApi,
    session: &SessionId,
    gateway: IpAddr,
    claims: &mut Claims<'_>,
) -> Result<()> {
    let doing = || format!("cannot listen at {gateway}");
    let listener = TcpListener::bind((gateway, 0)).await.context(doing)?;
    let address = listener.local_addr().context(doing)?;
    drop(TcpStream::connect(address).await.context(doing)?);
    drop(listener.accept().await.context(doing)?);
    let reached = dial(api, session, address).await?;
    let arrived = tokio::time::timeout(Duration::from_millis(50), listener.accept())
        .await
        .is_ok();
    claims.check(
        "a direct dial to this machine fails",
        !reached && !arrived,
        &address.to_string(),
    );
    Ok(())
}

/// Dials from inside, with the shell's own means.
async fn dial(api: &dyn SessionApi, session: &SessionId, address: SocketAddr) -> Result<bool> {
    let script = format!("exec 3<>/dev/tcp/{}/{}", address.ip(), address.port());
    let mut request = CommandRequest::new(["bash", "-c", &script]);
    request.time_limit = Some(DIAL_LIMIT);
    Ok(run_inside(api, session, request).await?.exit.code == Some(0))
}
