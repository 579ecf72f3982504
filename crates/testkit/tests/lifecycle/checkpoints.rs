//! A session's work outlives its container: kept after each turn, when asked, and before the end; and brought back.
//!
//! git is real here, in the containers' own directories.

use std::time::Duration;

use futures::StreamExt;
use session_core::api::SessionApi;
use session_core::checkpoint::{Checkpoint, CheckpointCause, CheckpointPolicy, RestoreRequest};
use session_core::command::CommandRequest;
use session_core::error::{Error, ErrorKind};
use session_core::event::EventKind;
use session_core::garbage::GarbageKind;
use session_core::id::SessionId;
use session_core::session::{CreateSession, WorkspaceSource};
use session_core::state::{SessionState, StateName};
use testkit::harness::ManagerProcess;
use testkit::memory::AgentTurn;

use super::world::{World, all, ask, create, outcome, reaches, recorded, send, soon, stored};

struct Work {
    world: World,
    manager: ManagerProcess,
}

impl Work {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut CheckpointPolicy)) -> Self {
        let world = World::new();
        world.site.memory.add_git();
        let mut options = world.site.options();
        change(&mut options.checkpoints);
        let manager = world.site.manager_with(options).await.unwrap();
        Self { world, manager }
    }

    /// A session on a copy of a small project.
    async fn on_copy(&self) -> SessionId {
        let path = self.world.site.workspace("project").unwrap();
        std::fs::write(path.join("kept.txt"), "original\n").unwrap();
        std::fs::write(path.join(".gitignore"), "made/\n").unwrap();
        let request = CreateSession {
            workspace: WorkspaceSource::Copy { path },
            ..CreateSession::default()
        };
        soon("a session", self.manager.create(request)).await.unwrap().id
    }

    /// The workspace's directory on the host.
    fn workspace(&self, session: &SessionId) -> std::path::PathBuf {
        self.world.container(session).path("/workspace")
    }

    fn write(&self, session: &SessionId, name: &str, text: &str) {
        let path = self.workspace(session).join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(&self, session: &SessionId, name: &str) -> Option<String> {
        std::fs::read_to_string(self.workspace(session).join(name)).ok()
    }

    async fn kept(&self, session: &SessionId) -> Vec<Checkpoint> {
        self.manager.checkpoints(session).await.unwrap()
    }

    async fn asked(&self, session: &SessionId) -> Option<Checkpoint> {
        soon("a checkpoint", self.manager.checkpoint(session))
            .await
            .unwrap()
    }

    /// Waits until so many are kept.
    async fn so_many(&self, session: &SessionId, count: usize) -> Vec<Checkpoint> {
        let waiting = async {
            loop {
                let kept = self.kept(session).await;
                if kept.len() >= count {
                    return kept;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon("a checkpoint by itself", waiting).await
    }

    async fn patch(&self, checkpoint: &Checkpoint) -> Result<String, Error> {
        let mut stream = self
            .manager
            .checkpoint_patch(&checkpoint.session, &checkpoint.id)
            .await?;
        let mut patch = Vec::new();
        while let Some(piece) = stream.next().await {
            patch.extend_from_slice(&piece?);
        }
        Ok(String::from_utf8_lossy(&patch).into_owned())
    }

    async fn restore(&self, session: &SessionId) -> Result<SessionId, Error> {
        let request = RestoreRequest {
            session: *session,
            checkpoint: None,
            owner: None,
            idempotency_key: None,
        };
        Ok(soon("a restore", self.manager.restore(request)).await?.id)
    }

    fn content_files(&self) -> usize {
        let dir = self.world.site.state_dir().join("checkpoints");
        let shelves = std::fs::read_dir(dir).into_iter().flatten().flatten();
        shelves
            .filter_map(|shelf| std::fs::read_dir(shelf.path()).ok())
            .map(Iterator::count)
            .sum()
    }
}

#[tokio::test]
async fn a_turn_s_work_is_kept_after_it_and_told() {
    let work = Work::new().await;
    let session = work.on_copy().await;
    work.write(&session, "kept.txt", "changed\n");
    work.write(&session, "made/big.o", "not this");
    ask(&work.manager, &session, "Work.").await;
    let kept = work.so_many(&session, 1).await;
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].cause, kept[0].files), (CheckpointCause::Turn, 1));
    assert!(kept[0].turn.is_some());
    let patch = work.patch(&kept[0]).await.unwrap();
    assert!(patch.contains("-original\n+changed\n"), "{patch}");
    assert_eq!(patch.len() as u64, kept[0].bytes);
    let told = stored(&work.manager, &session).await;
    let told = told.iter().filter(|event| {
        matches!(&event.kind, EventKind::CheckpointTaken { checkpoint, .. } if *checkpoint == kept[0].id)
    });
    assert_eq!(told.count(), 1);
    // The same again is no other checkpoint.
    ask(&work.manager, &session, "Nothing.").await;
    assert_eq!(work.asked(&session).await, Some(kept[0].clone()));
    assert_eq!(work.kept(&session).await, kept);
    work.world.finish(&work.manager).await;
}

#[tokio::test]
async fn work_that_was_undone_is_not_brought_back() {
    let work = Work::new().await;
    let session = work.on_copy().await;
    assert_eq!(work.asked(&session).await, None, "nothing differs yet");
    work.write(&session, "new.txt", "a thought\n");
    assert_eq!(work.asked(&session).await.unwrap().files, 1);
    std::fs::remove_file(work.workspace(&session).join("new.txt")).unwrap();
    assert_eq!(work.asked(&session).await, None);
    let kept = work.kept(&session).await;
    assert_eq!((kept.len(), kept[0].bytes), (2, 0), "the newest is what is true");
    work.world.finish(&work.manager).await;
}

#[tokio::test]
async fn a_session_that_is_destroyed_leaves_its_newest_work_and_a_new_one_takes_it_up() {
    let work = Work::new().await;
    let session = work.on_copy().await;
    for text in ["one\n", "two\n"] {
        work.write(&session, "kept.txt", text);
        work.asked(&session).await.unwrap();
    }
    work.write(&session, "dir/last.txt", "not asked for\n");
    soon("the end", work.manager.destroy(&session)).await.unwrap();
    let kept = work.kept(&session).await;
    assert_eq!(kept.len(), 1, "of one that has ended, the newest stays");
    assert_eq!((kept[0].cause, kept[0].files), (CheckpointCause::Destroy, 2));
    assert_eq!(work.content_files(), 1);

    let again = work.restore(&session).await.unwrap();
    assert_ne!(again, session);
    assert_eq!(work.read(&again, "kept.txt").as_deref(), Some("two\n"));
    assert_eq!(
        work.read(&again, "dir/last.txt").as_deref(),
        Some("not asked for\n")
    );
    let own = work.kept(&again).await;
    assert_eq!(own.len(), 1, "it is the new session's work as well");
    assert_eq!(own[0].sha256, kept[0].sha256);
    assert_eq!(work.content_files(), 1, "the same content is one file");
    work.world.finish(&work.manager).await;
}

#[tokio::test]
async fn what_commands_put_into_an_empty_workspace_is_kept_too() {
    let work = Work::new().await;
    let session = create(&work.manager).await;
    let request = CommandRequest::new(["touch", "by-hand"]);
    let mut running = work.manager.command(&session, request).await.unwrap();
    while running.events.next().await.is_some() {}
    soon("the end", work.manager.destroy(&session)).await.unwrap();
    let again = work.restore(&session).await.unwrap();
    assert_eq!(work.read(&again, "by-hand").as_deref(), Some(""));
    work.world.finish(&work.manager).await;
}

#[tokio::test]
async fn work_comes_back_into_its_own_session_unless_there_is_other_work() {
    let work = Work::new().await;
    let session = work.on_copy().await;
    work.write(&session, "kept.txt", "changed\n");
    work.write(&session, "new.txt", "new\n");
    let checkpoint = work.asked(&session).await.unwrap();
    work.write(&session, "kept.txt", "original\n");
    std::fs::remove_file(work.workspace(&session).join("new.txt")).unwrap();
    assert_eq!(work.restore(&session).await.unwrap(), session);
    assert_eq!(work.read(&session, "kept.txt").as_deref(), Some("changed\n"));
    assert_eq!(work.read(&session, "new.txt").as_deref(), Some("new\n"));
    // Again: nothing is missing. With half of it: the rest comes.
    work.restore(&session).await.unwrap();
    std::fs::remove_file(work.workspace(&session).join("new.txt")).unwrap();
    work.restore(&session).await.unwrap();
    assert_eq!(work.read(&session, "new.txt").as_deref(), Some("new\n"));
    // Other work is never overwritten.
    work.write(&session, "kept.txt", "something else\n");
    let refused = work.restore(&session).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StateConflict, "{refused:?}");
    assert!(refused.hint().is_some());
    assert_eq!(
        work.read(&session, "kept.txt").as_deref(),
        Some("something else\n")
    );
    assert!(work.kept(&session).await.contains(&checkpoint));
    work.world.finish(&work.manager).await;
}

#[tokio::test]
async fn a_restore_with_a_key_makes_one_session() {
    let work = Work::new().await;
    let session = work.on_copy().await;
    work.write(&session, "kept.txt", "changed\n");
    soon("the end", work.manager.destroy(&session)).await.unwrap();
    let request = || RestoreRequest {
        session,
        checkpoint: None,
        owner: None,
        idempotency_key: Some("once".to_owned()),
    };
    let first = soon("a restore", work.manager.restore(request())).await.unwrap();
    work.write(&first.id, "kept.txt", "worked on\n");
    let second = soon("a restore", work.manager.restore(request())).await.unwrap();
    assert_eq!(first.id, second.id);
    assert_eq!(work.read(&first.id, "kept.txt").as_deref(), Some("worked on\n"));
    work.world.finish(&work.manager).await;
}

#[tokio::test]
async fn a_restore_with_a_key_gives_its_session_whatever_became_of_the_first() {
    let work = Work::new().await;
    let session = work.on_copy().await;
    work.write(&session, "kept.txt", "changed\n");
    work.asked(&session).await.unwrap();
    work.world.container(&session).kill();
    reaches(&work.manager, &session, StateName::Interrupted).await;
    let again = async |checkpoint| {
        let request = RestoreRequest {
            session,
            checkpoint,
            owner: None,
            idempotency_key: Some("once".to_owned()),
        };
        soon("a restore", work.manager.restore(request)).await
    };
    let made = again(None).await.unwrap().id;
    assert_ne!(made, session);
    // The first comes back and has other work by now; then it ends, with yet another.
    soon("the resume", work.manager.resume(&session)).await.unwrap();
    work.write(&session, "kept.txt", "worked on\n");
    let newest = work.asked(&session).await.unwrap();
    assert_eq!(again(None).await.unwrap().id, made);
    assert_eq!(work.read(&session, "kept.txt").as_deref(), Some("worked on\n"));
    work.write(&session, "kept.txt", "to the end\n");
    soon("the end", work.manager.destroy(&session)).await.unwrap();
    assert_eq!(again(None).await.unwrap().id, made);
    assert_eq!(all(&work.manager).await.len(), 2);
    // Another request is another one.
    let other = again(Some(newest.id)).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::IdempotencyMismatch);
    work.world.finish(&work.manager).await;
}

#[tokio::test]
async fn a_project_that_moved_on_refuses_and_leaves_no_session() {
    let work = Work::new().await;
    let session = work.on_copy().await;
    work.write(&session, "kept.txt", "changed\n");
    soon("the end", work.manager.destroy(&session)).await.unwrap();
    let WorkspaceSource::Copy { path } = work.manager.session(&session).await.unwrap().workspace else {
        panic!("it was a copy");
    };
    std::fs::write(path.join("kept.txt"), "another original\n").unwrap();
    let refused = work.restore(&session).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StateConflict, "{refused:?}");
    assert!(refused.hint().is_some());
    assert_eq!(work.world.site.leftovers(), Vec::<String>::new());
    assert_eq!(work.kept(&session).await.len(), 1, "it is there still");
    work.world.finish(&work.manager).await;
}

#[tokio::test]
async fn a_container_that_dies_right_after_a_turn_has_lost_nothing_that_was_told() {
    let work = Work::new().await;
    let session = work.on_copy().await;
    work.write(&session, "kept.txt", "changed\n");
    ask(&work.manager, &session, "Work.").await;
    work.so_many(&session, 1).await;
    work.world.container(&session).remove();
    reaches(&work.manager, &session, StateName::Interrupted).await;
    let again = work.restore(&session).await.unwrap();
    assert_eq!(work.read(&again, "kept.txt").as_deref(), Some("changed\n"));
    work.world.finish(&work.manager).await;
}

#[tokio::test]
async fn a_long_turn_is_kept_while_it_runs() {
    let work = Work::with(|policy| policy.every = Duration::from_millis(50)).await;
    let session = work.on_copy().await;
    let gate = work.world.hold("Done.");
    let turn = send(&work.manager, &session, "Work.").await;
    work.world.asked(1).await;
    work.write(&session, "kept.txt", "half\n");
    let kept = work.so_many(&session, 1).await;
    assert_eq!(kept[0].cause, CheckpointCause::Timer);
    assert_eq!(kept[0].turn, Some(turn.id));
    gate.open();
    outcome(&work.manager, &turn).await;
    work.world.finish(&work.manager).await;
}

#[tokio::test]
async fn only_so_many_are_kept_and_no_file_is_left_of_the_others() {
    let work = Work::with(|policy| policy.keep = 3).await;
    let session = work.on_copy().await;
    for number in 0..6 {
        work.write(&session, "kept.txt", &format!("{number}\n"));
        work.asked(&session).await.unwrap();
    }
    let kept = work.kept(&session).await;
    assert_eq!(kept.len(), 3);
    assert!(work.patch(&kept[0]).await.unwrap().contains("+5\n"));
    assert_eq!(work.content_files(), 3);
    work.world.finish(&work.manager).await;
}

#[tokio::test]
async fn the_oldest_go_when_a_session_or_all_have_too_many_bytes() {
    let rounds = async |work: &Work, session: &SessionId| {
        for number in 0..4 {
            let text = format!("{number} {}\n", "line ".repeat(400));
            work.write(session, "kept.txt", &text);
            work.asked(session).await.unwrap();
        }
    };
    let work = Work::with(|policy| policy.session_bytes = 5000).await;
    let session = work.on_copy().await;
    rounds(&work, &session).await;
    let kept = work.kept(&session).await;
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(work.patch(&kept[0]).await.unwrap().contains("+3 line"));
    assert_eq!(work.content_files(), 2);
    work.world.finish(&work.manager).await;

    let work = Work::with(|policy| policy.total_bytes = 5000).await;
    let (one, other) = (work.on_copy().await, create(&work.manager).await);
    for session in [&one, &other] {
        rounds(&work, session).await;
    }
    assert_eq!(work.kept(&one).await.len(), 1);
    assert_eq!(work.kept(&other).await.len(), 1);
    work.world.finish(&work.manager).await;
}

#[tokio::test]
async fn without_room_none_is_taken_unasked_and_that_is_told_once() {
    type Change = fn(&mut CheckpointPolicy);
    let changes: [(Change, usize); 2] = [
        (|policy| policy.reserve_bytes = u64::MAX, 0),
        (|policy| policy.total_bytes = 1, 1),
    ];
    for (change, before) in changes {
        let work = Work::with(change).await;
        let session = work.on_copy().await;
        for number in 0..before {
            work.write(&session, "kept.txt", &format!("before {number}\n"));
            work.asked(&session).await.unwrap();
        }
        work.write(&session, "kept.txt", "changed\n");
        for _ in 0..2 {
            ask(&work.manager, &session, "Work.").await;
        }
        // Who asks is not refused.
        let asked = work.asked(&session).await.unwrap();
        assert!(work.patch(&asked).await.unwrap().contains("+changed\n"));
        work.write(&session, "kept.txt", "changed again\n");
        soon("the end", work.manager.destroy(&session)).await.unwrap();
        assert_eq!(problems(&work, &session).await, 1);
        assert_eq!(work.kept(&session).await, [asked]);
        work.world.finish(&work.manager).await;
    }
}

#[tokio::test]
async fn work_of_a_session_that_ended_goes_when_it_was_kept_for_long_enough() {
    for (keep_ended, left) in [(Duration::from_secs(3600), 1), (Duration::ZERO, 0)] {
        let work = Work::with(|policy| policy.keep_ended = keep_ended).await;
        let session = work.on_copy().await;
        work.write(&session, "kept.txt", "changed\n");
        work.asked(&session).await.unwrap();
        soon("the end", work.manager.destroy(&session)).await.unwrap();
        for dry_run in [true, false] {
            let report = work.manager.collect_garbage(dry_run).await.unwrap();
            let told = report
                .removed
                .iter()
                .filter(|garbage| garbage.kind == GarbageKind::Checkpoint)
                .count();
            assert_eq!(told, 1 - left, "dry run: {dry_run}");
        }
        assert_eq!(work.kept(&session).await.len(), left);
        assert_eq!(work.content_files(), left);
        work.world.finish(&work.manager).await;
    }
}

#[tokio::test]
async fn a_patch_that_is_too_large_is_told_once_and_stops_nothing() {
    let work = Work::with(|policy| policy.max_bytes = 4096).await;
    let session = work.on_copy().await;
    work.write(&session, "large.txt", &"line\n".repeat(100_000));
    let refused = work.manager.checkpoint(&session).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LimitExceeded);
    for _ in 0..2 {
        ask(&work.manager, &session, "Work.").await;
    }
    soon("the end", work.manager.destroy(&session)).await.unwrap();
    let told = problems(&work, &session).await;
    assert_eq!(told, 1);
    assert_eq!(work.content_files(), 0, "half a patch is no patch");
    assert!(work.kept(&session).await.is_empty());
    work.world.finish(&work.manager).await;
}

#[tokio::test]
async fn an_image_without_git_is_told_once_and_stops_nothing() {
    let world = World::new();
    let manager = world.manager().await;
    let work = Work { world, manager };
    let session = create(&work.manager).await;
    for _ in 0..2 {
        ask(&work.manager, &session, "Work.").await;
    }
    let refused = work.manager.checkpoint(&session).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert_eq!(problems(&work, &session).await, 1);
    work.world.finish(&work.manager).await;
}

#[tokio::test]
async fn a_content_that_was_changed_is_not_handed_out() {
    let work = Work::new().await;
    let session = work.on_copy().await;
    work.write(&session, "kept.txt", "changed\n");
    let checkpoint = work.asked(&session).await.unwrap();
    let dir = work.world.site.state_dir().join("checkpoints");
    let file = dir.join(&checkpoint.sha256[..2]).join(&checkpoint.sha256);
    std::fs::write(&file, "diff --git a/evil b/evil\n").unwrap();
    assert_eq!(
        work.patch(&checkpoint).await.unwrap_err().kind(),
        ErrorKind::StoreFailed
    );
    soon("the end", work.manager.destroy(&session)).await.unwrap();
    assert_eq!(
        work.restore(&session).await.unwrap_err().kind(),
        ErrorKind::StoreFailed
    );
    work.world.finish(&work.manager).await;
}

#[tokio::test]
async fn a_manager_that_is_killed_while_it_keeps_loses_no_checkpoint_that_it_told() {
    let work = Work::new().await;
    let session = work.on_copy().await;
    for round in 0..8_u64 {
        work.write(&session, "kept.txt", &format!("{round}\n"));
        let manager = work.world.manager().await;
        work.world.then(AgentTurn::new().say("Done."));
        let turn = send(&manager, &session, "Work.").await;
        outcome(&manager, &turn).await;
        tokio::time::sleep(Duration::from_millis(round * 15)).await;
        manager.kill().await;
        for checkpoint in work.kept(&session).await {
            work.patch(&checkpoint).await.unwrap();
        }
    }
    let newest = work.asked(&session).await.unwrap();
    assert!(work.patch(&newest).await.unwrap().contains("+7\n"));
    work.world.finish(&work.manager).await;
}

#[tokio::test]
async fn a_mounted_workspace_is_kept_only_when_asked() {
    let work = Work::new().await;
    let path = work.world.site.workspace("project").unwrap();
    std::fs::write(path.join("kept.txt"), "original\n").unwrap();
    let request = CreateSession {
        workspace: WorkspaceSource::Mount { path: path.clone() },
        ..CreateSession::default()
    };
    let session = soon("a session", work.manager.create(request)).await.unwrap().id;
    ask(&work.manager, &session, "Work.").await;
    std::fs::write(path.join("kept.txt"), "changed\n").unwrap();
    ask(&work.manager, &session, "Work.").await;
    assert!(work.kept(&session).await.is_empty());
    assert_eq!(work.asked(&session).await.unwrap().cause, CheckpointCause::Asked);
    soon("the end", work.manager.destroy(&session)).await.unwrap();
    assert_eq!(
        std::fs::read_to_string(path.join("kept.txt")).unwrap(),
        "changed\n"
    );
    work.world.finish(&work.manager).await;
}

async fn problems(work: &Work, session: &SessionId) -> usize {
    let events = stored(&work.manager, session).await;
    let problem = |event: &&session_core::event::Event| matches!(event.kind, EventKind::Problem { .. });
    events.iter().filter(problem).count()
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused() {
    let work = Work::new().await;
    let session = create(&work.manager).await;
    let nothing = work.restore(&session).await.unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::NotFound);
    let unknown = SessionId::new();
    assert_eq!(
        work.manager.checkpoints(&unknown).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    soon("the end", work.manager.destroy(&session)).await.unwrap();
    assert_eq!(recorded(&work.manager, &session).await, SessionState::Destroyed);
    assert_eq!(
        work.manager.checkpoint(&session).await.unwrap_err().kind(),
        ErrorKind::StateConflict
    );
    assert_eq!(all(&work.manager).await.len(), 1);
    work.world.finish(&work.manager).await;
}

/// A small generator: a test that failed is repeated by its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Something that may be done to a workspace; names collide on purpose, as files, directories and links.
fn do_something(root: &std::path::Path, dice: &mut Dice) {
    use std::os::unix::fs::PermissionsExt as _;
    const NAMES: [&str; 7] = ["a", "b", "a b", "-c", "d\n", "\u{e9}", "kept.txt"];
    let mut name = || NAMES[usize::try_from(dice.below(7)).unwrap()];
    let path = root.join(name()).join(name());
    let path = if name() < "b" { path } else { root.join(name()) };
    let parent = path.parent().unwrap();
    if parent != root && !parent.is_dir() {
        let _ = std::fs::remove_file(parent);
        std::fs::create_dir_all(parent).unwrap();
    }
    let there = std::fs::symlink_metadata(&path);
    match there.map(|found| found.is_dir()) {
        Ok(true) => std::fs::remove_dir_all(&path).unwrap(),
        Ok(false) => std::fs::remove_file(&path).unwrap(),
        Err(_) => {}
    }
    match dice.below(5) {
        0 => {}
        1 => std::os::unix::fs::symlink("a/../somewhere", &path).unwrap(),
        2 => std::fs::write(&path, [0, 255, 13, 10, 0]).unwrap(),
        3 => {
            std::fs::write(&path, "#!/bin/sh\r\n").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        _ => std::fs::write(&path, format!("line {}\nno end", dice.below(3))).unwrap(),
    }
}

/// Each file and link below, with what is in it and whether it can be run; directories are what files need.
fn tree(root: &std::path::Path) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let (mut found, mut waiting) = (Vec::new(), vec![root.to_owned()]);
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if meta.is_symlink() {
                found.push(format!("{name:?} -> {:?}", std::fs::read_link(&path).unwrap()));
            } else if meta.is_dir() {
                waiting.push(path);
            } else {
                let runs = meta.permissions().mode() & 0o100 != 0;
                found.push(format!("{name:?} {runs} {:?}", std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort_unstable();
    found
}

#[tokio::test]
async fn any_work_comes_back_as_it_was() {
    for seed in 1..=6_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let work = Work::new().await;
        let session = work.on_copy().await;
        for _ in 0..4 {
            for _ in 0..12 {
                do_something(&work.workspace(&session), &mut dice);
            }
            work.asked(&session).await;
        }
        let made = tree(&work.workspace(&session));
        soon("the end", work.manager.destroy(&session)).await.unwrap();
        let again = work.restore(&session).await.unwrap();
        assert_eq!(tree(&work.workspace(&again)), made, "seed {seed}");
        work.world.finish(&work.manager).await;
    }
}
