//! The programs of the in-memory image: as many as the conformance suite needs, and those that a test adds.

mod analysis;
mod basic;
pub(super) mod git;
mod shell;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use session_link::SpawnSpec;

use super::files::Files;
use super::program::{Context, Exit, Program};

/// Where programs are looked for when the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where the image has its programs.
const BIN: [&str; 3] = ["/bin", "/usr/bin", "/usr/local/bin"];

/// Why a program could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    NotFound,
    NotExecutable,
    BadWorkingDirectory,
}

/// What can be run, by name or by absolute path.
pub(super) struct Programs(Mutex<BTreeMap<String, Program>>);

impl fmt::Debug for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Programs").finish_non_exhaustive()
    }
}

impl Programs {
    /// The built-in ones.
    pub(super) fn new() -> Arc<Self> {
        let programs = Arc::new(Self(Mutex::default()));
        analysis::add(&programs);
        basic::add(&programs);
        shell::add(&programs);
        programs
    }

    /// Adds a program, or replaces the one of that name.
    pub(super) fn add<F, R>(&self, name: impl Into<String>, program: F)
    where
        F: Fn(Context) -> R + Send + Sync + 'static,
        R: Future<Output = Exit> + Send + 'static,
    {
        let program: Program = Arc::new(move |context| Box::pin(program(context)));
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.into(), program);
    }

    pub(super) fn remove(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn get(&self, name: &str) -> Option<Program> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    /// Finds a program as `execvp` would, in the environment that it will have.
    pub(super) fn find(&self, files: &Files, cwd: &str, spec: &SpawnSpec) -> Result<Program, Refusal> {
        let name = spec
            .argv
            .first()
            .map(|name| name.to_string_lossy())
            .unwrap_or_default();
        let path = spec
            .env
            .iter()
            .rev()
            .find(|(key, _)| key == "PATH")
            .map(|(_, value)| value.as_str());
        self.look_up(files, cwd, &name, path)
    }

    fn look_up(&self, files: &Files, cwd: &str, name: &str, path: Option<&str>) -> Result<Program, Refusal> {
        if !name.contains('/') {
            let mut directories = path.unwrap_or(DEFAULT_PATH).split(':');
            let reachable = directories.any(|directory| BIN.contains(&directory));
            return self.get(name).filter(|_| reachable).ok_or(Refusal::NotFound);
        }
        let in_bin = || {
            BIN.iter()
                .find_map(|bin| name.strip_prefix(bin)?.strip_prefix('/'))
        };
        if let Some(program) = self.get(name).or_else(|| self.get(in_bin()?)) {
            return Ok(program);
        }
        // A file of the container, whatever its mode, is in no format that anything here knows.
        let exists = std::fs::metadata(files.host_path(cwd, name)).is_ok();
        Err(if exists {
            Refusal::NotExecutable
        } else {
            Refusal::NotFound
        })
    }
}
