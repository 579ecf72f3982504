//! Messages of clients, before the protocol library sees them.
//!
//! The library logs whole requests at debug level, and it buffers whatever shape a message has. So each message is
//! weighed first, read once as plain JSON, and the arguments of tool calls are taken out and travel beside it: they are
//! where prompts, keys and environments are.

mod arguments;
mod limits;
mod lines;
mod weigh;

use rmcp::model::{ClientJsonRpcMessage, ErrorData, GetExtensions, NumberOrString, RequestId};
use serde_json::Value;

pub(crate) use self::arguments::Arguments;
pub(crate) use self::lines::LineTransport;

/// Why a message is not handled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    /// The request to which the answer belongs, when that could be read.
    pub(crate) id: Option<RequestId>,
    pub(crate) error: ErrorData,
}

impl Refusal {
    fn new(error: ErrorData) -> Self {
        Self { id: None, error }
    }
}

/// A message as JSON, without the arguments of a tool call.
#[derive(Debug)]
pub(crate) struct Shielded {
    pub(crate) message: Value,
    pub(crate) arguments: Option<Arguments>,
}

/// Reads one message's bytes.
pub(crate) fn shield(bytes: &[u8]) -> Result<Shielded, Refusal> {
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(Refusal::new(ErrorData::invalid_request(
            "batches are not supported: send one message at a time",
            None,
        )));
    }
    weigh::check(bytes).map_err(|limit| {
        Refusal::new(ErrorData::invalid_request(
            format!("the message has more than {limit} values"),
            None,
        ))
    })?;
    let mut message: Value = serde_json::from_slice(bytes).map_err(|error| {
        Refusal::new(ErrorData::parse_error(
            format!("this is not JSON: {}", place(&error)),
            None,
        ))
    })?;
    let arguments = Arguments::take(&mut message);
    Ok(Shielded { message, arguments })
}

/// Where and why parsing failed, without the text that failed.
fn place(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

impl Shielded {
    /// The message as the protocol library knows it.
    pub(crate) fn typed(self) -> Result<ClientJsonRpcMessage, Refusal> {
        let id = self.message.get("id").and_then(request_id);
        let mut message: ClientJsonRpcMessage =
            serde_json::from_value(self.message).map_err(|_| Refusal {
                id,
                error: ErrorData::invalid_request("this is no JSON-RPC 2.0 message", None),
            })?;
        if let (ClientJsonRpcMessage::Request(request), Some(arguments)) = (&mut message, self.arguments) {
            request.request.extensions_mut().insert(arguments);
        }
        Ok(message)
    }
}

fn request_id(value: &Value) -> Option<RequestId> {
    match value {
        Value::String(text) if text.len() <= 256 => Some(NumberOrString::String(text.as_str().into())),
        Value::Number(number) => number.as_i64().map(NumberOrString::Number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const CANARY: &str = "sk-canary-71c2";

    fn call(arguments: &Value) -> Vec<u8> {
        let message = json!({
            "jsonrpc": "2.0", "id": 7, "method": "tools/call",
            "params": { "name": "create_session", "arguments": arguments, "_meta": { "progressToken": 1 } },
        });
        serde_json::to_vec(&message).unwrap()
    }

    #[test]
    fn arguments_travel_beside_the_message_and_are_never_shown() {
        for arguments in [json!({ "apiKey": CANARY }), json!([CANARY]), json!(CANARY)] {
            let message = shield(&call(&arguments)).unwrap().typed().unwrap();
            assert!(!format!("{message:?}").contains("canary"), "{message:?}");
            let ClientJsonRpcMessage::Request(request) = message else {
                panic!("a request")
            };
            let beside = request.request.extensions().get::<Arguments>().unwrap();
            assert_eq!(beside.take_out(), Some(arguments));
            assert_eq!(beside.take_out(), None, "they can be taken once");
        }
    }

    #[test]
    fn a_name_in_other_letters_hides_nothing() {
        let bytes = br#"{"jsonrpc":"2.0","id":1,"method":"tools\/c\u0061ll","params":{"name":"x","arguments":{"k":"sk-canary-1"}}}"#;
        let message = shield(bytes).unwrap().typed().unwrap();
        assert!(!format!("{message:?}").contains("canary"), "{message:?}");
    }

    #[test]
    fn refusals_name_the_request_and_not_its_content() {
        let batch = shield(b" [1,2]").unwrap_err();
        assert_eq!(batch.error.code.0, -32600);
        let broken = shield(br#"{"apiKey": "sk-canary-2", "#).unwrap_err();
        assert_eq!(broken.error.code.0, -32700);
        assert!(!broken.error.message.contains("canary"));
        let odd = shield(br#"{"jsonrpc":"1.0","id":"a","method":"x"}"#)
            .unwrap()
            .typed()
            .unwrap_err();
        assert_eq!(
            (odd.error.code.0, odd.id),
            (-32600, Some(NumberOrString::String("a".into())))
        );
        let bomb = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"a":[{}]}}}}"#,
            "[],".repeat(400_000)
        );
        assert_eq!(shield(bomb.as_bytes()).unwrap_err().error.code.0, -32600);
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":{}1{}}}"#,
            "[".repeat(4000),
            "]".repeat(4000)
        );
        assert_eq!(shield(deep.as_bytes()).unwrap_err().error.code.0, -32700);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(shielded) = shield(&bytes) {
                let _ = shielded.typed();
            }
        }
    }
}
