//! Backups taken while work goes on, restored whole or not at all, whatever the archive is and whenever a process dies.

mod taking;

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::Path;

use super::*;
use crate::audit::AuditQuery;
use crate::checkpoint::{Checkpoint, CheckpointCause};
use crate::error::Result;
use crate::id::{CheckpointId, CommandId, SessionId};
use crate::lifetime::RecoveryPolicy;
use crate::session::SessionFilter;
use crate::state::{InterruptCause, SessionState};
use crate::state_dir::StateDir;
use crate::store;
use crate::store::tests::{
    Home, all_events, assert_numbered, kind_of, raw, ready, record, say, state, turn, update,
};
use crate::store::{Accepted, AgentRecord, Batch, KeyedCommand, KnownCommand, NewTurn, Store};
use crate::turn::TurnStatus;

const PATCH: &[u8] = b"a patch of some session";

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex(&sha2::Sha256::digest(bytes))
}

fn keep_content(dir: &StateDir, content: &[u8]) -> String {
    let mut draft = dir.contents().unwrap().draft().unwrap();
    draft.write(content).unwrap();
    draft.keep().unwrap().0
}

async fn checkpoint(store: &Store, session: SessionId, sha256: String) {
    let checkpoint = Checkpoint {
        id: CheckpointId::new(),
        session,
        turn: None,
        cause: CheckpointCause::Asked,
        at: Timestamp::now(),
        base: "4b825dc642cb6eb9a060e54bf8d69288fbee4904".to_owned(),
        sha256,
        bytes: PATCH.len() as u64,
        files: 1,
    };
    store.insert_checkpoint(checkpoint).await.unwrap();
}

async fn archive_of(home: &Home, store: &Store) -> Vec<u8> {
    let policy = Some(b"# the policy".to_vec());
    let (report, archive) = backup(&home.dir, store, policy, Vec::new()).await.unwrap();
    assert_eq!(report.missing, Vec::<String>::new());
    archive
}

async fn restore(dir: &StateDir, archive: Vec<u8>) -> Result<RestoreReport> {
    let dir = dir.clone();
    tokio::task::spawn_blocking(move || restore_backup(&dir, Cursor::new(archive)))
        .await
        .unwrap()
}

/// Every file below a directory, with what it has.
fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            for (below, bytes) in content(&entry.path()) {
                found.insert(format!("{name}/{below}"), bytes);
            }
        } else {
            found.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    found
}

#[tokio::test]
async fn what_was_backed_up_comes_back_elsewhere_and_what_was_there_is_kept() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    store.commit(&session, say(["before"])).await.unwrap();
    checkpoint(&store, session, keep_content(&home.dir, PATCH)).await;
    fs::write(home.dir.path().join("keys/tokens.json"), "tokens").unwrap();
    let key = home.dir.signing_key().unwrap();
    let events = all_events(&store, &session).await;
    let archive = archive_of(&home, &store).await;
    store.commit(&session, say(["after"])).await.unwrap();

    let other = Home::new();
    let there = other.open().await;
    let lost = ready(&there).await;
    there.close().await;
    let before = content(other.dir.path());
    let report = restore(&other.dir, archive).await.unwrap();
    assert_eq!((report.sessions, report.failed_turns), (1, 0));
    assert_eq!(report.policy.as_deref(), Some(&b"# the policy"[..]));
    assert_eq!(other.dir.signing_key().unwrap(), key);
    assert_eq!(
        fs::read(other.dir.path().join("keys/tokens.json")).unwrap(),
        b"tokens"
    );
    let back = other.open().await;
    assert_eq!(all_events(&back, &session).await, events);
    assert_eq!(
        back.session(&lost).await.unwrap().map(|record| record.info.id),
        None
    );
    assert_eq!(back.restored_from().await.unwrap(), Some(report.taken_at));
    let named = &back.checkpoints(&session).await.unwrap()[0].sha256;
    let kept = other.dir.path().join("checkpoints").join(&named[..2]).join(named);
    assert_eq!(fs::read(kept).unwrap(), PATCH);
    let verdict = back.verify_audit().await.unwrap();
    assert_eq!(verdict.broken_at, None);
    let lines = back.audit_lines(AuditQuery::default()).await.unwrap();
    assert_eq!(lines.last().unwrap().action, "restore_backup");
    back.verify().await.unwrap();

    let aside = content(&report.kept_aside);
    assert_eq!(aside["keys/label.key"], before["keys/label.key"]);
    assert_eq!(aside["audit.head"], before["audit.head"]);
    // What was there can be used as it is.
    let old = tempfile::tempdir().unwrap();
    let old = StateDir::open(&old.path().join("state")).unwrap();
    for (name, bytes) in aside {
        let path = old.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(path, private).unwrap();
    }
    fs::set_permissions(
        old.path().join("keys"),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    let old = Store::open(&old).await.unwrap();
    assert!(old.session(&lost).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_one_moment_of_a_store_that_is_written_meanwhile() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let (writer, mut archives) = (store.clone(), Vec::new());
    let writing = tokio::spawn(async move {
        for number in 0..400 {
            writer.commit(&session, say([format!("{number}")])).await.unwrap();
        }
    });
    while !writing.is_finished() {
        archives.push(archive_of(&home, &store).await);
    }
    writing.await.unwrap();
    assert!(archives.len() > 2, "{}", archives.len());
    let all = all_events(&store, &session).await;
    for archive in archives {
        let other = Home::new();
        restore(&other.dir, archive).await.unwrap();
        let events = all_events(&other.open().await, &session).await;
        assert_numbered(&events);
        assert_eq!(events, all[..events.len()]);
    }
    assert!(!fs::read_dir(home.dir.path()).unwrap().any(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.contains("draft")
    }));
}

#[tokio::test]
async fn what_waited_or_ran_then_has_failed_and_an_agent_of_then_is_started_anew() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let agent = store.take_agent(&session).await.unwrap().agent;
    let told = AgentRecord {
        process: Some("agent".to_owned()),
        stdin_key: 2,
        conversation: Some("talk".to_owned()),
        ..agent
    };
    let begin = Batch {
        agent: Some(told.clone()),
        state: Some(SessionState::Busy),
        ..Batch::default()
    };
    let runs = turn("runs");
    let asked = NewTurn {
        idempotency_key: Some("key".to_owned()),
        ..turn("waits")
    };
    let (runs, waits) = (
        store.insert_turn(&session, runs).await.unwrap().into_turn().id,
        store
            .insert_turn(&session, asked.clone())
            .await
            .unwrap()
            .into_turn()
            .id,
    );
    let begin = Batch {
        turn: update(runs, TurnStatus::Running, None).turn,
        ..begin
    };
    store.commit(&session, begin).await.unwrap();
    let command = KeyedCommand {
        id: CommandId::new(),
        key: "command".to_owned(),
        digest: "digest".to_owned(),
        argv: Some(vec!["make".to_owned()]),
    };
    store.accept_command(&session, command.clone()).await.unwrap();
    let archive = archive_of(&home, &store).await;
    store.close().await;

    let report = restore(&home.dir, archive).await.unwrap();
    assert_eq!((report.sessions, report.failed_turns), (1, 2));
    let store = home.open().await;
    let record = store.session(&session).await.unwrap().unwrap();
    assert_eq!(record.info.state, SessionState::Ready);
    assert_eq!(record.agent.conversation, told.conversation);
    // Whoever owned it then, or has the old store still in its hands, owns it no longer; and its tools are none that a
    // turn asks for, so it is ended and started before it takes a prompt.
    assert!(record.agent.owner > told.owner);
    assert!(!record.agent.tools.is_empty());
    // Either may have run to its end since: neither is run, not even when the same prompt is sent again.
    for turn in [runs, waits] {
        let failed = store.turn(&session, &turn).await.unwrap().unwrap();
        assert_eq!(failed.status, TurnStatus::Failed);
        assert!(failed.outcome.unwrap().failure.is_some());
    }
    assert_eq!(store.next_queued_turn(&session).await.unwrap(), None);
    let again = store.insert_turn(&session, asked).await.unwrap();
    assert!(matches!(again, Accepted::Existing(turn) if turn.id == waits));
    let again = store.accept_command(&session, command).await.unwrap();
    assert_eq!(again, KnownCommand::Started);
    // It may have been destroyed since: nobody brings it back unasked.
    assert!(record.recovery.attempts > RecoveryPolicy::default().attempts);
    assert_numbered(&all_events(&store, &session).await);
}

#[tokio::test]
async fn what_waits_in_a_session_that_cannot_be_read_is_not_run_when_it_can_be_again() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let waits = store
        .insert_turn(&session, turn("waits"))
        .await
        .unwrap()
        .into_turn();
    let file = raw(&home);
    file.execute_batch("CREATE TABLE kept AS SELECT info FROM session; UPDATE session SET info = 'x'")
        .unwrap();
    assert_eq!(store.check_records().await.unwrap().len(), 1);
    let archive = archive_of(&home, &store).await;
    store.close().await;
    drop(file);
    assert_eq!(restore(&home.dir, archive).await.unwrap().failed_turns, 1);
    raw(&home)
        .execute_batch("UPDATE session SET info = (SELECT info FROM kept)")
        .unwrap();
    let store = home.open().await;
    assert_eq!(store.check_records().await.unwrap(), []);
    let failed = store.turn(&session, &waits.id).await.unwrap().unwrap();
    assert_eq!(failed.status, TurnStatus::Failed);
}

#[tokio::test]
async fn it_is_refused_while_somebody_serves_or_works_and_then_nothing_is_changed() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let archive = archive_of(&home, &store).await;
    assert_eq!(
        kind_of(restore(&home.dir, archive.clone()).await),
        ErrorKind::Busy
    );
    store.commit(&session, say(["still here"])).await.unwrap();
    store.close().await;
    let serving = home.dir.lock_serving().unwrap();
    assert_eq!(
        kind_of(restore(&home.dir, archive.clone()).await),
        ErrorKind::Busy
    );
    drop(serving);
    restore(&home.dir, archive).await.unwrap();
}

#[tokio::test]
async fn an_archive_that_is_cut_off_or_changed_anywhere_is_refused_and_nothing_is_changed() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    checkpoint(&store, session, keep_content(&home.dir, PATCH)).await;
    let archive = archive_of(&home, &store).await;
    store.close().await;
    let other = Home::new();
    let there = other.open().await;
    ready(&there).await;
    there.close().await;
    let before = content(other.dir.path());
    let unchanged = |what: String| {
        let mut now = content(other.dir.path());
        now.retain(|name, _| before.contains_key(name));
        assert!(now == before, "{what}");
    };
    // Behind the last file, the patch, is padding.
    let content_end = archive.len() - 1024 - (512 - PATCH.len());
    for cut in (0..content_end).step_by(content_end / 40) {
        let error = restore(&other.dir, archive[..cut].to_vec()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ArchiveRefused, "cut at {cut}: {error:?}");
        assert!(!other.dir.path().join("restore.incoming").exists());
        unchanged(format!("cut at {cut}"));
    }
    for at in (0..content_end).step_by(content_end / 200) {
        let mut changed = archive.clone();
        changed[at] ^= 0x20;
        let fresh = Home::new();
        match restore(&fresh.dir, changed).await {
            Ok(_) => assert!(
                matches!(archive[at], 0 | b' '),
                "a change at {at} that is not in padding was not noticed"
            ),
            Err(error) => {
                let kind = error.kind();
                let refused = matches!(kind, ErrorKind::ArchiveRefused | ErrorKind::StateDirRefused);
                assert!(refused, "changed at {at}: {error:?}");
                assert!(!fresh.dir.has_store().unwrap());
            }
        }
    }
}

/// An archive of these members, whatever they are.
fn forged(members: &[(&str, &[u8])]) -> Vec<u8> {
    let files = members
        .iter()
        .map(|(name, bytes)| Member {
            name: (*name).to_owned(),
            bytes: bytes.len() as u64,
            sha256: sha256(bytes),
        })
        .collect();
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        taken_at: Timestamp::now(),
        version: "0".to_owned(),
        files,
    };
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in [(MANIFEST, manifest.as_slice())].iter().chain(members) {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o4777);
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

#[tokio::test]
async fn names_that_lead_elsewhere_or_that_no_backup_has_are_refused() {
    let needed: [(&str, &[u8]); 3] = [(STORE, b"x"), (AUDIT_HEAD, b"x"), ("keys/label.key", &[1; 32])];
    let home = Home::new();
    for name in [
        "../escape",
        "/etc/passwd",
        "keys/../../escape",
        "keys//x",
        "keys/.hidden",
        "storage",
        "storage/../../escape",
        "storage/.hidden",
        "storage/with a space",
        "storage/a/b/c/d/e/f",
        "keys/a/b/c/d/e/f",
        "keys/",
        "keys",
        "sessions/x/agent.lock",
        "serve.lock",
        "checkpoints/aa/bb",
        "checkpoints/../escape",
        "store.db-wal",
        "keys/label.key",
    ] {
        let members = [&needed[..], &[(name, b"evil")]].concat();
        let error = restore(&home.dir, forged(&members)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ArchiveRefused, "{name}: {error:?}");
    }
    for left_out in 0..needed.len() {
        let mut members = needed.to_vec();
        members.remove(left_out);
        let error = restore(&home.dir, forged(&members)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ArchiveRefused);
    }
    // Whole, and its store is none.
    assert_eq!(
        kind_of(restore(&home.dir, forged(&needed)).await),
        ErrorKind::StoreFailed
    );
    assert!(!home.dir.has_store().unwrap());
    home.open().await;
}

#[tokio::test]
async fn content_that_is_not_what_its_name_says_is_left_out_and_told() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    checkpoint(&store, session, sha256(b"never written")).await;
    let spoiled = keep_content(&home.dir, PATCH);
    fs::write(
        home.dir
            .path()
            .join(format!("checkpoints/{}/{spoiled}", &spoiled[..2])),
        "other",
    )
    .unwrap();
    checkpoint(&store, session, spoiled.clone()).await;
    let (report, archive) = backup(&home.dir, &store, None, Vec::new()).await.unwrap();
    let mut missing = [sha256(b"never written"), spoiled];
    missing.sort();
    assert_eq!(report.missing, missing);
    let report = restore(&Home::new().dir, archive).await.unwrap();
    assert_eq!(report.policy, None);
}

#[tokio::test]
async fn a_damaged_store_is_not_backed_up_as_if_it_were_whole_and_is_replaced_by_a_backup() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    for _ in 0..50 {
        store
            .commit(&session, say(["some words of the agent"; 5]))
            .await
            .unwrap();
    }
    let archive = archive_of(&home, &store).await;
    store.close().await;
    raw(&home)
        .pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()))
        .unwrap();
    let mut bytes = fs::read(home.dir.store_path()).unwrap();
    for page in bytes.chunks_mut(4096).skip(1) {
        page[..8].fill(0xff);
    }
    fs::write(home.dir.store_path(), &bytes).unwrap();
    if let Ok(store) = Store::open(&home.dir).await {
        let outcome = backup(&home.dir, &store, None, Vec::new()).await;
        assert_eq!(kind_of(outcome.map(|(report, _)| report)), ErrorKind::StoreFailed);
        store.close().await;
    }
    let report = restore(&home.dir, archive).await.unwrap();
    assert!(content(&report.kept_aside)["store.db"][4096..4104] == [0xff; 8]);
    let store = home.open().await;
    assert!(store.session(&session).await.unwrap().is_some());
    store.verify().await.unwrap();
}

/// Whatever step of the swap was the last: the next to open the store has all that was restored, and all that was there
/// is kept.
#[tokio::test]
async fn a_swap_that_was_broken_off_anywhere_is_finished_by_whoever_opens_the_store() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let archive = archive_of(&home, &store).await;
    store.close().await;
    for step in 0..14 {
        let other = Home::new();
        let there = other.open().await;
        let old = ready(&there).await;
        there.close().await;
        let old_key = other.dir.signing_key().unwrap();
        assert!(store::fold(&other.dir.store_path()).unwrap());
        let draft = other.dir.begin_swap().unwrap();
        read::unpack(Cursor::new(archive.clone()), draft.path()).unwrap();
        store::prepare(&draft, Timestamp::now()).unwrap();
        other.dir.break_swap(&draft, "before", step);
        // Who signs comes before who opens the store.
        if step % 2 == 0 {
            let key = other.dir.signing_key().unwrap();
            assert_eq!(key, home.dir.signing_key().unwrap(), "step {step}");
        }

        let back = other.open().await;
        assert!(back.session(&session).await.unwrap().is_some(), "step {step}");
        assert!(back.session(&old).await.unwrap().is_none(), "step {step}");
        assert_eq!(other.dir.signing_key().unwrap(), home.dir.signing_key().unwrap());
        assert_eq!(back.verify_audit().await.unwrap().broken_at, None, "step {step}");
        let aside = content(&other.dir.path().join("before"));
        assert_eq!(aside["keys/label.key"], old_key, "step {step}");
        assert!(aside.contains_key("store.db") && aside.contains_key("audit.head"));
        assert!(!other.dir.path().join("restore.ready").exists());
    }
}

/// By the time of the restore it may have been made, and worked in.
#[tokio::test]
async fn what_was_being_made_or_filled_then_is_neither_removed_nor_emptied() {
    let home = Home::new();
    let store = home.open().await;
    let made = record();
    store.insert_session(made.clone()).await.unwrap();
    let filled = ready(&store).await;
    let cause = InterruptCause::ContainerRemoved;
    let lost = Batch {
        filling: Some(true),
        ..state(SessionState::Interrupted { cause })
    };
    store.commit(&filled, lost).await.unwrap();
    let archive = archive_of(&home, &store).await;
    store.close().await;
    restore(&home.dir, archive).await.unwrap();
    let store = home.open().await;
    for id in [made.info.id, filled] {
        let record = store.session(&id).await.unwrap().unwrap();
        assert!(
            matches!(record.info.state, SessionState::Interrupted { .. }),
            "{:?}",
            record.info.state
        );
        assert!(!record.filling);
        assert_numbered(&all_events(&store, &id).await);
    }
    store.verify().await.unwrap();
}

/// Others make what they do not find while a swap is under way: it does not stand in its way.
#[tokio::test]
async fn what_is_made_between_two_steps_of_a_swap_is_put_aside() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let archive = archive_of(&home, &store).await;
    store.close().await;
    let mut strays = 0;
    for step in 0..14 {
        let other = Home::new();
        let there = other.open().await;
        there.close().await;
        let old_key = other.dir.signing_key().unwrap();
        assert!(store::fold(&other.dir.store_path()).unwrap());
        let draft = other.dir.begin_swap().unwrap();
        read::unpack(Cursor::new(archive.clone()), draft.path()).unwrap();
        store::prepare(&draft, Timestamp::now()).unwrap();
        other.dir.break_swap(&draft, "before", step);
        let keys = other.dir.path().join("keys");
        if std::fs::create_dir(&keys).is_ok() {
            strays += 1;
            std::fs::write(keys.join("label.key"), [7; 32]).unwrap();
        }

        assert_eq!(
            other.dir.signing_key().unwrap(),
            home.dir.signing_key().unwrap(),
            "step {step}"
        );
        let back = other.open().await;
        assert!(back.session(&session).await.unwrap().is_some(), "step {step}");
        let aside = content(&other.dir.path().join("before"));
        assert_eq!(aside["keys/label.key"], old_key, "step {step}");
    }
    assert!(strays > 0, "no step leaves the name free");
}

#[tokio::test]
async fn records_of_sessions_that_ended_come_back_too() {
    let home = Home::new();
    let store = home.open().await;
    let ended = ready(&store).await;
    store
        .commit(&ended, state(SessionState::Destroyed))
        .await
        .unwrap();
    let mut other = record();
    other.idempotency_key = Some("key".to_owned());
    store.insert_session(other.clone()).await.unwrap();
    let archive = archive_of(&home, &store).await;
    store.close().await;
    let report = restore(&home.dir, archive).await.unwrap();
    assert_eq!(report.sessions, 1);
    let store = home.open().await;
    let all = SessionFilter {
        all: true,
        ..SessionFilter::default()
    };
    assert_eq!(store.sessions(&all).await.unwrap().len(), 2);
}
