mod serving;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::sync::Barrier;

use super::*;

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn refusal<T: fmt::Debug>(outcome: Result<T>) -> Error {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StateDirRefused);
    assert!(error.hint().is_some());
    error
}

#[test]
fn a_missing_directory_is_made_with_its_parents_for_us_alone() {
    let temp = temp();
    let path = temp.path().join("a/b/state");
    let dir = StateDir::open(&path).unwrap();
    assert_eq!(dir.path(), path);
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&temp.path().join("a")), 0o700);
}

#[test]
fn a_directory_that_others_can_enter_is_refused_and_left_as_it_is() {
    let temp = temp();
    for open in [0o701, 0o710, 0o755, 0o777, 0o1777] {
        fs::set_permissions(temp.path(), Permissions::from_mode(open)).unwrap();
        let error = refusal(StateDir::open(temp.path()));
        assert!(error.hint().unwrap().contains("chmod 700"));
        assert_eq!(mode(temp.path()), open);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_symlink_is_refused_however_it_is_written() {
    let temp = temp();
    let real = temp.path().join("real");
    fs::create_dir(&real).unwrap();
    fs::set_permissions(&real, Permissions::from_mode(0o700)).unwrap();
    symlink(&real, temp.path().join("link")).unwrap();
    symlink(temp.path().join("nowhere"), temp.path().join("dangling")).unwrap();
    for name in ["link", "link/", "link//", "link/.", "dangling", "dangling/"] {
        refusal(StateDir::open(&temp.path().join(name)));
    }
    assert!(!temp.path().join("nowhere").exists());
    StateDir::open(&real).unwrap();
}

#[test]
fn a_file_is_refused() {
    let temp = temp();
    fs::write(temp.path().join("file"), "").unwrap();
    refusal(StateDir::open(&temp.path().join("file")));
}

#[test]
fn a_directory_of_another_user_is_refused() {
    let temp = temp();
    // Only root can give a directory away; for everybody else `/` is the foreign one.
    let gave_away = std::os::unix::fs::chown(temp.path(), Some(4711), None).is_ok();
    let foreign = if gave_away { temp.path() } else { Path::new("/") };
    refusal(StateDir::open(foreign));
}

#[test]
fn the_key_stays_the_same_and_is_ours_alone() {
    let temp = temp();
    let path = temp.path().join("state");
    let key = StateDir::open(&path).unwrap().signing_key().unwrap();
    assert_ne!(key, [0; 32]);
    assert_eq!(StateDir::open(&path).unwrap().signing_key().unwrap(), key);
    assert_eq!(mode(&path.join("keys")), 0o700);
    assert_eq!(mode(&path.join("keys/label.key")), 0o600);
    assert_eq!(fs::read_dir(path.join("keys")).unwrap().count(), 1);
}

#[test]
fn all_who_ask_for_the_key_first_at_once_agree() {
    const ASKING: usize = 8;
    for _ in 0..20 {
        let temp = temp();
        let path = temp.path().join("state");
        let start = Barrier::new(ASKING);
        let keys: Vec<_> = std::thread::scope(|scope| {
            let ask = || {
                start.wait();
                StateDir::open(&path).unwrap().signing_key().unwrap()
            };
            let asking: Vec<_> = (0..ASKING).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| key == &keys[0]));
        assert_eq!(
            fs::read_dir(path.join("keys")).unwrap().count(),
            1,
            "no draft is left"
        );
    }
}

#[test]
fn a_damaged_or_open_key_is_refused_and_never_replaced() {
    let temp = temp();
    let path = temp.path().join("state");
    let dir = StateDir::open(&path).unwrap();
    dir.signing_key().unwrap();
    let file = path.join("keys/label.key");
    for content in [vec![], vec![1; 31], vec![1; 33]] {
        fs::write(&file, &content).unwrap();
        refusal(dir.signing_key());
        assert_eq!(fs::read(&file).unwrap(), content);
    }
    fs::write(&file, [1; 32]).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    refusal(dir.signing_key());
    fs::remove_file(&file).unwrap();
    fs::write(temp.path().join("theirs"), [2; 32]).unwrap();
    symlink(temp.path().join("theirs"), &file).unwrap();
    refusal(dir.signing_key());
}

#[test]
fn drafts_of_the_dead_are_swept_and_those_of_the_living_are_not() {
    let temp = temp();
    let dir = StateDir::open(&temp.path().join("state")).unwrap();
    let keys = dir.path().join("keys");
    DirBuilder::new().mode(0o700).create(&keys).unwrap();
    let (dead, living) = (keys.join("label.key.01.draft"), keys.join("label.key.02.draft"));
    fs::write(&dead, "").unwrap();
    let written = fs::File::create(&living).unwrap();
    written.lock().unwrap();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    written.set_modified(long_ago).unwrap();
    dir.signing_key().unwrap();
    assert!(!dead.exists());
    assert!(living.exists());
}

#[test]
fn others_can_pass_through_the_link_directory_and_nothing_else() {
    let temp = temp();
    let dir = StateDir::open(&temp.path().join("state")).unwrap();
    let session = SessionId::new();
    for _ in 0..2 {
        let link = dir.create_link_dir(&session).unwrap();
        assert_eq!(link, dir.session_dir(&session).join("link"));
        assert_eq!(mode(&link), 0o755);
    }
    assert_eq!(mode(&dir.session_dir(&session)), 0o700);
    assert_eq!(mode(&dir.path().join("sessions")), 0o700);
}

#[test]
fn session_directories_are_listed_and_removed() {
    let temp = temp();
    let dir = StateDir::open(&temp.path().join("state")).unwrap();
    assert_eq!(dir.session_dirs().unwrap(), []);
    let session = SessionId::new();
    dir.create_link_dir(&session).unwrap();
    fs::write(dir.path().join("sessions/stray"), "").unwrap();
    assert_eq!(dir.session_dirs().unwrap(), [session]);
    for _ in 0..2 {
        dir.remove_session_dir(&session).unwrap();
        assert_eq!(dir.session_dirs().unwrap(), []);
    }
}

#[test]
fn a_session_directory_that_is_a_symlink_is_refused() {
    let temp = temp();
    let dir = StateDir::open(&temp.path().join("state")).unwrap();
    dir.session_dirs().unwrap();
    let session = SessionId::new();
    symlink(temp.path(), dir.session_dir(&session)).unwrap();
    refusal(dir.create_link_dir(&session));
    refusal(dir.try_lock_agent(&session));
}

#[test]
fn one_at_a_time_holds_the_agent() {
    let temp = temp();
    let path = temp.path().join("state");
    let (ours, theirs) = (StateDir::open(&path).unwrap(), StateDir::open(&path).unwrap());
    let (session, other) = (SessionId::new(), SessionId::new());
    let held = ours.try_lock_agent(&session).unwrap().unwrap();
    assert!(theirs.try_lock_agent(&session).unwrap().is_none());
    assert!(ours.try_lock_agent(&session).unwrap().is_none());
    assert!(theirs.try_lock_agent(&other).unwrap().is_some());
    drop(held);
    assert!(theirs.try_lock_agent(&session).unwrap().is_some());
}

#[test]
fn a_lock_is_never_held_twice_while_its_directory_is_removed_again_and_again() {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    let temp = temp();
    let dir = StateDir::open(&temp.path().join("state")).unwrap();
    let session = SessionId::new();
    let (holders, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let Ok(Some(_lock)) = dir.try_lock_agent(&session) else {
                        continue;
                    };
                    assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                    holders.fetch_sub(1, Ordering::SeqCst);
                    // As a destroy does: only who holds the agent removes its directory.
                    dir.remove_session_dir(&session).unwrap();
                }
            });
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        done.store(true, Ordering::Relaxed);
    });
}
