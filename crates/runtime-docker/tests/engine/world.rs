//! What the tests stand on: images made of the stand-in, a runtime that uses them, and an end that leaves nothing.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use bollard::models::Mount;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ListContainersOptionsBuilder, ListImagesOptionsBuilder,
    ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
    RemoveVolumeOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker, body_full};
use futures::StreamExt;
use runtime_docker::{DockerOptions, DockerRuntime};
use session_core::error::Result;
use session_core::id::{ContainerId, ContainerName, ImageRef, SessionId};
use session_core::label::Signer;
use session_core::runtime::{
    ContainerRuntime, ContainerSpec, ContainerState, NetworkMode, NoProgress, PreparedImage, ResourceLimits,
    Storage, UserIds, WorkspaceVolume,
};

/// Everything that a test needs; shared by all of them.
pub(crate) struct World {
    pub(crate) engine: Docker,
    pub(crate) runtime: DockerRuntime,
    pub(crate) signer: Signer,
    /// Holds `session-init`, and is a plain image to run besides.
    pub(crate) toolbox: ImageRef,
    /// Means no good: every declaration that could change a launch.
    pub(crate) hostile: ImageRef,
    standin: Vec<u8>,
    images: Mutex<Vec<String>>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let engine = Docker::connect_with_unix("/var/run/docker.sock", 120, API_DEFAULT_VERSION)
            .unwrap()
            .negotiate_version()
            .await
            .expect("these tests need a Docker engine: cargo xtask engine up");
        let standin = tokio::task::spawn_blocking(compile_standin).await.unwrap();
        let nonce: u32 = rand::random();
        let name =
            |what: &str| -> ImageRef { format!("cofferdam-test-{what}-{nonce:08x}:1").parse().unwrap() };
        let (toolbox, hostile) = (name("toolbox"), name("hostile"));
        let signer = Signer::new(rand::random());
        let options = DockerOptions {
            toolbox_image: toolbox.clone(),
            signer: Some(signer.clone()),
            ..DockerOptions::default()
        };
        Self {
            engine,
            runtime: DockerRuntime::connect(options).unwrap(),
            signer,
            toolbox,
            hostile,
            standin,
            images: Mutex::default(),
        }
    }

    /// Puts the images on the engine.
    pub(crate) async fn fill(&self) {
        self.import_toolbox("first").await;
        self.import_hostile().await;
    }

    /// The toolbox image, made anew: `salt` makes it another one.
    pub(crate) async fn import_toolbox(&self, salt: &str) -> String {
        let files = [
            ("opt/cofferdam/bin/session-init", self.standin.as_slice()),
            ("salt", salt.as_bytes()),
        ];
        self.import(&self.toolbox, &files, &[]).await
    }

    async fn import_hostile(&self) {
        let files: [(&str, &[u8]); 4] = [
            ("workspace/from-the-image", b"x"),
            ("home/agent/from-the-image", b"x"),
            ("data/from-the-image", b"x"),
            ("etc/hosts", b"203.0.113.1 localhost\n"),
        ];
        let changes = [
            "VOLUME /data /tmp /workspace /home/agent/cache",
            "USER 4242",
            "ENV PATH=/nowhere HOME=/nowhere LD_PRELOAD=/data/evil.so SECRET=1",
            "WORKDIR /proc/self/fd",
            "HEALTHCHECK --interval=1s CMD [\"/bin/false\"]",
            "LABEL dev.cofferdam.session=forged dev.cofferdam.owner=forged dev.cofferdam.toolbox=forged",
            "EXPOSE 22",
            "ENTRYPOINT [\"/bin/false\"]",
            "CMD [\"from-the-image\"]",
        ];
        self.import(&self.hostile, &files, &changes).await;
    }

    async fn import(&self, name: &ImageRef, files: &[(&str, &[u8])], changes: &[&str]) -> String {
        let (repo, tag) = name.as_str().split_once(':').unwrap();
        let options = CreateImageOptionsBuilder::default()
            .from_src("-")
            .repo(repo)
            .tag(tag)
            .changes(changes.iter().map(|change| (*change).to_owned()).collect())
            .build();
        let body = body_full(archive(files).into());
        let mut steps = std::pin::pin!(self.engine.create_image(Some(options), Some(body), None));
        while let Some(step) = steps.next().await {
            step.unwrap();
        }
        let id = self
            .engine
            .inspect_image(name.as_str())
            .await
            .unwrap()
            .id
            .unwrap();
        self.images.lock().unwrap().push(id.clone());
        id
    }

    pub(crate) async fn prepare(&self, image: &ImageRef) -> PreparedImage {
        self.runtime
            .prepare(image, UserIds::DEFAULT, &NoProgress)
            .await
            .unwrap()
    }

    /// A specification with modest limits.
    pub(crate) fn spec(&self) -> ContainerSpec {
        let session = SessionId::new();
        ContainerSpec {
            name: ContainerName::of(&session),
            session,
            labels: self.signer.labels(&session),
            user: UserIds::DEFAULT,
            network: NetworkMode::Sealed,
            limits: ResourceLimits {
                memory_bytes: 64 << 20,
                milli_cpus: 1000,
                pids: 64,
            },
            workspace: WorkspaceVolume::Scratch,
            storage: Storage::Fresh,
            mounts: Vec::new(),
            link_dir: None,
        }
    }

    pub(crate) async fn launch(&self, spec: &ContainerSpec) -> Result<ContainerId> {
        let image = self.prepare(&self.toolbox).await;
        self.runtime.launch(spec, &image).await
    }

    /// What the stand-in found inside.
    pub(crate) async fn told(&self, container: &ContainerName) -> HashMap<String, String> {
        for _ in 0..250 {
            let text = self.runtime.diagnostics(container, 1 << 16).await.unwrap();
            if text.contains("told\tall") {
                return text
                    .lines()
                    .filter_map(|line| line.split_once('\t'))
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .collect();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the stand-in said nothing");
    }

    pub(crate) async fn until(&self, container: &ContainerName, state: ContainerState) {
        for _ in 0..500 {
            if self.runtime.inspect(container).await.unwrap().state == state {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{container} did not become {state:?}");
    }

    /// The volumes whose names begin with the container's.
    pub(crate) async fn storage(&self, container: &ContainerName) -> Vec<String> {
        let filters = HashMap::from([("name", vec![container.as_str()])]);
        let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
        let volumes = self
            .engine
            .list_volumes(Some(options))
            .await
            .unwrap()
            .volumes
            .unwrap_or_default();
        volumes.into_iter().map(|volume| volume.name).collect()
    }

    pub(crate) async fn mounts_of(&self, container: &ContainerName) -> Vec<Mount> {
        let found = self
            .engine
            .inspect_container(container.as_str(), None)
            .await
            .unwrap();
        found.host_config.unwrap().mounts.unwrap()
    }

    /// Removes containers, volumes and images of these tests: what bears our labels, and what we named.
    pub(crate) async fn destroy(&self) {
        let force = RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(true)
            .build();
        let images = self.images.lock().unwrap().clone();
        let owner = format!("dev.cofferdam.owner={}", self.signer.owner());
        let mut labels = vec![owner.clone(), "dev.cofferdam.test".to_owned()];
        labels.extend(images.iter().map(|id| format!("dev.cofferdam.toolbox={id}")));
        for label in &labels {
            let filters = HashMap::from([("label", vec![label.as_str()])]);
            let options = ListContainersOptionsBuilder::default()
                .all(true)
                .filters(&filters)
                .build();
            for container in self.engine.list_containers(Some(options)).await.unwrap() {
                let _ = self
                    .engine
                    .remove_container(&container.id.unwrap(), Some(force.clone()))
                    .await;
            }
            let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
            for volume in self
                .engine
                .list_volumes(Some(options))
                .await
                .unwrap()
                .volumes
                .unwrap_or_default()
            {
                let force = RemoveVolumeOptionsBuilder::default().force(true).build();
                let _ = self.engine.remove_volume(&volume.name, Some(force)).await;
            }
        }
        let force = RemoveImageOptionsBuilder::default().force(true).build();
        for id in &images {
            let label = format!("dev.cofferdam.prepared={id}");
            let filters = HashMap::from([("label", vec![label.as_str()])]);
            let options = ListImagesOptionsBuilder::default().filters(&filters).build();
            for derived in self.engine.list_images(Some(options)).await.unwrap() {
                let _ = self
                    .engine
                    .remove_image(&derived.id, Some(force.clone()), None)
                    .await;
            }
            let _ = self.engine.remove_image(id, Some(force.clone()), None).await;
        }
    }
}

/// A static program, so that images need nothing else.
fn compile_standin() -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/standin.rs");
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("session-init");
    let status = Command::new("rustc")
        .args([
            "--edition=2024",
            "-O",
            "-Ctarget-feature=+crt-static",
            "-Cpanic=abort",
            "-Cstrip=symbols",
            "-o",
        ])
        .args([&program, &source])
        .status()
        .unwrap();
    assert!(status.success(), "the stand-in does not compile");
    std::fs::read(program).unwrap()
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, *content).unwrap();
    }
    tar.into_inner().unwrap()
}
