//! `docker compose`, or `docker-compose` where the client has no such plugin.

use std::ffi::OsStr;
use std::time::Duration;

use xtask::error::{Error, Result};
use xtask::process::{Tool, available};
use xtask::reporter::Reporter;

use super::checks::Findings;
use super::place::{MODEL_PORT, Place};
use crate::apt;
use crate::engine::Engine;
use crate::image;

/// No call takes so long unless it hangs.
const LIMIT: Duration = Duration::from_secs(180);
/// The same with Python, as Debian has it.
const PACKAGE: &str = "docker-compose";
const MODEL: &str = include_str!("model.py");
/// A session's containers and volumes bear it; see `session_core::label`.
const SESSION_LABEL: &str = "dev.cofferdam.session";

/// Makes sure that there is one.
pub(super) fn ensure(engine: &Engine, reporter: &Reporter) -> Result<()> {
    if is_plugin(engine) || available(PACKAGE) {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() || !apt::debian_like() {
        return Err(Error::new("there is no compose").hint(format!(
            "install the client's compose plugin, or {PACKAGE} (on Debian and Ubuntu: apt-get install {PACKAGE})"
        )));
    }
    reporter.notice(&format!(
        "The compose file needs compose. This will now install {PACKAGE} with apt-get."
    ));
    apt::install(&[PACKAGE], reporter)
}

fn is_plugin(engine: &Engine) -> bool {
    engine.docker().args(["compose", "version"]).output().is_ok()
}

/// The compose file, started in a place.
#[derive(Debug)]
pub(super) struct Compose<'a> {
    engine: &'a Engine,
    place: &'a Place,
    plugin: bool,
}

impl<'a> Compose<'a> {
    pub(super) fn new(engine: &'a Engine, place: &'a Place) -> Self {
        Self {
            engine,
            place,
            plugin: is_plugin(engine),
        }
    }

    /// A call of compose.
    pub(super) fn call<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Tool {
        self.bare()
            .args(["--project-directory", "deploy", "--file", "deploy/compose.yaml"])
            .args(args)
    }

    fn bare(&self) -> Tool {
        let tool = if self.plugin {
            self.engine.docker().arg("compose")
        } else {
            Tool::new(PACKAGE).env("DOCKER_HOST", self.engine.host())
        };
        tool.dir(self.place.path()).limit(LIMIT)
    }

    /// Starts the server as the head of its file says, and the scripted model beside it.
    pub(super) fn up(&self) -> Result<()> {
        for profile in [&["--profile", "dev"][..], &[]] {
            self.call(profile.iter().chain(&["config", "--quiet"])).output()?;
        }
        self.bare().args(self.place.starting()?).output()?;
        self.start_model()
    }

    /// On the server's own loopback: it sends a key to no other machine without TLS.
    pub(super) fn start_model(&self) -> Result<()> {
        let server = self.container()?;
        let (name, network) = (self.model(), format!("container:{server}"));
        let model = [
            "run",
            "--detach",
            "--name",
            &name,
            "--network",
            &network,
            "--entrypoint",
            "python3",
        ];
        let port = MODEL_PORT.to_string();
        let arguments = [image::SESSION, "-c", MODEL, &port, &self.place.key];
        let docker = self.engine.docker().args(model).args(arguments);
        docker.limit(LIMIT).output().map(drop)
    }

    pub(super) fn stop_model(&self) -> Result<()> {
        let docker = self.engine.docker().args(["rm", "--force", &self.model()]);
        docker.limit(LIMIT).output().map(drop)
    }

    fn model(&self) -> String {
        format!("{}-model", self.place.project)
    }

    /// The id of the server's container.
    pub(super) fn container(&self) -> Result<String> {
        let listed = self.call(["ps", "--quiet", "server"]).output()?.stdout;
        let id = listed.lines().next().map(str::trim).filter(|id| !id.is_empty());
        id.map(str::to_owned)
            .ok_or_else(|| Error::new("compose started no server"))
    }

    /// What the server said last.
    pub(super) fn logs(&self) -> String {
        let logs = self.call(["logs", "--no-color", "--tail", "40"]).output();
        logs.map_or_else(|error| error.report(), |output| output.stdout)
    }

    /// Removes everything, whatever became of it: the session, too, when it is left.
    pub(super) fn down(&self) -> Result<()> {
        let _absent = self.stop_model();
        let down = self.call(["down", "--volumes", "--timeout", "20"]).output();
        for (list, remove) in [
            (["ps", "--all", "--quiet"], ["rm", "--force"]),
            (["volume", "ls", "--quiet"], ["volume", "rm"]),
        ] {
            for left in self.of_session(&list)? {
                self.engine
                    .docker()
                    .args(remove)
                    .arg(left)
                    .limit(LIMIT)
                    .output()?;
            }
        }
        down.map(drop)
    }

    /// What of the session that was made is on the engine.
    pub(super) fn of_session(&self, list: &[&str]) -> Result<Vec<String>> {
        let Some(session) = self.place.session.get() else {
            return Ok(Vec::new());
        };
        let filter = format!("label={SESSION_LABEL}={session}");
        let listed = self
            .engine
            .docker()
            .args(list)
            .args(["--filter", &filter])
            .output()?;
        Ok(listed.stdout.lines().map(|line| line.trim().to_owned()).collect())
    }

    /// Nothing has its name any more.
    pub(super) fn expect_gone(&self, findings: &mut Findings<'_>) -> Result<()> {
        let filter = format!("name={}", self.place.project);
        let mut left = String::new();
        for list in [
            &["ps", "--all", "--format", "{{.Names}}"][..],
            &["volume", "ls", "--format", "{{.Name}}"],
            &["network", "ls", "--format", "{{.Name}}"],
        ] {
            let docker = self.engine.docker().args(list).args(["--filter", &filter]);
            left.push_str(&docker.output()?.stdout);
        }
        findings.check(
            "after `down --volumes` nothing is left",
            left.trim().is_empty(),
            &left,
        );
        Ok(())
    }
}
