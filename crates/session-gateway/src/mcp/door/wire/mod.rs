//! Messages of agents, before the protocol library sees them: every byte is an attacker's.
//!
//! The library buffers whatever shape a message has, and answers what it cannot read with words of its own. So each
//! message is weighed, and read once for what it is, before the library parses it.

mod limits;
mod lines;
mod weigh;

use std::borrow::Cow;

use rmcp::model::{ClientJsonRpcMessage, ErrorData, JsonRpcError, NumberOrString, RequestId};
use serde::Deserialize;
use serde_json::Value;

pub(super) use self::lines::LineTransport;

/// The longest id of a request that is repeated in an answer, in bytes.
const MAX_ID: usize = 256;

/// Why a message is not handled.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    /// The request to which the answer belongs, when that could be read.
    pub(super) id: Option<RequestId>,
    pub(super) error: ErrorData,
}

impl Refusal {
    fn new(error: ErrorData) -> Self {
        Self { id: None, error }
    }

    /// The answer on the wire.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        serde_json::to_vec(&JsonRpcError::new(self.id, self.error)).unwrap_or_default()
    }
}

/// What a message is, without its content.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Head {
    pub(super) id: Option<RequestId>,
    pub(super) method: Option<String>,
}

impl Head {
    pub(super) fn is(&self, method: &str) -> bool {
        self.method.as_deref() == Some(method)
    }

    /// Whether it waits for an answer.
    pub(super) fn is_request(&self) -> bool {
        self.id.is_some() && self.method.is_some()
    }

    /// An answer to it that it is no message at all.
    pub(super) fn no_message(self) -> Refusal {
        Refusal {
            id: self.id,
            error: ErrorData::invalid_request("this is no JSON-RPC 2.0 message of MCP", None),
        }
    }
}

/// Weighs one message and reads what it is.
pub(super) fn head(bytes: &[u8]) -> Result<Head, Refusal> {
    /// A second `id` or `method` is an error: whoever reads the message next could take the other one.
    #[derive(Deserialize)]
    struct Written<'a> {
        #[serde(borrow, default)]
        method: Option<Cow<'a, str>>,
        #[serde(default)]
        id: Option<Value>,
    }
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(Refusal::new(ErrorData::invalid_request(
            "batches are not supported: send one message at a time",
            None,
        )));
    }
    weigh::check(bytes).map_err(|limit| Refusal::new(ErrorData::invalid_request(limit.message(), None)))?;
    let written: Written<'_> = serde_json::from_slice(bytes).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Refusal::new(if error.is_data() {
            ErrorData::invalid_request(format!("this is no JSON-RPC 2.0 message: {place}"), None)
        } else {
            ErrorData::parse_error(format!("this is not JSON: {place}"), None)
        })
    })?;
    let id = match &written.id {
        None | Some(Value::Null) => None,
        // What cannot be repeated cannot be answered, and what nobody waits for would have no bounds.
        Some(id) => Some(request_id(id).ok_or_else(|| {
            Refusal::new(ErrorData::invalid_request(
                format!("the id of a message is an integer or a text of at most {MAX_ID} bytes"),
                None,
            ))
        })?),
    };
    Ok(Head {
        id,
        method: written.method.map(Cow::into_owned),
    })
}

/// One message as the protocol library knows it.
fn typed(bytes: &[u8]) -> Result<ClientJsonRpcMessage, Refusal> {
    let head = head(bytes)?;
    serde_json::from_slice(bytes).map_err(|_| head.no_message())
}

fn request_id(value: &Value) -> Option<RequestId> {
    match value {
        Value::String(text) if text.len() <= MAX_ID => Some(NumberOrString::String(text.as_str().into())),
        Value::Number(number) => number.as_i64().map(NumberOrString::Number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_says_what_it_is() {
        let head = head(br#"{"jsonrpc":"2.0","id":"a","method":"tools\/call","params":{}}"#).unwrap();
        assert!(head.is("tools/call") && head.is_request());
        assert_eq!(head.id, Some(NumberOrString::String("a".into())));
    }

    #[test]
    fn refusals_name_the_request_and_not_its_content() {
        let code = |bytes: &[u8]| typed(bytes).unwrap_err().error.code.0;
        assert_eq!(code(b" [1,2]"), -32600);
        assert_eq!(code(br#"{"a": "canary", "#), -32700);
        assert_eq!(
            code(br#"{"id":1,"id":2,"method":"ping","jsonrpc":"2.0"}"#),
            -32600
        );
        assert_eq!(code(br#"{"id":1,"method":7,"jsonrpc":"2.0"}"#), -32600);
        let odd = typed(br#"{"jsonrpc":"1.0","id":"a","method":"x"}"#).unwrap_err();
        assert_eq!(
            (odd.error.code.0, odd.id),
            (-32600, Some(NumberOrString::String("a".into())))
        );
        for id in ["{}", "[1]", "true", "1.5", &format!("\"{}\"", "x".repeat(257))] {
            let odd = format!(r#"{{"id":{id},"method":"ping","jsonrpc":"2.0"}}"#);
            let refused = head(odd.as_bytes()).unwrap_err();
            assert_eq!((refused.error.code.0, refused.id), (-32600, None), "{odd}");
        }
        let broken = typed(br#"{"apiKey": "canary-2", "#).unwrap_err();
        assert!(!broken.error.message.contains("canary"));
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"a":{}{}}}}}"#,
            "[".repeat(4000),
            "]".repeat(4000)
        );
        assert_eq!(code(deep.as_bytes()), -32600);
    }

    #[test]
    fn what_was_weighed_is_not_too_deep_for_the_parser() {
        let nested = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"x","arguments":{{"a":{}{}}}}}}}"#,
            "[".repeat(97),
            "]".repeat(97)
        );
        assert!(typed(nested.as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = typed(&bytes);
        }
    }
}
