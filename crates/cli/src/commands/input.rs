//! A prompt from the command line or from standard input.

use session_core::agent::MAX_PROMPT_BYTES;
use session_core::error::{Error, ErrorKind, Result};
use tokio::io::AsyncReadExt as _;

use crate::console::Console;

/// The prompt itself; `-` reads standard input to its end.
///
/// # Errors
/// `InvalidArgument` when it is empty or no UTF-8, `LimitExceeded` when it is too long, `HostIo` when it cannot be read.
pub(super) async fn prompt(text: &str, console: &mut Console) -> Result<String> {
    const OPERATION: &str = "read the prompt";
    let text = if text == "-" {
        let mut bytes = Vec::new();
        // One byte more than may be, to see that there is more; never the whole of an endless stream.
        let bound = u64::try_from(MAX_PROMPT_BYTES)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        (&mut console.stdin)
            .take(bound)
            .read_to_end(&mut bytes)
            .await
            .map_err(|source| {
                Error::new(ErrorKind::HostIo, OPERATION, "standard input cannot be read").with_source(source)
            })?;
        if bytes.len() > MAX_PROMPT_BYTES {
            return Err(Error::new(ErrorKind::LimitExceeded, OPERATION, "it is too long")
                .with_context("bytes allowed", MAX_PROMPT_BYTES)
                .with_hint(
                    "copy the text into the session with `cofferdam cp` and tell the agent where it is",
                ));
        }
        String::from_utf8(bytes).map_err(|source| {
            Error::new(ErrorKind::InvalidArgument, OPERATION, "it is not UTF-8").with_source(source)
        })?
    } else {
        text.to_owned()
    };
    if text.trim().is_empty() {
        return Err(Error::new(ErrorKind::InvalidArgument, OPERATION, "it is empty"));
    }
    Ok(text)
}
