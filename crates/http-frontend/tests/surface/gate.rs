//! Host, Origin, token and forms, on every transport.

use http_frontend::caller::Scope;

use crate::support::House;
use crate::support::client::{Reply, request};

const FOREIGN: [&str; 9] = [
    "evil.example",
    "localhost.evil.example",
    "user@localhost",
    "127.0.0.1.nip.io",
    "localhost:x",
    "localhost:",
    "0.0.0.0",
    "2130706433",
    "",
];

/// Every kind of route: probes, the API, what is mounted, what is not there.
const ROUTES: [&str; 9] = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/v1/openapi.json",
    "/v1/server",
    "/v1/sessions",
    "/t/list",
    "/health",
    "/nothing",
];

async fn with(house: &House, headers: &[(&str, &str)]) -> Reply {
    let bearer = format!("Bearer {}", house.admin);
    let headers = [headers, &[("authorization", &bearer)]].concat();
    house.send(&request("GET /healthz", &headers, b"")).await
}

#[tokio::test]
async fn over_tcp_every_route_needs_a_token() {
    let house = House::new().await;
    for route in ROUTES {
        for method in ["GET", "POST", "DELETE", "PUT", "OPTIONS", "BREW"] {
            let text = request(&format!("{method} {route}"), &[("host", "localhost")], b"");
            let reply = house.send(&text).await;
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (401, "unauthorized"),
                "{method} {route}"
            );
            assert!(reply.header("www-authenticate").is_some());
            assert_eq!(
                reply.header("connection"),
                Some("close"),
                "who is not let in keeps nothing"
            );
        }
    }
    house.ended().await;
}

#[tokio::test]
async fn nothing_but_a_token_is_a_token() {
    let house = House::new().await;
    let (whole, cut) = (
        house.admin.clone(),
        house.admin[..house.admin.len() - 1].to_owned(),
    );
    let wrong = [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer {cut}"),
        format!("Bearer {whole}x"),
        format!("Bearer  {whole}"),
        format!("Basic {whole}"),
        whole.clone(),
        format!("Bearer {}", whole.to_uppercase()),
    ];
    for value in wrong {
        let text = request(
            "GET /healthz",
            &[("host", "localhost"), ("authorization", &value)],
            b"",
        );
        assert_eq!(house.send(&text).await.status, 401, "{value:?}");
    }
    let bearer = format!("bearer {whole}");
    let twice = [
        ("host", "localhost"),
        ("authorization", &bearer),
        ("authorization", &bearer),
    ];
    assert_eq!(
        house.send(&request("GET /healthz", &twice, b"")).await.status,
        401
    );
    assert_eq!(
        house
            .send(&request("GET /healthz", &twice[..2], b""))
            .await
            .status,
        200
    );
    let in_query = format!("GET /healthz?access_token={whole}");
    assert_eq!(
        house.send(&request(&in_query, &twice[..1], b"")).await.status,
        401
    );
    house.ended().await;
}

#[tokio::test]
async fn other_hosts_are_refused_over_tcp_also_with_the_token() {
    let house = House::new().await;
    for host in FOREIGN {
        let reply = with(&house, &[("host", host)]).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (403, "forbidden"),
            "{host:?}"
        );
    }
    let twice = with(&house, &[("host", "localhost"), ("host", "localhost")]).await;
    assert_eq!(twice.status, 403);
    assert_eq!(with(&house, &[]).await.status, 403, "no host at all");
    for host in ["localhost", "LOCALHOST:3001", "127.0.0.1:9", "[::1]:3001"] {
        assert_eq!(with(&house, &[("host", host)]).await.status, 200, "{host}");
    }
    house.ended().await;
}

#[tokio::test]
async fn other_hosts_are_refused_over_the_socket() {
    let house = House::new().await;
    for host in FOREIGN.into_iter().chain(["127.0.0.1", "[::1]"]) {
        let reply = house
            .send_local(&request("GET /healthz", &[("host", host)], b""))
            .await;
        assert_eq!(reply.status, 403, "{host:?}");
    }
    for host in ["localhost", "cofferdam", "localhost:80"] {
        let reply = house
            .send_local(&request("GET /healthz", &[("host", host)], b""))
            .await;
        assert_eq!(reply.status, 200, "{host}");
    }
    house.ended().await;
}

#[tokio::test]
async fn a_request_line_that_names_another_host_is_refused() {
    let house = House::new().await;
    let bearer = format!("Bearer {}", house.admin);
    let headers = [("host", "localhost"), ("authorization", bearer.as_str())];
    let trick = request("GET http://evil.example/healthz", &headers, b"");
    assert_eq!(house.send(&trick).await.status, 403);
    let same = request("GET http://localhost/healthz", &headers, b"");
    assert_eq!(house.send(&same).await.status, 200);
    house.ended().await;
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_on_every_transport() {
    let house =
        House::with(|options| options.allowed_origins = vec!["https://app.example:8443".into()]).await;
    for origin in [
        "null",
        "https://evil.example",
        "https://app.example",
        "http://app.example:8443",
        "http://localhost:1",
        "https://localhost",
        "http://localhost.evil.example",
        "http://user@localhost",
        "file://",
        "",
    ] {
        let headers = [("host", "localhost"), ("origin", origin)];
        let reply = with(&house, &headers).await;
        assert_eq!(reply.status, 403, "{origin:?}");
        assert_eq!(reply.header("access-control-allow-origin"), None);
        let local = house.send_local(&request("GET /healthz", &headers, b"")).await;
        assert_eq!(local.status, 403, "{origin:?}");
    }
    for origin in ["https://app.example:8443", "http://localhost"] {
        let headers = [("host", "localhost"), ("origin", origin)];
        assert_eq!(with(&house, &headers).await.status, 200, "{origin}");
    }
    house.ended().await;
}

#[tokio::test]
async fn only_listed_origins_may_read_and_only_they_are_told_so() {
    const PAGE: &str = "https://app.example";
    let house = House::with(|options| options.allowed_origins = vec![PAGE.into()]).await;
    let read = with(&house, &[("host", "localhost"), ("origin", PAGE)]).await;
    assert_eq!(read.header("access-control-allow-origin"), Some(PAGE));
    assert_eq!(read.header("vary"), Some("origin"));
    assert_eq!(read.header("access-control-allow-credentials"), None);
    let ask = |origin| {
        let headers = [
            ("host", "localhost"),
            ("origin", origin),
            ("access-control-request-method", "POST"),
        ];
        request("OPTIONS /v1/sessions", &headers, b"")
    };
    let allowed = house.send(&ask(PAGE)).await;
    assert_eq!(allowed.status, 204);
    assert_eq!(allowed.header("access-control-allow-origin"), Some(PAGE));
    assert!(
        allowed
            .header("access-control-allow-headers")
            .unwrap()
            .contains("authorization")
    );
    let foreign = house.send(&ask("https://evil.example")).await;
    assert_eq!(foreign.status, 403);
    assert_eq!(foreign.header("access-control-allow-origin"), None);
    house.ended().await;
}

#[tokio::test]
async fn forms_of_pages_change_nothing() {
    let house = House::new().await;
    let session = house.session(None).await;
    for kind in [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "TEXT/PLAIN;charset=utf-8",
    ] {
        let headers = [("host", "localhost"), ("content-type", kind)];
        let head = format!("POST /t/pause?{session}");
        let reply = house.send_local(&request(&head, &headers, b"a=b")).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (415, "unsupported_media_type"),
            "{kind}"
        );
        let reply = house.send_local(&request(&head, &headers, b"")).await;
        assert_eq!(reply.status, 415, "{kind}, without a body");
    }
    for site in ["cross-site", "same-site"] {
        let headers = [("host", "localhost"), ("sec-fetch-site", site)];
        let reply = house
            .send_local(&request(&format!("POST /t/pause?{session}"), &headers, b""))
            .await;
        assert_eq!(reply.status, 403, "{site}");
    }
    house.ended().await;
}

#[tokio::test]
async fn every_answer_tells_browsers_to_do_nothing_with_it() {
    let house = House::new().await;
    let replies = [
        house.ask("GET /healthz").await,
        house.ask("GET /nothing").await,
        house.ask("POST /healthz").await,
        house
            .send(&request("GET /healthz", &[("host", "localhost")], b""))
            .await,
        house.ask("GET /t/list").await,
    ];
    for reply in replies {
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            (
                "content-security-policy",
                "default-src 'none'; frame-ancestors 'none'",
            ),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{name} of {}", reply.status);
        }
    }
    house.ended().await;
}

#[tokio::test]
async fn somebody_elses_token_sees_nothing_of_what_it_does_not_own() {
    let house = House::new().await;
    let (mine, theirs) = (house.token("ann", Scope::Use), house.token("bob", Scope::Use));
    let session = house.session(Some("ann")).await;
    let never = session_core::id::SessionId::new();
    let mine = house.ask_as(&mine, &format!("GET /t/look?{session}")).await;
    assert_eq!(mine.status, 200);
    let other = house.ask_as(&theirs, &format!("GET /t/look?{session}")).await;
    let none = house.ask_as(&theirs, &format!("GET /t/look?{never}")).await;
    assert_eq!(other.status, 404);
    assert_eq!(
        other.body.replace(&session.to_string(), "ID"),
        none.body.replace(&never.to_string(), "ID")
    );
    assert_eq!(house.ask_as(&theirs, "GET /t/list").await.body, "");
    house.ended().await;
}
