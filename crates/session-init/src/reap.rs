//! The one place that waits for children: supervisors, and whatever the session's programs orphaned.

use std::rc::Rc;

use rustix::process::{Pid, Signal as Number, WaitOptions, kill_process, wait};
use tokio::signal::unix::Signal;

use crate::init::Init;

/// Reaps whenever a child changed its state.
pub(crate) async fn run(init: Rc<Init>, mut children: Signal) {
    loop {
        reap_all(&init);
        if children.recv().await.is_none() {
            return;
        }
    }
}

fn reap_all(init: &Init) {
    loop {
        match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            // Somebody in the container stopped a supervisor, to keep us from hearing of its command's end.
            Ok(Some((pid, status))) if status.stopped() => resume(pid),
            Ok(Some((pid, status))) => init.registry.reaped(pid.as_raw_nonzero().get(), status),
            Ok(None) | Err(rustix::io::Errno::CHILD) => return,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

fn resume(pid: Pid) {
    // It may be gone by now.
    let _ = kill_process(pid, Number::CONT);
}
