//! The program itself: PID 1 of a session, or an ordinary process that behaves like one.
//!
//! Everything runs on one thread, in tasks that wait for events; nothing ticks, so an idle session costs nothing.

use std::{cell::Cell, io, path::PathBuf, rc::Rc, time::Instant};

use rustix::process::{DumpableBehavior, Resource, Rlimit};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::LocalSet,
};

use crate::{
    args::Settings,
    bridge,
    cgroup::Cgroup,
    diagnose,
    doors::Doors,
    links,
    process::{LinkId, Registry},
    reap,
    spool::SpoolDirectory,
};

/// What all parts share.
#[derive(Debug)]
pub(crate) struct Init {
    pub(crate) session: String,
    pub(crate) boot_id: String,
    pub(crate) started: Instant,
    pub(crate) cgroup: Rc<Cgroup>,
    pub(crate) registry: Rc<Registry>,
    pub(crate) doors: Doors,
    links: Cell<LinkId>,
}

impl Init {
    fn new(settings: &Settings) -> io::Result<Self> {
        let cgroup = Rc::new(Cgroup::find());
        let directory = SpoolDirectory(Rc::new(
            settings
                .spool_dir
                .clone()
                .unwrap_or_else(|| PathBuf::from("/tmp")),
        ));
        Ok(Self {
            session: settings.session.clone(),
            boot_id: std::fs::read_to_string("/proc/sys/kernel/random/uuid")?
                .trim()
                .to_owned(),
            started: Instant::now(),
            registry: Rc::new(Registry::new(directory, cgroup.clone())),
            cgroup,
            doors: Doors::default(),
            links: Cell::new(0),
        })
    }

    /// A number no link had before.
    pub(crate) fn next_link(&self) -> LinkId {
        self.links.set(self.links.get() + 1);
        self.links.get()
    }
}

/// Runs until it is told to end.
///
/// # Errors
/// What the system refused before anything could run.
pub(crate) fn run(settings: &Settings) -> io::Result<()> {
    protect()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, serve(settings))?;
    // What still runs is not waited for: with PID 1 goes everything.
    runtime.shutdown_background();
    Ok(())
}

/// Keeps the session's programs, which have the same user id, from reading or tracing this one.
fn protect() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    // PID 1 adopts orphans anyway; anywhere else it must ask to.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

async fn serve(settings: &Settings) -> io::Result<()> {
    let init = Rc::new(Init::new(settings)?);
    // Handlers come first: a child or a request to end that comes early is not missed.
    let children = signal(SignalKind::child())?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn_local(reap::run(init.clone(), children));
    match bridge::listen(&settings.session) {
        Ok(listener) => drop(tasks.spawn_local(bridge::accept(init.clone(), listener))),
        Err(error) => diagnose(&format!("the bridge is not available: {error}")),
    }
    if let Some(directory) = settings.link_dir.clone() {
        tasks.spawn_local(links::run(init.clone(), directory));
    }
    // Cancel-safe: a signal that came is still there.
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    if std::process::id() != 1 {
        init.registry.end_all().await;
    }
    Ok(())
}
