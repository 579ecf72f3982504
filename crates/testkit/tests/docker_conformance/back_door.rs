//! The engine's own API, past our runtime: what somebody with its command line could do. A few calls by hand over its
//! socket, so that no second client of the engine has to be kept (I2).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use runtime_docker::{DockerOptions, DockerRuntime};
use session_core::id::ContainerName;
use session_core::runtime::ContainerRuntime;
use session_link::{Link, LinkOptions, ProcessEvent, ProcessId, SpawnSpec};
use testkit::conformance::runtime::BackDoor;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{UnixListener, UnixStream};

use super::IMAGE;

/// The engine's socket and the runtime under test.
pub(crate) struct DockerBackDoor {
    pub(crate) socket: PathBuf,
    pub(crate) runtime: Arc<DockerRuntime>,
}

/// One call; its status and what came back, head and all.
async fn call(socket: &Path, method: &str, path: &str, body: &str) -> Result<(u16, String), String> {
    let exchange = async {
        let mut io = UnixStream::connect(socket).await?;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        io.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        io.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = exchange
        .await
        .map_err(|error| format!("{method} {path}: {error}"))?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("{method} {path}: no answer"))?;
    Ok((status, answer))
}

impl DockerBackDoor {
    async fn ask(&self, method: &str, path: &str, body: &str) -> Result<String, String> {
        let (status, answer) = call(&self.socket, method, path, body).await?;
        if (200..400).contains(&status) {
            Ok(answer)
        } else {
            Err(format!("{method} {path}: {answer}"))
        }
    }

    /// A program that takes all memory there is, until the kernel ends it.
    async fn hog(&self, name: &ContainerName) -> Result<(), Box<dyn std::error::Error>> {
        let io = self.runtime.bridge(name).await?;
        let (link, _tunnels) = Link::establish(io, LinkOptions::default()).await?;
        let mut hog = SpawnSpec::new(ProcessId::new("hog")?, ["/usr/bin/tail", "/dev/zero"]);
        hog.cwd = Some("/".to_owned());
        let mut process = link.run(hog).await?;
        while let Some(event) = process.next().await? {
            if matches!(event, ProcessEvent::Exited(_)) {
                break;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl BackDoor for DockerBackDoor {
    async fn remove_without_storage(&self, name: &ContainerName) -> Result<(), String> {
        self.ask("DELETE", &format!("/containers/{name}?force=1"), "")
            .await
            .map(drop)
    }

    async fn rename(&self, name: &ContainerName, alias: &str) -> Result<(), String> {
        self.ask("POST", &format!("/containers/{name}/rename?name={alias}"), "")
            .await
            .map(drop)
    }

    async fn plant(&self, name: &ContainerName) -> Result<(), String> {
        let body = format!(
            "{{\"Image\":\"{IMAGE}\",\"Entrypoint\":[\"sleep\"],\"Cmd\":[\"1000\"],\"HostConfig\":{{\"NetworkMode\":\"none\"}}}}"
        );
        self.ask("POST", &format!("/containers/create?name={name}"), &body)
            .await?;
        self.ask("POST", &format!("/containers/{name}/start"), "")
            .await
            .map(drop)
    }

    async fn stands(&self, name: &ContainerName) -> Result<bool, String> {
        let (status, answer) = call(&self.socket, "GET", &format!("/containers/{name}/json"), "").await?;
        Ok(status == 200 && answer.contains("\"Running\":true"))
    }

    async fn uproot(&self, name: &ContainerName) -> Result<(), String> {
        self.ask("DELETE", &format!("/containers/{name}?force=1&v=1"), "")
            .await
            .map(drop)
    }

    /// A socket that leads to the engine for as long as it is wanted.
    async fn doomed(&self) -> Result<(Arc<dyn ContainerRuntime>, Box<dyn FnOnce() + Send>), String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = dir.path().join("engine.sock");
        let listener = UnixListener::bind(&path).map_err(|error| error.to_string())?;
        let engine = self.socket.clone();
        let passing = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut io, _)) = listener.accept().await {
                let engine = engine.clone();
                connections.spawn(async move {
                    if let Ok(mut there) = UnixStream::connect(engine).await {
                        // However it ends, both sides see it.
                        let _ = copy_bidirectional(&mut io, &mut there).await;
                    }
                });
            }
        });
        let host = format!("unix://{}", path.display());
        let options = DockerOptions {
            host: Some(host),
            ..DockerOptions::default()
        };
        let runtime = DockerRuntime::connect(options).map_err(|error| error.to_string())?;
        let go_away = move || {
            passing.abort();
            drop(dir);
        };
        Ok((Arc::new(runtime), Box::new(go_away)))
    }

    /// The engine says of a container that ended after such a kill that it ended for lack of memory.
    async fn end_for_memory(&self, name: &ContainerName) -> Result<(), String> {
        self.hog(name).await.map_err(|error| error.to_string())?;
        self.ask("POST", &format!("/containers/{name}/kill?signal=KILL"), "")
            .await?;
        self.ask("POST", &format!("/containers/{name}/wait"), "")
            .await
            .map(drop)
    }
}
