//! Processes that are killed with SIGKILL, and processes side by side: the test runs its own binary again.

use std::io::{BufRead as _, BufReader, IsTerminal as _, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use futures::StreamExt as _;

use super::*;

const CHILD: &str = "store::tests::crash::child_commits_until_it_is_told_or_killed";
const TASKS: usize = 8;

/// Not a test of its own: the other process. Without orders on its standard input it does nothing.
#[test]
#[ignore = "started by the tests of this module"]
fn child_commits_until_it_is_told_or_killed() {
    let mut orders = String::new();
    if std::io::stdin().is_terminal() {
        return;
    }
    std::io::stdin().lock().read_to_string(&mut orders).unwrap();
    let mut orders = orders.lines();
    let (Some(path), Some(session), Some(count)) = (orders.next(), orders.next(), orders.next()) else {
        return;
    };
    let (session, count) = (session.parse().unwrap(), count.parse().unwrap());
    let dir = StateDir::open(Path::new(path)).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(commit_and_tell(dir, session, count));
}

/// Each task commits `count` batches of two and tells which numbers they got.
async fn commit_and_tell(dir: StateDir, session: SessionId, count: usize) {
    let store = Store::open(&dir).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            for step in 0..count {
                let words = format!("{}.{task}.{step}", std::process::id());
                let batch = Batch {
                    agent: Some(AgentRecord {
                        offset: step as u64,
                        ..AgentRecord::default()
                    }),
                    ..say([format!("{words}.a"), format!("{words}.b")])
                };
                let stored = store.commit(&session, batch).await.unwrap();
                // One write, so that a line is whole or absent when we are killed.
                let line = format!("\nacked {} {words}\n", stored[0].seq);
                std::io::stdout().write_all(line.as_bytes()).unwrap();
            }
        });
    }
    tasks.join_all().await;
}

struct Other {
    process: Child,
    told: BufReader<ChildStdout>,
}

impl Other {
    fn start(home: &Home, session: &SessionId, count: usize) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", CHILD, "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = format!("{}\n{session}\n{count}\n", home.dir.path().display());
        // Dropped at once: the child reads to the end.
        process
            .stdin
            .take()
            .unwrap()
            .write_all(orders.as_bytes())
            .unwrap();
        let told = BufReader::new(process.stdout.take().unwrap());
        Self { process, told }
    }

    /// Waits for the first acknowledgement, then kills after `delay`. Answers with all acknowledgements.
    fn kill_after(mut self, delay: Duration) -> Vec<(u64, String)> {
        let mut line = String::new();
        while !line.starts_with("acked") {
            line.clear();
            assert_ne!(self.told.read_line(&mut line).unwrap(), 0, "it died early");
        }
        std::thread::sleep(delay);
        self.process.kill().unwrap();
        let mut acked = vec![parse(&line).unwrap()];
        acked.extend(self.rest());
        acked
    }

    /// Waits for its end.
    fn finish(mut self) -> Vec<(u64, String)> {
        let acked = self.rest();
        assert!(self.process.wait().unwrap().success());
        acked
    }

    fn rest(&mut self) -> Vec<(u64, String)> {
        let lines = (&mut self.told).lines().map_while(|line| line.ok());
        let acked = lines.filter_map(|line| parse(&line)).collect();
        let _ = self.process.wait();
        acked
    }
}

fn parse(line: &str) -> Option<(u64, String)> {
    let mut words = line.trim().strip_prefix("acked ")?.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.to_owned()))
}

/// Everything acknowledged is there, whole, at its number, and no half of a batch is.
async fn check(store: &Store, session: &SessionId, acked: &[(u64, String)]) -> usize {
    let events = all_events(store, session).await;
    assert_numbered(&events);
    for (seq, words) in acked {
        assert_eq!(events[*seq as usize - 1].kind, text(format!("{words}.a")));
        assert_eq!(events[*seq as usize].kind, text(format!("{words}.b")));
    }
    let said = events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::AgentText { .. }))
        .count();
    assert_eq!(said % 2, 0);
    let info = store.session(session).await.unwrap().unwrap().info;
    assert_eq!(info.last_event, events.len() as u64);
    store.verify().await.unwrap();
    said / 2
}

#[tokio::test]
async fn i12_what_was_acknowledged_survives_a_kill_at_any_moment() {
    const ROUNDS: u64 = 12;
    let home = Home::new();
    let session = {
        let store = home.open().await;
        let session = ready(&store).await;
        store.close().await;
        session
    };
    let mut acked = Vec::new();
    for round in 0..ROUNDS {
        let other = Other::start(&home, &session, usize::MAX);
        let delay = Duration::from_micros(round * 3_700);
        acked.extend(
            tokio::task::spawn_blocking(move || other.kill_after(delay))
                .await
                .unwrap(),
        );
        // Every second time nobody recovers in between: the next process finds what two have left.
        if round % 2 == 1 {
            let store = home.open().await;
            let stored = check(&store, &session, &acked).await;
            let unheard = stored - acked.len();
            assert!(unheard as u64 <= (round + 1) * TASKS as u64);
        }
    }
    assert!(acked.len() as u64 > ROUNDS);
}

#[tokio::test]
async fn i12_processes_side_by_side_share_one_sequence_and_each_follows_the_others() {
    const EACH: usize = 25;
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let stream = store.follow(session, 0);
    let others: Vec<_> = (0..2).map(|_| Other::start(&home, &session, EACH)).collect();
    let told = tokio::task::spawn_blocking(|| others.into_iter().flat_map(Other::finish).collect::<Vec<_>>());
    let ours = 50;
    for step in 0..ours {
        store
            .commit(
                &session,
                say([format!("ours.{step}.a"), format!("ours.{step}.b")]),
            )
            .await
            .unwrap();
    }
    let total = 1 + 2 * (ours + 2 * TASKS * EACH);
    let seen: Vec<Event> = tokio::time::timeout(
        Duration::from_secs(60),
        stream.take(total).map(Result::unwrap).collect(),
    )
    .await
    .unwrap();
    assert_numbered(&seen);
    let acked = told.await.unwrap();
    assert_eq!(acked.len(), 2 * TASKS * EACH);
    check(&store, &session, &acked).await;
    assert_eq!(seen, all_events(&store, &session).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_has_acknowledged_is_in_the_next_list() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let mut other = Other::start(&home, &session, 10);
    let mut last = 0;
    while last < 1 + 2 * 10 * TASKS as u64 {
        let mut line = String::new();
        tokio::task::block_in_place(|| other.told.read_line(&mut line)).unwrap();
        let Some((seq, _)) = parse(&line) else { continue };
        let listing = store.listing().await.unwrap();
        last = listing.get(&session).unwrap().last_event;
        assert!(last > seq, "{last} after {seq}");
    }
    other.rest();
}
