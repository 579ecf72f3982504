//! Where a program is.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::super::supervise::Refusal;

/// Finds a program as `execvp` would, in the `PATH` that it will have. What is looked up is never looked for in the
/// working directory, whatever the `PATH` says.
pub(super) fn find(program: &str, path: Option<&str>, cwd: &Path) -> Result<PathBuf, Refusal> {
    if program.is_empty() {
        return Err(Refusal::NotFound);
    }
    if program.contains('/') {
        let file = cwd.join(program);
        return executable(&file).map(|()| file);
    }
    let mut refused = Refusal::NotFound;
    let directories = path.unwrap_or_default().split(':').map(Path::new);
    for directory in directories.filter(|directory| directory.is_absolute()) {
        let candidate = directory.join(OsStr::from_bytes(program.as_bytes()));
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Refusal::NotExecutable) => refused = Refusal::NotExecutable,
            Err(_) => {}
        }
    }
    Err(refused)
}

fn executable(path: &Path) -> Result<(), Refusal> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Refusal::NotExecutable,
        _ => Refusal::NotFound,
    })?;
    let allowed = rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    if allowed && metadata.is_file() {
        Ok(())
    } else {
        Err(Refusal::NotExecutable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_in_the_path_given() {
        let root = Path::new("/");
        assert!(find("sh", Some("relative::/nonexistent:/bin"), root).is_ok());
        assert_eq!(find("sh", Some("/nonexistent"), root), Err(Refusal::NotFound));
        assert_eq!(find("sh", None, root), Err(Refusal::NotFound));
        assert_eq!(find("passwd", Some("/etc"), root), Err(Refusal::NotExecutable));
        assert_eq!(find("sh", Some(":."), Path::new("/bin")), Err(Refusal::NotFound));
        assert_eq!(
            find("./sh", None, Path::new("/bin")).unwrap(),
            Path::new("/bin/./sh")
        );
        assert_eq!(find("/bin/sh", None, root).unwrap(), Path::new("/bin/sh"));
        assert_eq!(find("", Some("/bin"), root), Err(Refusal::NotFound));
    }
}
