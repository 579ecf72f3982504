//! The thread that reads the store, with a connection of its own: however long somebody reads, nobody who writes waits.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::mpsc;

use super::error::Failure;
use super::listing::{Listing, Seen};
use super::schema;

/// How many queries may wait.
const QUEUE: usize = 256;

/// A query that somebody waits for, or the order to close.
pub(super) type Query = Box<dyn FnOnce(&mut Reader) -> ControlFlow<()> + Send>;

/// Where queries find the connection.
pub(super) struct Reader {
    path: PathBuf,
    connection: Option<Connection>,
    seen: Seen,
}

impl Reader {
    /// Starts the thread. It ends when it is told to, or when nobody can ask it any more.
    pub(super) fn start(path: PathBuf) -> std::io::Result<mpsc::Sender<Query>> {
        let (queries, mut inbox) = mpsc::channel::<Query>(QUEUE);
        let mut reader = Self {
            path,
            connection: None,
            seen: Seen::default(),
        };
        let serve = move || {
            while let Some(query) = inbox.blocking_recv() {
                if query(&mut reader).is_break() {
                    break;
                }
            }
            // Before the inbox: whoever waits for its end may rely on the file being closed.
            drop(reader);
            drop(inbox);
        };
        std::thread::Builder::new()
            .name("store-reader".to_owned())
            .spawn(serve)?;
        Ok(queries)
    }

    /// The connection, opened when it is first needed.
    pub(super) fn connection(&mut self) -> rusqlite::Result<&Connection> {
        fail::fail_point!("store.read.before", |_| crate::fault::sqlite());
        match &mut self.connection {
            Some(connection) => Ok(connection),
            empty => Ok(empty.insert(schema::open_reader(&self.path)?)),
        }
    }

    /// The sessions that live now.
    pub(super) fn listing(&mut self) -> Result<Arc<Listing>, Failure> {
        self.connection()?;
        match &self.connection {
            Some(connection) => self.seen.look(connection),
            None => Ok(Arc::default()),
        }
    }
}
