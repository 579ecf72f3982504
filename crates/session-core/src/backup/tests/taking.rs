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
