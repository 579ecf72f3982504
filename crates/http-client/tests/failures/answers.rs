//! Answers that are none, or of another kind, or without end.

use session_core::api::SessionApi;
use session_core::error::{Error, ErrorKind};
use session_core::session::SessionFilter;
use tokio::time::Instant;

use crate::peer::{Line, Server, hang, id};

/// Asks for a record and gives what came of an answer.
async fn ask<F, W>(answer: F) -> Error
where
    F: Fn(Line) -> W + Clone + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let server = Server::start(move |_, mut line| {
        let answer = answer.clone();
        async move {
            line.request().await;
            answer(line).await;
        }
    });
    let asked = server.client().session(&id()).await;
    let error = asked.expect_err("this is no answer");
    assert!(
        error.to_string().contains("unix:"),
        "the server is not named: {error}"
    );
    error
}

#[tokio::test]
async fn another_program_on_the_port_is_recognised() {
    for (status, kind, body) in [
        ("200 OK", "text/html", "<html>"),
        ("200 OK", "application/json", "<html>"),
        ("200 OK", "application/json", "{\"hello\": 1}"),
        ("404 Not Found", "text/plain", "404 page not found"),
        (
            "500 Internal Server Error",
            "application/json",
            "{\"error\": \"x\"}",
        ),
        ("302 Found\r\nlocation: /elsewhere", "text/html", ""),
        ("204 No Content", "application/json", ""),
    ] {
        let error = ask(move |mut line: Line| async move { line.answer(status, kind, body).await }).await;
        let found = (error.kind(), error.is_retryable());
        assert_eq!(found, (ErrorKind::Unsupported, false), "{status}: {error:?}");
        assert!(error.hint().is_some(), "{error:?}");
    }
    let error = ask(|mut line: Line| async move { line.raw("SSH-2.0-OpenSSH_9.2\r\n").await }).await;
    assert_eq!(error.kind(), ErrorKind::LinkLost, "{error:?}");
}

#[tokio::test]
async fn a_redirection_is_not_followed() {
    let server = Server::start(|_, mut line| async move {
        line.request().await;
        line.answer("307 Temporary Redirect\r\nlocation: /v1/server", "text/html", "")
            .await;
        assert!(line.request().await.is_none(), "it was followed");
    });
    let error = server.client().session(&id()).await.unwrap_err();
    assert!(error.to_string().contains("redirection"), "{error}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn something_before_the_server_can_fail_for_a_while() {
    for status in [
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
    ] {
        let error =
            ask(move |mut line: Line| async move { line.answer(status, "text/html", "<html>").await }).await;
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::LinkLost, true),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_refusal_for_a_while_says_for_how_long() {
    let body = r#"{"type": "x", "title": "x", "status": 429, "detail": "slower", "code": "too_many_requests", "retryable": true}"#;
    let error = ask(move |mut line: Line| async move {
        line.answer(
            "429 Too Many Requests\r\nretry-after: 7",
            "application/problem+json",
            body,
        )
        .await;
    })
    .await;
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::LimitExceeded, true)
    );
    let after = error.context().iter().find(|(key, _)| key == "retry_after_s");
    assert_eq!(after.map(|(_, value)| value.as_str()), Some("7"));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    for rest in [
        "content-length: 100\r\n\r\n[]",
        "transfer-encoding: chunked\r\n\r\n2\r\n[]\r\n",
        "transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "content-le",
    ] {
        let error = ask(move |mut line: Line| async move { line.raw(format!("{head}{rest}")).await }).await;
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::LinkLost, true),
            "{rest}: {error:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stalls_is_given_up() {
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n[",
        "HTTP/1.1 500 No\r\ncontent-type: application/problem+json\r\ncontent-length: 10\r\n\r\n{",
        "HTTP/1.1 200 OK\r\ncontent-ty",
    ] {
        let began = Instant::now();
        let error = ask(move |mut line: Line| async move {
            line.raw(head).await;
            hang().await;
        })
        .await;
        assert!(
            matches!(error.kind(), ErrorKind::LinkLost | ErrorKind::Unsupported),
            "{error:?}"
        );
        assert_eq!(began.elapsed().as_secs(), 30, "{head}");
    }
}

#[tokio::test]
async fn an_answer_of_ten_gibibytes_is_not_begun() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10737418240\r\n\r\n[";
    let server = Server::start(move |_, mut line| async move {
        line.request().await;
        line.raw(head).await;
        hang().await;
    });
    let error = server.client().list(SessionFilter::default()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::LimitExceeded, false),
        "{error:?}"
    );
}

/// Sends chunks of a mebibyte until the client goes, and says how many.
async fn flood(line: &mut Line) -> usize {
    use tokio::io::AsyncWriteExt;
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(1 << 20));
    for sent in 0.. {
        if line.0.write_all(chunk.as_bytes()).await.is_err() {
            return sent;
        }
    }
    0
}

#[tokio::test]
async fn an_answer_without_end_is_cut_at_its_bound() {
    for (status, bound) in [("200 OK", 256), ("500 No", 1)] {
        let (told, mut sent) = tokio::sync::mpsc::channel(1);
        let server = Server::start(move |_, mut line| {
            let told = told.clone();
            async move {
                line.request().await;
                line.raw(format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
                ))
                .await;
                let _ = told.send(flood(&mut line).await).await;
            }
        });
        let client = server.client();
        let error = client.session(&id()).await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::LimitExceeded | ErrorKind::Unsupported),
            "{error:?}"
        );
        let sent = sent.recv().await.unwrap();
        assert!(
            (bound..bound + 4).contains(&sent),
            "{sent} MiB were taken where {bound} are enough"
        );
    }
}

#[tokio::test]
async fn a_head_without_end_is_cut() {
    let error = ask(|mut line: Line| async move {
        line.raw("HTTP/1.1 200 OK\r\n").await;
        for _ in 0..1000 {
            line.raw(format!("x: {}\r\n", "y".repeat(1000))).await;
        }
        hang().await;
    })
    .await;
    assert_eq!(error.kind(), ErrorKind::LinkLost, "{error:?}");
}
