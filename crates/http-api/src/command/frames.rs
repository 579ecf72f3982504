//! Frames between a command and its reader.
//!
//! Text frames are JSON. A binary frame from the client is standard input; one from the server is output: one byte that
//! tells the stream, eight that tell the position (big-endian), and the bytes.
//!
//! A detached command is acknowledged by its reader: the server sends one piece of output and asks the core for the next
//! only after [`CommandClientFrame::Ack`] named a position at or behind its end. So a connection that breaks loses
//! nothing: whoever comes back from the last position that it acknowledged gets every byte once.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use session_core::command::{CommandEvent, CommandExit, OutputStream};
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::CommandId;
use utoipa::ToSchema;

use super::CommandBody;
use crate::octets::Octets;
use crate::problem::Problem;

/// What a reader says in text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum CommandClientFrame {
    /// Run this. The first frame of a new command, and of no other connection.
    Start(CommandBody),
    /// Standard input ends here.
    Eof {},
    /// Send a signal to the whole process tree.
    Signal {
        /// Its number.
        #[schema(value_type = super::SignalNumber)]
        signal: i32,
    },
    /// Everything before this position has arrived and need not be kept.
    Ack {
        /// The position.
        offset: u64,
    },
}

/// What a reader is told in text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CommandServerFrame {
    /// It runs. The first frame.
    Started {
        /// The command.
        #[schema(value_type = String, format = Uuid)]
        command: CommandId,
    },
    /// Output is gone: it was past the bound of what is kept, and nobody read it.
    Gap {
        /// The first lost position.
        from: u64,
        /// The first position that is there again.
        to: u64,
    },
    /// It ended. Nothing follows.
    Exited {
        /// How.
        exit: CommandExit,
    },
    /// It failed. Nothing follows.
    Error {
        /// How.
        problem: Problem,
    },
}

/// What a subscriber of a command's events is told: the data of one server-sent event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CommandNotice {
    /// It wrote.
    Output {
        /// Where to.
        stream: OutputStream,
        /// The position of the first byte.
        offset: u64,
        /// What.
        data: Octets,
    },
    /// Output is gone.
    Gap {
        /// The first lost position.
        from: u64,
        /// The first position that is there again.
        to: u64,
    },
    /// It ended. Nothing follows.
    Exited {
        /// How.
        exit: CommandExit,
    },
}

impl CommandNotice {
    /// The name of the server-sent event.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Output { .. } => "output",
            Self::Gap { .. } => "gap",
            Self::Exited { .. } => "exited",
        }
    }

    /// From where to read on after it: the id of the server-sent event.
    pub fn next_offset(&self) -> u64 {
        match self {
            Self::Output { offset, data, .. } => offset.saturating_add(data.0.len() as u64),
            Self::Gap { to, .. } => *to,
            Self::Exited { exit } => exit.output_bytes,
        }
    }
}

impl From<CommandEvent> for CommandNotice {
    fn from(event: CommandEvent) -> Self {
        match event {
            CommandEvent::Output {
                stream,
                offset,
                bytes,
            } => Self::Output {
                stream,
                offset,
                data: Octets(bytes.into()),
            },
            CommandEvent::Gap { from, to } => Self::Gap { from, to },
            CommandEvent::Exited(exit) => Self::Exited { exit },
        }
    }
}

/// A binary frame from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputFrame {
    /// Where the command wrote to.
    pub stream: OutputStream,
    /// The position of the first byte.
    pub offset: u64,
    /// What it wrote.
    pub bytes: Bytes,
}

impl OutputFrame {
    /// How long the header is.
    pub const HEADER: usize = 9;

    /// The message.
    pub fn encode(&self) -> Bytes {
        let mut message = BytesMut::with_capacity(Self::HEADER + self.bytes.len());
        message.put_u8(match self.stream {
            OutputStream::Stdout => 1,
            OutputStream::Stderr => 2,
        });
        message.put_u64(self.offset);
        message.put_slice(&self.bytes);
        message.freeze()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// `LinkLost` when it is too short or names no stream: the server speaks something else.
    pub fn decode(mut message: Bytes) -> Result<Self> {
        if message.len() < Self::HEADER {
            return Err(garbled("a frame of output is too short"));
        }
        let stream = match message.get_u8() {
            1 => OutputStream::Stdout,
            2 => OutputStream::Stderr,
            _ => return Err(garbled("a frame of output names no stream")),
        };
        let offset = message.get_u64();
        Ok(Self {
            stream,
            offset,
            bytes: message,
        })
    }
}

fn garbled(message: &'static str) -> Error {
    Error::new(ErrorKind::LinkLost, "read what the server sent", message)
}
