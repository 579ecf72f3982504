//! Where the program `testkit-mcp-server` is.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

const PROGRAM: &str = "testkit-mcp-server";

/// Has cargo build the program with the profile of whoever asks, in the same target directory, and answers where it is.
/// Built once per process, and in no time when nothing has changed; a program that lay there from before would be of a
/// version before. (`CARGO_BIN_EXE_…` is known to tests of this package alone.)
///
/// # Errors
/// When cargo cannot build it, with its last words.
pub fn server_path() -> io::Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(path) = &*built {
        return Ok(path.clone());
    }
    let path = build(&profile_dir(&std::env::current_exe()?)?)?;
    *built = Some(path.clone());
    Ok(path)
}

/// The directory of a profile, `target/debug`: tests are in `deps` below it, and examples in `examples`.
fn profile_dir(program: &Path) -> io::Result<PathBuf> {
    let mut dir = program.parent();
    if dir.is_some_and(|dir| dir.ends_with("deps") || dir.ends_with("examples")) {
        dir = dir.and_then(Path::parent);
    }
    let dir = dir.ok_or_else(|| io::Error::other("this program is in no target directory"))?;
    Ok(dir.to_owned())
}

fn build(profile_dir: &Path) -> io::Result<PathBuf> {
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let target = profile_dir.parent().unwrap_or(profile_dir);
    let output = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--offline",
            "--package",
            "testkit",
            "--bin",
            PROGRAM,
        ])
        .args(["--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    let path = profile_dir.join(PROGRAM);
    if output.status.success() && path.exists() {
        return Ok(path);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!(
        "cargo did not build {PROGRAM}: {}",
        said.trim()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_examples_are_below_their_profile() {
        for program in ["t/debug/deps/x-1", "t/debug/examples/x", "t/debug/x"] {
            assert_eq!(profile_dir(Path::new(program)).unwrap(), Path::new("t/debug"));
        }
    }
}
