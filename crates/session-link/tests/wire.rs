//! The wire: whatever is sent comes back the same however it was cut, and whatever else comes is refused, not believed.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use session_link::{
    ErrorKind, Hello, LinkError, PROTOCOL_VERSION, ProcessId, Signal, SpawnSpec, Terminal, Welcome,
    WindowSize,
    wire::{
        frame::{Decoder, Frame, HEADER, Header, Kind},
        message::{Door, Failure, MAX_FAILURE_TEXT, Request, encode_request, printable},
        preface,
    },
};

const KINDS: [Kind; 11] = [
    Kind::Reply,
    Kind::Error,
    Kind::Stdout,
    Kind::Stderr,
    Kind::Gap,
    Kind::Exit,
    Kind::Data,
    Kind::End,
    Kind::Stdin,
    Kind::StdinEnd,
    Kind::Acknowledge,
];

fn frame() -> impl Strategy<Value = Frame> {
    (
        prop::sample::select(&KINDS[..]),
        0..u64::MAX / 2,
        prop::collection::vec(any::<u8>(), 0..300),
    )
        .prop_map(|(kind, offset, payload)| Frame::new(kind, offset, payload))
}

/// Decodes `bytes`, given in chunks of the sizes of `cuts`, over and over.
fn decode(bytes: &Bytes, cuts: &[usize]) -> Result<(Vec<Frame>, bool), LinkError> {
    let mut decoder = Decoder::default();
    let mut rest = bytes.clone();
    let mut frames = Vec::new();
    for cut in cuts.iter().cycle() {
        while let Some(frame) = decoder.take()? {
            frames.push(frame);
        }
        if rest.is_empty() {
            break;
        }
        decoder.push(rest.split_to((*cut).min(rest.len())));
    }
    Ok((frames, decoder.at_boundary()))
}

/// Puts pieces of bulk frames together again, as far as they follow each other.
fn joined(frames: Vec<Frame>) -> Vec<(Kind, u64, Vec<u8>)> {
    let mut out: Vec<(Kind, u64, Vec<u8>)> = Vec::new();
    for frame in frames {
        match out.last_mut() {
            Some((kind, offset, bytes))
                if frame.kind.is_bulk()
                    && *kind == frame.kind
                    && *offset + bytes.len() as u64 == frame.offset =>
            {
                bytes.extend_from_slice(&frame.payload);
            }
            _ => out.push((frame.kind, frame.offset, frame.payload.to_vec())),
        }
    }
    out.retain(|(kind, _, bytes)| !kind.is_bulk() || !bytes.is_empty());
    out
}

proptest! {
    #[test]
    fn frames_round_trip_however_they_are_cut(
        frames in prop::collection::vec(frame(), 0..20),
        cuts in prop::collection::vec(1..64_usize, 1..20),
    ) {
        let mut buffer = BytesMut::new();
        frames.iter().for_each(|frame| frame.put(&mut buffer));
        let (decoded, whole) = decode(&buffer.freeze(), &cuts).expect("proper frames");
        prop_assert!(whole);
        prop_assert_eq!(joined(decoded), joined(frames));
    }

    #[test]
    fn noise_is_refused_or_read_but_never_believed_to_be_more_than_it_is(
        noise in prop::collection::vec(any::<u8>(), 0..2000),
        cuts in prop::collection::vec(1..64_usize, 1..20),
    ) {
        let length = noise.len();
        if let Ok((frames, _)) = decode(&noise.into(), &cuts) {
            prop_assert!(frames.iter().map(|frame| frame.payload.len()).sum::<usize>() <= length);
        }
    }

    #[test]
    fn headers_are_checked(bytes in any::<[u8; HEADER]>()) {
        if let Ok(header) = Header::decode(&bytes) {
            prop_assert_eq!(header.encode(), bytes);
            prop_assert!(header.length <= 1 << 20);
        }
    }

    #[test]
    fn arguments_travel_byte_for_byte(argv in prop::collection::vec(prop::collection::vec(1..=255_u8, 0..40), 1..6)) {
        use std::os::unix::ffi::OsStringExt;
        let argv = argv.into_iter().map(std::ffi::OsString::from_vec);
        let spec = SpawnSpec::new(ProcessId::new("p").expect("an id"), argv);
        let request = Request::Run { spec };
        let bytes = encode_request(&request).expect("encoded");
        let again: Request = serde_json::from_slice(&bytes[4..]).expect("decoded");
        prop_assert_eq!(again, request);
    }

    #[test]
    fn terminals_travel_and_have_a_size(rows in any::<u16>(), columns in any::<u16>(), note in any::<String>()) {
        let legal = |length: u16| (1..=1000).contains(&length);
        let json = format!("[{rows},{columns}]");
        let read = serde_json::from_str::<WindowSize>(&json).ok();
        prop_assert_eq!(read.is_some(), legal(rows) && legal(columns));
        prop_assert_eq!(WindowSize::new(rows, columns).ok(), read);
        if let Some(size) = read {
            prop_assert_eq!((size.rows(), size.columns()), (rows, columns));
            let id = ProcessId::new("p").expect("an id");
            let mut spec = SpawnSpec::new(id.clone(), ["sh"]);
            spec.terminal = Some(Terminal { size, note });
            for request in [Request::Spawn { spec }, Request::Resize { id, size }] {
                let bytes = encode_request(&request).expect("encoded");
                let again: Request = serde_json::from_slice(&bytes[4..]).expect("decoded");
                prop_assert_eq!(again, request);
            }
        }
    }

    #[test]
    fn prefaces_never_panic(noise in prop::collection::vec(any::<u8>(), 0..200), proper in any::<bool>()) {
        let mut bytes = if proper { preface::encode(&Welcome { protocol: PROTOCOL_VERSION }).expect("encoded") } else { Vec::new() };
        bytes.truncate(bytes.len().min(14));
        bytes.extend(noise);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let read = runtime.block_on(preface::receive::<_, Hello>(&mut &bytes[..]));
        prop_assert!(read.is_err());
    }

    #[test]
    fn text_of_a_container_is_one_short_line(text in any::<String>()) {
        let shown = printable(&text);
        prop_assert!(!shown.chars().any(char::is_control));
        prop_assert!(shown.len() <= MAX_FAILURE_TEXT * 10);
    }
}

#[test]
fn a_payload_that_is_too_long_is_refused_before_it_comes() {
    let mut bytes = Header {
        kind: Kind::Reply,
        offset: 0,
        length: 1 << 20,
    }
    .encode();
    assert!(Header::decode(&bytes).is_ok());
    bytes[9] = 0xff;
    let mut decoder = Decoder::default();
    decoder.push(Bytes::copy_from_slice(&bytes));
    assert_eq!(decoder.take().expect_err("too long").kind(), ErrorKind::Protocol);
}

#[test]
fn a_preface_of_another_version_says_so() {
    let mut bytes = preface::encode(&Welcome {
        protocol: PROTOCOL_VERSION,
    })
    .expect("encoded");
    bytes[8..10].copy_from_slice(&99_u16.to_be_bytes());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let error = runtime
        .block_on(preface::receive::<_, Welcome>(&mut &bytes[..]))
        .expect_err("another version");
    assert_eq!(error.kind(), ErrorKind::UnsupportedVersion);
    assert!(error.to_string().contains("99") && error.hint().is_some());
}

#[test]
fn a_hello_is_plain_text() {
    let hello = |boot_id: &str| Hello {
        protocol: PROTOCOL_VERSION,
        init_version: "1".into(),
        boot_id: boot_id.into(),
        session: String::new(),
    };
    assert!(hello("b").check().is_ok());
    for bad in ["", "a b", "a\n", "\u{1b}[31m", &"x".repeat(200)] {
        assert_eq!(
            hello(bad).check().expect_err("refused").kind(),
            ErrorKind::Protocol
        );
    }
}

#[test]
fn names_are_checked_wherever_they_come_from() {
    for bad in ["", "a/b", "a b", "ü", &"x".repeat(97)] {
        assert!(ProcessId::new(bad).is_err());
        assert!(serde_json::from_str::<ProcessId>(&format!("{bad:?}")).is_err());
        assert!(!Door::legal_name(bad));
    }
    assert!(serde_json::from_str::<Vec<Signal>>(r#"["kill", "terminate"]"#).is_ok());
}

#[test]
fn errors_say_their_cause_once() {
    use std::error::Error;
    let error = LinkError::io(
        "copy_in",
        "the file cannot be made",
        std::io::Error::other("inner"),
    )
    .with_context("path", "a/b");
    assert_eq!(
        error.to_string(),
        "copy_in failed (io): the file cannot be made [path: a/b]"
    );
    assert_eq!(error.source().map(ToString::to_string), Some("inner".to_owned()));
    let failure = Failure::of(&error);
    assert_eq!(failure.message, "the file cannot be made (path a/b): inner");
    let known: Failure =
        serde_json::from_str(r#"{"kind":"a_word_of_tomorrow","message":"x\ny"}"#).expect("read");
    let shown = known.into_error("ping");
    assert_eq!((shown.kind(), shown.message()), (ErrorKind::Remote, "x\\u{a}y"));
}
