//! What is kept of tokens, by whom, and how it goes wrong.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Duration;

use tempfile::TempDir;

use super::*;

fn place() -> (TempDir, TokenFile) {
    let dir = TempDir::new().unwrap();
    let state = StateDir::open(&dir.path().join("state")).unwrap();
    (dir, TokenFile::of(&state))
}

fn named(name: &str) -> NewToken {
    NewToken {
        name: name.to_owned(),
        scope: TokenScope::Use,
        all_sessions: false,
        expires_at: None,
    }
}

#[test]
fn a_secret_is_told_once_and_kept_as_its_hash() {
    use secrecy::ExposeSecret as _;
    let (_dir, tokens) = place();
    let (info, secret) = tokens.create(named("ci")).unwrap();
    let secret = secret.expose_secret();
    assert_eq!(secret.len(), PREFIX.len() + 43, "256 random bits");
    assert!(secret.starts_with(PREFIX));
    assert_eq!(tokens.list().unwrap(), [info]);
    let text = std::fs::read_to_string(tokens.path()).unwrap();
    assert!(!text.contains(&secret[PREFIX.len()..]));
    assert!(text.contains(&hex(&digest(secret.as_bytes()))));
    let mode = tokens.path().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn names_are_one_word_and_each_is_there_once() {
    let (_dir, tokens) = place();
    for name in ["", "-x", ".x", "a b", "a/b", "a\nb", "ä", &"x".repeat(65)] {
        let error = tokens.create(named(name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{name:?}");
    }
    tokens.create(named(&"x".repeat(64))).unwrap();
    tokens.create(named("a.b_c-1")).unwrap();
    let twice = tokens.create(named("a.b_c-1")).unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::StateConflict);
    let read = NewToken {
        scope: TokenScope::Read,
        all_sessions: true,
        ..named("eye")
    };
    assert_eq!(
        tokens.create(read).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
    let past = NewToken {
        expires_at: Some(Timestamp::now() - Duration::from_secs(1)),
        ..named("past")
    };
    assert_eq!(
        tokens.create(past).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn what_is_revoked_is_gone_and_its_name_free() {
    let (_dir, tokens) = place();
    tokens.create(named("a")).unwrap();
    tokens.create(named("b")).unwrap();
    tokens.revoke("a").unwrap();
    assert_eq!(tokens.revoke("a").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(tokens.list().unwrap().len(), 1);
    tokens.create(named("a")).unwrap();
}

#[test]
fn there_is_a_most() {
    let (_dir, tokens) = place();
    let (dir, _lock) = tokens.lock("x").unwrap();
    let kept: Vec<_> = (0..MAX_TOKENS)
        .map(|n| Kept {
            name: format!("t{n}"),
            sha256: hex(&[0; 32]),
            scope: TokenScope::Read,
            all_sessions: false,
            created_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
        })
        .collect();
    file::write(&dir, &tokens.path(), "x", &kept).unwrap();
    drop((dir, _lock));
    assert_eq!(
        tokens.create(named("more")).unwrap_err().kind(),
        ErrorKind::LimitExceeded
    );
}

#[test]
fn many_at_once_lose_nothing() {
    let (_dir, tokens) = place();
    std::thread::scope(|scope| {
        for n in 0..16 {
            let tokens = tokens.clone();
            scope.spawn(move || tokens.create(named(&format!("t{n}"))).unwrap());
        }
    });
    assert_eq!(tokens.list().unwrap().len(), 16);
}

#[test]
fn a_file_that_is_not_ours_alone_is_refused() {
    let (dir, tokens) = place();
    tokens.create(named("a")).unwrap();
    std::fs::set_permissions(tokens.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(tokens.list().unwrap_err().kind(), ErrorKind::StateDirRefused);
    let elsewhere = dir.path().join("elsewhere");
    std::fs::rename(tokens.path(), &elsewhere).unwrap();
    symlink(&elsewhere, tokens.path()).unwrap();
    assert!(tokens.list().is_err(), "a symlink is not followed");
    std::fs::remove_file(tokens.path()).unwrap();
    for text in ["", "{", r#"{"version":1}"#, r#"{"version":2,"tokens":[]}"#] {
        std::fs::write(tokens.path(), text).unwrap();
        std::fs::set_permissions(tokens.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(
            tokens.list().unwrap_err().kind(),
            ErrorKind::StateDirRefused,
            "{text:?}"
        );
        assert!(
            tokens.create(named("b")).is_err(),
            "what cannot be read is not replaced"
        );
    }
}

#[test]
fn a_process_that_died_while_it_wrote_is_in_nobodys_way() {
    let (_dir, tokens) = place();
    tokens.create(named("a")).unwrap();
    std::fs::write(tokens.path().with_extension("json.new"), "half").unwrap();
    tokens.create(named("b")).unwrap();
    assert_eq!(tokens.list().unwrap().len(), 2);
}
