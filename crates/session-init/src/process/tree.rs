//! Everything a command started, wherever it went.
//!
//! A command runs below a supervisor that adopts what its descendants leave behind (a child subreaper), so double forks
//! and new sessions do not get away: the tree is whoever has the supervisor among its ancestors. Ending a tree is a race
//! against what forks in it; it is won by stopping first, since what is stopped does not fork.

use std::{
    collections::{HashMap, HashSet},
    fs,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

/// How long ending a tree may take before what is left is given up on: it waits in the kernel, and is dead then.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Passes in which what is new is stopped first; after that everything is killed as it is found.
const STOPPING_PASSES: u32 = 64;

/// One process, as `/proc` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    pid: i32,
    parent: i32,
    zombie: bool,
}

/// Reads `pid (name) state ppid …`; the name may hold anything, also parentheses and newlines.
fn parse_stat(stat: &[u8]) -> Option<Entry> {
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let pid = stat.split(|byte| *byte == b' ').next()?;
    let mut rest = stat[close + 1..]
        .split(|byte| *byte == b' ')
        .filter(|field| !field.is_empty());
    let state = rest.next()?;
    let parent = rest.next()?;
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse().ok();
    Some(Entry {
        pid: number(pid)?,
        parent: number(parent)?,
        zombie: matches!(state, b"Z" | b"X" | b"x"),
    })
}

/// All processes of this process-id namespace.
fn all() -> Vec<Entry> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| {
            entry
                .file_name()
                .as_encoded_bytes()
                .first()
                .is_some_and(u8::is_ascii_digit)
        })
        .filter_map(|entry| fs::read(entry.path().join("stat")).ok())
        .filter_map(|stat| parse_stat(&stat))
        .collect()
}

/// The parent of `pid`.
pub(crate) fn parent_of(pid: u32) -> Option<i32> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?).map(|entry| entry.parent)
}

/// Living descendants of `roots`, without the roots themselves.
fn descendants(entries: &[Entry], roots: &HashSet<i32>) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<&Entry>> = HashMap::new();
    for entry in entries {
        children.entry(entry.parent).or_default().push(entry);
    }
    let mut seen = roots.clone();
    let mut queue: Vec<i32> = roots.iter().copied().collect();
    let mut found = Vec::new();
    while let Some(parent) = queue.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if seen.insert(child.pid) {
                queue.push(child.pid);
                if !child.zombie {
                    found.push(child.pid);
                }
            }
        }
    }
    found
}

fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 1) {
        // It may have ended since it was seen.
        let _ = kill_process(pid, signal);
    }
}

/// Sends `signal` once to everything below `supervisor`.
pub(crate) fn signal(supervisor: i32, signal: Signal) {
    for pid in descendants(&all(), &HashSet::from([supervisor])) {
        send(pid, signal);
    }
}

/// Ends everything below `supervisor`, and returns when nothing of it runs.
pub(crate) async fn kill(supervisor: i32) {
    // Somebody may have stopped the supervisor, which then would not reap.
    send(supervisor, Signal::CONT);
    end(|| descendants(&all(), &HashSet::from([supervisor]))).await;
}

/// Ends every child of `init` that is not one of `known`, and everything below: what a killed supervisor left behind.
pub(crate) async fn kill_orphans(init: i32, known: impl Fn(i32) -> bool) {
    end(|| {
        let entries = all();
        let stray = |entry: &&Entry| entry.parent == init && entry.pid != init && !known(entry.pid);
        let orphans: HashSet<i32> = entries.iter().filter(stray).map(|entry| entry.pid).collect();
        let living = entries
            .iter()
            .filter(|entry| orphans.contains(&entry.pid) && !entry.zombie);
        let mut found: Vec<i32> = living.map(|entry| entry.pid).collect();
        found.extend(descendants(&entries, &orphans));
        found
    })
    .await;
}

async fn end(find: impl Fn() -> Vec<i32>) {
    let deadline = Instant::now() + KILL_LIMIT;
    let mut stopped = HashSet::new();
    let mut pause = Duration::from_micros(200);
    for pass in 0_u32.. {
        let found = find();
        if found.is_empty() || Instant::now() >= deadline {
            return;
        }
        let new: Vec<i32> = found.iter().copied().filter(|pid| stopped.insert(*pid)).collect();
        if !new.is_empty() && pass < STOPPING_PASSES {
            new.iter().for_each(|pid| send(*pid, Signal::STOP));
            continue;
        }
        found.iter().for_each(|pid| send(*pid, Signal::KILL));
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, HashSet, descendants, parse_stat};

    #[test]
    fn names_cannot_forge_a_parent() {
        let stat = b"42 (evil) R 1 (x)) S 7 42 42 0 -1";
        assert_eq!(
            parse_stat(stat),
            Some(Entry {
                pid: 42,
                parent: 7,
                zombie: false
            })
        );
        assert_eq!(
            parse_stat(b"42 (sh) Z 7 1"),
            Some(Entry {
                pid: 42,
                parent: 7,
                zombie: true
            })
        );
        assert_eq!(parse_stat(b"42 (sh"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn descendants_are_found_through_zombies() {
        let entry = |pid, parent, zombie| Entry { pid, parent, zombie };
        let entries = [
            entry(2, 1, false),
            entry(3, 2, true),
            entry(4, 3, false),
            entry(5, 1, false),
        ];
        let mut found = descendants(&entries, &HashSet::from([2]));
        found.sort_unstable();
        assert_eq!(found, [4]);
    }
}
