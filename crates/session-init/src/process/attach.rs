//! One reader of a process: what the process wrote goes out as frames, acknowledgements and input come back.

use std::{io, pin::pin, rc::Rc};

use bytes::{Bytes, BytesMut};
use session_link::{
    LinkError, Result, Spawned,
    mux::{MuxReader, MuxWriter},
    wire::frame::{self, Decoder, Kind},
};

use super::Process;
use crate::spool::Piece;

/// Frames up to this size travel together.
const SHORT: usize = 16 << 10;

/// As much is gathered before it is sent.
const GATHERED: usize = 64 << 10;

/// A place among a process's readers: while somebody has one, output waits for them rather than being lost.
pub(crate) struct Place {
    process: Rc<Process>,
    number: u64,
    from: u64,
}

impl Place {
    /// Takes a place from offset `from` on. Whoever starts a process to read it takes theirs before it can write.
    pub(crate) fn take(process: &Rc<Process>, from: u64) -> Self {
        let mut readers = process.readers.borrow_mut();
        let number = readers.last_key_value().map_or(0, |(number, _)| number + 1);
        readers.insert(number, from);
        Self {
            process: process.clone(),
            number,
            from,
        }
    }

    fn sent(&self, upto: u64) {
        self.process.readers.borrow_mut().insert(self.number, upto);
        self.process.release();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.process.readers.borrow_mut().remove(&self.number);
        if self.process.readers.borrow().is_empty() {
            self.process.spool.borrow_mut().spill(self.process.memory);
        }
        self.process.release();
    }
}

/// Serves the reader of a place, until it goes away or has been told the end.
///
/// # Errors
/// `InvalidArgument` if there is no such offset yet.
pub(crate) async fn serve(
    place: Place,
    spawned: Spawned,
    decoder: Decoder,
    reader: &mut MuxReader,
    writer: &mut MuxWriter,
) -> Result<()> {
    let process = place.process.clone();
    if place.from > process.spool.borrow().end() {
        return Err(LinkError::invalid(
            "attach",
            "the process has not written that much",
        ));
    }
    let mut gathered = BytesMut::new();
    let reply = serde_json::to_vec(&spawned).unwrap_or_default();
    frame::put(&mut gathered, Kind::Reply, 0, &reply);
    let mut received = pin!(receive(&process, decoder, reader));
    tokio::select! {
        // The reader went away: nobody wants the rest.
        () = &mut received => return Ok(()),
        // Cancel-safe enough: if the reader is gone, so is what was being written to it.
        sent = send(&place, gathered, writer) => if sent.is_err() { return Ok(()) },
    }
    drop(place);
    // All was said. Input that is still on its way is taken until the reader goes, so that it does not hang on it.
    let _ = writer.shutdown().await;
    received.await;
    Ok(())
}

async fn send(place: &Place, mut gathered: BytesMut, writer: &mut MuxWriter) -> io::Result<()> {
    let process = &place.process;
    let mut at = place.from;
    loop {
        // Made before looking, so that nothing that happens after the look is missed.
        let changed = process.changed.notified();
        let (end, long) = gather(process, &mut at, &mut gathered);
        if gathered.is_empty() && long.is_none() {
            changed.await;
            continue;
        }
        if !gathered.is_empty() {
            writer.write_all(&gathered).await?;
            gathered.clear();
        }
        if let Some(long) = long {
            writer.write_all(&long).await?;
        }
        place.sent(at);
        if end {
            process.delivered.set(true);
            return Ok(());
        }
    }
}

/// Gathers what is there to be sent from `at` on: short frames copied together, and a long one as it is behind them.
/// True when the end is among it.
fn gather(process: &Process, at: &mut u64, gathered: &mut BytesMut) -> (bool, Option<Bytes>) {
    let spool = process.spool.borrow();
    while gathered.len() < GATHERED {
        match spool.piece(*at) {
            Piece::Frame { frame, length } => {
                *at += length;
                if frame.len() > SHORT {
                    return (false, Some(frame));
                }
                gathered.extend_from_slice(&frame);
            }
            Piece::Gap { to } => {
                frame::put(gathered, Kind::Gap, *at, &to.to_be_bytes());
                *at = to;
            }
            Piece::End => {
                let exit = process.exit.borrow();
                let Some(report) = exit.as_ref() else { break };
                let json = serde_json::to_vec(report).unwrap_or_default();
                frame::put(gathered, Kind::Exit, *at, &json);
                return (true, None);
            }
        }
    }
    (false, None)
}

async fn receive(process: &Process, mut decoder: Decoder, reader: &mut MuxReader) {
    loop {
        match decoder.take() {
            Ok(Some(frame)) => match frame.kind {
                Kind::Acknowledge => process.acknowledge(frame.offset),
                Kind::Stdin => process.stdin().write(frame.payload).await,
                Kind::StdinEnd => process.stdin().close(),
                _ => return,
            },
            Ok(None) => match reader.chunk().await {
                Ok(Some(chunk)) => decoder.push(chunk),
                // The reader went away.
                Ok(None) | Err(_) => return,
            },
            Err(_) => return,
        }
    }
}
