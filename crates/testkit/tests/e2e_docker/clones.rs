//! A repository comes into a sealed session through the egress door, and what is not allowed does not.
//!
//! The git host is a server of this test under a name that only this test's gateway resolves; it serves a bare repository as
//! files, which is git's plainest protocol.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use libtest_mimic::Trial;
use session_core::api::SessionApi;
use session_core::error::ErrorKind;
use session_core::event::EventKind;
use session_core::session::{CreateSession, WorkspaceSource};
use session_gateway::SessionGateway;
use session_gateway::egress::{EgressConfig, Resolve};
use session_gateway::model::ModelProxyConfig;
use testkit::fixtures;
use testkit::model::Script;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::world::World;
use super::{Outcome, test};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const HOST: &str = "git.example.com";

pub(crate) fn tests() -> Vec<Trial> {
    vec![test(
        "a_repository_is_cloned_through_the_door",
        Script::new,
        clone,
    )]
}

/// Every name is this machine.
struct Here;

#[async_trait]
impl Resolve for Here {
    async fn resolve(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(vec![Ipv4Addr::LOCALHOST.into()])
    }
}

async fn clone(world: Arc<World>) -> Outcome {
    let project = fixtures::buggy_calculator()?;
    let (port, _server) = git_host(project.path()).await?;
    let egress = EgressConfig {
        resolver: Arc::new(Here),
        private_networks: vec!["127.0.0.0/8".parse()?],
        ..EgressConfig::default()
    };
    let gateway = SessionGateway::new(ModelProxyConfig::default()).with_egress(egress);
    let manager = world.manager_on(gateway).await?;
    let request = |allow: &[String]| -> Result<CreateSession> {
        let allow = allow.iter().map(|entry| Ok(entry.parse()?));
        Ok(CreateSession {
            workspace: WorkspaceSource::Clone {
                url: format!("http://{HOST}:{port}/project.git"),
                reference: None,
            },
            allow: allow.collect::<Result<_>>()?,
            ..CreateSession::default()
        })
    };

    let denied = manager
        .create(request(&[])?)
        .await
        .err()
        .ok_or("nobody allowed it")?;
    assert_eq!(denied.kind(), ErrorKind::WorkspaceRefused, "{denied:?}");

    let session = manager.create(request(&[format!("{HOST}:{port}")])?).await?.id;
    let reached = world.events(&session).await?;
    let reached = reached
        .iter()
        .filter(|event| matches!(event.kind, EventKind::EgressAllowed { .. }));
    assert_eq!(reached.count(), 1);
    manager.shutdown().await;
    let cloned = world
        .read(
            &session,
            &["git", "-C", "/workspace", "status", "--short", "--branch"],
        )
        .await?;
    assert!(cloned.starts_with("## "), "{cloned}");
    let inside = world.read(&session, &["cat", "/workspace/calc.py"]).await?;
    let outside = std::fs::read_to_string(project.path().join("calc.py"))?;
    assert_eq!(inside, outside.trim_end());
    Ok(())
}

/// A server of bare repositories, for as long as the handle lives: its port.
async fn git_host(project: &Path) -> Result<(u16, AbortOnDropHandle<()>)> {
    let root = tempfile::tempdir()?;
    let bare = root.path().join("project.git");
    git(
        project,
        &["clone", "--quiet", "--bare", ".", &bare.to_string_lossy()],
    )?;
    git(&bare, &["update-server-info"])?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    let serving = async move {
        let mut connections = JoinSet::new();
        while let Ok((connection, _)) = listener.accept().await {
            // What a client does to its connection is its own affair.
            connections.spawn(serve(connection, root.path().to_owned()));
        }
    };
    Ok((port, AbortOnDropHandle::new(tokio::spawn(serving))))
}

fn git(dir: &Path, args: &[&str]) -> Result<()> {
    let output = Command::new("git").arg("-C").arg(dir).args(args).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("git {args:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// One request a connection: a file below the root, or 404.
async fn serve(connection: TcpStream, root: PathBuf) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    let mut first = String::new();
    connection.read_line(&mut first).await?;
    let mut line = String::new();
    while connection.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let path = first.split_whitespace().nth(1).unwrap_or("/");
    let path = path.split('?').next().unwrap_or_default().trim_start_matches('/');
    let (status, body) = match std::fs::read(root.join(path)) {
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(&body).await?;
    connection.shutdown().await
}
