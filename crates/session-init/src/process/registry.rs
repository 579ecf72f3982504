//! All processes that were started and not forgotten, and the children of init that belong to them.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use rustix::process::WaitStatus;
use session_link::{
    ErrorKind, ExitCause, LinkError, OnDisconnect, ProcessId, ProcessInfo, Result, SpawnSpec,
};
use tokio::task::JoinSet;

use super::{LinkId, Process, Stdin, pump::Pump, spawn, tree};
use crate::{
    cgroup::Cgroup,
    spool::{Spool, SpoolDirectory},
};

/// Processes that are remembered at once; the host forgets those it is done with.
const MAX_PROCESSES: usize = 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Registry {
    directory: SpoolDirectory,
    cgroup: Rc<Cgroup>,
    processes: RefCell<BTreeMap<ProcessId, Rc<Process>>>,
    supervisors: RefCell<HashMap<i32, Rc<Process>>>,
    tasks: RefCell<JoinSet<()>>,
    sweeping: Cell<bool>,
}

impl Registry {
    pub(crate) fn new(directory: SpoolDirectory, cgroup: Rc<Cgroup>) -> Self {
        Self {
            directory,
            cgroup,
            processes: RefCell::default(),
            supervisors: RefCell::default(),
            tasks: RefCell::default(),
            sweeping: Cell::new(false),
        }
    }

    /// Starts a process, unless its id exists; says whether it did.
    pub(crate) fn spawn(&self, spec: SpawnSpec, link: LinkId) -> Result<(Rc<Process>, bool)> {
        if let Some(process) = self.processes.borrow().get(&spec.id) {
            return Ok((process.clone(), true));
        }
        self.make_room()?;
        let mut handles = spawn::start(&spec)?;
        let supervisor = handles.supervisor;
        let (stdin, feed) = Stdin::new(handles.stdin.take());
        let spool = Spool::new(spec.spool.file, self.directory.clone());
        let process = Rc::new(Process::new(
            spec.id.clone(),
            link,
            spec.on_disconnect,
            spec.spool,
            spool,
            stdin,
        ));
        process.supervisor.set(Some(supervisor));
        self.supervisors.borrow_mut().insert(supervisor, process.clone());
        self.processes
            .borrow_mut()
            .insert(spec.id.clone(), process.clone());
        let mut tasks = self.tasks.borrow_mut();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_local(feed);
        tasks.spawn_local(Pump::run(process.clone(), self.cgroup.clone(), spec, handles));
        Ok((process, false))
    }

    /// # Errors
    /// `NoSuchProcess`.
    pub(crate) fn get(&self, id: &ProcessId) -> Result<Rc<Process>> {
        self.processes.borrow().get(id).cloned().ok_or_else(|| {
            LinkError::new(ErrorKind::NoSuchProcess, "find process", "no process has that id")
                .with_context("process", id.as_str())
        })
    }

    pub(crate) fn list(&self) -> Vec<ProcessInfo> {
        self.processes
            .borrow()
            .values()
            .map(|process| process.info())
            .collect()
    }

    pub(crate) fn running(&self) -> usize {
        self.processes
            .borrow()
            .values()
            .filter(|process| process.exit.borrow().is_none())
            .count()
    }

    /// Ends a process with all it left behind, and forgets it.
    pub(crate) async fn forget(&self, id: &ProcessId) {
        let Ok(process) = self.get(id) else { return };
        process.end(ExitCause::Cancelled).await;
        process.stdin().close();
        let mut processes = self.processes.borrow_mut();
        // Two may forget at once, and a third may have started the id again in between.
        if processes.get(id).is_some_and(|known| Rc::ptr_eq(known, &process)) {
            processes.remove(id);
        }
    }

    /// A link closed: what was to end with it ends.
    pub(crate) fn link_closed(&self, link: LinkId) {
        let ends =
            |process: &&Rc<Process>| process.link == link && process.on_disconnect == OnDisconnect::Kill;
        let ending: Vec<_> = self.processes.borrow().values().filter(ends).cloned().collect();
        for process in ending {
            self.tasks
                .borrow_mut()
                .spawn_local(async move { process.end(ExitCause::Cancelled).await });
        }
    }

    /// A child of init ended. A supervisor that did not end by itself leaves orphans behind: they are ended.
    pub(crate) fn reaped(self: &Rc<Self>, pid: i32, status: WaitStatus) {
        let Some(process) = self.supervisors.borrow_mut().remove(&pid) else {
            return;
        };
        process.supervisor.set(None);
        if status.exit_status() != Some(0) && !self.sweeping.replace(true) {
            let registry = self.clone();
            self.tasks
                .borrow_mut()
                .spawn_local(async move { registry.sweep().await });
        }
    }

    async fn sweep(&self) {
        // From here on another loss needs another sweep.
        self.sweeping.set(false);
        let init = std::process::id().cast_signed();
        tree::kill_orphans(init, |pid| self.supervisors.borrow().contains_key(&pid)).await;
    }

    /// Ends everything, supervisors included.
    pub(crate) async fn end_all(&self) {
        tree::kill_orphans(std::process::id().cast_signed(), |_| false).await;
    }

    /// Forgets those whose end was told, oldest first, when there are too many.
    fn make_room(&self) -> Result<()> {
        let mut processes = self.processes.borrow_mut();
        if processes.len() < MAX_PROCESSES {
            return Ok(());
        }
        let done = processes
            .values()
            .filter(|process| process.delivered.get() && process.supervisor.get().is_none());
        let oldest = done
            .min_by_key(|process| process.began)
            .map(|process| process.id.clone());
        match oldest.and_then(|id| processes.remove(&id)) {
            Some(_) => Ok(()),
            None => Err(LinkError::new(
                ErrorKind::LimitReached,
                "spawn",
                "too many processes are remembered",
            )
            .with_context("limit", MAX_PROCESSES.to_string())),
        }
    }
}
