//! Everything below this process, wherever it went.
//!
//! Only for the supervisor: it is a child subreaper, so double forks and new sessions do not get away from below it.
//! Ending a tree is a race against what forks in it; it is won by stopping first, since what is stopped does not fork.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long ending may take before what is left is given up on: it waits in the kernel, and is dead then.
const KILL_LIMIT: Duration = Duration::from_secs(10);
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

/// All processes that can be seen.
fn all() -> Vec<Entry> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let is_process = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        name.as_encoded_bytes().first().is_some_and(u8::is_ascii_digit)
    };
    entries
        .filter_map(Result::ok)
        .filter(is_process)
        .filter_map(|entry| fs::read(entry.path().join("stat")).ok())
        .filter_map(|stat| parse_stat(&stat))
        .collect()
}

/// Living descendants of `root`, without itself.
fn descendants(entries: &[Entry], root: i32) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<&Entry>> = HashMap::new();
    for entry in entries {
        children.entry(entry.parent).or_default().push(entry);
    }
    let mut seen = HashSet::from([root]);
    let mut queue = vec![root];
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

fn below_us() -> Vec<i32> {
    descendants(&all(), rustix::process::getpid().as_raw_nonzero().get())
}

fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 1) {
        // It may have ended since it was seen.
        let _ = kill_process(pid, signal);
    }
}

/// Sends `signal` once to everything below.
pub(super) fn signal(signal: Signal) {
    below_us().into_iter().for_each(|pid| send(pid, signal));
}

/// Ends everything below, and returns when nothing of it runs.
pub(super) fn kill_all() {
    let deadline = Instant::now() + KILL_LIMIT;
    let mut stopped = HashSet::new();
    let mut pause = Duration::from_micros(200);
    for pass in 0_u32.. {
        let found = below_us();
        if found.is_empty() || Instant::now() >= deadline {
            return;
        }
        let new: Vec<i32> = found.iter().copied().filter(|pid| stopped.insert(*pid)).collect();
        if !new.is_empty() && pass < STOPPING_PASSES {
            new.iter().for_each(|pid| send(*pid, Signal::STOP));
            continue;
        }
        found.iter().for_each(|pid| send(*pid, Signal::KILL));
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_forge_a_parent() {
        let entry = parse_stat(b"42 (evil) R 1 (x)) S 7 42 42 0 -1").unwrap();
        assert_eq!((entry.pid, entry.parent, entry.zombie), (42, 7, false));
        assert!(parse_stat(b"42 (sh) Z 7 1").unwrap().zombie);
        assert_eq!(parse_stat(b"42 (sh"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn descendants_are_found_through_zombies_and_loops_end() {
        let entry = |pid, parent, zombie| Entry { pid, parent, zombie };
        let entries = [
            entry(2, 1, false),
            entry(3, 2, true),
            entry(4, 3, false),
            entry(5, 1, false),
            entry(6, 6, false),
        ];
        assert_eq!(descendants(&entries, 2), [4]);
        assert!(descendants(&entries, 6).is_empty());
    }
}
