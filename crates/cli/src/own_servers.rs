//! MCP servers that a session brings itself: a file in the form of `.mcp.json`.
//!
//! Only read here. What it may say is judged where every front end's is, when the session is made; none of it runs on
//! this host, and none of it holds a secret.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;
use session_core::error::{Error, ErrorKind, Result};

const OPERATION: &str = "read the session's own MCP servers";
/// Far more than anybody writes by hand.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a file.
///
/// # Errors
/// `HostIo` when it cannot be read, `InvalidArgument` when it is no JSON or longer than a mebibyte.
pub fn read(path: &Path) -> Result<Value> {
    let failed = |kind, message| Error::new(kind, OPERATION, message).with_context("file", path.display());
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text));
    let length = read.map_err(|source| {
        failed(ErrorKind::HostIo, "the file cannot be read")
            .with_hint("name a file with --mcp-config that you can read")
            .with_source(source)
    })?;
    if length as u64 > MAX_BYTES {
        return Err(failed(
            ErrorKind::InvalidArgument,
            "the file is longer than a mebibyte",
        ));
    }
    serde_json::from_str(&text).map_err(|source| {
        failed(ErrorKind::InvalidArgument, "the file is not JSON")
            .with_hint("write it as {\"mcpServers\": {\"NAME\": {\"command\": \"…\", \"args\": []}}}")
            .with_source(source)
    })
}
