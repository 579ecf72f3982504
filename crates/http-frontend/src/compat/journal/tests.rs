use session_core::state_dir::StateDir;

use super::*;
use crate::caller::{Caller, Scope};
use crate::compat::queue::Priority;

fn journal(dir: &tempfile::TempDir) -> Journal {
    let state = StateDir::open(&dir.path().join("state")).unwrap();
    Journal::new(Arc::new(state.private_dir("tasks").unwrap()))
}

fn task(description: &str) -> Entry {
    let work = TaskWork {
        description: description.to_owned(),
        context: serde_json::json!({ "a": [1, null] }),
        project_path: "p".to_owned(),
        priority: Priority::High,
        started_at: jiff::Timestamp::now(),
        by: By::of(&Caller::with_token("t", Scope::Use, false)),
    };
    Entry::new(SessionId::new(), Work::Task(Box::new(work)))
}

#[tokio::test]
async fn what_was_taken_on_is_read_by_the_next_in_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let first = journal(&dir);
    let entries = [
        task("one"),
        task("two"),
        Entry::new(SessionId::new(), Work::Analysis),
    ];
    for entry in &entries {
        first.add(entry.clone()).await.unwrap();
    }
    let session = SessionId::new();
    first.set_session(entries[0].id, Some(session), 3).await.unwrap();
    first.remove(entries[1].id).await;
    first.remove(entries[1].id).await;
    drop(first);

    let next = journal(&dir);
    let read = next.load().await.unwrap();
    let ids: Vec<_> = read.iter().map(|entry| entry.id).collect();
    assert_eq!(ids, [entries[0].id, entries[2].id]);
    assert_eq!((read[0].session, read[0].attempt), (Some(session), 3));
    let Work::Task(work) = &read[0].work else {
        panic!("a task");
    };
    assert_eq!(
        (work.description.as_str(), work.priority),
        ("one", Priority::High)
    );
    assert_eq!(work.context, serde_json::json!({ "a": [1, null] }));
    let caller = work.by.caller();
    assert_eq!(caller, Caller::with_token("t", Scope::Use, false));
    // What comes later stays later.
    let later = task("later");
    next.add(later.clone()).await.unwrap();
    assert_eq!(next.load().await.unwrap().last().unwrap().id, later.id);
}

#[tokio::test]
async fn what_is_no_file_of_ours_is_left_or_kept_aside() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(&dir);
    let path = journal.0.dir.path().to_owned();
    let write = |name: &str, content: &[u8]| {
        fs::write(path.join(name), content).unwrap();
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    };
    let entry = task("good");
    journal.add(entry.clone()).await.unwrap();
    let good = fs::read(path.join(name(entry.id))).unwrap();
    let ids: [SessionId; 5] = std::array::from_fn(|_| SessionId::new());
    write(&name(ids[0]), b"");
    write(&name(ids[1]), &good);
    let newer = String::from_utf8(good)
        .unwrap()
        .replace("\"version\":1", "\"version\":2");
    write(
        &name(ids[2]),
        newer
            .replace(&entry.id.to_string(), &ids[2].to_string())
            .as_bytes(),
    );
    symlink(path.join(name(entry.id)), path.join(name(ids[3]))).unwrap();
    write(&name(ids[4]), b"{}");
    fs::set_permissions(path.join(name(ids[4])), fs::Permissions::from_mode(0o644)).unwrap();
    write("note.txt", b"x");
    write("x.json", b"x");

    for _ in 0..2 {
        let read = journal.load().await.unwrap();
        assert_eq!(read.len(), 1, "{read:?}");
        assert_eq!(read[0].id, entry.id);
    }
    for id in ids {
        assert!(!path.join(name(id)).exists());
        assert!(
            path.join(format!("{}{ASIDE}", name(id)))
                .symlink_metadata()
                .is_ok()
        );
    }
    assert!(path.join("note.txt").exists() && path.join("x.json").exists());
}

#[tokio::test]
async fn there_is_room_for_so_much_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal(&dir);
    let entry = task("one");
    journal.add(entry.clone()).await.unwrap();
    let other = SessionId::new();
    journal.0.known().sizes.insert(other, MAX_TOTAL);
    let refused = journal.add(task("two")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LimitExceeded);
    assert_eq!(fs::read_dir(journal.0.dir.path()).unwrap().count(), 1);
    // What was taken on can still be carried on.
    journal
        .set_session(entry.id, Some(SessionId::new()), 1)
        .await
        .unwrap();
    journal.remove(other).await;
    journal.add(task("three")).await.unwrap();
    let many = (0..MAX_FILES).map(|_| (SessionId::new(), 1));
    journal.0.known().sizes.extend(many);
    let refused = journal.add(task("four")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LimitExceeded);
}
