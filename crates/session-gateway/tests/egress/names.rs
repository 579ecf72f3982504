//! The name that is judged is the name that is dialled; the address that is judged is the address that is dialled.

use std::net::{IpAddr, UdpSocket};

use session_core::egress::DenialReason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Door, Server, denial, error_of, read_head};

/// Whatever the door answers to a host in this spelling, in both forms of a request.
async fn answers(door: &Door, host: &[u8]) -> [String; 2] {
    let mut connect = b"CONNECT ".to_vec();
    connect.extend_from_slice(host);
    connect.extend_from_slice(b":443 HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut plain = b"GET http://".to_vec();
    plain.extend_from_slice(host);
    plain.extend_from_slice(b"/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    [door.send_raw(&connect).await, door.send_raw(&plain).await]
}

/// Hosts that some reader takes for one that is allowed, and some other for one that is not.
#[tokio::test]
async fn hosts_with_two_readings_reach_nothing() {
    let door = Door::new(&["good.example", "*.good.example", "xn--gd-fkaa.example"]);
    for host in [
        &b"good.example\0.evil.example"[..],
        b"evil.example\0.good.example",
        b"good.example@evil.example",
        b"evil.example@good.example",
        b"user:pass@good.example",
        b"good.example%00.evil.example",
        b"evil.example%2f.good.example",
        b"evil.example%23.good.example",
        b"good.example..",
        b".good.example",
        b"evil.example\\.good.example",
        b"evil.example#.good.example",
        b"evil.example?.good.example",
        "gööd.example".as_bytes(),
        "good。example".as_bytes(),
        b"good.example:80:80",
    ] {
        for answer in answers(&door, host).await {
            let status = answer.split(' ').nth(1).unwrap_or("none").to_owned();
            assert!(
                ["400", "403", "none"].contains(&status.as_str()),
                "{host:?}: {answer}"
            );
        }
    }
    assert_eq!(door.names.asked(), 0, "no name server was asked");
    assert!(door.book.allowed().is_empty());
}

#[tokio::test]
async fn addresses_by_number_reach_nothing_in_any_spelling() {
    let server = Server::echo().await;
    // Even where loopback is open for names.
    let door = Door::new(&["localhost:80", "*.example.com"]);
    for host in [
        "127.0.0.1",
        "127.1",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "2130706433",
        "127.0.0.1.",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "169.254.169.254",
        "8.8.8.8",
    ] {
        let answer = door
            .send_raw(format!("CONNECT {host}:{} HTTP/1.1\r\nhost: x\r\n\r\n", server.port).as_bytes())
            .await;
        assert_eq!(error_of(&answer, 403)["reason"], "forbidden_address", "{host}");
    }
    assert_eq!((server.taken(), door.names.asked()), (0, 0));
}

#[tokio::test]
async fn upper_case_and_one_trailing_dot_are_the_same_name() {
    let server = Server::mirror().await;
    let port = server.port;
    let door = Door::new(&[&format!("good.example:{port}")]);
    door.lead_home("good.example");
    for host in ["good.example", "GOOD.Example", "good.example.", "Good.Example."] {
        let answer = door.get(&format!("http://{host}:{port}/path"), "").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
        assert!(
            answer.contains(&format!("host: good.example:{port}\r\n")),
            "{answer}"
        );
    }
    assert_eq!(door.book.allowed().len(), 1);
}

#[tokio::test]
async fn a_punycode_name_is_itself_and_nothing_else() {
    let server = Server::mirror().await;
    let port = server.port;
    let door = Door::new(&[&format!("xn--bcher-kva.example:{port}")]);
    door.lead_home("xn--bcher-kva.example");
    let answer = door
        .get(&format!("http://XN--bcher-kva.example:{port}/"), "")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let request = format!("GET http://bücher.example:{port}/ HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(
        !door
            .send_raw(request.as_bytes())
            .await
            .starts_with("HTTP/1.1 200")
    );
}

/// A name's owner decides where it leads.
#[tokio::test]
async fn a_name_that_leads_inside_is_refused_although_it_is_allowed() {
    let server = Server::echo().await;
    let authority = format!("rebound.example:{}", server.port);
    let door = Door::with(&[&authority], |config| config.private_networks.clear());
    for address in [
        "127.0.0.1",
        "10.0.0.1",
        "172.17.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "::1",
        "::",
        "fe80::1",
        "fd00:ec2::254",
        "fc00::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
    ] {
        door.names.put("rebound.example", &[&[address]]);
        let (mut inside, head) = door.connect(&authority).await;
        let error = denial(&mut inside, &head).await;
        assert_eq!(error["reason"], "forbidden_address", "{address}");
        let answer = door.get(&format!("http://{authority}/"), "").await;
        assert_eq!(error_of(&answer, 403)["reason"], "forbidden_address", "{address}");
    }
    assert_eq!(server.taken(), 0);
    assert_eq!(
        door.book.denied(),
        [(
            "rebound.example".to_owned(),
            server.port,
            DenialReason::ForbiddenAddress
        )]
    );
}

#[tokio::test]
async fn this_machine_s_own_address_is_refused_although_it_is_public() {
    // No packet is sent: it only tells which address this machine would use.
    let probe = UdpSocket::bind("0.0.0.0:0").unwrap();
    let Ok(own) = probe.connect("203.0.113.1:9").and_then(|()| probe.local_addr()) else {
        return;
    };
    let server = Server::start_at(own.ip(), 0, async |stream| crate::support::echo(stream).await).await;
    let authority = format!("self.example:{}", server.port);
    let door = Door::new(&[&authority]);
    door.names.put("self.example", &[&[&own.ip().to_string()]]);
    let (mut inside, head) = door.connect(&authority).await;
    assert_eq!(denial(&mut inside, &head).await["reason"], "forbidden_address");
}

#[tokio::test]
async fn only_the_open_addresses_of_an_answer_are_dialled() {
    let closed = Server::start_at("127.0.0.2".parse().unwrap(), 0, async |stream| {
        crate::support::echo(stream).await;
    })
    .await;
    let open: IpAddr = "127.0.0.1".parse().unwrap();
    let open = Server::start_at(open, closed.port, async |stream| {
        crate::support::echo(stream).await
    })
    .await;
    let authority = format!("mixed.example:{}", open.port);
    let door = Door::with(&[&authority], |config| {
        config.private_networks = vec!["127.0.0.1/32".parse().unwrap()];
    });
    door.names.put("mixed.example", &[&["127.0.0.2", "127.0.0.1"]]);
    for _ in 0..5 {
        door.tunnel(&authority).await;
    }
    assert_eq!((closed.taken(), open.taken()), (0, 5));
}

/// A name server that answers with a public address first and a private one the next time gains nothing: it is asked once.
#[tokio::test]
async fn a_second_answer_of_the_name_server_is_not_asked_for() {
    let inside_server = Server::start_at("127.0.0.3".parse().unwrap(), 0, async |stream| {
        crate::support::echo(stream).await;
    })
    .await;
    let open: IpAddr = "127.0.0.1".parse().unwrap();
    let port = inside_server.port;
    let outside = Server::start_at(open, port, async |stream| crate::support::mirror(stream).await).await;
    let authority = format!("rebinding.example:{port}");
    let door = Door::with(&[&authority], |config| {
        config.private_networks = vec!["127.0.0.1/32".parse().unwrap()];
    });
    let rebinding: [&[&str]; 2] = [&["127.0.0.1"], &["127.0.0.3"]];
    door.names.put("rebinding.example", &rebinding);
    let mut inside = door.tunnel(&authority).await;
    assert_eq!(door.names.asked(), 1);
    inside
        .write_all(b"GET /by-tunnel HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    assert!(read_head(&mut inside).await.starts_with("HTTP/1.1 200"));
    door.names.put("rebinding.example", &rebinding);
    let answer = door.get(&format!("http://{authority}/"), "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(
        (door.names.asked(), inside_server.taken(), outside.taken()),
        (2, 0, 2)
    );
    // From the second answer on it is refused.
    let (_, head) = door.connect(&authority).await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
}

#[tokio::test]
async fn a_name_without_an_address_is_a_failure_that_says_so() {
    let door = Door::new(&["nowhere.example", "refusing.example:1"]);
    let answer = door.get("http://nowhere.example/", "").await;
    let error = error_of(&answer, 502);
    assert_eq!(
        (&error["type"], &error["reason"]),
        (&"egress_failed".into(), &"unresolvable".into())
    );
    door.lead_home("refusing.example");
    let answer = door.get("http://refusing.example:1/", "").await;
    assert_eq!(error_of(&answer, 502)["reason"], "unreachable");
    assert!(
        door.book.events().is_empty(),
        "nothing was reached and nothing denied"
    );
}

#[tokio::test]
async fn a_name_server_that_never_answers_is_given_up() {
    struct Never;
    #[async_trait::async_trait]
    impl session_gateway::egress::Resolve for Never {
        async fn resolve(&self, _host: &str) -> std::io::Result<Vec<IpAddr>> {
            std::future::pending().await
        }
    }
    let door = Door::with(&["slow.example"], |config| {
        config.resolver = std::sync::Arc::new(Never);
        config.limits.resolve_timeout = std::time::Duration::from_millis(50);
    });
    let (mut inside, head) = door.connect("slow.example:443").await;
    assert!(head.starts_with("HTTP/1.1 504"), "{head}");
    let mut byte = [0];
    assert!(inside.read(&mut byte).await.is_ok());
}
