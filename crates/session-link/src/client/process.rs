//! A process that somebody reads.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Link,
    call::{Call, Replies},
};
use crate::{
    error::{LinkError, Result},
    mux::MuxWriter,
    process::{MAX_NOTE, OutputStream, ProcessEvent, ProcessId, Signal, SpawnSpec, Spawned},
    wire::frame::{Frame, Kind},
};

/// The longest single argument or environment entry Linux takes, with its NUL.
const MAX_STRING: usize = 128 << 10;

/// Handled output is acknowledged in steps of this size: one short frame per step, and less than this kept for nothing.
const ACKNOWLEDGE_STEP: u64 = 128 << 10;

/// Less than this is not worth a frame of its own at the end: it goes when the process is forgotten.
const WORTH_FREEING: u64 = 16 << 10;

/// Frames that wait to be sent.
const OUTBOX: usize = 16;

/// How long what was written is still sent when nobody holds the process any more.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// Bytes of input per frame.
const INPUT_PIECE: usize = 64 << 10;

/// A process that is read from, and may be written to. Dropping it detaches; the process runs on.
#[derive(Debug)]
pub struct Process {
    reader: ProcessReader,
    writer: ProcessWriter,
}

/// The half of a [`Process`] that reads.
#[derive(Debug)]
pub struct ProcessReader {
    id: ProcessId,
    spawned: Spawned,
    replies: Replies,
    next_offset: u64,
    acknowledged: u64,
    manual: bool,
    ended: bool,
    outbox: Outbox,
    _link: Link,
}

/// The half of a [`Process`] that writes.
#[derive(Clone, Debug)]
pub struct ProcessWriter {
    id: ProcessId,
    outbox: Outbox,
    link: Link,
}

impl Process {
    pub(super) async fn started(link: Link, id: ProcessId, from: u64, mut call: Call) -> Result<Self> {
        let spawned = call
            .first_reply()
            .await
            .map_err(|error| error.with_context("process", id.as_str()))?;
        let outbox = Outbox::new(call.writer);
        let reader = ProcessReader {
            id: id.clone(),
            spawned,
            replies: call.replies,
            next_offset: from,
            acknowledged: from,
            manual: false,
            ended: false,
            outbox: outbox.clone(),
            _link: link.clone(),
        };
        Ok(Self {
            reader,
            writer: ProcessWriter { id, outbox, link },
        })
    }

    /// Its id.
    pub fn id(&self) -> &ProcessId {
        &self.reader.id
    }

    /// Its process id inside the container, if it could be started at all.
    pub fn pid(&self) -> Option<u32> {
        self.reader.spawned.pid
    }

    /// Whether its id existed before, so that nothing was started now.
    pub fn existed(&self) -> bool {
        self.reader.spawned.existed
    }

    /// What comes next; `None` after its end. See [`ProcessReader::next`].
    ///
    /// # Errors
    /// See [`ProcessReader::next`].
    pub async fn next(&mut self) -> Result<Option<ProcessEvent>> {
        self.reader.next().await
    }

    /// From now on nothing is acknowledged but by [`Process::acknowledge`].
    pub fn acknowledge_manually(&mut self) {
        self.reader.acknowledge_manually();
    }

    /// Says that output before `upto` was handled. See [`ProcessReader::acknowledge`].
    ///
    /// # Errors
    /// `Closed`.
    pub async fn acknowledge(&mut self, upto: u64) -> Result<()> {
        self.reader.acknowledge(upto).await
    }

    /// Writes to its input. See [`ProcessWriter::write`].
    ///
    /// # Errors
    /// `Closed`.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.writer.write(bytes).await
    }

    /// Ends its input, after all that was written before.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn close_stdin(&mut self) -> Result<()> {
        self.writer.close_stdin().await
    }

    /// Sends a signal to it and all it started. See [`ProcessWriter::signal`].
    ///
    /// # Errors
    /// See [`Link::signal`].
    pub async fn signal(&mut self, signal: Signal) -> Result<()> {
        self.writer.signal(signal).await
    }

    /// Two halves for two owners.
    pub fn into_split(self) -> (ProcessReader, ProcessWriter) {
        (self.reader, self.writer)
    }
}

impl ProcessReader {
    /// Its id.
    pub fn id(&self) -> &ProcessId {
        &self.id
    }

    /// What comes next; `None` after its end. Asking for more says that what was handed out before was handled, and the
    /// container need not keep it. Cancel-safe.
    ///
    /// # Errors
    /// `Closed` if the link is lost and `Truncated` if init gave up: attach again from the offset reached. `Protocol` if
    /// what came makes no sense.
    pub async fn next(&mut self) -> Result<Option<ProcessEvent>> {
        if self.ended {
            return Ok(None);
        }
        if !self.manual {
            self.acknowledge_handled(ACKNOWLEDGE_STEP);
        }
        let Some(frame) = self.replies.frame().await? else {
            return Err(self.replies.cut());
        };
        self.event(frame).map(Some)
    }

    /// From now on nothing is acknowledged but by [`ProcessReader::acknowledge`].
    pub fn acknowledge_manually(&mut self) {
        self.manual = true;
    }

    /// Says that output before `upto` was handled. A process whose output is not acknowledged is made to wait.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn acknowledge(&mut self, upto: u64) -> Result<()> {
        if upto > self.acknowledged {
            self.outbox
                .send(Frame::new(Kind::Acknowledge, upto, Bytes::new()))
                .await?;
            self.acknowledged = upto;
        }
        Ok(())
    }

    fn acknowledge_handled(&mut self, step: u64) {
        if self.next_offset - self.acknowledged < step {
            return;
        }
        // A full outbox is no reason to wait: the next call says the same.
        if self
            .outbox
            .try_send(Frame::new(Kind::Acknowledge, self.next_offset, Bytes::new()))
        {
            self.acknowledged = self.next_offset;
        }
    }

    fn event(&mut self, frame: Frame) -> Result<ProcessEvent> {
        match frame.kind {
            Kind::Stdout => self.output(OutputStream::Stdout, frame),
            Kind::Stderr => self.output(OutputStream::Stderr, frame),
            Kind::Gap => self.gap(&frame),
            Kind::Exit => {
                self.ended = true;
                if !self.manual && self.next_offset - self.acknowledged >= WORTH_FREEING {
                    self.acknowledge_handled(0);
                }
                Ok(ProcessEvent::Exited(self.replies.parse(&frame.payload)?))
            }
            _ => Err(self.replies.broken("a frame that has no place in output")),
        }
    }

    fn output(&mut self, stream: OutputStream, frame: Frame) -> Result<ProcessEvent> {
        let end = frame.offset.checked_add(frame.payload.len() as u64);
        match end {
            Some(end) if frame.offset == self.next_offset => {
                self.next_offset = end;
                Ok(ProcessEvent::Output {
                    stream,
                    offset: frame.offset,
                    bytes: frame.payload,
                })
            }
            _ => Err(self.replies.broken("output is out of order")),
        }
    }

    fn gap(&mut self, frame: &Frame) -> Result<ProcessEvent> {
        let to = <[u8; 8]>::try_from(&frame.payload[..]).map(u64::from_be_bytes);
        match to {
            Ok(to) if frame.offset == self.next_offset && to > frame.offset => {
                self.next_offset = to;
                self.acknowledged = self.acknowledged.max(to);
                Ok(ProcessEvent::Gap {
                    from: frame.offset,
                    to,
                })
            }
            _ => Err(self.replies.broken("a gap makes no sense")),
        }
    }
}

impl ProcessWriter {
    /// Writes to the process's input, in order. Returns when the bytes are on their way; what is on its way when the link
    /// is lost may or may not arrive: use [`Link::write_stdin`] where that matters. Bytes for a process that takes none
    /// (any more) are dropped, as by a pipe whose reader is gone.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn write(&self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(INPUT_PIECE));
            self.outbox.send(Frame::new(Kind::Stdin, 0, piece)).await?;
        }
        Ok(())
    }

    /// Ends the process's input, after all that was written before.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn close_stdin(&self) -> Result<()> {
        self.outbox
            .send(Frame::new(Kind::StdinEnd, 0, Bytes::new()))
            .await
    }

    /// Sends a signal to the process and all it started. It does not wait for input that the process has not read.
    ///
    /// # Errors
    /// See [`Link::signal`].
    pub async fn signal(&self, signal: Signal) -> Result<()> {
        self.link.signal(&self.id, signal).await
    }
}

/// What goes to the process, in order, sent by a task of its own so that no caller's cancellation cuts a frame. The task
/// starts with the first frame, because most processes never get one, and ends with the last handle.
#[derive(Clone, Debug)]
struct Outbox {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<OutboxState>,
    gone: CancellationToken,
}

#[derive(Debug)]
enum OutboxState {
    Idle(Option<MuxWriter>),
    Running(mpsc::Sender<Frame>),
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

impl Outbox {
    fn new(writer: MuxWriter) -> Self {
        let state = Mutex::new(OutboxState::Idle(Some(writer)));
        Self {
            shared: Arc::new(Shared {
                state,
                gone: CancellationToken::new(),
            }),
        }
    }

    async fn send(&self, frame: Frame) -> Result<()> {
        self.sender()
            .send(frame)
            .await
            .map_err(|_gone| LinkError::closed("write to process"))
    }

    fn try_send(&self, frame: Frame) -> bool {
        self.sender().try_send(frame).is_ok()
    }

    fn sender(&self) -> mpsc::Sender<Frame> {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            OutboxState::Running(sender) => sender.clone(),
            OutboxState::Idle(writer) => {
                let (sender, frames) = mpsc::channel(OUTBOX);
                if let Some(writer) = writer.take() {
                    drop(tokio::spawn(pump(writer, frames, self.shared.gone.clone())));
                }
                *state = OutboxState::Running(sender.clone());
                sender
            }
        }
    }
}

async fn pump(mut writer: MuxWriter, mut frames: mpsc::Receiver<Frame>, gone: CancellationToken) {
    let mut buffer = BytesMut::new();
    while let Some(frame) = frames.recv().await {
        frame.put(&mut buffer);
        while buffer.len() < INPUT_PIECE
            && let Ok(frame) = frames.try_recv()
        {
            frame.put(&mut buffer);
        }
        tokio::select! {
            // Losing cuts a frame, but then nothing follows it.
            written = writer.write_all(&buffer) => if written.is_err() {
                return; // The reader learns why; writers find the channel closed.
            },
            () = abandoned(&gone) => return,
        }
        buffer.clear();
    }
}

/// A process that does not read its input must not keep a stream that nobody holds.
async fn abandoned(gone: &CancellationToken) {
    gone.cancelled().await;
    tokio::time::sleep(LAST_WRITE).await;
}

/// Refuses what no system would take, before anything is sent.
pub(super) fn check(spec: &SpawnSpec) -> Result<()> {
    let refuse = |message: &'static str| {
        Err(LinkError::invalid("spawn", message).with_context("process", spec.id.as_str()))
    };
    let nul = |bytes: &[u8]| bytes.contains(&0);
    let long = |bytes: &[u8]| bytes.len() >= MAX_STRING;
    let arguments = || spec.argv.iter().map(|argument| OsStr::as_bytes(argument));
    if spec.argv.first().is_none_or(|program| program.is_empty()) {
        return refuse("an argument vector starts with the name of a program");
    }
    if arguments().any(nul)
        || spec
            .env
            .iter()
            .any(|(name, value)| nul(name.as_bytes()) || nul(value.as_bytes()))
    {
        return refuse("arguments and environment have no NUL");
    }
    if arguments().any(long)
        || spec
            .env
            .iter()
            .any(|(name, value)| name.len() + value.len() + 2 > MAX_STRING)
    {
        return refuse("one argument or variable is at most 128 KiB");
    }
    if spec
        .env
        .iter()
        .any(|(name, _)| name.is_empty() || name.contains('='))
    {
        return refuse("the name of a variable is not empty and has no `=`");
    }
    if spec
        .cwd
        .as_deref()
        .is_some_and(|cwd| cwd.is_empty() || cwd.contains('\0'))
    {
        return refuse("a working directory is not empty and has no NUL");
    }
    if spec
        .terminal
        .as_ref()
        .is_some_and(|terminal| terminal.note.len() > MAX_NOTE)
    {
        return refuse("a note about a terminal is at most 1024 bytes");
    }
    Ok(())
}
