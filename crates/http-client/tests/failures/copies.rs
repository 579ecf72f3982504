//! Archives whose way is cut off, on either side.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use session_core::api::SessionApi;
use session_core::error::{Error, ErrorKind};

use crate::peer::{Server, hang, id};

#[tokio::test]
async fn a_source_that_fails_aborts_the_upload_with_its_own_error() {
    let (told, mut body) = tokio::sync::mpsc::channel(1);
    let server = Server::start(move |_, mut line| {
        let told = told.clone();
        async move {
            let request = line.request().await.unwrap();
            assert_eq!(
                request.line,
                format!("PUT /v1/sessions/{}/files?path=in+here", id())
            );
            assert_eq!(request.headers["content-type"], "application/x-tar");
            let _ = told.send(line.rest().await).await;
        }
    });
    let failure = Error::new(ErrorKind::HostIo, "read an archive", "the source broke off");
    let begun = stream::iter([Ok(Bytes::from_static(b"some bytes"))]);
    let source = begun.chain(stream::once(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Err(failure)
    }));
    let error = server
        .client()
        .copy_in(&id(), "in here", source.boxed())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not read an archive: the source broke off"
    );
    let body = body.recv().await.unwrap();
    assert!(
        !body.ends_with(b"0\r\n\r\n"),
        "the server saw an end: {}",
        String::from_utf8_lossy(&body)
    );
}

#[tokio::test]
async fn a_refusal_is_heard_while_the_archive_still_flows() {
    let server = Server::start(|_, mut line| async move {
        line.request().await;
        let body = r#"{"type": "x", "title": "x", "status": 500, "detail": "x", "code": "archive_refused", "retryable": false,
            "operation": "copy files into the session", "message": "no device", "hint": "leave it out"}"#;
        line.answer("500 Internal Server Error", "application/problem+json", body)
            .await;
        line.rest().await;
    });
    let endless = stream::repeat_with(|| Ok(Bytes::from_static(&[0; 4096])));
    let error = server
        .client()
        .copy_in(&id(), ".", endless.boxed())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.hint()),
        (ErrorKind::ArchiveRefused, Some("leave it out"))
    );
}

#[tokio::test]
async fn a_server_that_takes_nothing_stops_the_source() {
    let server = Server::start(|_, mut line| async move {
        line.request().await;
        hang().await;
        drop(line);
    });
    let taken = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = taken.clone();
    let endless = stream::repeat_with(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok(Bytes::from_static(&[0; 65536]))
    });
    let client = server.client();
    let session = id();
    let copy = client.copy_in(&session, ".", endless.boxed());
    assert!(
        tokio::time::timeout(Duration::from_millis(300), copy)
            .await
            .is_err()
    );
    let taken = taken.load(std::sync::atomic::Ordering::SeqCst);
    assert!(taken < 64, "{taken} pieces of 64 KiB were taken for nobody");
}

#[tokio::test]
async fn an_upload_that_breaks_is_not_made_again() {
    let server = Server::start(|_, mut line| async move { drop(line.request().await) });
    let source = stream::iter([Ok(Bytes::from_static(b"some bytes"))]);
    let error = server
        .client()
        .copy_in(&id(), ".", source.boxed())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::LinkLost, false),
        "{error:?}"
    );
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_archive_that_breaks_off_is_an_error_and_no_end() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-tar\r\ntransfer-encoding: chunked\r\n\r\n";
    for (rest, whole) in [
        ("4\r\nabcd\r\n", false),
        ("4\r\nabcd\r\n8\r\nab", false),
        ("4\r\nabcd\r\n0\r\n\r\n", true),
    ] {
        let server = Server::start(move |_, mut line| async move {
            line.request().await;
            line.raw(format!("{head}{rest}")).await;
        });
        let mut archive = server.client().copy_out(&id(), "x").await.unwrap();
        assert_eq!(archive.next().await.unwrap().unwrap(), "abcd");
        let mut last = archive.next().await;
        if let Some(Ok(piece)) = &last {
            assert_eq!(piece, "ab");
            last = archive.next().await;
        }
        match last {
            None => assert!(whole, "{rest:?} was taken for the whole"),
            Some(Err(error)) => assert_eq!((error.kind(), whole), (ErrorKind::LinkLost, false)),
            Some(Ok(piece)) => panic!("{piece:?}"),
        }
        assert!(archive.next().await.is_none(), "something follows the end");
    }
}

#[tokio::test]
async fn what_is_no_archive_is_refused() {
    let server = Server::start(|_, mut line| async move {
        line.request().await;
        line.answer("200 OK", "text/html", "<html>").await;
    });
    let error = server.client().copy_out(&id(), "x").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test(start_paused = true)]
async fn an_archive_that_stalls_is_given_up() {
    let server = Server::start(|_, mut line| async move {
        line.request().await;
        line.raw("HTTP/1.1 200 OK\r\ncontent-type: application/x-tar\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        hang().await;
    });
    let mut archive = server.client().copy_out(&id(), "x").await.unwrap();
    let began = tokio::time::Instant::now();
    let error = archive.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LinkLost);
    assert_eq!(began.elapsed().as_secs(), 300);
}
