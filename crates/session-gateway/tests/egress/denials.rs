//! What is refused, how it is told, and how people change it.

use session_core::egress::DenialReason;
use tokio::io::AsyncWriteExt;

use crate::support::{Door, Server, denial, error_of};

#[tokio::test]
async fn an_empty_list_means_nothing_names_included() {
    let door = Door::new(&[]);
    let server = Server::echo().await;
    door.lead_home("example.com");
    let (mut inside, head) = door.connect(&format!("example.com:{}", server.port)).await;
    let error = denial(&mut inside, &head).await;
    assert_eq!(error["reason"], "not_allowed");
    let answer = door
        .get(&format!("http://example.com:{}/", server.port), "")
        .await;
    assert_eq!(error_of(&answer, 403)["reason"], "not_allowed");
    assert_eq!((door.names.asked(), server.taken()), (0, 0), "nobody was asked");
}

#[tokio::test]
async fn a_denial_says_what_was_refused_and_how_a_person_can_allow_it() {
    let door = Door::new(&["other.example"]);
    let (mut inside, head) = door.connect("Registry.Example:443").await;
    let phrase = head.lines().next().unwrap();
    let command = format!("cofferdam egress approve {} 'registry.example:443'", door.session);
    // Many clients show the reason phrase and nothing else.
    assert!(
        phrase.starts_with("HTTP/1.1 403 ") && phrase.ends_with(&command),
        "{phrase}"
    );
    assert!(head.contains("content-type: application/json\r\n"));
    assert!(head.contains("x-cofferdam-refusal: not_allowed\r\n"));
    let error = denial(&mut inside, &head).await;
    assert_eq!(error["type"], "egress_denied");
    assert_eq!(
        (&error["host"], &error["port"]),
        (&"registry.example".into(), &443.into())
    );
    assert_eq!(
        (&error["reason"], &error["rule"]),
        (&"not_allowed".into(), &().into())
    );
    assert!(error["how_to_allow"].as_str().unwrap().ends_with(&command));
    // The connection goes on: a client can ask for something else.
    inside
        .write_all(b"GET http://registry.example/ HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let head = crate::support::read_head(&mut inside).await;
    assert_eq!(denial(&mut inside, &head).await["port"], 80);
}

#[tokio::test]
async fn an_approval_holds_at_the_next_request() {
    let door = Door::new(&[]);
    let server = Server::echo().await;
    let authority = format!("new.example:{}", server.port);
    door.lead_home("new.example");
    let (_, head) = door.connect(&authority).await;
    assert!(head.starts_with("HTTP/1.1 403"));
    door.book.decide(Some(door.session), &authority, true);
    door.tunnel(&authority).await;
    let port = server.port;
    assert_eq!(
        door.book.denied(),
        [("new.example".to_owned(), port, DenialReason::NotAllowed)]
    );
    assert_eq!(door.book.allowed(), [("new.example".to_owned(), port, authority)]);
}

#[tokio::test]
async fn a_person_s_refusal_beats_the_list() {
    let server = Server::echo().await;
    let authority = format!("listed.example:{}", server.port);
    let door = Door::new(&[&authority]);
    door.lead_home("listed.example");
    door.tunnel(&authority).await;
    door.book.decide(None, &authority, false);
    let (mut inside, head) = door.connect(&authority).await;
    let error = denial(&mut inside, &head).await;
    assert_eq!(
        (&error["reason"], &error["rule"]),
        (&"refused".into(), &authority.clone().into())
    );
    // What is decided for this session takes nothing back that holds for all.
    let take_back = format!("cofferdam egress approve all '{authority}'");
    assert!(error["how_to_allow"].as_str().unwrap().ends_with(&take_back));
    door.book.decide(Some(door.session), &authority, false);
    let (mut inside, head) = door.connect(&authority).await;
    let error = denial(&mut inside, &head).await;
    let take_back = format!("cofferdam egress approve {} '{authority}'", door.session);
    assert!(error["how_to_allow"].as_str().unwrap().ends_with(&take_back));
}

#[tokio::test]
async fn another_session_s_approval_is_worth_nothing() {
    let door = Door::new(&[]);
    door.book
        .decide(Some(session_core::id::SessionId::new()), "a.example:443", true);
    let (_, head) = door.connect("a.example:443").await;
    assert!(head.starts_with("HTTP/1.1 403"));
}

#[tokio::test]
async fn what_cannot_be_decided_is_not_allowed() {
    let server = Server::echo().await;
    let authority = format!("listed.example:{}", server.port);
    let door = Door::new(&[&authority]);
    door.lead_home("listed.example");
    door.book.fail(true);
    let (_, head) = door.connect(&authority).await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert!(head.contains("x-cofferdam-refusal: undecidable"));
    assert_eq!(server.taken(), 0);
    door.book.fail(false);
    door.tunnel(&authority).await;
}

#[tokio::test]
async fn a_flood_of_names_is_kept_down_and_hides_nothing() {
    let server = Server::mirror().await;
    let door = Door::new(&[&format!("real.example:{}", server.port)]);
    door.lead_home("real.example");
    let mut inside = door.dial();
    for index in 0..600 {
        let request = format!("GET http://h{index}.flood.example/ HTTP/1.1\r\nhost: x\r\n\r\n");
        inside.write_all(request.as_bytes()).await.unwrap();
        let head = crate::support::read_head(&mut inside).await;
        assert_eq!(denial(&mut inside, &head).await["reason"], "not_allowed");
    }
    assert_eq!(door.book.denied().len(), 256);
    let answer = door
        .get(&format!("http://real.example:{}/", server.port), "")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"));
    assert_eq!(door.book.allowed().len(), 1);
}

#[tokio::test]
async fn repetitions_are_recorded_once() {
    let door = Door::new(&[]);
    for _ in 0..5 {
        door.connect("a.example:443").await;
        door.connect("A.example.:443").await;
    }
    assert_eq!(door.book.events().len(), 1);
}

/// A person can only approve what was recorded, and the program inside asks again.
#[tokio::test]
async fn what_could_not_be_recorded_is_recorded_the_next_time() {
    let door = Door::new(&[]);
    door.book.fail_to_record(true);
    door.connect("a.example:443").await;
    door.book.fail_to_record(false);
    door.connect("a.example:443").await;
    door.connect("a.example:443").await;
    assert_eq!(door.book.denied().len(), 1);
}

#[tokio::test]
async fn what_is_no_request_for_a_proxy_is_told_so() {
    let door = Door::new(&[]);
    for request in [
        "GET / HTTP/1.1\r\nhost: example.com\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: example.com\r\n\r\n",
        "GET https://example.com/ HTTP/1.1\r\nhost: example.com\r\n\r\n",
        "CONNECT example.com HTTP/1.1\r\nhost: example.com\r\n\r\n",
        "CONNECT example.com:0 HTTP/1.1\r\nhost: example.com\r\n\r\n",
    ] {
        let answer = door.send_raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{request}: {answer}");
    }
    assert!(door.book.events().is_empty());
}
