//! What is said on a connection.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::{ContainerId, ContainerName, ImageRef};
use session_core::label::OwnerId;
use session_core::runtime::{Capability, ContainerSpec, PreparedImage, UserIds};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// More than a specification with every label and mount that policy admits.
const MAX_LINE: u64 = 4 << 20;

/// A call of the trait.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Call {
    Facts,
    Probe,
    Prepare {
        image: ImageRef,
        user: UserIds,
    },
    Launch {
        spec: Box<ContainerSpec>,
        image: PreparedImage,
    },
    Bridge {
        container: ContainerName,
    },
    Inspect {
        container: ContainerName,
    },
    List {
        owner: OwnerId,
    },
    Pause {
        container: ContainerName,
    },
    Resume {
        container: ContainerName,
    },
    Remove {
        container: ContainerName,
    },
    StartedAt,
    Start {
        container: ContainerName,
    },
    HasWorkspace {
        container: ContainerName,
    },
    Discard {
        container: ContainerName,
    },
    Rename {
        id: ContainerId,
        name: ContainerName,
    },
    Watch {
        owner: OwnerId,
    },
    Diagnostics {
        container: ContainerName,
        limit: usize,
    },
}

/// What is true of an engine as long as it lives.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) capability: Capability,
}

/// An answer, or an element of a stream of them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer<T> {
    Done(T),
    Failed(Failure),
}

/// An error of the lifecycle API, without its source: that one stays where it happened.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    kind: ErrorKind,
    operation: String,
    message: String,
    context: Vec<(String, String)>,
    hint: Option<String>,
    retryable: bool,
}

impl<T> From<Result<T>> for Answer<T> {
    fn from(outcome: Result<T>) -> Self {
        match outcome {
            Ok(value) => Self::Done(value),
            Err(error) => Self::Failed(Failure {
                kind: error.kind(),
                operation: error.operation().to_owned(),
                message: error.message().to_owned(),
                context: error
                    .context()
                    .iter()
                    .map(|(key, value)| (key.to_string(), value.clone()))
                    .collect(),
                hint: error.hint().map(str::to_owned),
                retryable: error.is_retryable(),
            }),
        }
    }
}

impl<T> Answer<T> {
    pub(crate) fn into_result(self) -> Result<T> {
        match self {
            Self::Done(value) => Ok(value),
            Self::Failed(failure) => {
                let mut error = Error::new(failure.kind, failure.operation, failure.message)
                    .with_retryable(failure.retryable);
                for (key, value) in failure.context {
                    error = error.with_context(key, value);
                }
                Err(match failure.hint {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                })
            }
        }
    }
}

/// Says one thing.
pub(crate) async fn say<T: Serialize>(io: &mut (impl AsyncWrite + Unpin), what: &T) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    io.write_all(&line).await
}

/// Hears one thing; `None` when nothing more is said.
pub(crate) async fn hear<T: DeserializeOwned>(
    io: &mut (impl AsyncBufRead + Unpin),
) -> std::io::Result<Option<T>> {
    let mut line = Vec::new();
    io.take(MAX_LINE).read_until(b'\n', &mut line).await?;
    if line.pop() != Some(b'\n') {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}
