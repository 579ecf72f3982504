//! The host's end against another that lies: a container's init is not trusted with anything.

use std::time::Duration;

use bytes::BytesMut;
use session_link::{
    CopyOutOptions, ErrorKind, Hello, Link, LinkOptions, PROTOCOL_VERSION, Process, ProcessEvent, ProcessId,
    SpawnSpec, Tunnels, Welcome,
    mux::{self, Incoming, MuxReader, MuxWriter, Opener, Side, Term},
    wire::{
        frame::{self, Kind},
        preface,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// An init that says what a test wants it to.
struct Liar {
    opener: Opener,
    incoming: Incoming,
}

async fn pair() -> (Link, Tunnels, Liar) {
    let (host, mut init) = UnixStream::pair().expect("a pair");
    let hello = Hello {
        protocol: PROTOCOL_VERSION,
        init_version: "0".into(),
        boot_id: "b".into(),
        session: String::new(),
    };
    let liar = tokio::spawn(async move {
        preface::send(&mut init, &hello).await.expect("sent");
        preface::receive::<_, Welcome>(&mut init).await.expect("received");
        let (opener, incoming, driver) = mux::multiplex(init, Side::Init);
        tokio::spawn(driver.run());
        Liar { opener, incoming }
    });
    let options = LinkOptions {
        request_timeout: Duration::from_secs(2),
        ..LinkOptions::default()
    };
    let (link, tunnels) = Link::establish(host, options).await.expect("a link");
    (link, tunnels, liar.await.expect("joined"))
}

impl Liar {
    /// The next request's stream, its request read and dropped.
    async fn request(&mut self) -> (MuxReader, MuxWriter) {
        let stream = timeout(PATIENCE, self.incoming.recv())
            .await
            .expect("in time")
            .expect("a stream");
        let (mut reader, writer) = stream.split();
        reader.chunk().await.expect("read").expect("a request");
        (reader, writer)
    }
}

fn spec() -> SpawnSpec {
    SpawnSpec::new(ProcessId::new("p").expect("an id"), ["x"])
}

fn bytes(frames: &[(Kind, u64, &[u8])]) -> BytesMut {
    let mut buffer = BytesMut::new();
    frames
        .iter()
        .for_each(|(kind, offset, payload)| frame::put(&mut buffer, *kind, *offset, payload));
    buffer
}

const STARTED: (Kind, u64, &[u8]) = (Kind::Reply, 0, br#"{"pid":1,"existed":false}"#);

/// A process whose stream says `frames`; the stream stays open as long as what comes with it.
async fn process(frames: &[(Kind, u64, &[u8])]) -> (Link, Process, (Liar, MuxReader, MuxWriter)) {
    let (link, _tunnels, mut liar) = pair().await;
    let answer = async {
        let (reader, mut writer) = liar.request().await;
        let mut all = bytes(&[STARTED]);
        all.extend_from_slice(&bytes(frames));
        writer.write_all(&all).await.expect("written");
        (reader, writer)
    };
    let (process, (reader, writer)) = tokio::join!(link.run(spec()), answer);
    (link, process.expect("it runs"), (liar, reader, writer))
}

#[tokio::test]
async fn output_that_makes_no_sense_ends_the_link() {
    let far = u64::MAX - 1;
    let cases: [&[(Kind, u64, &[u8])]; 7] = [
        &[(Kind::Stdout, 5, b"too far")],
        &[(Kind::Stdout, 0, b"one"), (Kind::Stdout, 1, b"again")],
        &[
            (Kind::Gap, 0, &far.to_be_bytes()),
            (Kind::Stdout, far, b"beyond all numbers"),
        ],
        &[(Kind::Gap, 0, &0_u64.to_be_bytes())],
        &[(Kind::Gap, 0, b"short")],
        &[(Kind::Data, 0, b"an archive")],
        &[(Kind::Exit, 0, b"{\"code\":\"text\"}")],
    ];
    for frames in cases {
        let (link, mut process, _open) = process(frames).await;
        let error = loop {
            match timeout(PATIENCE, process.next()).await.expect("in time") {
                Ok(Some(_)) => {}
                Ok(None) => panic!("believed: {frames:?}"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Protocol, "{frames:?}: {error}");
        timeout(PATIENCE, link.closed()).await.expect("closed");
    }
}

#[tokio::test]
async fn a_stream_that_merely_stops_is_no_end() {
    let (link, mut process, (liar, reader, mut writer)) = process(&[(Kind::Stdout, 0, b"part")]).await;
    assert!(matches!(
        process.next().await,
        Ok(Some(ProcessEvent::Output { .. }))
    ));
    writer.shutdown().await.expect("shut down");
    assert_eq!(
        process.next().await.expect_err("cut").kind(),
        ErrorKind::Truncated
    );
    drop((liar, reader, writer));
    timeout(PATIENCE, link.closed()).await.expect("closed");
    assert!(process.next().await.is_err());

    let (link, _tunnels, mut liar) = pair().await;
    let answer = async {
        let (_reader, mut writer) = liar.request().await;
        writer
            .write_all(&bytes(&[(Kind::Reply, 0, b"null"), (Kind::Data, 0, b"half")]))
            .await
            .expect("written");
        writer.shutdown().await.expect("shut down");
    };
    let (copy, ()) = tokio::join!(link.copy_out("x", CopyOutOptions::default()), answer);
    let mut copy = copy.expect("begun");
    assert_eq!(copy.next().await.expect("bytes").as_deref(), Some(&b"half"[..]));
    assert_eq!(copy.next().await.expect_err("cut").kind(), ErrorKind::Truncated);
}

#[tokio::test]
async fn silence_is_a_timeout_and_the_link_lives() {
    let (link, _tunnels, mut liar) = pair().await;
    let (error, held) = tokio::join!(link.ping(), liar.request());
    assert_eq!(error.expect_err("silence").kind(), ErrorKind::Timeout);
    drop(held);
    let answer = async {
        let (_reader, mut writer) = liar.request().await;
        writer
            .write_all(&bytes(&[(Kind::Reply, 0, b"null")]))
            .await
            .expect("written");
    };
    let (ping, ()) = tokio::join!(link.ping(), answer);
    ping.expect("an answer");
}

#[tokio::test]
async fn a_flood_stops_at_the_sender() {
    let (_link, mut process, (_liar, _reader, mut writer)) = process(&[(Kind::Stdout, 0, b"x")]).await;
    assert!(process.next().await.is_ok());
    let piece = vec![0; 64 << 10];
    let mut sent = 1_u64;
    let flood = async {
        loop {
            let bytes = bytes(&[(Kind::Stdout, sent, &piece)]);
            if timeout(Duration::from_millis(300), writer.write_all(&bytes))
                .await
                .is_err()
            {
                return;
            }
            sent += piece.len() as u64;
        }
    };
    flood.await;
    assert!(sent <= 5 << 20, "{sent} bytes were taken that nobody asked for");
}

#[tokio::test]
async fn streams_are_counted() {
    let (link, mut tunnels, liar) = pair().await;
    let mut open = Vec::new();
    // As many as it may; most of them never say their name.
    for _ in 0..mux::MAX_INCOMING {
        let mut stream = liar.opener.open("tunnel", Term::Tunnel).await.expect("a stream");
        stream.write_all(b"\xff").await.expect("written");
        open.push(stream);
    }
    assert_eq!(
        liar.opener
            .open("tunnel", Term::Tunnel)
            .await
            .expect_err("too many")
            .kind(),
        ErrorKind::LimitReached
    );
    drop(open.split_off(10));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut stream = liar.opener.open("tunnel", Term::Tunnel).await.expect("a stream");
    stream.write_all(b"\x05model").await.expect("written");
    let tunnel = timeout(PATIENCE, tunnels.next())
        .await
        .expect("in time")
        .expect("a tunnel");
    assert_eq!(tunnel.door, "model");
    assert!(!link.is_closed());
    drop((tunnel, open));
}

#[tokio::test]
async fn tunnels_without_a_proper_name_are_refused() {
    let (_link, mut tunnels, liar) = pair().await;
    for name in [
        &b"\x00"[..],
        b"\x03A/B",
        b"\x02\xff\xfe",
        b"\x41aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        let mut stream = liar.opener.open("tunnel", Term::Tunnel).await.expect("a stream");
        stream.write_all(name).await.expect("written");
        let ended = timeout(PATIENCE, stream.read(&mut [0])).await.expect("in time");
        assert!(matches!(ended, Ok(0) | Err(_)));
    }
    let mut stream = liar.opener.open("tunnel", Term::Tunnel).await.expect("a stream");
    stream.write_all(b"\x03mcp!").await.expect("written");
    let mut tunnel = timeout(PATIENCE, tunnels.next())
        .await
        .expect("in time")
        .expect("a tunnel");
    assert_eq!(
        (tunnel.door.as_str(), tunnel.io.read_u8().await.expect("a byte")),
        ("mcp", b'!')
    );
}

#[tokio::test]
async fn dropping_everything_closes_the_link() {
    let (link, tunnels, mut liar) = pair().await;
    drop((link, tunnels));
    assert!(
        timeout(PATIENCE, liar.incoming.recv())
            .await
            .expect("in time")
            .is_none()
    );
    let (link, _tunnels, liar) = pair().await;
    drop(liar);
    timeout(PATIENCE, link.closed()).await.expect("closed");
    assert_eq!(link.ping().await.expect_err("closed").kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_failure_is_told_as_it_was_named() {
    let (link, _tunnels, mut liar) = pair().await;
    let answer = async {
        let (_reader, mut writer) = liar.request().await;
        let failure = br#"{"kind":"no_such_process","message":"gone\u001b[2J"}"#;
        writer
            .write_all(&bytes(&[(Kind::Error, 0, failure)]))
            .await
            .expect("written");
    };
    let id = ProcessId::new("p").expect("an id");
    let (answer, ()) = tokio::join!(link.attach(&id, 0), answer);
    let error = answer.expect_err("a failure");
    assert_eq!(
        (error.kind(), error.operation()),
        (ErrorKind::NoSuchProcess, "attach")
    );
    assert_eq!(
        error.to_string(),
        "attach failed (no_such_process): gone\\u{1b}[2J [process: p]"
    );
}
