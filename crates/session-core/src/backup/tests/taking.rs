//! What others do while a backup is taken or restored, and what it must not hide.

use super::*;
use crate::audit::{AuditDecision, AuditEntry};

/// Takes what an archive has, and tries to remove every content meanwhile, as whoever trims checkpoints does.
struct Remover {
    dir: StateDir,
    archive: Vec<u8>,
}

impl std::io::Write for Remover {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let contents = self.dir.contents().unwrap();
        if let Some(alone) = contents.try_lock_to_remove().unwrap() {
            contents.remove(&contents.list().unwrap(), &alone).unwrap();
        }
        self.archive.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_a_backup_has_is_not_removed_before_it_is_in_it() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    checkpoint(&store, session, keep_content(&home.dir, PATCH)).await;
    let remover = Remover {
        dir: home.dir.clone(),
        archive: Vec::new(),
    };
    let (report, remover) = backup(&home.dir, &store, None, remover).await.unwrap();
    assert_eq!(report.missing, Vec::<String>::new());
    let contents = home.dir.contents().unwrap();
    assert_eq!(
        contents.list().unwrap().len(),
        1,
        "it waits until the archive is written"
    );
    assert!(contents.try_lock_to_remove().unwrap().is_some());
    let other = Home::new();
    restore(&other.dir, remover.archive).await.unwrap();
    assert_eq!(other.dir.contents().unwrap().list().unwrap().len(), 1);
}

#[tokio::test]
async fn a_backup_does_not_whitewash_an_audit_log_that_was_cut_off() {
    let cut = |home: &Home| {
        raw(home)
            .execute("DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)", [])
            .unwrap();
    };
    let unsigned = |home: &Home| fs::write(home.dir.path().join("audit.head"), " ".repeat(256)).unwrap();
    let missing = |home: &Home| fs::remove_file(home.dir.path().join("audit.head")).unwrap();
    for (number, tamper) in [&cut as &dyn Fn(&Home), &unsigned, &missing]
        .into_iter()
        .enumerate()
    {
        let home = Home::new();
        let store = home.open().await;
        ready(&store).await;
        for number in 0..3 {
            let entry = AuditEntry {
                actor: "somebody".to_owned(),
                action: format!("number_{number}"),
                session: None,
                decision: AuditDecision::Done,
                rule: None,
                detail: None,
            };
            store.audit(entry).await.unwrap();
        }
        tamper(&home);
        let archive = archive_of(&home, &store).await;
        let other = Home::new();
        restore(&other.dir, archive).await.unwrap();
        let verdict = other.open().await.verify_audit().await.unwrap();
        assert!(
            verdict.broken_at.is_some(),
            "tampering {number} is not found any more"
        );
    }
}

#[tokio::test]
async fn a_store_is_not_opened_while_another_takes_its_place() {
    let home = Home::new();
    home.open().await.close().await;
    let alone = home.dir.lock_swap().unwrap();
    let dir = home.dir.clone();
    let opening = tokio::spawn(async move { Store::open(&dir).await });
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(!opening.is_finished());
    drop(alone);
    let _store = opening.await.unwrap().unwrap();
    // Once it is open the right is free again: it is the store's own lock that keeps others out.
    drop(home.dir.lock_swap().unwrap());
    assert!(!store::fold(&home.dir.store_path()).unwrap());
}

/// The turn has failed like any other that ran then, so its session works on nothing.
#[tokio::test]
async fn a_session_whose_running_turn_cannot_be_read_goes_on_after_a_restore() {
    for column in ["id", "tools"] {
        let home = Home::new();
        let store = home.open().await;
        let session = ready(&store).await;
        let runs = store.insert_turn(&session, turn("runs")).await.unwrap();
        let begin = Batch {
            state: Some(SessionState::Busy),
            ..update(runs.into_turn().id, TurnStatus::Running, None)
        };
        store.commit(&session, begin).await.unwrap();
        let sql = format!("UPDATE turn SET {column} = CAST(x'ff' AS TEXT)");
        raw(&home).execute(&sql, []).unwrap();
        let archive = archive_of(&home, &store).await;
        store.close().await;
        let report = restore(&home.dir, archive).await.unwrap();
        assert_eq!((report.sessions, report.failed_turns), (1, 1));
        let store = home.open().await;
        let record = store.session(&session).await.unwrap().unwrap();
        assert_eq!(record.info.state, SessionState::Ready, "{column}");
    }
}

/// What is written is what can be read: a name that no restoring takes is not in it.
#[tokio::test]
async fn files_with_names_that_no_backup_has_are_left_out_and_told() {
    let home = Home::new();
    let store = home.open().await;
    ready(&store).await;
    let (keys, approvals) = (
        home.dir.path().join("keys"),
        home.dir.path().join("storage/mcp/approvals"),
    );
    fs::create_dir_all(&approvals).unwrap();
    let (long, deep) = ("x".repeat(254), keys.join("a/b/c/d/e"));
    fs::create_dir_all(&deep).unwrap();
    for name in [
        "with a space",
        ".hidden",
        "back\\slash",
        "\u{e4}",
        "fine.pem",
        &long,
    ] {
        fs::write(keys.join(name), "somebody's").unwrap();
    }
    fs::write(approvals.join("copy (1).json"), "somebody's").unwrap();
    // What writers have while they write is nobody's loss.
    for name in ["git.json", ".git.lock", ".git.json.0123.draft"] {
        fs::write(approvals.join(name), "ours").unwrap();
    }
    let (mut report, archive) = backup(&home.dir, &store, None, Vec::new()).await.unwrap();
    report.left_out.sort();
    let mut expected = [
        "keys/with a space",
        "keys/.hidden",
        "keys/back\\slash",
        "keys/\u{e4}",
        &format!("keys/{long}"),
        "keys/a/b/c/d/e",
        "storage/mcp/approvals/copy (1).json",
    ];
    expected.sort_unstable();
    assert_eq!(report.left_out, expected);
    let other = Home::new();
    restore(&other.dir, archive).await.unwrap();
    let back = content(other.dir.path());
    assert!(back.contains_key("keys/fine.pem"));
    let stored: Vec<_> = back.keys().filter(|name| name.starts_with("storage")).collect();
    assert_eq!(stored, ["storage/mcp/approvals/git.json"]);
}

#[tokio::test]
async fn what_front_ends_keep_comes_back_and_what_was_there_is_kept_aside() {
    let home = Home::new();
    let store = home.open().await;
    ready(&store).await;
    let large = vec![b'x'; 3 << 20];
    let keep = |home: &Home, name: &str, bytes: &[u8]| {
        let path = home.dir.path().join("storage/mcp").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    keep(&home, "approvals/git.json", b"known");
    keep(&home, "artifacts/large.json", &large);
    let archive = archive_of(&home, &store).await;

    let other = Home::new();
    other.open().await.close().await;
    keep(&other, "approvals/git.json", b"something else");
    keep(&other, "approvals/docs.json", b"not known then");
    let report = restore(&other.dir, archive).await.unwrap();
    let (back, aside) = (content(other.dir.path()), content(&report.kept_aside));
    assert_eq!(back["storage/mcp/approvals/git.json"], b"known");
    assert!(back["storage/mcp/artifacts/large.json"] == large);
    assert!(!back.contains_key("storage/mcp/approvals/docs.json"));
    assert_eq!(aside["storage/mcp/approvals/git.json"], b"something else");
    assert_eq!(aside["storage/mcp/approvals/docs.json"], b"not known then");

    // Of a moment at which nothing was known: what is known now does not stay beside the store of then.
    let fresh = Home::new();
    let archive = archive_of(&fresh, &fresh.open().await).await;
    let report = restore(&other.dir, archive).await.unwrap();
    let stored = content(&other.dir.path().join("storage"));
    assert!(stored.is_empty());
    assert!(content(&report.kept_aside).contains_key("storage/mcp/approvals/git.json"));
}
