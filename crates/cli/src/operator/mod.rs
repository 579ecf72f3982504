//! The operator's policy: what sessions of this machine may reach, use and spend, in one file.
//!
//! The file is the operator's own and lies outside of every project, so nothing that an agent writes changes it (I5). It is
//! read when a manager opens. What it says is judged at once and as a whole: a key that nobody knows, an empty list or
//! a wildcard that is too wide is an error with its place in the file, never a rule that silently does not hold.

mod file;
mod holding;
mod keeping;
mod secret;

use std::io::Read;
use std::path::{Path, PathBuf};

use session_core::error::{Error, ErrorKind, Result};

pub use self::file::{CredentialEntry, Egress, OperatorPolicy, Price, Provider, ProviderName};
pub use self::holding::{Admission, Images, Lifetimes};
pub use self::keeping::Checkpoints;
pub use self::secret::{Followed, HostSecrets};
use crate::settings::env::{self, Environment};

const OPERATION: &str = "read the operator's policy";
/// Far more than anybody writes by hand.
const MAX_BYTES: u64 = 1 << 20;

/// Where the file is: what the variable says, else `cofferdam/policy.toml` in the user's folder of configurations.
pub fn place(home: Option<&Path>, environment: &dyn Environment) -> Option<PathBuf> {
    let named = environment.get(env::COFFERDAM_POLICY).map(PathBuf::from);
    named.or_else(|| Some(env::config_dir(home, environment)?.join("policy.toml")))
}

/// Reads the file. One that is not there says nothing; one that was named by the variable has to be there.
///
/// # Errors
/// `InvalidArgument` for a file that cannot be understood, `HostIo` for one that cannot be read.
pub fn load(home: Option<&Path>, environment: &dyn Environment) -> Result<OperatorPolicy> {
    let (Some(path), Some(text)) = (place(home, environment), text(home, environment)?) else {
        return Ok(OperatorPolicy::default());
    };
    OperatorPolicy::parse(&text).map_err(|error| error.with_context("file", path.display()))
}

/// What stands in the file, when there is one.
///
/// # Errors
/// `HostIo` for a file that cannot be read.
pub fn text(home: Option<&Path>, environment: &dyn Environment) -> Result<Option<String>> {
    let named = environment.get(env::COFFERDAM_POLICY).is_some();
    let Some(path) = place(home, environment) else {
        return Ok(None);
    };
    match read(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => Ok(None),
        Err(source) => Err(
            Error::new(ErrorKind::HostIo, OPERATION, "the file cannot be read")
                .with_context("file", path.display())
                .with_hint("make it readable, or unset COFFERDAM_POLICY")
                .with_source(source),
        ),
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)?;
    // A part of it could be read as a policy without what stands behind.
    if read as u64 > MAX_BYTES {
        return Err(std::io::Error::other("it is longer than a mebibyte"));
    }
    Ok(text)
}

fn refuse(message: impl Into<std::borrow::Cow<'static, str>>, hint: &'static str) -> Error {
    Error::new(ErrorKind::InvalidArgument, OPERATION, message).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_long_is_refused_and_not_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.toml");
        let comments = "# nothing\n".repeat(usize::try_from(MAX_BYTES).unwrap() / 10 + 1);
        std::fs::write(&path, format!("{comments}[budget.day]\nusd = 1\n")).unwrap();
        assert!(read(&path).is_err());
        std::fs::write(&path, "[budget.day]\nusd = 1\n").unwrap();
        assert!(read(&path).is_ok());
    }
}
