//! One serves at a time, also after a death, and files of the daemon's own.

use std::io::{BufRead as _, BufReader, IsTerminal as _, Read as _, Write as _};
use std::process::{Command, Stdio};

use super::*;

const CHILD: &str = "state_dir::tests::serving::child_serves_until_it_is_killed";

/// Not a test of its own: the other process. Without orders on its standard input it does nothing.
#[test]
#[ignore = "started by a test of this module"]
fn child_serves_until_it_is_killed() {
    let mut path = String::new();
    if std::io::stdin().is_terminal() {
        return;
    }
    BufReader::new(std::io::stdin()).read_line(&mut path).unwrap();
    if path.trim().is_empty() {
        return;
    }
    let lock = StateDir::open(Path::new(path.trim())).unwrap().lock_serving();
    println!("\nserving: {}", lock.is_ok());
    std::io::stdout().flush().unwrap();
    // Until its other end is gone, which outlives us.
    let _ = std::io::stdin().read_to_string(&mut path);
}

#[test]
fn a_directory_is_served_by_one_until_it_dies_in_whatever_way() {
    let temp = temp();
    let dir = StateDir::open(&temp.path().join("state")).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD, "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut orders = child.stdin.take().unwrap();
    writeln!(orders, "{}", dir.path().display()).unwrap();
    let told = BufReader::new(child.stdout.take().unwrap());
    let serves = told.lines().map_while(std::io::Result::ok);
    assert_eq!(
        { serves }.find(|line| line.starts_with("serving")).as_deref(),
        Some("serving: true")
    );

    let error = dir.lock_serving().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.hint().is_some());

    // SIGKILL: it has no chance to tidy up.
    child.kill().unwrap();
    child.wait().unwrap();
    let ours = dir.lock_serving().unwrap();
    assert_eq!(dir.lock_serving().unwrap_err().kind(), ErrorKind::Busy);
    drop(ours);
    // A child that another test starts at this moment has a copy of every lock until it has become its program.
    let again = (0..100).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        dir.lock_serving().ok()
    });
    assert!(again.is_some());
    drop(orders);
}

#[test]
fn a_serving_lock_that_is_a_symlink_or_open_to_others_is_refused() {
    let temp = temp();
    let dir = StateDir::open(&temp.path().join("state")).unwrap();
    let lock = dir.path().join("serve.lock");
    fs::write(temp.path().join("theirs"), "").unwrap();
    symlink(temp.path().join("theirs"), &lock).unwrap();
    refusal(dir.lock_serving());
    fs::remove_file(&lock).unwrap();
    drop(dir.lock_serving().unwrap());
    assert_eq!(mode(&lock), 0o600);
    fs::set_permissions(&lock, Permissions::from_mode(0o644)).unwrap();
    refusal(dir.lock_serving());
}

#[test]
fn a_private_file_is_replaced_whole_and_its_stamp_tells() {
    let temp = temp();
    let dir = StateDir::open(&temp.path().join("state")).unwrap();
    let keys = dir.private_dir("keys").unwrap();
    assert_eq!(mode(keys.path()), 0o700);
    assert_eq!(keys.read("tokens.json", 10).unwrap(), None);
    assert_eq!(keys.stamp("tokens.json").unwrap(), None);
    let mut stamps = Vec::new();
    for content in ["first", "other", ""] {
        keys.replace("tokens.json", content.as_bytes()).unwrap();
        assert_eq!(keys.read("tokens.json", 5).unwrap().unwrap(), content.as_bytes());
        stamps.push(keys.stamp("tokens.json").unwrap().unwrap());
    }
    stamps.dedup();
    assert_eq!(stamps.len(), 3);
    assert_eq!(mode(&keys.path().join("tokens.json")), 0o600);
    assert_eq!(fs::read_dir(keys.path()).unwrap().count(), 1, "no draft is left");
}

#[test]
fn private_files_are_ours_alone_and_of_bounded_length() {
    let temp = temp();
    let dir = StateDir::open(&temp.path().join("state")).unwrap();
    let keys = dir.private_dir("keys").unwrap();
    keys.replace("long", b"123456").unwrap();
    assert_eq!(keys.read("long", 5).unwrap_err().kind(), ErrorKind::LimitExceeded);
    let file = keys.path().join("long");
    fs::set_permissions(&file, Permissions::from_mode(0o604)).unwrap();
    refusal(keys.read("long", 10));
    refusal(keys.replace("long", b""));
    refusal(keys.append("long"));
    fs::write(temp.path().join("theirs"), "theirs").unwrap();
    symlink(temp.path().join("theirs"), keys.path().join("link")).unwrap();
    refusal(keys.read("link", 10));
    refusal(keys.replace("link", b"ours"));
    refusal(keys.append("link"));
    refusal(keys.lock("link"));
    assert_eq!(fs::read(temp.path().join("theirs")).unwrap(), b"theirs");
    for name in ["..", ".", "", "a/b", "../label.key", "a/"] {
        assert_eq!(
            keys.replace(name, b"").unwrap_err().kind(),
            ErrorKind::Internal,
            "{name}"
        );
    }
}

#[test]
fn private_files_are_appended_to_and_locked() {
    let temp = temp();
    let dir = StateDir::open(&temp.path().join("state")).unwrap();
    let telemetry = dir.private_dir("telemetry").unwrap();
    for line in ["a\n", "b\n"] {
        telemetry
            .append("serve.log")
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap();
    }
    assert_eq!(telemetry.read("serve.log", 10).unwrap().unwrap(), b"a\nb\n");
    let held = telemetry.lock("serve.log.lock").unwrap();
    assert_eq!(
        telemetry.lock("serve.log.lock").unwrap_err().kind(),
        ErrorKind::Busy
    );
    drop(held);
    telemetry.lock("serve.log.lock").unwrap();
}
