//! When a daemon may leave: nobody is connected, nothing is under way, and that for a while.
//!
//! It must not leave between a client's connect and its request. So it first takes its socket's name away, which nobody can
//! connect by any more; who had connected already is accepted meanwhile and counts. Only when the moment after that is quiet
//! too does it leave, else the name comes back. All of it happens under the lock of the one that serves, so nobody else puts a
//! socket there; a client that finds none waits for its turn at that lock.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How long after its name was taken away the socket is still listened to. A client that has found the socket connects in
/// microseconds.
const SETTLING: Duration = Duration::from_millis(100);
/// How often it is looked whether anything is under way. Connections tell by themselves.
const LOOK: Duration = Duration::from_secs(1);

/// Completes when the process may leave, its socket's name taken away. Answers whether it may: not when its server has ended
/// for another reason.
pub async fn leave_when_idle(
    after: Duration,
    socket: &Path,
    mut connections: watch::Receiver<usize>,
    at_work: impl Fn() -> bool,
) -> bool {
    let aside = aside(socket);
    loop {
        if !quiet_for(after, &mut connections, &at_work).await {
            return false;
        }
        if let Err(error) = std::fs::rename(socket, &aside) {
            // Somebody has taken the state directory away. There is nothing left to be found by.
            tracing::warn!(%error, "the socket's file is gone");
            return true;
        }
        if settled(&mut connections, &at_work).await {
            remove_leftover(socket);
            return true;
        }
        if let Err(error) = std::fs::rename(&aside, socket) {
            tracing::warn!(%error, "the socket cannot be put back");
            return true;
        }
    }
}

/// Removes what a daemon left that was killed on its way out. For whoever holds the lock.
pub fn remove_leftover(socket: &Path) {
    if let Err(error) = std::fs::remove_file(aside(socket))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::debug!(%error, "the old socket's file stays behind");
    }
}

fn aside(socket: &Path) -> PathBuf {
    socket.with_extension("leaving")
}

/// Waits for so long a time without anything. Answers false when there is no server any more.
async fn quiet_for(
    after: Duration,
    connections: &mut watch::Receiver<usize>,
    at_work: impl Fn() -> bool,
) -> bool {
    let mut since = Instant::now();
    loop {
        // Asked before the value is looked at, which would take a change for seen.
        let Ok(changed) = connections.has_changed() else {
            return false;
        };
        let open = *connections.borrow_and_update();
        if changed || open > 0 || at_work() {
            since = Instant::now();
        }
        let left = after.saturating_sub(since.elapsed());
        if left.is_zero() {
            return true;
        }
        // A connection that came and went is seen by the change; a sleep that is dropped begins anew.
        tokio::select! {
            changed = connections.changed() => match changed {
                Ok(()) => since = Instant::now(),
                Err(_) => return false,
            },
            () = tokio::time::sleep(left.min(LOOK)) => {}
        }
    }
}

/// Whether nobody came while the socket had no name any more.
async fn settled(connections: &mut watch::Receiver<usize>, at_work: impl Fn() -> bool) -> bool {
    let came = tokio::time::timeout(SETTLING, connections.changed()).await;
    came.is_err() && *connections.borrow() == 0 && !at_work()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    struct Daemon {
        dir: tempfile::TempDir,
        connections: watch::Sender<usize>,
        working: Arc<AtomicBool>,
    }

    impl Daemon {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("cofferdam.sock"), "").unwrap();
            Self {
                dir,
                connections: watch::Sender::new(0),
                working: Arc::default(),
            }
        }

        fn socket(&self) -> PathBuf {
            self.dir.path().join("cofferdam.sock")
        }

        fn leaving(&self) -> tokio::task::JoinHandle<bool> {
            let (socket, connections, working) =
                (self.socket(), self.connections.subscribe(), self.working.clone());
            tokio::spawn(async move {
                let at_work = || working.load(Ordering::Relaxed);
                leave_when_idle(Duration::from_secs(60), &socket, connections, at_work).await
            })
        }
    }

    async fn pass(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_leaves_after_a_while_without_anything_and_not_before() {
        let daemon = Daemon::new();
        let leaving = daemon.leaving();
        pass(59).await;
        assert!(!leaving.is_finished() && daemon.socket().exists());
        pass(3).await;
        assert!(leaving.is_finished());
        assert_eq!(std::fs::read_dir(daemon.dir.path()).unwrap().count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn connections_and_work_keep_it() {
        let daemon = Daemon::new();
        let leaving = daemon.leaving();
        daemon.connections.send_replace(1);
        pass(600).await;
        daemon.connections.send_replace(0);
        daemon.working.store(true, Ordering::Relaxed);
        pass(600).await;
        assert!(!leaving.is_finished());
        daemon.working.store(false, Ordering::Relaxed);
        pass(30).await;
        // Somebody came and went.
        daemon.connections.send_replace(1);
        daemon.connections.send_replace(0);
        pass(45).await;
        assert!(!leaving.is_finished());
        pass(30).await;
        assert!(leaving.is_finished());
    }

    /// The moment that matters: a client has connected, and its name was taken away before it was accepted.
    #[tokio::test(start_paused = true)]
    async fn who_connected_just_before_is_served() {
        let daemon = Daemon::new();
        let leaving = daemon.leaving();
        while daemon.socket().exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        daemon.connections.send_replace(1);
        pass(1).await;
        assert!(
            !leaving.is_finished() && daemon.socket().exists(),
            "its name is back"
        );
        daemon.connections.send_replace(0);
        pass(70).await;
        assert!(leaving.is_finished());
    }
}
