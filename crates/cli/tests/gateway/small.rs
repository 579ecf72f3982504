//! The small server of these tests, `small.py`: on this host, in a session, in a container of its own.

use std::path::{Path, PathBuf};

use super::Result;

const SCRIPT: &str = include_str!("small.py");
/// Its name in a directory.
pub(crate) const FILE: &str = "small.py";

/// Puts it into a directory; where it is then.
pub(crate) fn put_into(dir: &Path) -> Result<PathBuf> {
    let path = dir.join(FILE);
    std::fs::write(&path, SCRIPT)?;
    Ok(path)
}

/// Its declaration as a program on this host.
pub(crate) fn declared(script: &Path, more: &[&Path]) -> String {
    let args: Vec<_> = std::iter::once(&script).chain(more).collect();
    format!("[servers.small]\ncommand = \"python3\"\nargs = {args:?}\n")
}

/// Its processes on this host.
pub(crate) fn processes(script: &Path) -> Vec<u32> {
    let told = script.as_os_str().as_encoded_bytes();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments
            .split(|byte| *byte == 0)
            .any(|argument| argument == told)
    })
    .collect()
}
