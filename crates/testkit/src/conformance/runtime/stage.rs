//! Where one test of a runtime plays: an owner of its own, whose things all go afterwards.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use libtest_mimic::Failed;
use session_core::id::{ContainerName, ImageRef, SessionId};
use session_core::label::Signer;
use session_core::runtime::{
    Capability, ContainerRuntime, ContainerSpec, ContainerState, NetworkMode, NoProgress, PreparedImage,
    ResourceLimits, Storage, WorkspaceVolume,
};
use session_link::{
    ExitReport, Link, LinkOptions, OutputStream, ProcessEvent, ProcessId, SpawnSpec, StdinMode, Tunnels,
};

use super::{BackDoor, Lab};
use crate::conformance::{Outcome, Scene};

/// Limits that no default has, so that a test sees them and nothing else.
pub(super) const LIMITS: ResourceLimits = ResourceLimits {
    memory_bytes: 96 << 20,
    milli_cpus: 700,
    pids: 77,
};

/// See the module.
pub(super) struct Stage {
    pub(super) lab: Arc<dyn Lab>,
    pub(super) runtime: Arc<dyn ContainerRuntime>,
    pub(super) signer: Signer,
    /// The host's ends of links live as long as the test.
    tunnels: Mutex<Vec<Tunnels>>,
}

/// What a program came to.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) exit: ExitReport,
}

impl Ran {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }
}

impl Scene for Stage {
    type Lab = dyn Lab;

    async fn open(lab: Arc<dyn Lab>) -> Result<Self, Failed> {
        let mut key = [0; 32];
        key[..16].copy_from_slice(uuid_bytes(&SessionId::new()).as_slice());
        Ok(Self {
            runtime: lab.runtime(),
            lab,
            signer: Signer::new(key),
            tunnels: Mutex::default(),
        })
    }

    async fn close(&self) -> Outcome {
        for resource in self.runtime.list(self.signer.owner()).await? {
            self.runtime.remove(&resource.name).await?;
        }
        let left = self.runtime.list(self.signer.owner()).await?;
        ensure!(left.is_empty(), "these cannot be removed: {left:?}");
        Ok(())
    }
}

/// The random bytes of an id.
fn uuid_bytes(id: &SessionId) -> [u8; 16] {
    let mut bytes = [0; 16];
    let text = id.to_string().replace('-', "");
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).unwrap_or_default();
    }
    bytes
}

impl Stage {
    pub(super) fn capability(&self) -> Capability {
        self.runtime.capability()
    }

    pub(super) fn back_door(&self) -> Result<Arc<dyn BackDoor>, Failed> {
        self.lab.back_door().ok_or_else(|| "there is no back door".into())
    }

    /// A sealed container without anything of the host.
    pub(super) fn spec(&self) -> ContainerSpec {
        let session = SessionId::new();
        ContainerSpec {
            name: ContainerName::of(&session),
            session,
            labels: self.signer.labels(&session),
            user: self.lab.user(),
            network: NetworkMode::Sealed,
            limits: LIMITS,
            workspace: WorkspaceVolume::Scratch,
            storage: Storage::Fresh,
            mounts: Vec::new(),
            link_dir: None,
        }
    }

    pub(super) async fn prepare(&self, image: &ImageRef) -> Result<PreparedImage, Failed> {
        Ok(self.runtime.prepare(image, self.lab.user(), &NoProgress).await?)
    }

    pub(super) async fn launch_spec(&self, spec: &ContainerSpec) -> Outcome {
        let image = self.prepare(&self.lab.image()).await?;
        self.runtime.launch(spec, &image).await?;
        Ok(())
    }

    /// A container that runs.
    pub(super) async fn launch(&self) -> Result<ContainerSpec, Failed> {
        let spec = self.spec();
        self.launch_spec(&spec).await?;
        Ok(spec)
    }

    /// A link over a fresh bridge.
    pub(super) async fn link(&self, name: &ContainerName) -> Result<Link, Failed> {
        let io = self.runtime.bridge(name).await?;
        let (link, tunnels) = Link::establish(io, LinkOptions::default()).await?;
        self.tunnels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(tunnels);
        Ok(link)
    }

    pub(super) async fn state(&self, name: &ContainerName) -> Result<ContainerState, Failed> {
        Ok(self.runtime.inspect(name).await?.state)
    }

    /// Ends PID 1 from inside, and waits until the engine knows.
    pub(super) async fn end_init(&self, name: &ContainerName) -> Outcome {
        let link = self.link(name).await?;
        let _ = link.run(spawn_spec(&["sh", "-c", "kill -TERM 1"])).await;
        while self.state(name).await? == ContainerState::Running {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// A program in the usual environment.
pub(super) fn spawn_spec(argv: &[&str]) -> SpawnSpec {
    let id = ProcessId::new(SessionId::new().to_string()).unwrap_or_else(|_| unreachable!("a UUID is an id"));
    let mut spec = SpawnSpec::new(id, argv.iter().copied());
    spec.env = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
    spec.cwd = Some(ContainerSpec::WORKSPACE_DIR.to_owned());
    spec
}

/// Runs a program to its end.
pub(super) async fn run(link: &Link, argv: &[&str]) -> Result<Ran, Failed> {
    run_spec(link, spawn_spec(argv), None).await
}

/// Runs a program to its end, with input if there is any.
pub(super) async fn run_spec(link: &Link, mut spec: SpawnSpec, input: Option<Bytes>) -> Result<Ran, Failed> {
    if input.is_some() {
        spec.stdin = StdinMode::Piped;
    }
    let (mut reader, writer) = link.run(spec).await?.into_split();
    let feeding = async {
        if let Some(input) = input {
            writer.write(input).await?;
            writer.close_stdin().await?;
        }
        Ok::<(), session_link::LinkError>(())
    };
    let reading = async {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            match reader.next().await? {
                Some(ProcessEvent::Output {
                    stream: OutputStream::Stdout,
                    bytes,
                    ..
                }) => stdout.extend(bytes),
                Some(ProcessEvent::Output { bytes, .. }) => stderr.extend(bytes),
                Some(ProcessEvent::Gap { from, to }) => return Err(format!("lost {from} to {to}").into()),
                Some(ProcessEvent::Exited(exit)) => return Ok(Ran { stdout, stderr, exit }),
                None => return Err("the end was not told".into()),
            }
        }
    };
    let (fed, ran): (_, Result<Ran, Failed>) = tokio::join!(feeding, reading);
    fed?;
    ran
}
