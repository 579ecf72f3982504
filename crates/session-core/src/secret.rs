//! References to secrets: where one is, never the secret itself.
//!
//! The operator's files name secrets this way, and whatever is made of those files (stores, signed configurations, what a
//! front end shows) holds references alone. Following one is for the program that has an environment, see [`Secrets`].

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::SecretString;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// Where a secret is: `{ env = "NAME" }`, `{ file = "PATH" }` or `{ command = ["PROGRAM", "ARGUMENT"] }`. A file and a
/// command are asked each time, a command once in a second, so a rotated secret is used at the next request.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretReference {
    /// The value of a variable.
    Env(String),
    /// The content of a file, without blanks around it.
    File(PathBuf),
    /// The output of a program, without blanks around it; an argument vector, no shell.
    Command(Vec<String>),
}

/// Its three forms. Not a serde enum: the error of one would quote what stands there instead.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    env: Option<String>,
    file: Option<PathBuf>,
    command: Option<Vec<String>>,
}

impl<'de> Deserialize<'de> for SecretReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let told = "a secret is { env = \"NAME\" }, { file = \"PATH\" } or { command = [\"PROGRAM\"] }, never the secret itself";
        let written = Written::deserialize(deserializer).map_err(|_| D::Error::custom(told))?;
        match (written.env, written.file, written.command) {
            (Some(name), None, None) if !name.is_empty() => Ok(Self::Env(name)),
            (None, Some(path), None) if path.is_absolute() => Ok(Self::File(path)),
            (None, None, Some(argv)) if argv.first().is_some_and(|program| !program.is_empty()) => {
                Ok(Self::Command(argv))
            }
            _ => Err(D::Error::custom(told)),
        }
    }
}

impl fmt::Debug for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Command(argv) => write!(f, "command {}", argv.first().map_or("", String::as_str)),
        }
    }
}

/// One secret that can be read at any time.
#[async_trait]
pub trait SecretSource: Send + Sync + 'static {
    /// The secret as it is now; `None` when it cannot be read.
    async fn secret(&self) -> Option<SecretString>;
}

/// Follows references.
pub trait Secrets: fmt::Debug + Send + Sync + 'static {
    /// What a reference leads to, for asking again and again. Asks nobody yet.
    ///
    /// # Errors
    /// `InvalidArgument` for a variable that is not set.
    fn follow(&self, reference: &SecretReference) -> Result<Arc<dyn SecretSource>>;
}
