//! Plain HTTP: requests made anew, answers passed back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Door, Server, mirror, read_all, read_head, say};

/// A door whose session may reach one name, which leads to the server.
fn door_to(server: &Server) -> (Door, String) {
    let authority = format!("plain.example:{}", server.port);
    let door = Door::new(&[&authority]);
    door.lead_home("plain.example");
    (door, authority)
}

#[tokio::test]
async fn a_request_is_made_anew_for_the_name_that_was_judged() {
    let server = Server::mirror().await;
    let (door, authority) = door_to(&server);
    let fields = "accept: */*\r\nauthorization: Bearer own\r\nproxy-authorization: Basic eA==\r\n\
                  proxy-connection: keep-alive\r\nx-hop: 1\r\nconnection: x-hop\r\nte: trailers\r\nupgrade: h2c\r\n";
    let answer = door.get(&format!("http://{authority}/a/b?c=d"), fields).await;
    let (_, seen) = answer.split_once("\r\n\r\n").unwrap();
    assert!(seen.starts_with("GET /a/b?c=d HTTP/1.1\r\n"), "{seen}");
    let mut lines: Vec<_> = seen.lines().skip(1).filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    let host = format!("host: {authority}");
    assert_eq!(lines, ["accept: */*", "authorization: Bearer own", host.as_str()]);
}

#[tokio::test]
async fn bodies_pass_in_both_directions_as_they_come() {
    let server = Server::mirror().await;
    let (door, authority) = door_to(&server);
    let body = "0123456789".repeat(100_000);
    let request = format!(
        "POST http://{authority}/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut inside = door.dial();
    let (mut reader, mut writer) = tokio::io::split(&mut inside);
    let (answer, ()) = tokio::join!(read_all(&mut reader), async {
        writer.write_all(request.as_bytes()).await.unwrap();
    });
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));
    assert!(answer.contains("content-length: 1000000\r\n") && answer.ends_with(&body));
}

/// What was sent to a host has left the session, whether it was answered or not: who hangs up hides nothing.
#[tokio::test]
async fn a_host_that_was_reached_is_told_before_it_answers() {
    let (arrived, mut arrives) = tokio::sync::mpsc::channel(1);
    let server = Server::start(move |mut stream| {
        let arrived = arrived.clone();
        async move {
            read_head(&mut stream).await;
            arrived.send(()).await.unwrap();
            std::future::pending().await
        }
    })
    .await;
    let (door, authority) = door_to(&server);
    let mut inside = door.dial();
    let request = format!("GET http://{authority}/?taken=away HTTP/1.1\r\nhost: x\r\n\r\n");
    inside.write_all(request.as_bytes()).await.unwrap();
    arrives.recv().await.unwrap();
    drop(inside);
    assert_eq!(
        door.book.allowed(),
        [("plain.example".to_owned(), server.port, authority)]
    );
}

#[tokio::test]
async fn a_redirect_is_passed_back_and_not_followed() {
    let inner = Server::mirror().await;
    let location = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{}/secret\r\ncontent-length: 0\r\n\r\n",
        inner.port
    );
    let location: &'static str = location.leak();
    let server = Server::start(move |stream| say(stream, location)).await;
    let (door, authority) = door_to(&server);
    let answer = door.get(&format!("http://{authority}/"), "").await;
    assert!(answer.starts_with("HTTP/1.1 302"), "{answer}");
    assert!(answer.contains(&format!("location: http://127.0.0.1:{}/secret", inner.port)));
    assert_eq!(inner.taken(), 0);
    // And whoever follows it asks the door again, which refuses.
    let answer = door
        .get(&format!("http://127.0.0.1:{}/secret", inner.port), "")
        .await;
    assert!(answer.starts_with("HTTP/1.1 403"));
}

/// Whatever a client writes, its host reads one request with one length, or none.
#[tokio::test]
async fn requests_with_two_lengths_never_become_two_requests() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let server = Server::start(move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            let mut text = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                text.extend_from_slice(&buffer[..read]);
                if text.ends_with(b"0\r\n\r\n") || (text.ends_with(b"\r\n\r\n") && !text.starts_with(b"POST"))
                {
                    let smuggled = text.windows(8).filter(|window| window == b" HTTP/1.");
                    count.fetch_add(smuggled.count(), Ordering::SeqCst);
                    let text = String::from_utf8_lossy(&text).to_lowercase();
                    assert!(!(text.contains("content-length") && text.contains("transfer-encoding")));
                    drop(
                        stream
                            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                            .await,
                    );
                    return;
                }
            }
        }
    })
    .await;
    let (door, authority) = door_to(&server);
    for framing in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "content-length: 4\r\ncontent-length: 5\r\n",
        "content-length: +4\r\n",
        "content-length: 4, 5\r\n",
        "transfer-encoding:\x0bchunked\r\ncontent-length: 4\r\n",
        "transfer-encoding : chunked\r\n",
    ] {
        let before = requests.load(Ordering::SeqCst);
        // A reader that believes another length finds a second request here.
        let request = format!(
            "POST http://{authority}/ HTTP/1.1\r\nhost: x\r\n{framing}\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"
        );
        let answer = door.send_raw(request.as_bytes()).await;
        assert!(
            requests.load(Ordering::SeqCst) - before <= 1,
            "{framing}: {answer}"
        );
        // What follows is read as what it is: a request that is none for a proxy, or nothing.
        assert!(answer.matches("HTTP/1.1 200").count() <= 1, "{framing}: {answer}");
    }
}

#[tokio::test]
async fn chunks_that_are_none_break_the_request_off() {
    let server = Server::mirror().await;
    let (door, authority) = door_to(&server);
    for chunks in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "ffffffffffffffffff\r\n",
        "3\r\nabcdef\r\n0\r\n\r\n",
    ] {
        let request = format!(
            "POST http://{authority}/ HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"
        );
        let answer = door.send_raw(request.as_bytes()).await;
        // The mirror reads no chunks and answers the head; the door may have it passed on before it saw the fault.
        assert!(answer.matches("HTTP/1.1").count() <= 2, "{chunks}: {answer}");
        assert!(!answer.contains("abcdef"), "{answer}");
    }
}

#[tokio::test]
async fn one_connection_serves_requests_for_several_hosts_each_on_its_own() {
    let (first, second) = (Server::mirror().await, Server::mirror().await);
    let rules = [
        format!("a.example:{}", first.port),
        format!("b.example:{}", second.port),
    ];
    let door = Door::new(&[&rules[0], &rules[1]]);
    door.lead_home("a.example");
    door.lead_home("b.example");
    let mut inside = door.dial();
    for authority in [&rules[0], &rules[0], &rules[1], &rules[0]] {
        let request = format!("GET http://{authority}/ HTTP/1.1\r\nhost: x\r\n\r\n");
        inside.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut inside).await;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        inside.read_exact(&mut body).await.unwrap();
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains(&format!("host: {authority}\r\n")), "{body}");
    }
    assert_eq!(
        (first.taken(), second.taken()),
        (2, 1),
        "the second request used the first one's connection"
    );
}

/// A host that answers once and closes a little later, while the next request may be on its way.
async fn forgetful() -> Server {
    Server::start(async |mut stream| {
        read_head(&mut stream).await;
        drop(
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await,
        );
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    })
    .await
}

#[tokio::test]
async fn a_kept_connection_that_the_host_closed_is_made_anew() {
    let server = forgetful().await;
    let (door, authority) = door_to(&server);
    let mut inside = door.dial();
    for pause in [0, 20, 0, 0, 1, 0] {
        let request = format!("GET http://{authority}/ HTTP/1.1\r\nhost: x\r\n\r\n");
        inside.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut inside).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        inside.read_exact(&mut [0; 2]).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
    }
    assert_eq!(server.taken(), 6);
}

#[tokio::test]
async fn what_must_not_be_asked_twice_is_not() {
    let server = forgetful().await;
    let (door, authority) = door_to(&server);
    let request = format!("POST http://{authority}/ HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    // The second one is sent into a connection that closes without an answer to it.
    let mut inside = door.dial();
    inside.write_all(request.as_bytes()).await.unwrap();
    read_head(&mut inside).await;
    inside.read_exact(&mut [0; 2]).await.unwrap();
    inside.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut inside).await;
    assert!(head.starts_with("HTTP/1.1 502"), "{head}");
    assert_eq!(server.taken(), 1);
}

#[tokio::test]
async fn what_no_host_should_answer_is_a_failure() {
    for (answer, reason) in [
        ("", "broken"),
        ("garbage\r\n\r\n", "broken"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            "broken",
        ),
    ] {
        let server = Server::start(move |stream| say(stream, answer)).await;
        let (door, authority) = door_to(&server);
        let got = door.get(&format!("http://{authority}/"), "").await;
        assert_eq!(crate::support::error_of(&got, 502)["reason"], reason, "{answer}");
    }
}

#[tokio::test]
async fn heads_without_bodies_keep_their_lengths() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\netag: x\r\n\r\n";
    let server = Server::start(move |stream| say(stream, answer)).await;
    let (door, authority) = door_to(&server);
    let request = format!("HEAD http://{authority}/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let got = door.send_raw(request.as_bytes()).await;
    assert!(
        got.starts_with("HTTP/1.1 200") && got.contains("content-length: 1234\r\n"),
        "{got}"
    );
}

#[tokio::test]
async fn old_clients_are_served() {
    let server = Server::start(async |stream| mirror(stream).await).await;
    let (door, authority) = door_to(&server);
    let got = door
        .send_raw(format!("GET http://{authority}/old HTTP/1.0\r\n\r\n").as_bytes())
        .await;
    assert!(got.contains("GET /old HTTP/1.1\r\n"), "{got}");
}
