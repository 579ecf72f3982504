//! The spool against a model that keeps everything.

use std::{path::PathBuf, rc::Rc};

use proptest::prelude::*;
use session_link::{OutputStream, wire::frame::Decoder};

use super::{Chunk, Piece, Spool, SpoolDirectory, framed_buffer, kind_of};

fn directory(path: impl Into<PathBuf>) -> SpoolDirectory {
    SpoolDirectory(Rc::new(path.into()))
}

#[derive(Clone, Debug)]
enum Step {
    Append {
        stderr: bool,
        length: usize,
        memory: usize,
    },
    Release(f64),
    Read(f64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), 1..700_usize, 0..6000_usize)
            .prop_map(|(stderr, length, memory)| Step::Append { stderr, length, memory }),
        1 => (0.0..1.0).prop_map(Step::Release),
        2 => (0.0..1.0).prop_map(Step::Read),
    ]
}

/// The stream and value that the model says lie at an offset.
type Model = Vec<(OutputStream, u8)>;

fn append(spool: &mut Spool, model: &mut Model, stderr: bool, length: usize, memory: usize) {
    let stream = if stderr {
        OutputStream::Stderr
    } else {
        OutputStream::Stdout
    };
    let offset = spool.end();
    let mut buffer = framed_buffer(length);
    for index in 0..length {
        let byte = u8::try_from((offset + index as u64) % 251).expect("below 251");
        buffer.extend_from_slice(&[byte]);
        model.push((stream, byte));
    }
    spool.append(Chunk::new(buffer, stream, offset), memory);
}

/// Reads from `from` to the end; checks every byte; says how many were lost.
fn read_all(spool: &Spool, model: &Model, from: u64) -> u64 {
    let (mut at, mut lost) = (from, 0);
    loop {
        match spool.piece(at) {
            Piece::End => break,
            Piece::Gap { to } => {
                assert!(to > at && to <= spool.end(), "a gap moves forward");
                lost += to - at;
                at = to;
            }
            Piece::Frame { frame, length } => {
                let mut decoder = Decoder::default();
                decoder.push(frame);
                let frame = decoder.take().expect("a frame").expect("whole");
                assert_eq!((frame.offset, frame.payload.len() as u64), (at, length));
                for byte in frame.payload {
                    let (stream, value) = model[usize::try_from(at).expect("small")];
                    assert_eq!((kind_of(stream), value), (frame.kind, byte), "at {at}");
                    at += 1;
                }
            }
        }
    }
    assert_eq!(at, spool.end());
    lost
}

fn scaled(fraction: f64, end: u64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "small"
    )]
    let offset = (fraction * end as f64) as u64;
    offset
}

proptest! {
    #[test]
    fn reads_what_was_written(
        steps in prop::collection::vec(step(), 1..80),
        file in prop_oneof![Just(0), 1..8000_u64],
        broken in prop::bool::weighted(0.1),
    ) {
        let temporary = tempfile::tempdir().expect("a directory");
        let place = if broken { PathBuf::from("/nonexistent") } else { temporary.path().into() };
        let mut spool = Spool::new(file, directory(place));
        let mut model = Model::new();
        let mut released = 0;
        for step in steps {
            match step {
                Step::Append { stderr, length, memory } => append(&mut spool, &mut model, stderr, length, memory),
                Step::Release(fraction) => {
                    released = scaled(fraction, spool.end()).max(released);
                    spool.release(released);
                }
                Step::Read(fraction) => {
                    let from = scaled(fraction, spool.end());
                    let lost = read_all(&spool, &model, from);
                    // Nothing is lost that fits: what was not released is within the file's bound.
                    if !broken && from >= released && spool.end() - from <= file {
                        prop_assert_eq!(lost, 0);
                    }
                }
            }
        }
        read_all(&spool, &model, 0);
    }
}

#[test]
fn single_bytes_do_not_outgrow_the_bound() {
    let temporary = tempfile::tempdir().expect("a directory");
    let mut spool = Spool::new(1 << 20, directory(temporary.path()));
    let mut model = Model::new();
    for index in 0..200_000 {
        append(&mut spool, &mut model, index % 2 == 0, 1, 64 << 10);
    }
    assert!(spool.hot.cost() <= 64 << 10);
    assert!(read_all(&spool, &model, 0) >= 200_000 - (64 << 10) - 1000);
}

#[test]
fn an_emptied_file_gives_its_space_back() {
    let temporary = tempfile::tempdir().expect("a directory");
    let mut spool = Spool::new(1 << 20, directory(temporary.path()));
    let mut model = Model::new();
    append(&mut spool, &mut model, false, 5000, 0);
    assert_eq!(read_all(&spool, &model, 0), 0);
    spool.release(5000);
    append(&mut spool, &mut model, true, 300, 0);
    assert_eq!(read_all(&spool, &model, 5000), 0);
}
