//! Ends and removes what an engine leaves that was killed: processes, mounts, control groups, sockets. By what the kernel
//! knows alone, for there is nobody left to ask.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::daemon::Places;

const CONTROL_GROUPS: &str = "/sys/fs/cgroup";
/// How long processes that were killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(5);
const PULSE: Duration = Duration::from_millis(10);

/// Everything. What cannot be ended or removed is left: the next engine on this root says what it misses.
pub(super) fn bury(places: &Places) {
    end_ours(places, &places.pid_file());
    end_helper(places);
    end_watchers(places);
    end_containers(places);
    unmount(&[places.data(), places.run()]);
    let _ = std::fs::remove_dir_all(places.run());
}

/// Ends the engine's helper. It dies with the engine, and its pid file stays; an engine that finds one whose number is still
/// taken waits for that process instead of starting another.
pub(super) fn end_helper(places: &Places) {
    end_ours(places, &places.helper_pid_file());
    let _ = std::fs::remove_file(places.helper_pid_file());
    let _ = std::fs::remove_file(places.pid_file());
}

/// Ends the process of a pid file, if it is ours: the number may have been given to another one.
fn end_ours(places: &Places, pid_file: &Path) {
    let pid = std::fs::read_to_string(pid_file);
    let Some(pid) = pid.ok().and_then(|pid| pid.trim().parse().ok()) else {
        return;
    };
    if command_line(pid).contains(places.control_group()) {
        end(&[pid]);
    }
}

/// Ends the processes that each watch one container.
fn end_watchers(places: &Places) {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let ours = numbers.filter(|pid| {
        let command_line = command_line(*pid);
        command_line.contains("containerd-shim") && command_line.contains(places.control_group())
    });
    end(&ours.collect::<Vec<_>>());
}

fn command_line(pid: i32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).into_owned()
}

/// Ends what runs in the engine's control groups, and removes them.
fn end_containers(places: &Places) {
    let mut roots = vec![Path::new(CONTROL_GROUPS).join(places.control_group())];
    let hierarchies = std::fs::read_dir(CONTROL_GROUPS).into_iter().flatten().flatten();
    roots.extend(hierarchies.map(|entry| entry.path().join(places.control_group())));
    let mut groups = Vec::new();
    for root in roots.iter().filter(|root| root.is_dir()) {
        descend(root, &mut groups);
    }
    for group in &groups {
        // One that is frozen does not die.
        let _ = std::fs::write(group.join("freezer.state"), "THAWED");
        let _ = std::fs::write(group.join("cgroup.freeze"), "0");
    }
    let pids: Vec<i32> = groups.iter().flat_map(|group| members(group)).collect();
    end(&pids);
    for group in groups.iter().rev() {
        let _ = std::fs::remove_dir(group);
    }
}

/// A directory and all below it, parents first.
fn descend(dir: &Path, found: &mut Vec<PathBuf>) {
    found.push(dir.to_owned());
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            descend(&entry.path(), found);
        }
    }
}

fn members(group: &Path) -> Vec<i32> {
    let members = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    members.lines().filter_map(|pid| pid.parse().ok()).collect()
}

/// Kills them and waits until they are gone; a zombie is.
fn end(pids: &[i32]) {
    for pid in pids.iter().copied().filter_map(Pid::from_raw) {
        // One that has gone in the meantime is what we want.
        let _ = kill_process(pid, Signal::KILL);
    }
    let started = Instant::now();
    while pids.iter().any(|pid| lives(*pid)) && started.elapsed() < PATIENCE {
        std::thread::sleep(PULSE);
    }
}

fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Unmounts all at or below these directories, the latest first.
fn unmount(dirs: &[PathBuf]) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for point in mount_points(&mounts, dirs).into_iter().rev() {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(point)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

fn mount_points(mounts: &str, dirs: &[PathBuf]) -> Vec<PathBuf> {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let points = points.map(|point| PathBuf::from(point.replace("\\040", " ")));
    points
        .filter(|point| dirs.iter().any(|dir| point.starts_with(dir)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_of_its_own_are_taken() {
        let mounts = "1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / /t/data rw - ext4 x rw\n3 2 0:3 / /t/data/a\\040b rw - overlay x rw\n\
                      4 1 0:4 / /t/database rw - ext4 x rw\n";
        let found = mount_points(mounts, &[PathBuf::from("/t/data")]);
        assert_eq!(found, [PathBuf::from("/t/data"), PathBuf::from("/t/data/a b")]);
    }

    #[test]
    fn a_number_that_belongs_to_another_process_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let places = Places::new(dir.path());
        let mut stranger = Command::new("sleep").arg("60").spawn().expect("a process");
        let pid_file = dir.path().join("pid");
        std::fs::write(&pid_file, stranger.id().to_string()).expect("written");
        end_ours(&places, &pid_file);
        assert!(lives(stranger.id().try_into().expect("a number")));
        stranger.kill().expect("killed");
        stranger.wait().expect("it ended");
    }
}
