//! The account of a session, from end to end.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Response;

use crate::support::{Fixture, Provider, json, pieces, prompt, read};

#[tokio::test]
async fn a_stream_is_counted_while_it_runs_and_passes_unchanged() {
    let (sender, body) = pieces();
    let body = std::sync::Mutex::new(Some(body));
    let provider = Provider::start(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async move {
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(body)
                .unwrap()
        }
    })
    .await;
    let fixture = Fixture::new(&provider.base).await;
    let mut usage = fixture.proxy.watch_usage(&fixture.session).unwrap();
    let answer = fixture.send(prompt()).await;

    let start = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":11,",
        "\"cache_read_input_tokens\":5,\"cache_creation_input_tokens\":6,\"output_tokens\":1}}}\n\n"
    );
    let end = "event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":42}}\n\n";
    sender.send(Ok(Bytes::from(start))).await.unwrap();
    let reader = tokio::spawn(answer.into_body().collect());
    let seen = *usage.wait_for(|usage| usage.input_tokens == 11).await.unwrap();
    assert_eq!((seen.requests, seen.in_flight, seen.output_tokens), (1, 1, 1));
    assert_eq!((seen.cache_read_tokens, seen.cache_creation_tokens), (5, 6));
    sender.send(Ok(Bytes::from(end))).await.unwrap();
    drop(sender);
    assert_eq!(reader.await.unwrap().unwrap().to_bytes(), format!("{start}{end}"));
    let seen = *usage.wait_for(|usage| usage.in_flight == 0).await.unwrap();
    assert_eq!(
        (seen.input_tokens, seen.output_tokens, seen.failed_requests),
        (11, 42, 0)
    );
}

#[tokio::test]
async fn documents_add_up_and_only_messages_count() {
    const BODY: &str = r#"{"content":[],"usage":{"input_tokens":3,"output_tokens":4}}"#;
    let provider = Provider::start(async |_| json(200, BODY)).await;
    let fixture = Fixture::new(&provider.base).await;
    for path in ["/v1/messages", "/v1/messages", "/v1/messages/count_tokens"] {
        let mut request = prompt();
        *request.uri_mut() = path.parse().unwrap();
        assert_eq!(read(fixture.send(request).await).await, BODY);
    }
    let usage = fixture.proxy.usage(&fixture.session).unwrap();
    assert_eq!(
        (usage.requests, usage.input_tokens, usage.output_tokens),
        (3, 6, 8)
    );
}
