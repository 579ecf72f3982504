//! What clients get wrong: ids that are none, fields that nobody knows, numbers out of all bounds, bodies of other kinds.

use axum::body::Body;
use axum::http::Method;
use serde_json::json;

use crate::support::House;

#[tokio::test]
async fn an_id_that_is_none_is_refused_on_every_route() {
    let house = House::new().await;
    let id = house.session().await;
    for bad in [
        "x",
        "0",
        "null",
        "%20",
        "%FF",
        "..%2F..",
        "7d9f0a4e-6a0f-4c7e-9d53",
        &"a".repeat(4000),
    ] {
        for path in [
            "",
            "/details",
            "/turns",
            "/events",
            "/events/stream",
            "/commands/stream",
            "/terminals",
            "/diff",
        ] {
            let refused = house.admin.get(&format!("/v1/sessions/{bad}{path}")).await;
            assert_eq!(
                (refused.status.as_u16(), refused.code().as_str()),
                (400, "bad_request"),
                "{bad}{path}"
            );
        }
        for path in [
            format!("turns/{bad}"),
            format!("commands/{bad}/events"),
            format!("terminals/{bad}/stream"),
        ] {
            let refused = house.admin.get(&format!("/v1/sessions/{id}/{path}")).await;
            assert_eq!(refused.status, 400, "{path}");
        }
    }
}

#[tokio::test]
async fn queries_are_read_strictly() {
    let house = House::new().await;
    let id = house.session().await;
    for query in [
        "sessions?al=true".to_owned(),
        "sessions?all=1".to_owned(),
        "sessions?all=true&all=true".to_owned(),
        "sessions?label=x".to_owned(),
        "usage?session=".to_owned(),
        "usage?of=x".to_owned(),
        format!("sessions/{id}/events?after=-1"),
        format!("sessions/{id}/events?after=1.0"),
        format!("sessions/{id}/events?after=18446744073709551616"),
        format!("sessions/{id}/events?after=9007199254740992"),
        format!("sessions/{id}/events?limit=0"),
        format!("sessions/{id}/events?limit=10001"),
        format!("sessions/{id}/events?tail=yes"),
        format!("sessions/{id}/events?after=1&after=2"),
        format!("sessions/{id}/events/stream?after=x"),
    ] {
        let refused = house.admin.get(&format!("/v1/{query}")).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (400, "bad_request"),
            "{query}"
        );
    }
    let request = house
        .admin
        .request(Method::GET, &format!("/v1/sessions/{id}/events/stream"));
    let request = request
        .header("last-event-id", "seven")
        .body(Body::empty())
        .unwrap();
    assert_eq!(house.admin.send(request).await.status, 400);
}

#[tokio::test]
async fn bodies_of_wrong_kinds_are_refused_and_change_nothing() {
    let house = House::new().await;
    let id = house.session().await;
    let routes = [
        "sessions".to_owned(),
        format!("sessions/{id}/turns"),
        format!("sessions/{id}/commands"),
        format!("sessions/{id}/terminals"),
        "egress/decisions".to_owned(),
        "tokens".to_owned(),
    ];
    for route in routes {
        let path = format!("/v1/{route}");
        for body in [
            "",
            "{",
            "null",
            "7",
            "[]",
            "\"x\"",
            "{\"nobody\": 1}",
            "{} {}",
            "{\"a\": 1, \"a\": 1}",
        ] {
            let refused = house.admin.post_text(&path, body.to_owned(), &[]).await;
            assert_eq!(refused.status, 400, "{path} {body}: {refused:?}");
        }
        let deep = format!("{{\"x\": {}{}}}", "[".repeat(100), "]".repeat(100));
        assert_eq!(house.admin.post_text(&path, deep, &[]).await.status, 400);
        let request = house
            .admin
            .request(Method::POST, &path)
            .header("content-type", "text/xml");
        let refused = house.admin.send(request.body("<x/>".into()).unwrap()).await;
        assert_eq!(refused.status, 415, "{path}");
    }
    assert_eq!(
        house
            .admin
            .get("/v1/sessions")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn numbers_out_of_all_bounds_are_refused() {
    let house = House::new().await;
    let id = house.session().await;
    let (turns, commands) = (
        format!("/v1/sessions/{id}/turns"),
        format!("/v1/sessions/{id}/commands"),
    );
    for number in [
        json!(0),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(u64::MAX),
        json!("1"),
    ] {
        for (path, body) in [
            (&turns, json!({"prompt": "x", "time_limit_ms": number})),
            (&commands, json!({"argv": ["true"], "time_limit_ms": number})),
        ] {
            let refused = house.admin.post(path, body).await;
            assert_eq!(refused.status, 400, "{path} {number}: {refused:?}");
        }
        for body in [
            json!({"limits": {"memory_bytes": number}}),
            json!({"limits": {"pids": number}}),
            json!({"budget": {"tokens": number}}),
        ] {
            assert_eq!(
                house.admin.post("/v1/sessions", body.clone()).await.status,
                400,
                "{body}"
            );
        }
    }
    let longest = json!({"argv": ["true"], "time_limit_ms": 9_007_199_254_740_991_u64});
    assert_eq!(house.admin.post(&commands, longest).await.status, 200);
}

#[tokio::test]
async fn a_secret_in_the_wrong_place_is_not_sent_back() {
    let house = House::new().await;
    for body in [
        json!({"account": "canary"}),
        json!({"account": {"kind": "api_key", "key": ["canary"]}}),
    ] {
        let refused = house.admin.post("/v1/sessions", body).await;
        assert_eq!(refused.status, 400);
        assert!(
            !String::from_utf8_lossy(&refused.body).contains("canary"),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_refused_with_those_that_it_has() {
    let house = House::new().await;
    let id = house.session().await;
    for (path, allowed) in [
        ("/v1/sessions", "GET,HEAD,POST"),
        (&format!("/v1/sessions/{id}"), "GET,HEAD,DELETE"),
    ] {
        let request = house
            .admin
            .request(Method::PATCH, path)
            .body(Body::empty())
            .unwrap();
        let refused = house.admin.send(request).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (405, "method_not_allowed")
        );
        let mut told: Vec<&str> = refused.header("allow").unwrap().split(',').collect();
        let mut wanted: Vec<&str> = allowed.split(',').collect();
        told.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(told, wanted);
    }
    assert_eq!(house.admin.get("/v1/nothing").await.code(), "no_such_path");
}
