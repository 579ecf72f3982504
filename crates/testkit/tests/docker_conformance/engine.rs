//! Which engine is under test.

use std::path::PathBuf;

use runtime_docker::DockerOptions;

/// The engine under test.
#[derive(Clone)]
pub(crate) struct Engine {
    /// What its tests' names begin with.
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) host: String,
}

impl Engine {
    pub(crate) const OPTION: &str = "--engine";

    /// The machine's own Docker, or what `--engine NAME=ADDRESS` says, which is taken out of the arguments.
    pub(crate) fn of(arguments: &mut Vec<String>) -> Result<Self, String> {
        let Some(at) = arguments.iter().position(|argument| argument == Self::OPTION) else {
            return Ok(Self::default());
        };
        let said = arguments.get(at + 1).and_then(|said| said.split_once('='));
        let (name, host) = said.ok_or("write it as --engine NAME=unix://PATH")?;
        let engine = Self {
            name: name.to_owned(),
            host: host.to_owned(),
        };
        arguments.drain(at..at + 2);
        Ok(engine)
    }

    pub(crate) fn options(&self) -> DockerOptions {
        DockerOptions {
            host: Some(self.host.clone()),
            ..DockerOptions::default()
        }
    }

    pub(crate) fn socket(&self) -> Option<PathBuf> {
        self.host.strip_prefix("unix://").map(PathBuf::from)
    }
}

/// The machine's own Docker.
impl Default for Engine {
    fn default() -> Self {
        Self {
            name: "docker".to_owned(),
            host: runtime_docker::DEFAULT_HOST.to_owned(),
        }
    }
}
