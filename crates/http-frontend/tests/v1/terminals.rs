//! Terminals over the API.

use bytes::Bytes;
use serde_json::json;

use crate::support::{Heard, House};

#[tokio::test]
async fn a_terminal_is_opened_looked_at_resized_and_closed() {
    let house = House::new().await;
    let id = house.session().await;
    let terminals = format!("/v1/sessions/{id}/terminals");
    let body = json!({"program": {"kind": "command", "argv": ["cat"]}, "size": {"rows": 30, "columns": 90}});
    let opened = house.admin.post(&terminals, body).await;
    assert_eq!(opened.status, 201, "{opened:?}");
    let info = opened.json();
    let address = format!("{terminals}/{}", info["id"].as_str().unwrap());
    assert_eq!(opened.header("location"), Some(address.as_str()));
    assert_eq!(info["size"], json!({"rows": 30, "columns": 90}));
    assert_eq!(house.admin.get(&terminals).await.json()[0]["id"], info["id"]);

    let mut viewer = house
        .admin
        .socket(&format!("{address}/stream?rows=20&columns=70"))
        .await
        .ok()
        .unwrap();
    let attached = viewer.text().await;
    assert_eq!(attached["type"], "attached");
    assert_eq!(attached["info"]["id"], info["id"]);
    viewer
        .say(json!({"type": "resize", "rows": 10, "columns": 60}))
        .await;
    viewer.write(Bytes::from_static(b"typed\r")).await;
    let (mut screen, mut resized) = (Vec::new(), false);
    while !(resized && String::from_utf8_lossy(&screen).contains("typed")) {
        match viewer.hear().await.unwrap() {
            Heard::Bytes(bytes) => screen.extend_from_slice(&bytes),
            Heard::Text(text) if text["rows"] == 10 => resized = true,
            Heard::Text(_) => {}
        }
    }
    for _ in 0..2 {
        assert_eq!(house.admin.delete(&address).await.status, 204);
    }
    let ended = loop {
        match viewer.hear().await {
            Some(Heard::Text(text)) if text["type"] == "exited" => break true,
            Some(_) => {}
            None => break false,
        }
    };
    assert!(ended, "its viewers are told");
    assert_eq!(house.admin.get(&terminals).await.json(), json!([]));
}

#[tokio::test]
async fn sizes_and_programs_that_cannot_be_are_refused() {
    let house = House::new().await;
    let id = house.session().await;
    let terminals = format!("/v1/sessions/{id}/terminals");
    for body in [
        json!({"size": {"rows": 0, "columns": 80}}),
        json!({"size": {"rows": 24, "columns": 1001}}),
        json!({"size": {"rows": 24, "columns": 70000}}),
        json!({"size": {"rows": 24}}),
        json!({"program": {"kind": "command", "argv": []}}),
        json!({"program": {"kind": "editor"}}),
        json!({"program": "shell"}),
    ] {
        let refused = house.admin.post(&terminals, body.clone()).await;
        assert_eq!(refused.status, 400, "{body}: {refused:?}");
    }
    assert_eq!(house.admin.get(&terminals).await.json(), json!([]));
}
