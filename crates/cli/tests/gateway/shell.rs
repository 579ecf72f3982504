//! The command line of an operator who has declared MCP servers.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::process::{Child, Command};

use super::Result;
use super::world::World;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_cofferdam");

/// See the module.
pub(crate) struct Shell<'a> {
    world: &'a World,
    servers: PathBuf,
    /// Variables that references to secrets lead to.
    secrets: Vec<(&'static str, String)>,
}

impl<'a> Shell<'a> {
    /// With what `servers.toml` says.
    pub(crate) fn new(world: &'a World, servers: &str) -> Result<Self> {
        let shell = Self {
            world,
            servers: world.record("toml"),
            secrets: Vec::new(),
        };
        shell.declare(servers)?;
        Ok(shell)
    }

    /// With a secret in its environment.
    pub(crate) fn with_secret(mut self, name: &'static str, secret: &str) -> Self {
        self.secrets.push((name, secret.to_owned()));
        self
    }

    /// Writes `servers.toml` anew.
    pub(crate) fn declare(&self, servers: &str) -> Result<()> {
        std::fs::write(&self.servers, servers)?;
        Ok(())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(args)
            .env_clear()
            .envs(self.world.environment())
            .env("COFFERDAM_SERVERS", &self.servers)
            .env("COFFERDAM_LOG", "debug")
            .envs(self.secrets.iter().map(|(name, secret)| (*name, secret)))
            .current_dir("/")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Result<Output> {
        let output = self.command(args).output().await?;
        std::fs::write(self.world.record("log"), said(&output))?;
        Ok(output)
    }

    /// Runs a command that has to succeed, and answers with its standard output.
    pub(crate) async fn ok(&self, args: &[&str]) -> Result<String> {
        let output = self.run(args).await?;
        if !output.status.success() {
            return Err(format!("{args:?} failed: {}", said(&output)).into());
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Starts a command and does not wait for it.
    pub(crate) fn start(&self, args: &[&str]) -> Result<Running> {
        let (out, log) = (self.world.record("out"), self.world.record("log"));
        let mut command = self.command(args);
        command.stdout(std::fs::File::create(&out)?);
        command.stderr(std::fs::File::create(&log)?);
        Ok(Running {
            child: command.spawn()?,
            out,
            log,
        })
    }

    /// A session with the servers of the profile `default`.
    pub(crate) async fn create(&self, more: &[&str]) -> Result<String> {
        self.ok(&[&["create"], more].concat()).await
    }

    /// The events of a session.
    pub(crate) async fn events(&self, session: &str) -> Result<Vec<Value>> {
        let said = self.ok(&["logs", session, "--json"]).await?;
        let events = said.lines().map(serde_json::from_str);
        Ok(events.collect::<std::result::Result<_, _>>()?)
    }
}

/// A command that runs.
pub(crate) struct Running {
    pub(crate) child: Child,
    out: PathBuf,
    log: PathBuf,
}

impl Running {
    /// Waits for its end, which has to be a success; its standard output.
    pub(crate) async fn ok(mut self) -> Result<String> {
        let status = self.child.wait().await?;
        let said = std::fs::read_to_string(&self.out)?;
        if status.success() {
            return Ok(said.trim().to_owned());
        }
        let log = std::fs::read_to_string(&self.log)?;
        Err(format!("it ends with {status}: {said}\n{log}").into())
    }
}

pub(crate) fn said(output: &Output) -> String {
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{stdout}\n{stderr}")
}
