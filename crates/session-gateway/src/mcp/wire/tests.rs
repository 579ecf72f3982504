use proptest::prelude::*;
use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, PingRequest, ProgressNotificationParam, ServerNotification,
};
use rmcp::transport::Transport;
use secrecy::SecretString;
use serde_json::{Map, json};
use tokio::io::{AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};

use super::*;
use crate::mcp::call::FailureCause;
use crate::mcp::upstream::Ending;

type Client = Guarded<LineTransport<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>>;

const MAX: usize = 4096;

/// A transport, and the server's end of it.
fn pair() -> (Client, DuplexStream, Ending) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (reader, writer) = tokio::io::split(near);
    let ending = Ending::default();
    let lines = LineTransport::new(reader, writer, MAX, Mask::default(), ending.clone());
    (Guarded::new(lines, ending.clone()), far, ending)
}

async fn ask(client: &mut Client, id: i64) {
    let request = ClientRequest::PingRequest(PingRequest::default());
    let message = ClientJsonRpcMessage::request(request, NumberOrString::Number(id));
    client.send(message).await.unwrap();
}

/// A transport whose handshake is over.
async fn begun() -> (Client, DuplexStream, Ending) {
    let (mut client, mut far, ending) = pair();
    ask(&mut client, 0).await;
    far.write_all(&answer(0)).await.unwrap();
    assert!(client.receive().await.is_some());
    (client, far, ending)
}

fn answer(id: i64) -> Vec<u8> {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}\n").into_bytes()
}

fn progress(token: i64) -> Vec<u8> {
    let params = json!({ "progressToken": token, "progress": 1.0 });
    let message = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params });
    format!("{message}\n").into_bytes()
}

fn id_of(message: &ServerJsonRpcMessage) -> Option<RequestId> {
    match message {
        ServerJsonRpcMessage::Response(response) => Some(response.id.clone()),
        ServerJsonRpcMessage::Error(error) => error.id.clone(),
        _ => None,
    }
}

#[tokio::test]
async fn a_banner_and_blank_lines_are_borne() {
    let (mut client, mut far, _) = pair();
    ask(&mut client, 1).await;
    let said = b"npm warn deprecated x@1\n\n> serve\r\n\xff\xfe\n[1,2]\n{\"level\":30,\"id\":1}\n";
    far.write_all(said).await.unwrap();
    far.write_all(b"\xef\xbb\xbf").await.unwrap();
    far.write_all(&answer(1)).await.unwrap();
    let message = client.receive().await.unwrap();
    assert!(
        matches!(message, ServerJsonRpcMessage::Response(_)),
        "{message:?}"
    );
}

#[tokio::test]
async fn junk_without_end_breaks_the_connection() {
    let (mut client, mut far, ending) = pair();
    let flood = tokio::spawn(async move { while far.write_all(b"[]\n").await.is_ok() {} });
    assert!(client.receive().await.is_none());
    assert_eq!(ending.fault().unwrap().0, FailureCause::Broken);
    drop(client);
    flood.await.unwrap();
}

#[tokio::test]
async fn answers_pass_once_and_only_when_asked_for() {
    let (mut client, mut far, ending) = begun().await;
    ask(&mut client, 7).await;
    for id in [9, 7, 7, 8] {
        far.write_all(&answer(id)).await.unwrap();
    }
    assert_eq!(
        id_of(&client.receive().await.unwrap()),
        Some(NumberOrString::Number(7))
    );
    ask(&mut client, 10).await;
    far.write_all(&answer(10)).await.unwrap();
    assert_eq!(
        id_of(&client.receive().await.unwrap()),
        Some(NumberOrString::Number(10))
    );
    let flood = tokio::spawn(async move { while far.write_all(&answer(77)).await.is_ok() {} });
    assert!(client.receive().await.is_none());
    assert_eq!(ending.fault().unwrap().0, FailureCause::Broken);
    drop(client);
    flood.await.unwrap();
}

#[tokio::test]
async fn whoever_waits_for_an_answer_that_cannot_be_read_is_told() {
    let (mut client, mut far, _) = begun().await;
    let long = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":\"{}\"}}\n",
        "x".repeat(3 * MAX)
    );
    let deep = format!("{{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}\n", "[".repeat(1000));
    let odd = "{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":5}\n".to_owned();
    for text in [long, deep, odd] {
        ask(&mut client, 7).await;
        far.write_all(text.as_bytes()).await.unwrap();
        let message = client.receive().await.unwrap();
        assert_eq!(id_of(&message), Some(NumberOrString::Number(7)));
        assert!(matches!(message, ServerJsonRpcMessage::Error(_)), "{text:.40}");
    }
}

#[tokio::test]
async fn notifications_wait_for_room() {
    let (mut client, mut far, _) = begun().await;
    let server = tokio::spawn(async move {
        for token in 0..200 {
            far.write_all(&progress(token)).await.unwrap();
        }
        far.write_all(&answer(5)).await.unwrap();
        far
    });
    ask(&mut client, 5).await;
    let mut held = Vec::new();
    let patience = std::time::Duration::from_millis(100);
    while let Ok(message) = tokio::time::timeout(patience, client.receive()).await {
        held.push(message.unwrap());
    }
    assert_eq!(held.len(), 64, "no more than are handled at once");
    let mut rest = 0;
    loop {
        held.clear();
        let message = client.receive().await.unwrap();
        if id_of(&message).is_some() {
            break;
        }
        let ServerJsonRpcMessage::Notification(message) = &message else {
            panic!("a notification")
        };
        assert!(matches!(
            message.notification,
            ServerNotification::ProgressNotification(_)
        ));
        rest += 1;
    }
    assert_eq!(rest, 200 - 64, "none is lost");
    drop(server.await.unwrap());
}

#[tokio::test]
async fn a_server_that_asks_too_much_is_refused() {
    use tokio::io::AsyncBufReadExt as _;
    let (mut client, far, _) = begun().await;
    let (reader, mut writer) = tokio::io::split(far);
    for id in 0..65 {
        let ping = format!("{{\"jsonrpc\":\"2.0\",\"id\":\"p{id}\",\"method\":\"ping\"}}\n");
        writer.write_all(ping.as_bytes()).await.unwrap();
    }
    writer.write_all(&progress(1)).await.unwrap();
    for _ in 0..64 {
        assert!(matches!(
            client.receive().await,
            Some(ServerJsonRpcMessage::Request(_))
        ));
    }
    assert!(matches!(
        client.receive().await,
        Some(ServerJsonRpcMessage::Notification(_))
    ));
    let mut lines = tokio::io::BufReader::new(reader).lines();
    let _asked = lines.next_line().await.unwrap();
    let refused = lines.next_line().await.unwrap().unwrap();
    assert!(
        refused.contains("\"p64\"") && refused.contains("-32000"),
        "{refused}"
    );
}

#[tokio::test]
async fn what_comes_before_the_handshake_and_late_answers_are_dropped() {
    use rmcp::model::{ClientConfig, InitializeRequest};
    let (mut client, mut far, _) = pair();
    ask(&mut client, 0).await;
    let initialize = InitializeRequest::new(ClientConfig::default());
    let message = ClientRequest::InitializeRequest(initialize);
    let message = ClientJsonRpcMessage::request(message, NumberOrString::Number(1));
    client.send(message).await.unwrap();
    far.write_all(&progress(1)).await.unwrap();
    far.write_all(&answer(0)).await.unwrap();
    far.write_all(&answer(1)).await.unwrap();
    assert_eq!(
        id_of(&client.receive().await.unwrap()),
        Some(NumberOrString::Number(1))
    );
}

#[tokio::test]
async fn a_line_that_was_given_up_is_ended_before_the_next() {
    use tokio::io::AsyncReadExt as _;
    let (near, mut far) = tokio::io::duplex(10);
    let (reader, writer) = tokio::io::split(near);
    let mut lines = LineTransport::new(reader, writer, MAX, Mask::default(), Ending::default());
    let ping = |id| ClientJsonRpcMessage::request(ClientRequest::PingRequest(PingRequest::default()), id);
    let first = lines.send(ping(NumberOrString::Number(1)));
    let given_up = tokio::time::timeout(std::time::Duration::from_millis(20), first).await;
    assert!(given_up.is_err(), "nobody reads");
    let second = tokio::spawn(lines.send(ping(NumberOrString::Number(2))));
    let mut text = Vec::new();
    while text.iter().filter(|byte| **byte == b'\n').count() < 2 {
        far.read_buf(&mut text).await.unwrap();
    }
    second.await.unwrap().unwrap();
    for line in String::from_utf8(text).unwrap().lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
    lines.close().await.unwrap();
    let fault = lines.send(ping(NumberOrString::Number(3))).await.unwrap_err();
    assert!(fault.never_left || matches!(fault.to_string().as_str(), text if !text.is_empty()));
}

#[test]
fn a_server_does_not_hand_on_its_secrets() {
    let mask = Mask::new([&SecretString::from("canary-7f3a-9b2c")]);
    let text = br#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"KEY=c\u0061nary-7f3a-9b2c"}]}}"#;
    let Heard::Message(message) = read(text, &mask) else {
        panic!("a message")
    };
    assert!(!format!("{message:?}").contains("canary"), "{message:?}");
    let ProgressNotificationParam { .. } =
        ProgressNotificationParam::new(rmcp::model::ProgressToken(NumberOrString::Number(1)), 1.0);
}

fn message() -> impl Strategy<Value = Value> {
    let id = prop_oneof![
        any::<i64>().prop_map(|id| json!(id)),
        any::<f64>().prop_map(|id| json!(id)),
        "\\PC{0,8}".prop_map(Value::String),
        Just(json!("x".repeat(300))),
        Just(Value::Null),
        Just(json!([1])),
    ];
    let method = prop_oneof![
        Just("ping"),
        Just("sampling/createMessage"),
        Just("elicitation/create"),
        Just("roots/list"),
        Just("notifications/progress"),
        Just("notifications/cancelled"),
        Just("notifications/message"),
        Just("nonsense"),
    ];
    let payload = prop_oneof![
        Just(json!({})),
        Just(json!([])),
        Just(json!({ "progressToken": 1, "progress": "x" })),
        Just(json!({ "requestId": 0 })),
        Just(json!({ "content": [{ "type": "text" }], "_meta": 5 })),
        Just(json!({ "code": "x", "message": 3 })),
        Just(json!({ "resultType": "input_required", "inputRequests": {} })),
    ];
    let field = |name: &'static str, strategy: BoxedStrategy<Value>| {
        prop::option::of(strategy).prop_map(move |value| value.map(|value| (name.to_owned(), value)))
    };
    (
        field(
            "jsonrpc",
            prop_oneof![4 => Just(json!("2.0")), 1 => Just(json!("1.0"))].boxed(),
        ),
        field("id", id.boxed()),
        field("method", method.prop_map(|name| json!(name)).boxed()),
        field("params", payload.clone().boxed()),
        field("result", payload.clone().boxed()),
        field("error", payload.boxed()),
    )
        .prop_map(|(a, b, c, d, e, f)| {
            Value::Object(Map::from_iter([a, b, c, d, e, f].into_iter().flatten()))
        })
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read(&bytes, &Mask::default());
    }

    #[test]
    fn any_json_is_survived(message in message()) {
        let mask = Mask::new([&SecretString::from("12345678")]);
        match read(message.to_string().as_bytes(), &mask) {
            Heard::Message(heard) => prop_assert!(has_short_id(&heard)),
            Heard::Unreadable(id, _) => prop_assert_eq!(Some(id), answered(&message)),
            Heard::Blank | Heard::Junk => {}
        }
    }

    /// Whatever a server says after the handshake, the guard neither stalls nor lets through what was not asked.
    #[test]
    fn any_conversation_is_survived(messages in prop::collection::vec(message(), 0..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (mut client, mut far, ending) = begun().await;
            let said: Vec<u8> = messages.iter().flat_map(|message| format!("{message}\n").into_bytes()).collect();
            let server = tokio::spawn(async move {
                let _ = far.write_all(&said).await;
                let _ = far.shutdown().await;
                let mut sink = Vec::new();
                let _ = tokio::io::AsyncReadExt::read_to_end(&mut far, &mut sink).await;
            });
            while let Some(message) = client.receive().await {
                prop_assert_eq!(id_of(&message), None, "nothing was asked");
            }
            prop_assert!(!ending.has_failed());
            drop(client);
            server.await.unwrap();
            Ok(())
        })?;
    }
}
