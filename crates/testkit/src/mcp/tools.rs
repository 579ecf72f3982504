//! The tools: what they are called, what they say of themselves, and what they do.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::Mode;
use super::session::{Answer, Port, Session, World, log};

const INVALID_PARAMS: i64 = -32602;
const REFUSED: i64 = -32001;

/// The longest text that `big` gives.
const MAX_BIG: u64 = 256 << 20;
/// Between two words of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(20);
/// An escape sequence, a zero width space, a change of direction, and letters that only a model reads.
const HIDDEN: &str = "\u{1b}[31m\u{200b}\u{202e}\u{e0068}\u{e0069}\u{7}";

fn tool(name: &str, description: &str, properties: Value, required: &[&str]) -> Value {
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    json!({ "name": name, "description": description, "inputSchema": schema })
}

fn with(mut tool: Value, key: &str, value: Value) -> Value {
    tool[key] = value;
    tool
}

/// All tools as they are now.
fn all(world: &World) -> Vec<Value> {
    let changed = world.changed.load(Ordering::Relaxed);
    let hidden = if world.options.has(Mode::HiddenCharacters) {
        HIDDEN
    } else {
        ""
    };
    let number = json!({ "type": "number" });
    let count = json!({ "type": "integer" });
    let text = json!({ "type": "string" });
    let says = if changed {
        "Answers the text, and is described otherwise."
    } else {
        "Answers the text."
    };
    let echo = tool(
        "echo",
        &format!("{says}{hidden}"),
        json!({ "text": text }),
        &["text"],
    );
    let add = tool(
        "add",
        "Adds two numbers.",
        json!({ "a": number, "b": number }),
        &["a", "b"],
    );
    let sum = json!({ "type": "object", "properties": { "sum": number }, "required": ["sum"] });
    let plain = |name: &str, description: &str| tool(name, description, json!({}), &[]);
    let mut tools = vec![
        with(echo, "annotations", json!({ "readOnlyHint": true })),
        with(
            with(add, "outputSchema", sum),
            "annotations",
            json!({ "idempotentHint": true }),
        ),
        plain("secret_length", "How long the secret is."),
        plain("env_names", "The names of the variables."),
        plain("whoami", "Which process this is, and how many calls it has had."),
        tool("sleep", "Answers after a while.", json!({ "ms": count }), &["ms"]),
        tool("big", "A long text.", json!({ "bytes": count }), &["bytes"]),
        plain("fail", "Fails."),
        plain("refuse", "Is refused."),
        plain("crash", "Ends the server."),
        plain("hang", "Never answers."),
        tool(
            "flood",
            "Says much first.",
            json!({ "messages": count }),
            &["messages"],
        ),
        plain("change_tools", "Changes the tools."),
        tool(
            "elicit",
            "Asks the client.",
            json!({ "message": text }),
            &["message"],
        ),
    ];
    if changed {
        tools.push(plain("extra", "Is there since the tools changed."));
    }
    tools.extend((0..world.options.tools).map(|number| plain(&numbered(number), "One of many.")));
    tools
}

fn numbered(number: usize) -> String {
    format!("tool_{number:03}")
}

/// One page of the list; a cursor is the place of its first tool.
pub(super) fn list(world: &World, params: &Value) -> Answer {
    let tools = all(world);
    let cursor = params["cursor"].as_str();
    let first = match cursor.map(str::parse) {
        None => 0,
        Some(Ok(first)) if first < tools.len() => first,
        Some(_) => return Answer::Error(INVALID_PARAMS, "there is no such page".to_owned()),
    };
    let size = match world.options.page {
        0 => tools.len(),
        size => size,
    };
    let next = first.saturating_add(size);
    let page: Vec<_> = tools.iter().skip(first).take(size).collect();
    let mut result = json!({ "tools": page });
    if next < tools.len() {
        result["nextCursor"] = json!(next.to_string());
    }
    Answer::Result(result)
}

fn text(text: impl Into<String>) -> Answer {
    let content = json!([{ "type": "text", "text": text.into() }]);
    Answer::Result(json!({ "content": content, "isError": false }))
}

fn missing(name: &str) -> Answer {
    Answer::Error(INVALID_PARAMS, format!("{name} is missing"))
}

/// Calls a tool.
pub(super) async fn call(session: &Session, params: &Value, port: &Port) -> Answer {
    let world = &session.world;
    let (name, arguments) = (params["name"].as_str().unwrap_or_default(), &params["arguments"]);
    world.options.note(&format!("call {} {name}", std::process::id()));
    let calls = world.calls.fetch_add(1, Ordering::Relaxed) + 1;
    match name {
        "echo" => match arguments["text"].as_str() {
            Some(said) if world.options.has(Mode::HiddenCharacters) => text(format!("{said}{HIDDEN}")),
            Some(said) => text(said),
            None => missing("text"),
        },
        "add" => add(arguments),
        "secret_length" => text(secret_length(session)),
        "env_names" => {
            let names: Vec<_> = world.options.env.keys().map(String::as_str).collect();
            text(names.join("\n"))
        }
        "whoami" => text(json!({ "pid": std::process::id(), "calls": calls }).to_string()),
        "sleep" => sleep(params, port).await,
        "big" => match arguments["bytes"].as_u64() {
            Some(bytes) => text("x".repeat(usize::try_from(bytes.min(MAX_BIG)).unwrap_or_default())),
            None => missing("bytes"),
        },
        "fail" => {
            let content = json!([{ "type": "text", "text": "it failed" }]);
            Answer::Result(json!({ "content": content, "isError": true }))
        }
        "refuse" => Answer::Error(REFUSED, "it is refused".to_owned()),
        "crash" => {
            world.crashed.send_replace(true);
            Answer::Never
        }
        "hang" => Answer::Never,
        "flood" => {
            for _ in 0..arguments["messages"].as_u64().unwrap_or(1000) {
                let _ = port.send(log("flood")).await;
            }
            text("that was all")
        }
        "change_tools" => {
            world.changed.fetch_xor(true, Ordering::Relaxed);
            let notice = json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" });
            // Over HTTP nobody may listen for notices.
            let _ = session.notices.try_send(notice);
            text("they have changed")
        }
        "elicit" => elicit(session, arguments, port).await,
        "extra" if world.changed.load(Ordering::Relaxed) => text("extra"),
        name => match (0..world.options.tools).find(|number| numbered(*number) == name) {
            Some(_) => text(name),
            None => Answer::Error(INVALID_PARAMS, format!("there is no tool {name}")),
        },
    }
}

fn add(arguments: &Value) -> Answer {
    let (Some(a), Some(b)) = (arguments["a"].as_f64(), arguments["b"].as_f64()) else {
        return missing("a number");
    };
    let content = json!([{ "type": "text", "text": (a + b).to_string() }]);
    Answer::Result(json!({ "content": content, "structuredContent": { "sum": a + b }, "isError": false }))
}

fn secret_length(session: &Session) -> String {
    let of_env = session.world.options.env.get("SECRET").map(String::len);
    match session.bearer.or(of_env) {
        Some(length) => length.to_string(),
        None => "none".to_owned(),
    }
}

async fn sleep(params: &Value, port: &Port) -> Answer {
    let Some(ms) = params["arguments"]["ms"].as_u64() else {
        return missing("ms");
    };
    let token = &params["_meta"]["progressToken"];
    let until = tokio::time::Instant::now() + Duration::from_millis(ms);
    let mut steps = 0_u64;
    while tokio::time::Instant::now() < until {
        let next = tokio::time::Instant::now() + PROGRESS_EVERY;
        tokio::time::sleep_until(next.min(until)).await;
        steps += 1;
        if !token.is_null() {
            let params = json!({ "progressToken": token, "progress": steps, "message": "still asleep" });
            let notice = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params });
            let _ = port.send(notice).await;
        }
    }
    text("awake")
}

async fn elicit(session: &Session, arguments: &Value, port: &Port) -> Answer {
    let schema = json!({ "type": "object", "properties": { "answer": { "type": "string" } } });
    let params = json!({ "message": arguments["message"], "requestedSchema": schema });
    match session.ask("elicitation/create", params, port).await {
        Some(answer) => text(answer.get("result").unwrap_or(&answer["error"]).to_string()),
        None => Answer::Never,
    }
}
