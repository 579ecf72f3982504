//! A disk that fails once, or from some moment on, at the N-th call for every N: real failures of real system calls,
//! which strace puts into a process of its own.

use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;
use crate::audit::AuditQuery;

const CHILD: &str = "store::tests::bad_disk::child_works_on_a_store";
/// How many changes the child makes.
const CHANGES: usize = 6;
/// How often it tries each.
const TRIES: usize = 4;

/// Not a test of its own: the process whose disk fails. Without orders on its standard input it does nothing.
#[tokio::test]
#[ignore = "started by a test of this module"]
async fn child_works_on_a_store() {
    let mut order = String::new();
    if std::io::stdin().is_terminal() {
        return;
    }
    BufReader::new(std::io::stdin()).read_line(&mut order).unwrap();
    let Some((path, session)) = order.trim().split_once(' ') else {
        return;
    };
    let session: SessionId = session.parse().unwrap();
    let dir = StateDir::open(Path::new(path)).unwrap();
    let mut store = None;
    for _ in 0..TRIES {
        match Store::open(&dir).await {
            Ok(opened) => {
                store = Some(opened);
                break;
            }
            Err(error) => tell("failed", "open", Some(&error)),
        }
    }
    let Some(store) = store else {
        return;
    };
    for change in 0..CHANGES {
        for attempt in 0..TRIES {
            let words = format!("{change}/{attempt}");
            let batch = Batch {
                audit: vec![crate::audit::AuditEntry {
                    actor: "child".to_owned(),
                    action: words.clone(),
                    session: Some(session),
                    decision: crate::audit::AuditDecision::Done,
                    rule: None,
                    detail: None,
                }],
                // More than one page.
                ..say([words.clone() + &" ".repeat(6000)])
            };
            match store.commit(&session, batch).await {
                Ok(_) => {
                    tell("acked", &words, None);
                    break;
                }
                Err(error) => tell("failed", &words, Some(&error)),
            }
        }
        // Whatever was refused, what was acknowledged can be read.
        if let Err(error) = store.events(&session, EventQuery::default()).await {
            tell("unreadable", "events", Some(&error));
        }
    }
    store.close().await;
    tell("done", "", None);
}

fn tell(what: &str, which: &str, error: Option<&Error>) {
    let error = error.map_or_else(String::new, |error| {
        format!("{} {} {error:?}", error.kind(), error.is_retryable())
    });
    println!("\n{what} {which} {error}");
    std::io::stdout().flush().unwrap();
}

/// What a child told.
#[derive(Debug, Default)]
struct Course {
    acked: Vec<String>,
    failed: Vec<String>,
    done: bool,
}

/// Has a child work on a store whose calls of this name fail.
fn work(home: &Home, session: &SessionId, call: &str, failure: &str) -> Course {
    let state = home.dir.path();
    let mut strace = Command::new("strace");
    strace.args([
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &format!("trace={call}"),
        "-e",
    ]);
    strace.arg(format!("inject={call}:{failure}"));
    for file in ["store.db", "store.db-wal", "audit.head"] {
        strace.arg("-P").arg(state.join(file));
    }
    strace.arg(std::env::current_exe().unwrap());
    strace.args(["--exact", CHILD, "--ignored", "--nocapture"]);
    let mut child = strace
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("strace is installed");
    writeln!(child.stdin.take().unwrap(), "{} {session}", state.display()).unwrap();
    let mut course = Course::default();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let (what, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let (which, error) = rest.split_once(' ').unwrap_or((rest, ""));
        match what {
            "acked" => course.acked.push(which.to_owned()),
            "failed" => {
                let typed = error.starts_with("host_io true") || error.starts_with("store_failed");
                assert!(typed, "{call} {failure}: {line}");
                course.failed.push(which.to_owned());
            }
            "unreadable" => panic!("{call} {failure}: {line}"),
            "done" => course.done = true,
            _ => {}
        }
    }
    assert!(child.wait().unwrap().success(), "{call} {failure}");
    course
}

async fn check(home: &Home, session: &SessionId, course: &Course, what: &str) {
    let store = home.open().await;
    let events = all_events(&store, session).await;
    assert_numbered(&events);
    let said: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::AgentText { text } => Some(text.trim().to_owned()),
            _ => None,
        })
        .collect();
    for acked in &course.acked {
        let times = said.iter().filter(|said| *said == acked).count();
        assert_eq!(times, 1, "{what}: {acked} was acknowledged");
    }
    // What was refused may be there when the disk failed to the end, but never twice and never half.
    for said in &said {
        let known = course.acked.contains(said) || course.failed.contains(said);
        assert!(known, "{what}: {said} came from nowhere");
    }
    let lines = store.audit_lines(AuditQuery::default()).await.unwrap();
    let told: Vec<_> = lines.iter().map(|line| line.action.clone()).collect();
    assert_eq!(told, said, "{what}: a change and its line are there together");
    assert_eq!(store.verify_audit().await.unwrap().broken_at, None, "{what}");
    store.verify().await.unwrap();
    store.commit(session, say(["again"])).await.unwrap();
}

/// Calls of this name fail at the N-th for every N that there is.
async fn every(call: &str, error: &str) -> usize {
    let mut hits = 0;
    for from_then_on in ["", "+"] {
        for number in 1.. {
            let home = Home::new();
            let store = home.open().await;
            let session = ready(&store).await;
            store.close().await;
            let failure = format!("error={error}:when={number}{from_then_on}");
            let course = work(&home, &session, call, &failure);
            let what = format!("{call} {failure}");
            if from_then_on.is_empty() {
                assert!(course.done, "{what}: {course:?}");
                assert_eq!(course.acked.len(), CHANGES, "{what}: {course:?}");
            }
            check(&home, &session, &course, &what).await;
            if course.failed.is_empty() && number > 3 * CHANGES {
                break;
            }
            hits += usize::from(!course.failed.is_empty());
        }
    }
    hits
}

#[tokio::test]
#[ignore = "needs strace"]
async fn whenever_a_write_or_a_sync_fails_it_is_said_and_nothing_acknowledged_is_lost() {
    for error in ["EIO", "ENOSPC"] {
        let hits = every("pwrite64", error).await;
        println!("pwrite64 {error}: {hits} failures");
        assert!(hits > CHANGES, "{hits}");
    }
    let hits = every("fdatasync,fsync", "EIO").await;
    println!("fdatasync,fsync EIO: {hits} failures");
    assert!(hits > CHANGES, "{hits}");
}
