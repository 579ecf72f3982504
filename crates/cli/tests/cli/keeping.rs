//! `renew`, `checkpoint`, `checkpoints`, `restore`, `gc`, `audit`: what is kept, and what is known of the past.

use serde_json::json;
use session_core::audit::AuditLine;
use session_core::checkpoint::Checkpoint;
use session_core::garbage::{Garbage, GarbageKind, GarbageReport};
use session_core::lifetime::{Lifetime, OnInterrupt};

use crate::support::fake::Fake;
use crate::support::{User, fixtures};

const CHECKPOINT: &str = "0e0e0e0e-1111-4222-8333-444455556666";

fn checkpoint() -> Checkpoint {
    serde_json::from_value(json!({
        "id": CHECKPOINT,
        "session": fixtures::session_id('f'),
        "cause": "turn",
        "at": fixtures::start(),
        "base": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
        "sha256": "00",
        "bytes": 2048,
        "files": 3,
    }))
    .unwrap()
}

fn line(seq: u64, actor: &str, decision: &str, rule: Option<&str>) -> AuditLine {
    serde_json::from_value(json!({
        "seq": seq,
        "at": fixtures::start(),
        "actor": actor,
        "action": "create_session",
        "session": fixtures::session_id('f'),
        "decision": decision,
        "rule": rule,
        "detail": "image x\u{1b}[31m\nforged",
        "hash": "00",
    }))
    .unwrap()
}

fn keeping() -> Fake {
    let mut fake = Fake::new();
    fake.diff = fixtures::diff();
    fake.kept.checkpoints = vec![checkpoint()];
    fake.kept.audit = vec![
        line(1, "token ci", "done", None),
        line(2, "socket uid 1000", "refused", Some("workspace_refused")),
    ];
    fake
}

#[tokio::test]
async fn a_session_says_when_it_ends_and_whether_it_comes_back() {
    let user = User::new(Fake::new());
    let outcome = user
        .runs(
            "create --json --empty --idle-timeout 30m --max-life 8h --lease 5m --keep-on-failure --on-interrupt resume",
        )
        .await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr());
    let asked = &user.fake.created()[0];
    let lifetime = Lifetime {
        idle_ms: Some(30 * 60_000),
        max_ms: Some(8 * 3_600_000),
        lease_ms: Some(5 * 60_000),
        keep_on_failure: true,
    };
    assert_eq!(
        (asked.lifetime, asked.on_interrupt),
        (lifetime, OnInterrupt::Resume)
    );
    assert_eq!(user.runs("create --empty").await.code, 0);
    let asked = &user.fake.created()[1];
    assert_eq!(
        (asked.lifetime, asked.on_interrupt),
        (Lifetime::default(), OnInterrupt::Stop)
    );
}

#[tokio::test]
async fn a_lease_is_renewed() {
    let user = User::new(Fake::new());
    let outcome = user.runs("renew fix-it").await;
    assert!(outcome.stderr().contains("no lease"), "{}", outcome.stderr());
    let mut fake = Fake::new();
    fake.sessions[0].lease_until = Some(fixtures::start());
    let user = User::new(fake);
    let outcome = user.runs("renew fix-it").await;
    assert!(
        outcome.stderr().contains("renewed until 20"),
        "{}",
        outcome.stderr()
    );
    let calls = user.fake.calls();
    assert!(
        calls.iter().any(|call| call.starts_with("renew_lease")),
        "{calls:?}"
    );
}

#[tokio::test]
async fn work_is_kept_and_listed() {
    let user = User::new(keeping());
    let outcome = user.runs("checkpoint fix-it").await;
    assert_eq!(outcome.stdout(), format!("{CHECKPOINT}\n"));
    assert!(
        outcome.stderr().contains("3 files, 2 KiB"),
        "{}",
        outcome.stderr()
    );
    let outcome = user.runs("checkpoints fix-it").await;
    assert!(outcome.stdout().contains("after a turn"), "{}", outcome.stdout());
    let lines = user.runs("checkpoints --json fix-it").await.lines();
    assert_eq!(lines[0]["id"], CHECKPOINT);
    let outcome = user.runs("checkpoints -q fix-it").await;
    assert_eq!(outcome.stdout(), format!("{CHECKPOINT}\n"));

    let user = User::new(Fake::new());
    let outcome = user.runs("checkpoint fix-it").await;
    assert_eq!((outcome.code, outcome.stdout()), (0, String::new()));
    assert!(
        outcome.stderr().contains("nothing differs"),
        "{}",
        outcome.stderr()
    );
}

#[tokio::test]
async fn work_is_brought_back_into_a_session_or_a_new_one() {
    let user = User::new(keeping());
    let outcome = user.runs("restore fix-it").await;
    assert_eq!(outcome.stdout(), format!("{}\n", fixtures::session_id('f')));
    assert!(
        outcome.stderr().contains("back in its workspace"),
        "{}",
        outcome.stderr()
    );

    let mut fake = keeping();
    fake.kept.restored = Some(fixtures::ready('a', None));
    let user = User::new(fake);
    let outcome = user
        .runs(&format!("restore fix-it --checkpoint {CHECKPOINT}"))
        .await;
    assert_eq!(outcome.stdout(), format!("{}\n", fixtures::session_id('a')));
    assert!(outcome.stderr().contains("new session"), "{}", outcome.stderr());
    let calls = user.fake.calls();
    assert!(
        calls
            .iter()
            .any(|call| call.starts_with("restore") && call.contains(CHECKPOINT)),
        "{calls:?}"
    );
}

#[tokio::test]
async fn a_patch_is_written_whole_or_not_at_all_and_replaces_nothing() {
    let user = User::new(keeping());
    let outcome = user.runs("restore fix-it --patch -").await;
    assert_eq!(outcome.stdout(), fixtures::diff().patch);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("work.patch");
    let command = format!("restore fix-it --patch {}", file.display());
    assert_eq!(user.runs(&command).await.code, 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), fixtures::diff().patch);
    let again = user.runs(&command).await;
    assert_eq!(again.code, 11, "{}", again.stderr());
    assert!(
        again.stderr().contains("nothing is replaced"),
        "{}",
        again.stderr()
    );

    let mut fake = keeping();
    fake.kept.breaks_off = true;
    let user = User::new(fake);
    let half = dir.path().join("half.patch");
    let outcome = user
        .runs(&format!("restore fix-it --patch {}", half.display()))
        .await;
    assert_ne!(outcome.code, 0);
    assert!(!half.exists(), "half a patch is none");

    let mut fake = keeping();
    fake.kept.checkpoints.clear();
    let outcome = User::new(fake).runs("restore fix-it --patch -").await;
    assert_eq!(outcome.code, 3, "{}", outcome.stderr());
}

#[tokio::test]
async fn what_is_left_over_is_told_and_removed() {
    let mut fake = Fake::new();
    let garbage = |name: &str, reason: &str| Garbage {
        kind: GarbageKind::Container,
        name: name.to_owned(),
        reason: reason.to_owned(),
    };
    fake.kept.garbage = GarbageReport {
        removed: vec![garbage("cofferdam-1", "no record")],
        left: vec![garbage("cofferdam-2", "the engine\u{1b}[31m refused")],
        ..GarbageReport::default()
    };
    let user = User::new(fake);
    let outcome = user.runs("gc --dry-run").await;
    assert_eq!(
        outcome.stdout(),
        "would remove container cofferdam-1 (no record)\n"
    );
    assert!(
        outcome.stderr().contains("left container cofferdam-2"),
        "{}",
        outcome.stderr()
    );
    assert!(!outcome.stderr().contains('\u{1b}'));
    let outcome = user.runs("gc").await;
    assert!(outcome.stdout().starts_with("removed "), "{}", outcome.stdout());
    let lines = user.runs("gc --json").await.lines();
    assert_eq!(
        (&lines[0]["dry_run"], &lines[0]["removed"][0]["kind"]),
        (&json!(false), &json!("container"))
    );
    let outcome = User::new(Fake::new()).runs("gc").await;
    assert!(outcome.stderr().contains("nothing is left over"));
}

#[tokio::test]
async fn the_audit_log_is_read_and_a_line_stays_a_line() {
    let user = User::new(keeping());
    let shown = user.runs("audit").await.stdout();
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(shown.contains("token ci  create_session"), "{shown}");
    assert!(shown.contains("refused [workspace_refused]"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
    let newest = user.runs("audit --json -n 1").await.lines();
    assert_eq!((newest.len(), &newest[0]["seq"]), (1, &json!(2)));
    let after = user.runs("audit --json --since 1 --session fix-it").await.lines();
    assert_eq!((after.len(), &after[0]["seq"]), (1, &json!(2)));
}

#[tokio::test]
async fn a_log_that_was_changed_fails_its_check() {
    let user = User::new(keeping());
    let outcome = user.runs("audit --verify").await;
    assert_eq!(
        (outcome.code, outcome.stdout()),
        (0, "2 lines, as they were written\n".to_owned())
    );
    let mut fake = keeping();
    fake.kept.broken_at = Some(2);
    let outcome = User::new(fake).runs("audit --verify").await;
    assert_eq!(outcome.code, 1);
    assert!(outcome.stdout().contains("line 2 is not"), "{}", outcome.stdout());
}
