//! The user's end.

use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use serde::de::DeserializeOwned;
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::{ContainerId, ContainerName, ImageRef};
use session_core::label::OwnerId;
use session_core::runtime::{
    BoxedByteStream, Capability, ContainerEvent, ContainerRuntime, ContainerSpec, ContainerStatus,
    OwnedResource, PreparedImage, Progress, RuntimeHealth, UserIds,
};
use tokio::io::BufReader;
use tokio::net::UnixStream;

use crate::wire::{Answer, Call, Facts, hear, say};

/// An engine in another process.
#[derive(Debug, Clone)]
pub struct RemoteRuntime {
    socket: PathBuf,
    facts: Facts,
}

impl RemoteRuntime {
    /// The engine that listens at `socket`. Asks it once, which blocks for as long as a line takes there and back.
    ///
    /// # Errors
    /// `EngineUnavailable` when nobody answers there.
    pub fn connect(socket: &Path) -> Result<Self> {
        let ask = || -> std::io::Result<Answer<Facts>> {
            let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
            let mut line = serde_json::to_vec(&Call::Facts)?;
            line.push(b'\n');
            stream.write_all(&line)?;
            let mut answer = String::new();
            std::io::BufReader::new(stream).read_line(&mut answer)?;
            Ok(serde_json::from_str(&answer)?)
        };
        let facts = ask().map_err(|source| unavailable("reach the engine", socket, source))?;
        Ok(Self {
            socket: socket.to_owned(),
            facts: facts.into_result()?,
        })
    }

    async fn open<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        call: &Call,
    ) -> Result<(T, BufReader<UnixStream>)> {
        let exchange = async {
            let mut io = BufReader::new(UnixStream::connect(&self.socket).await?);
            say(&mut io, call).await?;
            let answer = hear::<Answer<T>>(&mut io).await?;
            let answer = answer.ok_or(std::io::ErrorKind::UnexpectedEof)?;
            Ok::<_, std::io::Error>((answer, io))
        };
        let (answer, io) = exchange
            .await
            .map_err(|source| unavailable(operation, &self.socket, source))?;
        Ok((answer.into_result()?, io))
    }

    async fn ask<T: DeserializeOwned>(&self, operation: &'static str, call: Call) -> Result<T> {
        Ok(self.open(operation, &call).await?.0)
    }
}

fn unavailable(operation: &'static str, socket: &Path, source: std::io::Error) -> Error {
    Error::new(
        ErrorKind::EngineUnavailable,
        operation,
        "the engine does not answer",
    )
    .with_context("socket", socket.display())
    .with_hint("it ends with the test that started it")
    .with_source(source)
}

#[async_trait]
impl ContainerRuntime for RemoteRuntime {
    fn name(&self) -> &'static str {
        "remote"
    }

    fn capability(&self) -> Capability {
        self.facts.capability
    }

    async fn probe(&self) -> Result<RuntimeHealth> {
        self.ask("ask the engine for its health", Call::Probe).await
    }

    /// How far it is, is not told: an engine of tests has its images.
    async fn prepare(
        &self,
        image: &ImageRef,
        user: UserIds,
        _progress: &dyn Progress,
    ) -> Result<PreparedImage> {
        let image = image.clone();
        self.ask("prepare the image", Call::Prepare { image, user }).await
    }

    async fn launch(&self, spec: &ContainerSpec, image: &PreparedImage) -> Result<ContainerId> {
        let call = Call::Launch {
            spec: Box::new(spec.clone()),
            image: image.clone(),
        };
        self.ask("launch the container", call).await
    }

    async fn started_at(&self) -> Result<Option<jiff::Timestamp>> {
        self.ask("ask since when the engine runs", Call::StartedAt).await
    }

    async fn start(&self, container: &ContainerName) -> Result<()> {
        let container = container.clone();
        self.ask("start the container again", Call::Start { container })
            .await
    }

    async fn discard(&self, container: &ContainerName) -> Result<()> {
        let container = container.clone();
        self.ask(
            "remove the container without its storage",
            Call::Discard { container },
        )
        .await
    }

    async fn has_workspace(&self, container: &ContainerName) -> Result<bool> {
        let container = container.clone();
        self.ask("look for the workspace", Call::HasWorkspace { container })
            .await
    }

    async fn rename(&self, id: &ContainerId, name: &ContainerName) -> Result<()> {
        let (id, name) = (id.clone(), name.clone());
        self.ask("give the container its name back", Call::Rename { id, name })
            .await
    }

    async fn bridge(&self, container: &ContainerName) -> Result<BoxedByteStream> {
        let container = container.clone();
        let ((), io) = self
            .open("open a bridge to the container", &Call::Bridge { container })
            .await?;
        Ok(Box::new(io))
    }

    async fn inspect(&self, container: &ContainerName) -> Result<ContainerStatus> {
        let container = container.clone();
        self.ask("inspect the container", Call::Inspect { container })
            .await
    }

    async fn list(&self, owner: &OwnerId) -> Result<Vec<OwnedResource>> {
        let owner = owner.clone();
        self.ask("list containers", Call::List { owner }).await
    }

    async fn pause(&self, container: &ContainerName) -> Result<()> {
        let container = container.clone();
        self.ask("pause the container", Call::Pause { container }).await
    }

    async fn resume(&self, container: &ContainerName) -> Result<()> {
        let container = container.clone();
        self.ask("resume the container", Call::Resume { container }).await
    }

    async fn remove(&self, container: &ContainerName) -> Result<()> {
        let container = container.clone();
        self.ask("remove the container", Call::Remove { container }).await
    }

    async fn watch(&self, owner: &OwnerId) -> Result<BoxStream<'static, Result<ContainerEvent>>> {
        let operation = "watch containers";
        let owner = owner.clone();
        let ((), io) = self.open(operation, &Call::Watch { owner }).await?;
        let socket = self.socket.clone();
        let facts = stream::unfold(Some(io), move |io| {
            let socket = socket.clone();
            async move {
                let mut io = io?;
                match hear::<Answer<ContainerEvent>>(&mut io).await {
                    Ok(Some(answer)) => Some((answer.into_result(), Some(io))),
                    Ok(None) => Some((
                        Err(unavailable(
                            operation,
                            &socket,
                            std::io::ErrorKind::UnexpectedEof.into(),
                        )),
                        None,
                    )),
                    Err(source) => Some((Err(unavailable(operation, &socket, source)), None)),
                }
            }
        });
        Ok(facts.boxed())
    }

    async fn diagnostics(&self, container: &ContainerName, limit: usize) -> Result<String> {
        let container = container.clone();
        self.ask("read what PID 1 wrote", Call::Diagnostics { container, limit })
            .await
    }
}
