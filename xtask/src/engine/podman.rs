//! A Podman of our own beside the engine: what is promised of "an engine with Docker's API" is tried on two of them.
//!
//! Its settings, storage and socket are below the target directory, and no other Podman of the machine shares them: nothing of
//! the machine's own is read or changed. Only its packages are the machine's.

use std::path::{Path, PathBuf};

use xtask::error::{Context, Error, Result};
use xtask::process::{Tool, available, search_path};
use xtask::reporter::Reporter;
use xtask::workspace;

use super::Engine;
use super::endpoint::Endpoint;
use super::own::Own;
use crate::apt;

/// What it needs here: a program, and the package that brings it.
const NEEDED: [(&str, &str); 2] = [("podman", "podman"), ("runc", "runc")];

/// A container may open no more files than a service may, in case this machine lets nobody raise that.
const SETTINGS: &str = r#"[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
log_driver = "k8s-file"

[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"#;

/// Where it keeps its things.
struct Places(PathBuf);

impl Places {
    fn new() -> Result<Self> {
        Ok(Self(workspace::state("engine-podman")?))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::Socket(self.path("podman.sock"))
    }

    fn own(&self) -> Own {
        Own::at("podman", self.0.clone())
    }

    /// The service, ready to be started.
    fn service(&self) -> Tool {
        let option = |tool: Tool, name: &str, place: &str| tool.arg(name).arg(self.path(place));
        let podman = Tool::new("setsid").arg("podman");
        let podman = option(podman, "--root", "storage");
        let podman = option(podman, "--runroot", "run");
        option(podman, "--tmpdir", "tmp")
            .args(["--storage-driver", "overlay", "system", "service", "--time=0"])
            .arg(self.endpoint().address())
            .env("CONTAINERS_CONF", self.path("containers.conf"))
            .env("PATH", search_path())
            .dir(Path::new("/"))
    }
}

/// The Podman that we started, started when it does not run, with these images of another engine.
///
/// # Errors
/// When it cannot be installed or started here, or an image is missing.
pub(crate) fn ensure(from: &Engine, images: &[&str], reporter: &Reporter) -> Result<Engine> {
    let places = Places::new()?;
    let endpoint = places.endpoint();
    if endpoint.ping().is_err() {
        start(&places, reporter)?;
    }
    let engine = Engine {
        host: endpoint.address(),
    };
    for image in images {
        copy(from, &engine, image, reporter)?;
    }
    Ok(engine)
}

fn start(places: &Places, reporter: &Reporter) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::new("only root can start this Podman; this is another user").hint(
            "start one as yourself (`systemctl --user start podman.socket`) and set DOCKER_HOST to its socket",
        ));
    }
    let missing: Vec<_> = NEEDED
        .iter()
        .filter(|(program, _)| !available(program))
        .map(|(_, package)| *package)
        .collect();
    if !missing.is_empty() {
        if !apt::debian_like() {
            return Err(Error::new("Podman can be installed only on Debian and Ubuntu")
                .hint("install Podman, then run the same command again"));
        }
        reporter.notice(&format!(
            "This will now install {} with apt-get. It keeps to its own storage, below {}.",
            missing.join(" and "),
            places.0.display()
        ));
        apt::install(&missing, reporter)?;
    }
    let settings = places.path("containers.conf");
    std::fs::write(&settings, SETTINGS).context(|| format!("cannot write {}", settings.display()))?;
    places
        .own()
        .start_service(places.service(), &places.endpoint(), reporter)
}

/// Copies an image, unless the same one is there.
fn copy(from: &Engine, to: &Engine, image: &str, reporter: &Reporter) -> Result<()> {
    let id = |engine: &Engine| {
        let asked = engine
            .docker()
            .args(["image", "inspect", "--format", "{{.Id}}", image]);
        asked.output().map(|output| output.stdout.trim().to_owned())
    };
    let wanted = id(from)?;
    if id(to).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    let step = reporter.step(format!("copy {image} to Podman"));
    let mut saving = from.docker().args(["save", image]).spawn_piped()?;
    let saved = saving.stdout.take();
    let saved = saved.ok_or_else(|| Error::new("what is saved goes into a pipe"))?;
    to.docker().arg("load").stdin(saved).output()?;
    let status = saving
        .wait()
        .context(|| "cannot wait for `docker save`".to_owned())?;
    if !status.success() {
        return Err(Error::new(format!("`docker save {image}` failed ({status})")));
    }
    step.done("");
    Ok(())
}

/// Ends it; false when it does not run. What it stores stays.
pub(crate) fn stop(reporter: &Reporter) -> Result<bool> {
    let places = Places::new()?;
    let stopped = places.own().stop(reporter)?;
    unmount(&places.path("storage").join("overlay"));
    Ok(stopped)
}

/// Podman mounts its storage onto itself, and leaves it so: nobody could remove the directory.
fn unmount(directory: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let ours = |line: &str| {
        line.split(' ')
            .nth(4)
            .is_some_and(|point| Path::new(point) == directory)
    };
    if mounts.lines().any(ours) {
        // Busy when somebody looks into it; the next one to stop it tries again.
        let _ = Tool::new("umount").arg(directory).output();
    }
}
