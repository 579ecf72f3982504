//! Messages of servers, before the protocol library sees them.
//!
//! Every byte that a server says is an attacker's: a line may have no end, a short text may be a large tree, an answer may
//! belong to nobody, and a banner of a package manager may stand where a message should. So what comes in is bounded,
//! weighed, read once as plain JSON and cleared of the server's own secrets; then [`Guarded`] lets only that through which
//! fits to what was asked. What does not is dropped and counted, and a server that goes on with it loses its connection.
//! Nothing here logs what a message says.

mod guard;
mod ledger;
mod lines;
mod mask;
mod pace;
mod reader;
mod skim;
mod weigh;

use rmcp::model::{ErrorData, NumberOrString, RequestId, ServerJsonRpcMessage};
use serde_json::Value;

pub(crate) use self::guard::Guarded;
pub(crate) use self::ledger::Patience;
pub(crate) use self::lines::{LineTransport, SendFault};
pub(crate) use self::mask::Mask;
use self::skim::Skim;

/// The longest id of a message that is kept, in bytes.
const MAX_ID: usize = 256;

/// What a message turned out to be.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A message.
    Message(Box<ServerJsonRpcMessage>),
    /// An answer that cannot be read: whoever waits for it is told so in its place.
    Unreadable(RequestId, &'static str),
    /// Nothing at all.
    Blank,
    /// No message.
    Junk,
}

/// Reads one message's bytes, without the secrets that `mask` knows.
pub(crate) fn read(bytes: &[u8], mask: &Mask) -> Heard {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii();
    match bytes.first() {
        None => return Heard::Blank,
        Some(b'{') => {}
        // A batch is no message of any revision that is spoken here, and most other text is a banner.
        Some(_) => return Heard::Junk,
    }
    if weigh::check(bytes).is_err() {
        return unreadable(bytes, "the server's answer has too many values");
    }
    let Ok(mut value) = serde_json::from_slice::<Value>(bytes) else {
        return unreadable(bytes, "the server's answer is no JSON");
    };
    let answered = answered(&value);
    mask.clear(&mut value);
    match serde_json::from_value::<ServerJsonRpcMessage>(value) {
        Ok(message) if has_short_id(&message) => Heard::Message(Box::new(message)),
        Ok(_) => Heard::Junk,
        Err(_) => match answered {
            Some(id) => Heard::Unreadable(id, "the server's answer is no JSON-RPC 2.0 message"),
            None => Heard::Junk,
        },
    }
}

fn unreadable(bytes: &[u8], why: &'static str) -> Heard {
    let mut skim = Skim::default();
    skim.feed(bytes);
    match skim.answered() {
        Some(id) => Heard::Unreadable(id, why),
        None => Heard::Junk,
    }
}

/// What is said in the place of an answer that cannot be read.
pub(crate) fn in_place_of(id: RequestId, why: &'static str) -> ServerJsonRpcMessage {
    ServerJsonRpcMessage::error(ErrorData::internal_error(why, None), Some(id))
}

/// The id of an answer.
fn answered(value: &Value) -> Option<RequestId> {
    let says = value.get("jsonrpc")? == "2.0" && value.get("method").is_none();
    says.then(|| value.get("id").and_then(request_id)).flatten()
}

fn request_id(value: &Value) -> Option<RequestId> {
    match value {
        Value::String(text) if text.len() <= MAX_ID => Some(NumberOrString::String(text.as_str().into())),
        Value::Number(number) => number.as_i64().map(NumberOrString::Number),
        _ => None,
    }
}

/// Ids are kept for as long as a request is open.
fn has_short_id(message: &ServerJsonRpcMessage) -> bool {
    let id = match message {
        ServerJsonRpcMessage::Request(request) => Some(&request.id),
        ServerJsonRpcMessage::Response(response) => Some(&response.id),
        ServerJsonRpcMessage::Error(error) => error.id.as_ref(),
        ServerJsonRpcMessage::Notification(_) => None,
    };
    !matches!(id, Some(NumberOrString::String(text)) if text.len() > MAX_ID)
}

#[cfg(test)]
mod tests;
