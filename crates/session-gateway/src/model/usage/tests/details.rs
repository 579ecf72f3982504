//! What is heard beside tokens: models, errors, speeds, and Bedrock's frames.

use super::*;
use crate::model::activity::Activity;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use session_core::gateway::ModelFailure;
use std::sync::{Arc, Mutex};

fn heard_in(content_type: &'static str, bytes: &[u8]) -> UsageTap {
    let mut tap = tap(content_type);
    tap.feed(bytes);
    tap.finish();
    tap
}

/// A frame as Bedrock makes it, with checksums that nobody reads.
fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).unwrap());
        head.extend_from_slice(name.as_bytes());
        head.push(7);
        head.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    let total = u32::try_from(16 + head.len() + payload.len()).unwrap();
    let mut frame = total.to_be_bytes().to_vec();
    frame.extend_from_slice(&u32::try_from(head.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(b"CRC1");
    frame.extend_from_slice(&head);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(b"CRC2");
    frame
}

fn chunk(event: &str) -> Vec<u8> {
    let payload = json!({"bytes": BASE64_STANDARD.encode(event), "p": "abcd"}).to_string();
    frame(
        &[(":event-type", "chunk"), (":message-type", "event")],
        payload.as_bytes(),
    )
}

const FRAMES: &str = "application/vnd.amazon.eventstream";

fn bedrock_answer() -> Vec<u8> {
    [
        r#"{"type":"message_start","message":{"model":"claude-opus-5","usage":{"input_tokens":25,"output_tokens":1,"cache_creation_input_tokens":8,"cache_creation":{"ephemeral_1h_input_tokens":6}}}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hello"}}"#,
        r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":15,"server_tool_use":{"web_search_requests":2}}}"#,
        r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":25}}"#,
    ]
    .iter()
    .flat_map(|event| chunk(event))
    .collect()
}

#[test]
fn bedrock_s_frames_are_counted_split_anywhere() {
    let bytes = bedrock_answer();
    let tokens = Tokens {
        input: 25,
        output: 15,
        cache_creation: 8,
        cache_creation_1h: 6,
        searches: 2,
        ..Tokens::default()
    };
    for at in 0..=bytes.len() {
        assert_eq!(hear(FRAMES, [&bytes[..at], &bytes[at..]]), tokens, "at {at}");
    }
    assert_eq!(hear(FRAMES, bytes.chunks(1)), tokens);
    let tap = heard_in(FRAMES, &bytes);
    assert_eq!(
        tap.heard().model.as_ref().map(ModelName::id),
        Some("claude-opus-5")
    );
}

#[test]
fn frames_that_lie_are_heard_no_more_and_hold_nothing() {
    let good = chunk(r#"{"type":"message_delta","usage":{"output_tokens":5}}"#);
    for prelude in [[0u32, 0], [15, 0], [20, 9], [u32::MAX, u32::MAX]] {
        let mut bytes: Vec<u8> = prelude.iter().flat_map(|number| number.to_be_bytes()).collect();
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&good);
        assert_eq!(hear(FRAMES, [bytes.as_slice()]), Tokens::default(), "{prelude:?}");
    }
    let long = frame(&[], &vec![b'x'; 3 * MAX_PIECE]);
    let mut reader = FrameReader::default();
    let mut events = 0;
    for piece in [long, good].concat().chunks(1000) {
        reader.feed(piece, |_| events += 1);
        assert!(reader.held() <= MAX_PIECE, "{}", reader.held());
    }
    assert_eq!(events, 1, "the next frame counts");
}

#[test]
fn errors_in_a_stream_say_how_the_provider_fails() {
    let stream = |name: &str| {
        let event = json!({"type": "error", "error": {"type": name, "message": "m"}});
        heard_in(
            "text/event-stream",
            format!("event: error\ndata: {event}\n\n").as_bytes(),
        )
    };
    let frames = |name: &str| {
        let headers = [(":message-type", "exception"), (":exception-type", name)];
        heard_in(FRAMES, &frame(&headers, br#"{"message":"m"}"#))
    };
    for (tap, failure) in [
        (stream("overloaded_error"), Some(ModelFailure::Overloaded)),
        (stream("api_error"), Some(ModelFailure::Failing)),
        (stream("authentication_error"), Some(ModelFailure::Unauthorized)),
        (stream("timeout_error"), Some(ModelFailure::Silent)),
        (stream("invalid_request_error"), None),
        (frames("throttlingException"), Some(ModelFailure::Overloaded)),
        (frames("modelTimeoutException"), Some(ModelFailure::Silent)),
        (frames("internalServerException"), Some(ModelFailure::Failing)),
        (frames("validationException"), None),
        (heard_in("text/event-stream", STREAM.as_bytes()), None),
    ] {
        assert_eq!(tap.heard().failure, failure);
    }
}

#[test]
fn the_model_and_what_makes_it_dearer_are_heard() {
    let body = json!({"model": "claude-opus-5", "usage": {"input_tokens": 1, "speed": "fast", "inference_geo": "us"}});
    let tap = heard_in("application/json", body.to_string().as_bytes());
    assert_eq!(
        tap.heard().model.as_ref().map(ModelName::id),
        Some("claude-opus-5")
    );
    assert!(tap.heard().used.fast && tap.heard().used.us_only);
    let (plain, _) = document();
    let tap = heard_in("application/json", plain.as_bytes());
    assert!(!tap.heard().used.fast && !tap.heard().used.us_only);
}

#[test]
fn text_that_was_not_counted_yet_is_known() {
    let text = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x".repeat(3000)}});
    let text = format!("data: {text}\n\n");
    let tap = heard_in("text/event-stream", text.as_bytes());
    let uncounted = tap.heard().uncounted;
    assert!((2_950..3_050).contains(&uncounted), "{uncounted}");
    let counted = "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":1000}}\n\n";
    let tap = heard_in("text/event-stream", format!("{text}{counted}").as_bytes());
    assert_eq!(tap.heard().uncounted, 0);
}

fn ask(pieces: &[&[u8]]) -> Asked {
    let asked = Arc::new(Mutex::new(Asked::default()));
    let mut tap = RequestTap::new(Arc::clone(&asked), Arc::new(Activity::default()));
    for piece in pieces {
        tap.feed(piece);
    }
    let asked = asked.lock().unwrap();
    asked.clone()
}

#[test]
fn a_request_s_model_is_heard_wherever_it_stands() {
    let messages = json!([{"role": "user", "content": "\"model\": \"claude-3-haiku\", \\ {"}]).to_string();
    for body in [
        format!(r#"{{"model":"claude-opus-5","messages":{messages},"speed":"fast"}}"#),
        format!(r#"{{ "messages" : {messages} , "speed":"fast", "model" : "claude-opus-5" }}"#),
    ] {
        let bytes = body.as_bytes();
        for at in 0..=bytes.len() {
            let asked = ask(&[&bytes[..at], &bytes[at..]]);
            assert_eq!(asked.model.as_ref().map(ModelName::id), Some("claude-opus-5"));
            assert!(asked.fast && !asked.us_only);
            assert_eq!(asked.bytes, bytes.len() as u64);
        }
    }
    assert_eq!(
        ask(&[br#"{"model":["claude-opus-5"],"inference_geo":"us"}"#]).model,
        None
    );
    assert!(ask(&[br#"{"model":1,"inference_geo":"us"}"#]).us_only);
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_of_frames_panic_or_depend_on_how_they_come(
        bytes in vec(any::<u8>(), 0..200),
        whole in any::<bool>(),
        places in vec(any::<usize>(), 0..12),
    ) {
        let bytes = if whole { [bedrock_answer(), bytes].concat() } else { bytes };
        let at_once = hear(FRAMES, [bytes.as_slice()]);
        prop_assert_eq!(hear(FRAMES, split(&bytes, &places)), at_once);
    }
}
