//! All processes that were started and not forgotten, and the children of init that belong to them.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use rustix::process::WaitStatus;
use session_link::{
    ErrorKind, ExitCause, LinkError, OnDisconnect, ProcessId, ProcessInfo, Result, SpawnSpec, Spawned,
};
use tokio::task::JoinSet;

use super::{
    LinkId, Process, Stdin,
    pump::Pump,
    spawn::{self, Handles, Supervisor},
    supervise::Refusal,
    tree,
};
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
    /// Children of init, each with its process unless it waits for one.
    supervisors: RefCell<HashMap<i32, Option<Rc<Process>>>>,
    /// Started ahead, so that the next command need not wait for it.
    spare: RefCell<Option<Supervisor>>,
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
            spare: RefCell::default(),
            tasks: RefCell::default(),
            sweeping: Cell::new(false),
        }
    }

    /// Starts a process, unless its id exists; says whether it did.
    ///
    /// # Errors
    /// `LimitReached`, `Io`.
    pub(crate) fn spawn(self: &Rc<Self>, spec: SpawnSpec, link: LinkId) -> Result<(Rc<Process>, bool)> {
        if let Some(process) = self.processes.borrow().get(&spec.id) {
            return Ok((process.clone(), true));
        }
        self.make_room()?;
        let (supervisor, mut handles) = self.equip(&spec)?;
        let (stdin, feed) = Stdin::new(handles.stdin.take());
        let terminal = handles.terminal.take();
        let spool = Spool::new(spec.spool.file, self.directory.clone());
        let process = Rc::new(Process::new(
            spec.id.clone(),
            link,
            spec.on_disconnect,
            spec.spool,
            spool,
            stdin,
            terminal,
        ));
        process.supervisor.set(Some(supervisor));
        self.supervisors
            .borrow_mut()
            .insert(supervisor, Some(process.clone()));
        self.processes
            .borrow_mut()
            .insert(spec.id.clone(), process.clone());
        let registry = self.clone();
        let pump = Pump::run(process.clone(), self.cgroup.clone(), spec, handles);
        let mut tasks = self.tasks.borrow_mut();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_local(feed);
        tasks.spawn_local(async move {
            pump.await;
            registry.prepare();
        });
        Ok((process, false))
    }

    /// Gives a command's pipes to the spare supervisor, or to a new one if there is none or something killed it.
    fn equip(&self, spec: &SpawnSpec) -> Result<(i32, Handles)> {
        if let Some(spare) = self.spare.take() {
            let pid = spare.pid;
            if let Ok(handles) = spawn::equip(spare, spec) {
                return Ok((pid, handles));
            }
        }
        let supervisor = self.launch()?;
        let pid = supervisor.pid;
        Ok((pid, spawn::equip(supervisor, spec)?))
    }

    fn launch(&self) -> Result<Supervisor> {
        let supervisor = spawn::launch()?;
        self.supervisors.borrow_mut().insert(supervisor.pid, None);
        Ok(supervisor)
    }

    /// Starts a supervisor ahead, when nothing else is to be done.
    pub(crate) fn prepare(&self) {
        if self.spare.borrow().is_none() {
            // Without room for it the next command says so.
            self.spare.replace(self.launch().ok());
        }
    }

    /// Waits until a process runs or it is known why not. One that could not be started for want of room is as if it had
    /// never been asked for.
    ///
    /// # Errors
    /// `LimitReached`, `InvalidArgument`.
    pub(crate) async fn started(&self, process: &Rc<Process>, existed: bool) -> Result<Spawned> {
        process.started().await;
        let Some(refused) = process.refused.get() else {
            return Ok(process.spawned(existed));
        };
        self.remove(process);
        Err(match refused {
            Refusal::TooLong => LinkError::invalid(
                "spawn",
                "arguments and environment are longer than the system takes",
            ),
            _ => LinkError::new(
                ErrorKind::LimitReached,
                "spawn",
                "the container has no room for another process",
            ),
        })
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
        self.remove(&process);
    }

    /// Two may forget at once, and a third may have started the id again in between: only this one is removed.
    fn remove(&self, process: &Rc<Process>) {
        let mut processes = self.processes.borrow_mut();
        if processes
            .get(&process.id)
            .is_some_and(|known| Rc::ptr_eq(known, process))
        {
            processes.remove(&process.id);
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
        match process {
            Some(process) => process.supervisor.set(None),
            None => drop(self.spare.borrow_mut().take_if(|spare| spare.pid == pid)),
        }
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
