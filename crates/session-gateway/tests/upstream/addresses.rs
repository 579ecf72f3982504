//! Servers over HTTP: which addresses and names may be reached, and where nobody is sent on to.

use std::collections::BTreeMap;
use std::sync::Arc;

use http_body_util::Full;
use hyper::Response;
use serde_json::json;
use session_gateway::mcp::{FailureCause, Network};
use testkit::mcp::{HttpServer, Options};

use crate::http::http;
use crate::scripted::Scripted;
use crate::support::{Lab, Names};

crate::trials![
    false;
    a_redirect_is_refused_and_named,
    addresses_near_us_are_for_private_servers,
    a_name_that_leads_near_us_is_refused,
];

async fn a_redirect_is_refused_and_named() {
    let elsewhere = HttpServer::start(Options::default()).await.unwrap();
    for status in [301, 302, 303, 307, 308] {
        let address = format!("http://{}", elsewhere.address());
        let to = format!("{address}/canary-abc/mcp?token=abc");
        let server = Scripted::start(move |_, _| {
            let builder = Response::builder().status(status).header("location", &to);
            builder.body(Full::default()).unwrap()
        });
        let server = server.await;
        let failure = Lab::new()
            .connect("moved", http(&server.url("/mcp"), json!({})))
            .await
            .unwrap_err();
        assert_eq!(failure.cause, FailureCause::Forbidden, "{failure:?}");
        assert!(
            failure.detail.contains(&address) && !failure.detail.contains("abc"),
            "{failure:?}"
        );
    }
    assert_eq!(elsewhere.requests(), 0);
}

async fn addresses_near_us_are_for_private_servers() {
    let server = HttpServer::start(Options::default()).await.unwrap();
    let lab = Lab::new();
    let port = server.address().port();
    for url in [
        server.url(),
        format!("http://localhost:{port}/mcp"),
        format!("https://127.0.0.1:{port}/mcp"),
        format!("https://[::ffff:127.0.0.1]:{port}/mcp"),
        format!("http://example.com:{port}/mcp"),
        "https://169.254.169.254/".to_owned(),
        "https://10.0.0.1/".to_owned(),
        format!("http://2130706433:{port}/mcp"),
        "not a url".to_owned(),
    ] {
        let failure = lab
            .connect("near", http(&url, json!({ "private": false })))
            .await
            .unwrap_err();
        assert_eq!(failure.cause, FailureCause::Forbidden, "{url}: {failure:?}");
    }
    for url in ["https://169.254.169.254/latest/meta-data", "http://10.0.0.1/mcp"] {
        let failure = lab.connect("near", http(url, json!({}))).await.unwrap_err();
        assert_eq!(failure.cause, FailureCause::Forbidden, "{url}: {failure:?}");
    }
    assert_eq!(server.requests(), 0);
    lab.connect("near", http(&format!("http://localhost:{port}/mcp"), json!({})))
        .await
        .unwrap();
}

pub(crate) fn named(names: &[(&'static str, &str)]) -> Network {
    let names = names
        .iter()
        .map(|(name, address)| (*name, address.parse().unwrap()));
    Network {
        resolver: Arc::new(Names(names.collect::<BTreeMap<_, _>>())),
        ..Network::default()
    }
}

async fn a_name_that_leads_near_us_is_refused() {
    let server = HttpServer::start(Options::default()).await.unwrap();
    let mut lab = Lab::new();
    lab.config.network = named(&[
        ("docs.example.com", "127.0.0.1"),
        ("meta.example.com", "169.254.169.254"),
    ]);
    let port = server.address().port();
    for name in ["docs.example.com", "meta.example.com"] {
        let url = format!("https://{name}:{port}/mcp");
        let failure = lab
            .connect("docs", http(&url, json!({ "private": false })))
            .await
            .unwrap_err();
        assert_eq!(failure.cause, FailureCause::Forbidden, "{failure:?}");
    }
    let failure = lab
        .connect("docs", http("https://meta.example.com/", json!({})))
        .await
        .unwrap_err();
    assert_eq!(
        failure.cause,
        FailureCause::Forbidden,
        "metadata stays closed: {failure:?}"
    );
    let failure = lab
        .connect("docs", http("https://gone.example.com/", json!({})))
        .await
        .unwrap_err();
    assert_eq!(failure.cause, FailureCause::Missing, "{failure:?}");
    assert_eq!(server.requests(), 0);
}
