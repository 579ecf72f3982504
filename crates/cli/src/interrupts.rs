//! Signals of the user to this process, as a stream that commands listen to.
//!
//! They are caught only by commands that have something to put in order; everywhere else the system's default applies.

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use session_core::error::{Error, ErrorKind, Result};
use tokio::signal::unix::{SignalKind, signal};

/// A wish of the user that this process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-\.
    Quit,
    /// From a service manager or `kill`.
    Terminate,
    /// The terminal went away.
    Hangup,
}

/// The interrupts as they come. Never ends by itself.
pub type Interrupts = BoxStream<'static, Interrupt>;

impl Interrupt {
    /// All of them.
    const ALL: [Self; 4] = [Self::Interrupt, Self::Quit, Self::Terminate, Self::Hangup];

    /// The signal's number.
    pub fn number(self) -> i32 {
        self.kind().as_raw_value()
    }

    fn kind(self) -> SignalKind {
        match self {
            Self::Interrupt => SignalKind::interrupt(),
            Self::Quit => SignalKind::quit(),
            Self::Terminate => SignalKind::terminate(),
            Self::Hangup => SignalKind::hangup(),
        }
    }
}

/// Catches the signals of this process from now on.
///
/// # Errors
/// `HostIo` when the system refuses.
pub fn catch_signals() -> Result<Interrupts> {
    let mut streams = Vec::with_capacity(Interrupt::ALL.len());
    for which in Interrupt::ALL {
        let caught = signal(which.kind()).map_err(|source| {
            Error::new(ErrorKind::HostIo, "catch signals", "the system refused").with_source(source)
        })?;
        streams.push(
            stream::unfold(caught, move |mut caught| async move {
                caught.recv().await.map(|()| (which, caught))
            })
            .boxed(),
        );
    }
    Ok(stream::select_all(streams).boxed())
}
