//! Checkpoints: how many stay, with how many bytes, and for how long; and commands, which go with their session.

use super::*;
use crate::checkpoint::{Checkpoint, CheckpointCause};
use crate::id::{CheckpointId, CommandId};

fn checkpoint(session: SessionId, content: &str, bytes: u64) -> Checkpoint {
    Checkpoint {
        id: CheckpointId::new(),
        session,
        turn: None,
        cause: CheckpointCause::Turn,
        // As a clock that is set wrong says.
        at: Timestamp::UNIX_EPOCH,
        base: "base".to_owned(),
        sha256: content.to_owned(),
        bytes,
        files: 1,
    }
}

async fn keep(store: &Store, session: SessionId, content: &str, bytes: u64) -> CheckpointId {
    let checkpoint = checkpoint(session, content, bytes);
    let id = checkpoint.id;
    store.insert_checkpoint(checkpoint).await.unwrap();
    id
}

async fn kept(store: &Store, session: &SessionId) -> Vec<CheckpointId> {
    let all = store.checkpoints(session).await.unwrap();
    all.iter().map(|checkpoint| checkpoint.id).collect()
}

async fn end(store: &Store, session: &SessionId) {
    for state_is in [SessionState::Destroying, SessionState::Destroyed] {
        store.commit(session, state(state_is)).await.unwrap();
    }
}

#[tokio::test]
async fn the_oldest_of_a_session_go_until_they_have_few_enough_bytes_and_the_newest_stays() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let mut ids = Vec::new();
    for (content, bytes) in [("a", 10), ("b", 20), ("c", 30), ("d", 40)] {
        ids.push(keep(&store, session, content, bytes).await);
    }
    ids.reverse();
    assert_eq!(store.checkpoint_bytes().await.unwrap(), 100);
    let gone = store.trim_checkpoints(&session, 9, 100).await.unwrap();
    assert_eq!(gone, Vec::<String>::new());
    assert_eq!(store.trim_checkpoints(&session, 9, 99).await.unwrap(), ["a"]);
    assert_eq!(store.trim_checkpoints(&session, 2, 99).await.unwrap(), ["b"]);
    assert_eq!(kept(&store, &session).await, ids[..2]);
    assert_eq!(store.trim_checkpoints(&session, 0, 0).await.unwrap(), ["c"]);
    assert_eq!(kept(&store, &session).await, ids[..1]);
}

#[tokio::test]
async fn the_oldest_of_all_go_until_there_are_few_enough_bytes_and_the_newest_of_each_stays() {
    let home = Home::new();
    let store = home.open().await;
    let (one, other) = (ready(&store).await, ready(&store).await);
    keep(&store, one, "a", 10).await;
    keep(&store, other, "shared", 20).await;
    keep(&store, one, "shared", 20).await;
    keep(&store, other, "b", 30).await;
    let (newest, newest_of_other) = (
        keep(&store, one, "c", 40).await,
        keep(&store, other, "d", 50).await,
    );
    assert_eq!(store.checkpoint_bytes().await.unwrap(), 150, "each content once");
    let gone = store.trim_all_checkpoints(150).await.unwrap();
    assert_eq!(gone, Vec::<String>::new());
    // Nothing is free before both who name it are gone.
    assert_eq!(store.trim_all_checkpoints(139).await.unwrap(), ["a", "shared"]);
    assert_eq!(store.checkpoint_bytes().await.unwrap(), 120);
    assert_eq!(store.trim_all_checkpoints(0).await.unwrap(), ["b"]);
    assert_eq!(kept(&store, &one).await, [newest]);
    assert_eq!(kept(&store, &other).await, [newest_of_other]);
}

#[tokio::test]
async fn work_of_a_session_that_ended_goes_when_it_was_kept_for_long_enough_whatever_its_date() {
    let home = Home::new();
    let store = home.open().await;
    let (lives, ended) = (ready(&store).await, ready(&store).await);
    keep(&store, lives, "a", 1).await;
    let older = keep(&store, ended, "b", 1).await;
    let newest = keep(&store, ended, "c", 1).await;
    end(&store, &ended).await;
    // Before it was noted, as a dry run looks.
    assert_eq!(
        store.outlived_checkpoints(1_000_000, 30).await.unwrap(),
        [(older, ended)]
    );
    for now in [100, 120] {
        store.note_ended_checkpoints(now).await.unwrap();
    }
    assert_eq!(
        store.outlived_checkpoints(129, 30).await.unwrap(),
        [(older, ended)]
    );
    assert_eq!(
        store.outlived_checkpoints(50, 30).await.unwrap(),
        [(older, ended)]
    );
    assert_eq!(
        store.outlived_checkpoints(130, 30).await.unwrap(),
        [(older, ended), (newest, ended)]
    );
}

#[tokio::test]
async fn nobody_removes_a_content_while_its_row_is_written_for_a_caller_who_went_away() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let contents = home.dir.contents().unwrap();
    let other = raw(&home);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let lock = contents.lock_to_keep().unwrap();
    let keeping = tokio::spawn({
        let store = store.clone();
        async move { store.keep_checkpoint(checkpoint(session, "a", 1), lock).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    keeping.abort();
    assert!(keeping.await.unwrap_err().is_cancelled());
    assert!(contents.try_lock_to_remove().unwrap().is_none());
    other.execute_batch("COMMIT").unwrap();
    let alone = loop {
        match contents.try_lock_to_remove().unwrap() {
            Some(alone) => break alone,
            None => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
        }
    };
    assert!(store.checkpoint_contents().await.unwrap().contains("a"));
    drop(alone);
}

#[tokio::test]
async fn keys_of_commands_go_with_their_session_and_nothing_comes_after_its_end() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let command = KeyedCommand {
        id: CommandId::new(),
        key: "key".to_owned(),
        digest: "digest".to_owned(),
        argv: Some(vec!["make".to_owned()]),
    };
    store.accept_command(&session, command.clone()).await.unwrap();
    end(&store, &session).await;
    let rows: i64 = raw(&home)
        .query_row("SELECT count(*) FROM command", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 0);
    let before = all_events(&store, &session).await;
    let finished = EventKind::CommandFinished {
        command: command.id,
        code: Some(0),
        signal: None,
        cause: crate::command::ExitCause::Exited,
    };
    let end = store.command_ended(&session, command.id, finished).await.unwrap();
    assert_eq!(end, EndedCommand::Forget);
    assert_eq!(
        kind_of(store.accept_command(&session, command).await),
        ErrorKind::StateConflict
    );
    assert_eq!(all_events(&store, &session).await, before);
}

#[tokio::test]
async fn a_command_is_found_by_its_id_without_looking_at_all() {
    let home = Home::new();
    home.open().await;
    let plan: String = raw(&home)
        .query_row(
            "EXPLAIN QUERY PLAN SELECT finished FROM command WHERE id = 'x'",
            [],
            |row| row.get(3),
        )
        .unwrap();
    assert!(plan.contains("command_by_id"), "{plan}");
}
