//! Opening: what is made, what is recognised, and what is refused and left as it is.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::*;
use crate::budget::{Spending, Spent};

async fn refused(home: &Home) -> Error {
    let before = fs::read(home.dir.store_path()).unwrap();
    let error = Store::open(&home.dir).await.unwrap_err();
    assert!(!error.is_retryable());
    assert!(error.hint().is_some());
    assert!(
        error.to_string().contains("store.db"),
        "it names the file: {error}"
    );
    let after = fs::read(home.dir.store_path()).unwrap();
    assert_eq!(before, after, "it is left as it is");
    error
}

#[tokio::test]
async fn a_new_store_is_whole_ours_alone_and_leaves_no_draft() {
    let home = Home::new();
    let store = home.open().await;
    let mode = fs::metadata(home.dir.store_path()).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
    ready(&store).await;
    for entry in fs::read_dir(home.dir.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let known = [
            "store.db",
            "store.db-wal",
            "store.db-shm",
            "audit.head",
            "keys",
            "restore.lock",
        ];
        assert!(known.contains(&name.as_str()), "{name}");
        let mode = if name == "keys" { 0o700 } else { 0o600 };
        assert_eq!(entry.metadata().unwrap().mode() & 0o777, mode, "{name}");
    }
    store.verify().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_open_a_new_store_at_once_share_one() {
    for _ in 0..10 {
        let home = Home::new();
        let mut opening = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let dir = home.dir.clone();
            opening.spawn(async move {
                let store = Store::open(&dir).await.unwrap();
                ready(&store).await;
                store
            });
        }
        let stores = opening.join_all().await;
        for store in &stores {
            let all = store.sessions(&SessionFilter::default()).await.unwrap();
            assert_eq!(all.len(), 6);
        }
        drop(stores);
    }
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused() {
    let home = Home::new();
    home.open().await.close().await;
    raw(&home).pragma_update(None, "user_version", 4711).unwrap();
    let error = refused(&home).await;
    assert_eq!(error.kind(), ErrorKind::StateDirRefused);
    assert!(error.to_string().contains("4711"));
}

/// A store as version 1 left it, with a session, a turn that waits and what happened.
fn version_1(home: &Home, session: &SessionId) {
    home.dir
        .create_store(|draft| {
            let file = Connection::open(draft).unwrap();
            file.pragma_update(None, "application_id", 0x4366_7264).unwrap();
            file.execute_batch(include_str!("../schema_v1.sql")).unwrap();
            file.pragma_update(None, "user_version", 1).unwrap();
            let info = format!(
                r#"{{"id":"{session}","state":"creating","created_at":"2025-01-01T00:00:00Z",
                "updated_at":"2025-01-01T00:00:00Z","image":"some:image","network":"sealed",
                "limits":{{"memory_bytes":1,"milli_cpus":1,"pids":1}},
                "workspace":{{"kind":"empty"}},"user":{{"uid":1000,"gid":1000}},"agent":"claude","turns":0,
                "last_event":0,"cost_usd":0.0}}"#
            );
            file.execute(
                "INSERT INTO session VALUES (1, ?1, ?2, '{\"state\":\"ready\"}', 0, 5, 1, 1, 0.25, 'token', NULL, 'key',
                    NULL, 7, 'talk', 2, '[]', 1, NULL)",
                [session.to_string(), info],
            )
            .unwrap();
            let event = r#"{"event":"turn_queued","prompt":"hello"}"#;
            file.execute("INSERT INTO event VALUES (1, 1, 5, NULL, ?1)", [event])
                .unwrap();
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn a_store_of_version_1_is_brought_forward_with_everything_in_it() {
    let home = Home::new();
    let session = SessionId::new();
    version_1(&home, &session);
    let store = home.open().await;
    let record = store.session(&session).await.unwrap().unwrap();
    assert_eq!(record.info.state, SessionState::Ready);
    assert_eq!(record.info.last_event, 1);
    assert_eq!(record.agent.conversation.as_deref(), Some("talk"));
    assert_eq!(store.spent(Some(&session)).await.unwrap(), Spent::default());
    store.charge(&session, Spending::default()).await.unwrap();
    store.commit(&session, say(["more"])).await.unwrap();
    let events = all_events(&store, &session).await;
    assert_numbered(&events);
    assert_eq!(
        events[0].kind,
        EventKind::TurnQueued {
            prompt: "hello".into()
        }
    );
    store.verify().await.unwrap();
    let version: u32 = raw(&home)
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, 3);
}

#[tokio::test]
async fn a_file_that_is_no_store_of_ours_is_refused() {
    let home = Home::new();
    let path = home.dir.store_path();
    for content in [&b""[..], b"x", &[0; 4096], &[0xff; 10_000]] {
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(refused(&home).await.kind(), ErrorKind::StoreFailed);
    }
    fs::remove_file(&path).unwrap();
    raw(&home).execute_batch("CREATE TABLE session (theirs)").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(refused(&home).await.kind(), ErrorKind::StoreFailed);
}

#[tokio::test]
async fn a_store_that_is_a_symlink_a_directory_or_open_to_others_is_refused() {
    let home = Home::new();
    let path = home.dir.store_path();
    home.open().await.close().await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(refused(&home).await.kind(), ErrorKind::StateDirRefused);

    let elsewhere = home.dir.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o600)).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert_eq!(refused(&home).await.kind(), ErrorKind::StateDirRefused);

    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(kind_of(Store::open(&home.dir).await), ErrorKind::StateDirRefused);
}

#[tokio::test]
async fn an_event_that_a_newer_version_wrote_hides_nothing() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    store
        .commit(&session, say(["before", "x", "after"]))
        .await
        .unwrap();
    let future = r#"{"event":"from_the_future","detail":{"deep":1}}"#;
    raw(&home)
        .execute("UPDATE event SET kind = ?1 WHERE seq = 3", [future])
        .unwrap();
    let events = all_events(&store, &session).await;
    assert_numbered(&events);
    let raw = serde_json::from_str(future).unwrap();
    assert_eq!(events[2].kind, EventKind::AgentOther { raw });
    assert_eq!(events[3].kind, text("after"));
}

#[tokio::test]
async fn every_commit_is_synced_to_the_disk() {
    let home = Home::new();
    let store = home.open().await;
    let settings = store
        .inner
        .write("look at the settings", |write| {
            let read = |pragma| {
                write
                    .connection
                    .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
            };
            let mode = write
                .connection
                .pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0))?;
            Ok((mode, read("synchronous")?, read("foreign_keys")?))
        })
        .await
        .unwrap();
    assert_eq!(settings, ("wal".to_owned(), 2, 1));
}
