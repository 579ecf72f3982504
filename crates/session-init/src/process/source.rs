//! One of a process's two pipes or its terminal, and the supervisor's reports: read so that a read that is dropped loses nothing.

use std::io;

use bytes::{BufMut, BytesMut};
use session_link::wire::frame::HEADER;
use tokio::net::{UnixStream, unix::pipe};

use super::supervise::{REPORT, Report};
use crate::spool::framed_buffer;

/// What a quiet process costs.
const SMALLEST: usize = 4 << 10;

/// What a read of a loud process gives at most.
const LARGEST: usize = 128 << 10;

/// Less room than this is not worth a read.
const WORTH_READING: usize = 2 << 10;

/// A pipe, or an end of a terminal, that a process writes to.
#[derive(Debug)]
pub(super) struct Source {
    pipe: Option<pipe::Receiver>,
    buffer: BytesMut,
    size: usize,
    grown: bool,
}

impl Source {
    /// Without a pipe it is at its end.
    pub(super) fn new(pipe: Option<pipe::Receiver>) -> Self {
        Self {
            pipe,
            buffer: BytesMut::new(),
            size: SMALLEST,
            grown: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Waits for bytes and reads them into the buffer; false at the end. Cancel-safe.
    pub(super) async fn fill(&mut self) -> bool {
        loop {
            let Some(pipe) = &self.pipe else { return false };
            if pipe.readable().await.is_err() {
                self.pipe = None;
                return false;
            }
            self.make_room();
            let Some(pipe) = &self.pipe else { return false };
            match pipe.try_read_buf(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The end of a pipe, and how a terminal says that nobody has it open any more.
                Ok(0) | Err(_) => {
                    self.pipe = None;
                    return false;
                }
                Ok(_) => return true,
            }
        }
    }

    /// What was read, behind room for a header.
    pub(super) fn take(&mut self) -> BytesMut {
        if self.buffer.len() == self.buffer.capacity() {
            self.size = (self.size * 4).min(LARGEST);
            self.grow_pipe();
        }
        self.buffer.split()
    }

    fn make_room(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() >= HEADER + WORTH_READING {
            self.buffer.put_bytes(0, HEADER);
        } else if self.buffer.is_empty() {
            self.buffer = framed_buffer(self.size);
        }
    }

    /// A loud process gets a longer pipe, so that it and init need not take turns for every 64 KiB.
    fn grow_pipe(&mut self) {
        if self.size == LARGEST && !self.grown {
            self.grown = true;
            if let Some(pipe) = &self.pipe {
                // Refused when this user has too many long pipes, and by terminals: slower then, no more.
                let _ = rustix::pipe::fcntl_setpipe_size(pipe, 4 * LARGEST);
            }
        }
    }
}

/// A supervisor's reports.
#[derive(Debug)]
pub(super) struct Reports {
    control: Option<UnixStream>,
    bytes: [u8; REPORT],
    have: usize,
}

impl Reports {
    pub(super) fn new(control: UnixStream) -> Self {
        Self {
            control: Some(control),
            bytes: [0; REPORT],
            have: 0,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.control.is_some()
    }

    /// The next report; `None` when the supervisor is gone. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Report> {
        loop {
            let control = self.control.as_ref()?;
            let read = match control.readable().await {
                Ok(()) => control.try_read(&mut self.bytes[self.have..]),
                Err(error) => Err(error),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => self.control = None,
                Ok(read) => self.have += read,
            }
            if self.have == REPORT {
                self.have = 0;
                return Report::decode(self.bytes);
            }
        }
    }
}
