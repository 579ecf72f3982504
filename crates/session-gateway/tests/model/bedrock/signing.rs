//! What is signed is what is sent.

use session_core::gateway::ModelApi;
use testkit::model::{ApiFailure, Script};

use super::{MODEL, REGION, bedrock, config, host_keys, invoke};
use crate::support::{Fixture, TOKEN, pieces, read};

#[tokio::test]
async fn requests_are_signed_frames_pass_and_tokens_are_counted() {
    let (server, _) = bedrock().await;
    let fixture = Fixture::with(config(&server, host_keys()), None).await;
    let region = REGION.to_owned();
    assert_eq!(fixture.api, ModelApi::Bedrock { region });

    let response = fixture.send(invoke(MODEL, "invoke-with-response-stream")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["content-type"],
        "application/vnd.amazon.eventstream"
    );
    let frames = read(response).await;
    let prelude = usize::try_from(u32::from_be_bytes(frames[..4].try_into().unwrap())).unwrap();
    aws_smithy_eventstream::frame::read_message_from(frames.slice(..prelude)).unwrap();

    let whole = fixture.send(invoke(MODEL, "invoke")).await;
    assert_eq!(whole.status(), 200);
    assert!(read(whole).await.starts_with(b"{"));
    let counted = fixture.send(invoke(MODEL, "count-tokens")).await;
    assert_eq!(counted.status(), 200);
    read(counted).await;

    let usage = fixture.proxy.usage(&fixture.session).unwrap();
    assert_eq!(
        (usage.requests, usage.input_tokens, usage.output_tokens),
        (3, 200, 20)
    );
    for seen in server.requests() {
        assert_eq!(seen.header("host"), Some(server.address().to_string().as_str()));
        assert!(!format!("{seen:?}").contains(TOKEN));
        assert_eq!(seen.model(), MODEL);
    }
}

#[tokio::test]
async fn every_spelling_of_an_id_is_signed_as_it_is_sent() {
    let (server, _) = bedrock().await;
    let fixture = Fixture::with(config(&server, host_keys()), None).await;
    for id in [
        "anthropic.claude-v1%3A0",
        "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile%2Fabc",
        "arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Aapplication-inference-profile%2Fabc",
        "eu.anthropic.claude-opus-5-5",
    ] {
        assert_eq!(fixture.send(invoke(id, "invoke")).await.status(), 200, "{id}");
    }
}

#[tokio::test]
async fn what_a_session_sends_of_aws_s_fields_is_neither_signed_nor_sent() {
    let (server, _) = bedrock().await;
    let fixture = Fixture::with(config(&server, host_keys()), None).await;
    let mut request = invoke(MODEL, "invoke");
    for (name, value) in [
        ("x-amz-date", "20200101T000000Z"),
        ("x-amz-security-token", "theirs"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("x-api-key", "theirs"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    request
        .headers_mut()
        .insert("x-amzn-bedrock-trace", "ENABLED".parse().unwrap());
    assert_eq!(fixture.send(request).await.status(), 200);
    let seen = &server.requests()[0];
    assert_eq!(seen.header("x-amz-security-token"), None);
    assert_eq!(seen.header("x-amz-content-sha256"), None);
    assert_eq!(seen.header("x-amzn-bedrock-trace"), Some("ENABLED"));
    assert!(
        seen.header("authorization")
            .unwrap()
            .contains("x-amzn-bedrock-trace")
    );
}

#[tokio::test]
async fn a_throttled_region_is_asked_again_with_a_new_signature() {
    let (server, _) = bedrock().await;
    server.set_script(Script::new().fail(ApiFailure::rate_limited()).say("hello"));
    let mut config = config(&server, host_keys());
    config.retry.attempts = 2;
    let fixture = Fixture::with(config, None).await;
    assert_eq!(fixture.send(invoke(MODEL, "invoke")).await.status(), 200);
    assert_eq!(server.conversation_count(), 2);
}

#[tokio::test]
async fn a_body_in_pieces_is_signed_as_one() {
    let (server, _) = bedrock().await;
    let fixture = Fixture::with(config(&server, host_keys()), None).await;
    let (sender, body) = pieces();
    let mut request = invoke(MODEL, "invoke");
    *request.body_mut() = body;
    let sending = tokio::spawn(async move {
        for piece in [
            r#"{"messages":"#,
            r#"[{"role":"user","content":"hi"}]"#,
            r#","max_tokens":9}"#,
        ] {
            sender.send(Ok(piece.into())).await.unwrap();
        }
    });
    let response = fixture.send(request).await;
    assert_eq!(response.status(), 200);
    sending.await.unwrap();
    assert_eq!(server.requests()[0].header("content-length"), Some("60"));
}
