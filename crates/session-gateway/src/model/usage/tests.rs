//! The taps against whole and arbitrarily split answers, valid and not.

use super::frames::FrameReader;
use super::json::JsonScanner;
use super::sse::SseReader;
use super::*;
use crate::model::accounts::ModelName;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

mod details;

fn tap(content_type: &'static str) -> UsageTap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    UsageTap::new(&headers)
}

fn hear<'a>(content_type: &'static str, chunks: impl IntoIterator<Item = &'a [u8]>) -> Tokens {
    let mut tap = tap(content_type);
    for chunk in chunks {
        tap.feed(chunk);
    }
    tap.finish();
    tap.heard().used.tokens
}

const STREAM: &str = concat!(
    "event: message_start\r\n",
    "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"content\":[],\"usage\":",
    "{\"input_tokens\":25,\"output_tokens\":1,\"cache_read_input_tokens\":7,\"cache_creation_input_tokens\":null}}}\r\n\r\n",
    ": a comment\n",
    "event: ping\ndata: {\"type\": \"ping\"}\n\n",
    "event: content_block_delta\n",
    "data:{\"type\":\"content_block_delta\",\"delta\":{\"text\":\"{\\\"usage\\\":{\\\"output_tokens\\\":9000}}\"}}\r\r",
    "data: {\"type\":\"message_delta\",\n",
    "data: \"delta\":{},\"usage\":{\"output_tokens\":15,\"cache_creation_input_tokens\":3}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);
const STREAM_TOKENS: Tokens = Tokens {
    input: 25,
    output: 15,
    cache_read: 7,
    cache_creation: 3,
    cache_creation_1h: 0,
    searches: 0,
};

fn document() -> (String, Tokens) {
    let body = json!({
        "id": "msg", "type": "message", "model": "m",
        "content": [{"type": "text", "text": "a \"usage\": {\"output_tokens\": 1e9}, } ] \\"}],
        "more": {"usage": {"input_tokens": 99999}},
        "usage": {"input_tokens": 10, "output_tokens": 20, "cache_read_input_tokens": 30, "server_tool_use": {"x": [1]}},
        "zz": null,
    });
    (
        body.to_string(),
        Tokens {
            input: 10,
            output: 20,
            cache_read: 30,
            ..Tokens::default()
        },
    )
}

#[test]
fn reads_a_stream_split_anywhere() {
    let bytes = STREAM.as_bytes();
    for at in 0..=bytes.len() {
        assert_eq!(
            hear("text/event-stream; charset=utf-8", [&bytes[..at], &bytes[at..]]),
            STREAM_TOKENS,
            "at {at}"
        );
    }
    assert_eq!(hear("text/event-stream", bytes.chunks(1)), STREAM_TOKENS);
}

#[test]
fn reads_a_document_split_anywhere() {
    let (body, tokens) = document();
    let bytes = body.as_bytes();
    for at in 0..=bytes.len() {
        assert_eq!(
            hear("application/json", [&bytes[..at], &bytes[at..]]),
            tokens,
            "at {at}"
        );
    }
    assert_eq!(hear("application/json", bytes.chunks(1)), tokens);
}

#[test]
fn counts_what_a_broken_stream_used() {
    let cut = STREAM.find("event: content_block_delta").unwrap();
    let tokens = hear("text/event-stream", [&STREAM.as_bytes()[..cut]]);
    assert_eq!(
        tokens,
        Tokens {
            input: 25,
            output: 1,
            cache_read: 7,
            ..Tokens::default()
        }
    );
}

#[test]
fn an_event_without_its_empty_line_counts() {
    let last = "data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":5}}";
    assert_eq!(hear("text/event-stream", [last.as_bytes()]).output, 5);
}

#[test]
fn errors_and_other_types_use_nothing() {
    let error = br#"{"type":"error","error":{"type":"overloaded_error","message":"usage"}}"#;
    assert_eq!(hear("application/json", [&error[..]]), Tokens::default());
    assert_eq!(hear("text/html", [STREAM.as_bytes()]), Tokens::default());
    let odd = br#"{"usage":{"input_tokens":-1,"output_tokens":"9","cache_read_input_tokens":1.5}}"#;
    assert_eq!(hear("application/json", [&odd[..]]), Tokens::default());
}

#[test]
fn memory_is_bounded_and_the_next_event_still_counts() {
    let mut reader = SseReader::default();
    let mut events = 0;
    for piece in [
        &b"data: "[..],
        &[b'x'; 4096].repeat(100),
        b"\ndata: y\n",
        &b"data: z\n".repeat(20_000),
    ] {
        reader.feed(piece, |_| events += 1);
        assert!(reader.held() <= 3 * MAX_PIECE, "{}", reader.held());
    }
    reader.feed(b"\ndata: ok\n\n", |event| {
        assert_eq!(event, b"ok");
        events += 1;
    });
    assert_eq!(events, 1);

    let mut scanner = JsonScanner::new(&["usage"]);
    for piece in [
        &b"{\"usage\":\""[..],
        &[b'x'; 4096].repeat(100),
        b"\",\"",
        &[b'k'; 4096].repeat(100),
    ] {
        scanner.feed(piece, |_, _| panic!("a member that is too long is skipped"));
        assert!(scanner.held() <= MAX_PIECE + 17, "{}", scanner.held());
    }
}

/// Splits `bytes` at the given places, in any order and beyond the end.
fn split<'a>(bytes: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|place| place % (bytes.len() + 1)).collect();
    places.sort_unstable();
    let mut chunks = Vec::new();
    let mut from = 0;
    for place in places.into_iter().chain([bytes.len()]) {
        chunks.push(&bytes[from..place]);
        from = place;
    }
    chunks
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "[a-z\"\\\\{}\\[\\],: é]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("usage|[a-z\"\\\\]{0,6}|[a-z]*_tokens", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn the_scanner_agrees_with_the_parser(
        members in proptest::collection::btree_map("usage|[a-z\"\\\\]{0,6}", json_value(), 0..5),
        pretty in any::<bool>(),
        places in vec(any::<usize>(), 0..8),
    ) {
        let object = Value::Object(members.into_iter().collect());
        let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.unwrap();
        let mut found = None;
        let mut scanner = JsonScanner::new(&["usage"]);
        for chunk in split(text.as_bytes(), &places) {
            scanner.feed(chunk, |_, value| found = serde_json::from_slice::<Value>(value).ok());
        }
        prop_assert_eq!(found.as_ref(), object.get("usage"));
    }

    #[test]
    fn chunking_changes_nothing(
        bytes in vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'd'), Just(b':'), Just(b'{'), Just(b'"'), any::<u8>()], 0..200),
        prefix in prop_oneof![Just(""), Just(STREAM), Just("data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":4}}\n")],
        places in vec(any::<usize>(), 0..12),
    ) {
        let whole = [prefix.as_bytes(), &bytes].concat();
        for content_type in ["text/event-stream", "application/json"] {
            let at_once = hear(content_type, [whole.as_slice()]);
            prop_assert_eq!(hear(content_type, split(&whole, &places)), at_once);
        }
    }

    #[test]
    fn events_are_the_same_however_they_arrive(
        datas in vec(vec("[a-z{}\":]{1,12}", 1..3), 0..6),
        line_end in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
        places in vec(any::<usize>(), 0..12),
    ) {
        let mut text = String::new();
        for lines in &datas {
            text.push_str(&format!("event: x{line_end}"));
            for line in lines {
                text.push_str(&format!("data: {line}{line_end}"));
            }
            text.push_str(line_end);
        }
        let mut events = Vec::new();
        let mut reader = SseReader::default();
        for chunk in split(text.as_bytes(), &places) {
            reader.feed(chunk, |event| events.push(event.to_vec()));
        }
        let expected: Vec<Vec<u8>> = datas.iter().map(|lines| lines.join("\n").into_bytes()).collect();
        prop_assert_eq!(events, expected);
    }

    #[test]
    fn the_account_never_falls(deltas in vec((0u64..1000, 0u64..1000), 0..8)) {
        let mut tap = tap("text/event-stream");
        let mut before = Tokens::default();
        let mut usage = Usage::default();
        for (input, output) in &deltas {
            let event = json!({"type": "message_delta", "usage": {"input_tokens": input, "output_tokens": output}});
            tap.feed(format!("data: {event}\n\n").as_bytes());
            let now = tap.heard().used.tokens;
            prop_assert!(now.input >= before.input && now.output >= before.output);
            usage.add(now.since(before));
            before = now;
        }
        prop_assert_eq!(usage.output_tokens, deltas.iter().map(|delta| delta.1).max().unwrap_or(0));
    }
}
