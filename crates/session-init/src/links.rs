//! The socket carrier: dials every socket that a host puts into the link directory.
//!
//! The directory is watched, not polled, where the kernel gives us a watch. A socket is dialled when it appears or is touched, and again when that happens
//! while its link is up or after it ended; one that refuses belongs to a host that died.

mod changes;

use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use inotify::Inotify;
use session_link::listener::SUFFIX;
use tokio::{net::UnixStream, task::JoinSet};

use self::changes::{Change, Changes};
use crate::{diagnose, init::Init, session};

/// Links at once; a container has one host, two while one takes over from another.
const MAX_LINKS: usize = 16;

/// Watches `directory` and keeps a link to every host in it.
pub(crate) async fn run(init: Rc<Init>, directory: PathBuf) {
    if let Err(error) = watch(init, &directory).await {
        diagnose(&format!(
            "the link directory {} is not watched: {error}",
            directory.display()
        ));
    }
}

async fn watch(init: Rc<Init>, directory: &Path) -> io::Result<()> {
    let mut changes = Changes::of(directory, Inotify::init)?;
    let mut dialer = Dialer {
        init,
        directory: directory.to_owned(),
        links: JoinSet::new(),
        active: HashMap::new(),
        again: HashSet::new(),
    };
    dialer.scan()?;
    loop {
        tokio::select! {
            // Cancel-safe: see there.
            change = changes.next() => match change? {
                Some(Change::Names(names)) => names.iter().for_each(|name| dialer.seen(name)),
                Some(Change::Anything) => dialer.scan()?,
                None => return Ok(()),
            },
            // Cancel-safe: a link that ended is still there at the next call.
            Some(ended) = dialer.links.join_next_with_id() => {
                let id = match &ended {
                    Ok((id, ())) => *id,
                    Err(error) => error.id(),
                };
                dialer.ended(id);
            }
        }
    }
}

struct Dialer {
    init: Rc<Init>,
    directory: PathBuf,
    links: JoinSet<()>,
    active: HashMap<OsString, tokio::task::Id>,
    /// Seen again while their link was up.
    again: HashSet<OsString>,
}

impl Dialer {
    fn scan(&mut self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.directory)? {
            self.seen(&entry?.file_name());
        }
        Ok(())
    }

    fn seen(&mut self, name: &OsStr) {
        if !name.as_encoded_bytes().ends_with(SUFFIX.as_bytes()) {
            return;
        }
        if self.active.contains_key(name) {
            self.again.insert(name.to_owned());
        } else if self.active.len() < MAX_LINKS {
            let link = self
                .links
                .spawn_local(dial(self.init.clone(), self.directory.join(name)));
            self.active.insert(name.to_owned(), link.id());
        }
    }

    fn ended(&mut self, id: tokio::task::Id) {
        let name = self
            .active
            .iter()
            .find(|(_, link)| **link == id)
            .map(|(name, _)| name.clone());
        if let Some(name) = name {
            self.active.remove(&name);
            if self.again.remove(&name) {
                self.seen(&name);
            }
        }
    }
}

async fn dial(init: Rc<Init>, path: PathBuf) {
    // Refused: its host is gone. Not allowed: it is not ready, and will be touched when it is.
    let Ok(io) = UnixStream::connect(&path).await else {
        return;
    };
    if let Err(error) = session::run(init, io).await {
        diagnose(&format!("a link was not established: {error}"));
    }
}
