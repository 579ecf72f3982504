//! One reader of a process: what it wrote goes out as frames, acknowledgements and input come back.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use session_link::mux::{MuxReader, MuxWriter};
use session_link::wire::frame::{self, Decoder, Kind};
use session_link::{LinkError, OutputStream, Result, Spawned};

use super::Process;
use super::spool::Piece;

/// As much is gathered before it is sent.
const GATHERED: usize = 64 << 10;

/// A place among a process's readers.
struct Place {
    process: Arc<Process>,
    number: u64,
}

impl Place {
    fn take(process: &Arc<Process>, from: u64) -> Self {
        let mut ledger = process.lock();
        let number = ledger
            .readers
            .last_key_value()
            .map_or(0, |(number, _)| number + 1);
        ledger.readers.insert(number, from);
        Self {
            process: process.clone(),
            number,
        }
    }

    fn sent(&self, upto: u64) {
        let mut ledger = self.process.lock();
        ledger.readers.insert(self.number, upto);
        ledger.release();
        self.process.room.notify_waiters();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut ledger = self.process.lock();
        ledger.readers.remove(&self.number);
        ledger.release();
        self.process.room.notify_waiters();
    }
}

/// Serves one reader from offset `from` on, until it goes away or has been told the end.
///
/// # Errors
/// `InvalidArgument` if there is no such offset yet.
pub(in crate::memory) async fn serve(
    process: Arc<Process>,
    spawned: Spawned,
    from: u64,
    decoder: Decoder,
    reader: &mut MuxReader,
    writer: &mut MuxWriter,
) -> Result<()> {
    if from > process.lock().spool.end() {
        return Err(LinkError::invalid(
            "attach",
            "the process has not written that much",
        ));
    }
    let place = Place::take(&process, from);
    let mut gathered = BytesMut::new();
    frame::put(
        &mut gathered,
        Kind::Reply,
        0,
        &serde_json::to_vec(&spawned).unwrap_or_default(),
    );
    tokio::select! {
        // Whichever ends first ends the stream with it, so what the other was about to do does not matter.
        sent = send(&place, from, gathered, writer) => drop(sent),
        () = receive(&process, decoder, reader) => {}
    }
    Ok(())
}

async fn send(place: &Place, from: u64, mut gathered: BytesMut, writer: &mut MuxWriter) -> io::Result<()> {
    let mut at = from;
    loop {
        // Made before looking, so that nothing that happens after the look is missed.
        let changed = place.process.changed.notified();
        let end = gather(&place.process, &mut at, &mut gathered);
        if gathered.is_empty() {
            changed.await;
            continue;
        }
        writer.write_all(&gathered).await?;
        gathered.clear();
        place.sent(at);
        if end {
            return Ok(());
        }
    }
}

/// Gathers what is there to be sent from `at` on; true when the end is among it.
fn gather(process: &Process, at: &mut u64, gathered: &mut BytesMut) -> bool {
    let ledger = process.lock();
    while gathered.len() < GATHERED {
        match ledger.spool.piece(*at) {
            Piece::Bytes { stream, bytes } => {
                let kind = match stream {
                    OutputStream::Stdout => Kind::Stdout,
                    OutputStream::Stderr => Kind::Stderr,
                };
                frame::put(gathered, kind, *at, &bytes);
                *at += bytes.len() as u64;
            }
            Piece::Gap { to } => {
                frame::put(gathered, Kind::Gap, *at, &to.to_be_bytes());
                *at = to;
            }
            Piece::End => {
                let Some(report) = &ledger.exit else { return false };
                frame::put(
                    gathered,
                    Kind::Exit,
                    *at,
                    &serde_json::to_vec(report).unwrap_or_default(),
                );
                return true;
            }
        }
    }
    false
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
