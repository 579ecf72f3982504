//! The operator's declarations and what is kept about them, as the gateway and the front ends see them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use session_core::error::{Error, ErrorKind, Result};

use crate::approval::ApprovalCache;
use crate::declared::Declared;
use crate::files::{Dir, Stamp, Trust};
use crate::manifest::ManifestCache;
use crate::published::ArtifactCache;

const OPERATION: &str = "read the declared MCP servers";
/// Far more than anybody writes by hand.
pub(crate) const MAX_SERVERS_FILE: usize = 4 << 20;

/// Where the files are.
#[derive(Debug, Clone)]
pub struct CatalogPaths {
    /// `servers.toml`; it need not exist.
    pub servers: PathBuf,
    /// What must not be lost, `<state>/storage/mcp`: manifests, approvals, drafts, artifacts, logins.
    pub storage: PathBuf,
    /// The keys that sign, `<state>/keys`: 0700, each file 0600.
    pub keys: PathBuf,
}

/// See the module. Cheap to ask: files are read again only when they changed. Its methods read and write files, and wait
/// for other writers: not for a thread that serves others meanwhile.
#[derive(Debug)]
pub struct Catalog {
    paths: CatalogPaths,
    declared: Mutex<Option<Read>>,
    pub(crate) manifests: ManifestCache,
    pub(crate) approvals: ApprovalCache,
    pub(crate) artifacts: ArtifactCache,
}

/// What was read of `servers.toml`, and in which state it was.
#[derive(Debug)]
struct Read {
    stamp: Stamp,
    settled: bool,
    declared: Arc<Declared>,
}

impl Catalog {
    /// A catalog at these paths; reads and makes nothing yet.
    pub fn new(paths: CatalogPaths) -> Self {
        Self {
            paths,
            declared: Mutex::default(),
            manifests: ManifestCache::default(),
            approvals: ApprovalCache::default(),
            artifacts: ArtifactCache::default(),
        }
    }

    /// Where the files are.
    pub fn paths(&self) -> &CatalogPaths {
        &self.paths
    }

    /// Whether anything was declared at all.
    ///
    /// # Errors
    /// As [`Self::declared`].
    pub fn is_declared(&self) -> Result<bool> {
        Ok(!self.declared()?.servers.is_empty())
    }

    /// What stands in `servers.toml` now. Without a file nothing is declared.
    ///
    /// # Errors
    /// `InvalidArgument` with the line for what cannot be understood, `StateDirRefused` for a file that others can write,
    /// `HostIo`.
    pub fn declared(&self) -> Result<Arc<Declared>> {
        let (dir, name) = self.servers_place();
        let Some(dir) = Dir::open(OPERATION, &dir, Trust::Operator)? else {
            return Ok(Arc::default());
        };
        if let Some(stamp) = dir.stamp(name)?
            && let Some(read) = lock(&self.declared).as_ref()
            && read.settled
            && read.stamp == stamp
        {
            return Ok(Arc::clone(&read.declared));
        }
        let read_at = SystemTime::now();
        let Some((bytes, stamp)) = dir.read(name, MAX_SERVERS_FILE)? else {
            return Ok(Arc::default());
        };
        let declared = Arc::new(parse(&bytes, &self.paths.servers)?);
        *lock(&self.declared) = Some(Read {
            stamp,
            settled: stamp.is_settled(read_at),
            declared: Arc::clone(&declared),
        });
        Ok(declared)
    }

    /// The directory of `servers.toml` and its name there.
    pub(crate) fn servers_place(&self) -> (PathBuf, &str) {
        let parent = self.paths.servers.parent().unwrap_or(Path::new(""));
        let dir = if parent.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            parent.to_owned()
        };
        let name = self.paths.servers.file_name().and_then(|name| name.to_str());
        (dir, name.unwrap_or("servers.toml"))
    }

    /// A directory in the storage, when it exists.
    pub(crate) fn stored(&self, operation: &'static str, name: &str) -> Result<Option<Dir>> {
        match Dir::open(operation, &self.paths.storage, Trust::Private)? {
            None => Ok(None),
            Some(storage) => Dir::open(operation, &storage.path().join(name), Trust::Private),
        }
    }

    /// A directory in the storage, made when it does not exist.
    pub(crate) fn store(&self, operation: &'static str, name: &str) -> Result<Dir> {
        let storage = Dir::make(operation, &self.paths.storage, Trust::Private)?;
        Dir::make(operation, &storage.path().join(name), Trust::Private)
    }
}

pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<Declared> {
    let text = str::from_utf8(bytes).map_err(|_| {
        Error::new(ErrorKind::InvalidArgument, OPERATION, "the file is not UTF-8")
            .with_context("file", path.display())
            .with_hint("save it as UTF-8")
    })?;
    Declared::parse(text).map_err(|error| error.with_context("file", path.display()))
}

/// A panic elsewhere leaves a cache whole: each entry is replaced at once.
pub(crate) fn lock<T>(cache: &Mutex<T>) -> MutexGuard<'_, T> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}
