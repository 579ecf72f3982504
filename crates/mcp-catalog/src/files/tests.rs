use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use session_core::error::ErrorKind;

use super::*;
use crate::testing::{chmod, mode, unprivileged};

const OPERATION: &str = "test files";

fn private(root: &Path) -> Dir {
    Dir::make(OPERATION, &root.join("a/b"), Trust::Private).unwrap()
}

fn kind<T: std::fmt::Debug>(outcome: Result<T>) -> ErrorKind {
    let error = outcome.unwrap_err();
    assert!(error.hint().is_some(), "{error}");
    error.kind()
}

#[test]
fn what_is_made_is_ours_alone() {
    let root = tempfile::tempdir().unwrap();
    let dir = private(root.path());
    dir.replace("x", b"1", PRIVATE_FILE).unwrap();
    assert!(dir.create_once("y", b"2").unwrap());
    dir.lock(".lock").unwrap();
    assert_eq!(mode(&root.path().join("a")), 0o700);
    assert_eq!(mode(dir.path()), 0o700);
    for file in ["x", "y", ".lock"] {
        assert_eq!(mode(&dir.path().join(file)), 0o600, "{file}");
    }
}

#[test]
fn what_others_could_have_changed_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let dir = private(root.path());
    dir.replace("x", b"1", PRIVATE_FILE).unwrap();
    let path = dir.path().to_owned();
    let open = || Dir::open(OPERATION, &path, Trust::Private);

    chmod(&path.join("x"), 0o640);
    assert_eq!(kind(dir.read("x", 10)), ErrorKind::StateDirRefused);
    assert_eq!(kind(dir.stamp("x")), ErrorKind::StateDirRefused);
    chmod(&path.join("x"), 0o600);

    symlink("x", path.join("link")).unwrap();
    assert_eq!(kind(dir.read("link", 10)), ErrorKind::StateDirRefused);
    assert_eq!(kind(dir.stamp("link")), ErrorKind::StateDirRefused);
    assert_eq!(kind(dir.lock("link")), ErrorKind::StateDirRefused);
    fs::create_dir(path.join("dir")).unwrap();
    assert_eq!(kind(dir.read("dir", 10)), ErrorKind::StateDirRefused);

    chmod(&path, 0o750);
    assert_eq!(kind(open()), ErrorKind::StateDirRefused);
    chmod(&path, 0o700);
    symlink(&path, root.path().join("there")).unwrap();
    for link in ["there", "there/"] {
        let opened = Dir::open(OPERATION, &root.path().join(link), Trust::Private);
        assert_eq!(kind(opened), ErrorKind::StateDirRefused);
    }
    assert_eq!(
        kind(Dir::open(OPERATION, &path.join("x"), Trust::Private)),
        ErrorKind::StateDirRefused
    );
    open().unwrap().unwrap();
}

#[test]
fn what_belongs_to_somebody_else_is_refused() {
    // Only root can give something away.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    chmod(root.path(), 0o755);
    let foreign = |owner: u32| {
        let path = root.path().join(owner.to_string());
        fs::create_dir(&path).unwrap();
        fs::write(path.join("servers.toml"), "").unwrap();
        for path in [path.join("servers.toml"), path.clone()] {
            std::os::unix::fs::chown(&path, Some(owner), None).unwrap();
        }
        path
    };
    let (ours, roots, others) = (foreign(65534), foreign(0), foreign(1234));
    unprivileged(move || {
        let open = |path: &Path| Dir::open(OPERATION, path, Trust::Operator);
        assert_eq!(kind(open(&others)), ErrorKind::StateDirRefused);
        for path in [&ours, &roots] {
            open(path)
                .unwrap()
                .unwrap()
                .read("servers.toml", 10)
                .unwrap()
                .unwrap();
        }
        let private = Dir::open(OPERATION, &roots, Trust::Private);
        assert_eq!(kind(private), ErrorKind::StateDirRefused);
    });
}

#[test]
fn a_pipe_in_the_place_of_a_file_makes_nobody_wait() {
    let root = tempfile::tempdir().unwrap();
    let dir = private(root.path());
    let made = Command::new("mkfifo")
        .arg("-m600")
        .arg(dir.path().join("x"))
        .status()
        .unwrap();
    assert!(made.success());
    assert_eq!(kind(dir.read("x", 10)), ErrorKind::StateDirRefused);
}

#[test]
fn a_file_is_read_up_to_its_limit() {
    let root = tempfile::tempdir().unwrap();
    let dir = private(root.path());
    assert!(dir.read("x", 3).unwrap().is_none());
    dir.replace("x", b"123", PRIVATE_FILE).unwrap();
    assert_eq!(dir.read("x", 3).unwrap().unwrap().0, b"123");
    assert_eq!(kind(dir.read("x", 2)), ErrorKind::LimitExceeded);
}

#[test]
fn of_many_who_create_a_file_one_does() {
    let root = tempfile::tempdir().unwrap();
    let dir = private(root.path());
    let made = AtomicUsize::new(0);
    thread::scope(|scope| {
        for content in 0..16_u8 {
            let (dir, made) = (&dir, &made);
            scope.spawn(move || {
                if dir.create_once("x", &[content; 9]).unwrap() {
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
    let (bytes, _) = dir.read("x", 100).unwrap().unwrap();
    assert!(bytes.len() == 9 && bytes.iter().all(|byte| *byte == bytes[0]));
    assert_eq!(dir.names("").unwrap(), [".", "..", "x"]);
}

#[test]
fn a_lock_keeps_others_out_and_counts_changes() {
    let root = tempfile::tempdir().unwrap();
    let dir = private(root.path());
    assert_eq!(dir.changes(".lock").unwrap(), 0);
    let inside = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            let (dir, inside) = (&dir, &inside);
            scope.spawn(move || {
                for _ in 0..20 {
                    let guard = dir.lock(".lock").unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    guard.count_change();
                    assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                }
            });
        }
    });
    assert_eq!(dir.changes(".lock").unwrap(), 160);
}

#[test]
fn drafts_of_the_dead_are_swept_and_those_of_the_living_are_not() {
    let root = tempfile::tempdir().unwrap();
    let dir = private(root.path());
    let (dead, living) = (dir.path().join(".x.1.draft"), dir.path().join(".x.2.draft"));
    fs::write(&dead, "").unwrap();
    let written = File::create(&living).unwrap();
    written.lock().unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    written.set_modified(long_ago).unwrap();
    dir.replace("x", b"1", PRIVATE_FILE).unwrap();
    assert!(!dead.exists() && living.exists());
}

#[test]
fn a_failure_leaves_the_old_file_and_no_draft() {
    unprivileged(|| {
        let root = tempfile::tempdir().unwrap();
        let dir = private(root.path());
        dir.replace("x", b"old", PRIVATE_FILE).unwrap();
        chmod(dir.path(), 0o500);
        assert_eq!(kind(dir.replace("x", b"new", PRIVATE_FILE)), ErrorKind::HostIo);
        assert_eq!(kind(dir.create_once("y", b"new")), ErrorKind::HostIo);
        assert_eq!(kind(dir.remove("x")), ErrorKind::HostIo);
        chmod(dir.path(), 0o700);
        assert_eq!(dir.read("x", 10).unwrap().unwrap().0, b"old");
        assert_eq!(dir.names("").unwrap(), [".", "..", "x"]);
    });
}

#[test]
#[ignore = "needs root, to mount a small file system"]
fn on_a_full_disk_the_old_file_stays_and_it_is_said() {
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("disk");
    fs::create_dir(&at).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=32k,mode=0700", "tmpfs"])
        .arg(&at)
        .status();
    assert!(mounted.unwrap().success());
    let dir = Dir::open(OPERATION, &at, Trust::Private).unwrap().unwrap();
    dir.replace("x", &[1; 16 << 10], PRIVATE_FILE).unwrap();
    let error = dir.replace("x", &[2; 24 << 10], PRIVATE_FILE).unwrap_err();
    let left = dir.read("x", 1 << 20).unwrap().unwrap().0;
    let names = dir.names("").unwrap();
    dir.replace("x", &[3; 8 << 10], PRIVATE_FILE).unwrap();
    drop(dir);
    assert!(
        Command::new("umount")
            .arg("--lazy")
            .arg(&at)
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(error.kind(), ErrorKind::HostIo);
    assert!(error.is_retryable());
    assert!(error.hint().unwrap().contains("free space"));
    assert_eq!(left, [1; 16 << 10]);
    assert_eq!(names, [".", "..", "x"]);
}
