//! Files in and out: whole or not at all.

use axum::body::Body;
use axum::http::Method;
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::json;
use session_core::id::SessionId;

use crate::support::{Asker, House, Reply};

pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

pub(crate) async fn upload(
    asker: &Asker,
    id: &SessionId,
    path: &str,
    kind: &str,
    body: impl Into<Body>,
) -> Reply {
    let request = asker
        .request(Method::PUT, &format!("/v1/sessions/{id}/files?path={path}"))
        .header("content-type", kind);
    asker.send(request.body(body.into()).unwrap()).await
}

pub(crate) async fn cat(house: &House, id: &SessionId, path: &str) -> serde_json::Value {
    let body = json!({"argv": ["cat", path]});
    house
        .admin
        .post(&format!("/v1/sessions/{id}/commands"), body)
        .await
        .json()
}

#[tokio::test]
async fn what_goes_in_comes_out() {
    let house = House::new().await;
    let id = house.session().await;
    let big = vec![7_u8; 3 << 20];
    let sent = archive(&[("a.txt", b"hello"), ("b.bin", &big)]);
    let report = upload(&house.admin, &id, "in", "application/x-tar", sent).await;
    assert_eq!(report.status, 200, "{report:?}");
    assert_eq!(report.json(), json!({"entries": 2, "bytes": 5 + big.len()}));
    assert_eq!(cat(&house, &id, "in/a.txt").await["stdout"], "hello");

    let back = house.admin.get(&format!("/v1/sessions/{id}/files?path=in")).await;
    assert_eq!(
        (back.status.as_u16(), back.header("content-type")),
        (200, Some("application/x-tar"))
    );
    let mut tar = tar::Archive::new(&back.body[..]);
    let mut sizes: Vec<u64> = tar
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().size())
        .filter(|size| *size > 0)
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [5, big.len() as u64]);
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_before_anything_happens() {
    let house = House::new().await;
    let id = house.session().await;
    let wrong = upload(&house.admin, &id, "in", "application/zip", "x").await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.code().as_str()),
        (415, "unsupported_media_type")
    );
    let torn = upload(&house.admin, &id, "in", "application/x-tar", vec![1; 2000]).await;
    assert!(torn.status.is_client_error(), "{torn:?}");
    let absent = house
        .admin
        .get(&format!("/v1/sessions/{id}/files?path=absent"))
        .await;
    assert_eq!(
        (absent.status.as_u16(), absent.code().as_str()),
        (404, "path_not_found")
    );
    let long = house
        .admin
        .get(&format!("/v1/sessions/{id}/files?path={}", "x".repeat(256)))
        .await;
    assert_eq!(long.status, 400);
    let no_path = house.admin.get(&format!("/v1/sessions/{id}/files")).await;
    assert_eq!(no_path.status, 400);
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let house = House::new().await;
    let id = house.session().await;
    let whole = archive(&[("left.txt", b"hello"), ("more.bin", &[1; 200_000])]);
    let piece = Bytes::from(whole).slice(..100_000);
    let broken = stream::iter([Ok(piece), Err(std::io::Error::other("the client is gone"))]);
    let request = house
        .admin
        .request(Method::PUT, &format!("/v1/sessions/{id}/files?path=in"))
        .header("content-type", "application/x-tar")
        .body(Body::from_stream(broken))
        .unwrap();
    let admin = house.admin.clone();
    let sending = tokio::spawn(async move { admin.send(request).await });
    assert!(sending.await.is_err(), "the client itself broke it off");
    // Told by the core when it is over.
    let absent = loop {
        let out = cat(&house, &id, "in/left.txt").await;
        let probe = house
            .admin
            .post(&format!("/v1/sessions/{id}/commands"), json!({"argv": ["true"]}))
            .await;
        assert_eq!(probe.status, 200);
        if out["exit"]["code"] != 0 {
            break out;
        }
    };
    assert_ne!(absent["exit"]["code"], 0);
    let events = house.admin.get(&format!("/v1/sessions/{id}/events")).await.json();
    let copied = events
        .as_array()
        .unwrap()
        .iter()
        .any(|event| event["event"] == "files_copied");
    assert!(!copied, "{events}");
}

#[tokio::test]
async fn a_download_that_fails_on_its_way_breaks_off() {
    let house = House::new().await;
    let id = house.session().await;
    let big = vec![7_u8; 32 << 20];
    let sent = archive(&[("big.bin", &big)]);
    assert_eq!(
        upload(&house.admin, &id, "in", "application/x-tar", sent)
            .await
            .status,
        200
    );
    let request = house
        .admin
        .request(Method::GET, &format!("/v1/sessions/{id}/files?path=in"));
    let mut pieces = house.admin.stream(request.body(Body::empty()).unwrap()).await;
    assert!(pieces.next().await.unwrap().is_some());
    assert_eq!(
        house.admin.delete(&format!("/v1/sessions/{id}")).await.status,
        204
    );
    let (mut read, mut broken) = (0, false);
    while let Some(piece) = pieces.next().await {
        match piece {
            Some(piece) => read += piece.len(),
            None => broken = true,
        }
    }
    assert!(broken, "the body ended well after {read} bytes");
    assert!(read < big.len());
}
