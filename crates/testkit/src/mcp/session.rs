//! One client's conversation in JSON-RPC: requests in, answers and notices out, whatever carries them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Mode, Options, tools};

/// The revisions that it knows, oldest first.
const REVISIONS: [&str; 2] = ["2025-06-18", "2025-11-25"];
/// The text of the message of [`Mode::HugeLine`].
const HUGE: usize = 64 << 20;

const METHOD_NOT_FOUND: i64 = -32601;

/// Where messages go.
pub(super) type Port = mpsc::Sender<Value>;

/// What all conversations of one server share.
#[derive(Debug)]
pub(super) struct World {
    pub(super) options: Options,
    pub(super) calls: AtomicU64,
    /// Whether its tools are described otherwise now.
    pub(super) changed: AtomicBool,
    pub(super) crashed: watch::Sender<bool>,
}

impl World {
    pub(super) fn new(options: Options) -> Arc<Self> {
        Arc::new(Self {
            options,
            calls: AtomicU64::new(0),
            changed: AtomicBool::new(false),
            crashed: watch::Sender::new(false),
        })
    }

    /// Waits until somebody called `crash`.
    pub(super) async fn crashes(&self) {
        // The sender lives in `self`.
        let _ = self.crashed.subscribe().wait_for(|crashed| *crashed).await;
    }
}

/// How a request ended.
pub(super) enum Answer {
    Result(Value),
    Error(i64, String),
    Never,
}

/// See the module.
pub(super) struct Session {
    pub(super) world: Arc<World>,
    /// Where notices go that belong to no request.
    pub(super) notices: Port,
    /// The length of the token that the client presented, over HTTP.
    pub(super) bearer: Option<usize>,
    /// What the client was asked and has not answered.
    asked: Mutex<HashMap<String, oneshot::Sender<Value>>>,
    questions: AtomicU64,
    /// What is being worked on, to be cancelled.
    running: Mutex<HashMap<String, oneshot::Sender<()>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    pub(super) fn new(world: Arc<World>, notices: Port, bearer: Option<usize>) -> Arc<Self> {
        Arc::new(Self {
            world,
            notices,
            bearer,
            asked: Mutex::default(),
            questions: AtomicU64::new(0),
            running: Mutex::default(),
        })
    }

    fn has(&self, mode: Mode) -> bool {
        self.world.options.has(mode)
    }

    /// Takes a message and returns when there is nothing more to be done about it. Answers go to `port`.
    pub(super) async fn take(&self, message: Value, port: &Port) {
        let method = message["method"].as_str().map(str::to_owned);
        match (method, message.get("id").cloned()) {
            (Some(method), Some(id)) => self.request(&method, id, &message["params"], port).await,
            (Some(method), None) => self.notified(&method, &message["params"]),
            (None, Some(id)) => {
                let asked = locked(&self.asked).remove(&id.to_string());
                if let Some(asked) = asked {
                    let _ = asked.send(message);
                }
            }
            (None, None) => {}
        }
    }

    async fn request(&self, method: &str, id: Value, params: &Value, port: &Port) {
        let (cancel, cancelled) = oneshot::channel();
        locked(&self.running).insert(id.to_string(), cancel);
        let answer = tokio::select! {
            answer = self.answer(method, params, port) => Some(answer),
            // A request that is cancelled gets no answer; what it was at is dropped.
            _ = cancelled => None,
        };
        locked(&self.running).remove(&id.to_string());
        match answer {
            None => {}
            Some(Answer::Never) => std::future::pending().await,
            Some(Answer::Result(result)) => {
                self.reply(
                    method,
                    json!({ "jsonrpc": "2.0", "id": id, "result": result }),
                    port,
                )
                .await;
            }
            Some(Answer::Error(code, message)) => {
                let error = json!({ "code": code, "message": message });
                self.reply(
                    method,
                    json!({ "jsonrpc": "2.0", "id": id, "error": error }),
                    port,
                )
                .await;
            }
        }
    }

    async fn reply(&self, method: &str, mut reply: Value, port: &Port) {
        if self.has(Mode::HugeLine) && method == "tools/list" {
            let _ = port.send(log(&"x".repeat(HUGE))).await;
        }
        if self.has(Mode::WrongIds) && method != "initialize" {
            reply["id"] = json!(format!("wrong-{}", reply["id"]));
        }
        if self.has(Mode::AnswerTwice) {
            let _ = port.send(reply.clone()).await;
        }
        let _ = port.send(reply).await;
    }

    async fn answer(&self, method: &str, params: &Value, port: &Port) -> Answer {
        match method {
            "initialize" => self.initialize(params).await,
            "ping" | "logging/setLevel" => Answer::Result(json!({})),
            "tools/list" => tools::list(&self.world, params),
            "tools/call" => tools::call(self, params, port).await,
            _ => Answer::Error(METHOD_NOT_FOUND, format!("there is no {method} here")),
        }
    }

    async fn initialize(&self, params: &Value) -> Answer {
        if self.has(Mode::HangInitialize) {
            return Answer::Never;
        }
        let options = &self.world.options;
        tokio::time::sleep(options.start_delay).await;
        let asked = params["protocolVersion"].as_str().unwrap_or_default();
        let known = REVISIONS.contains(&asked) && asked <= options.protocol.as_str();
        Answer::Result(json!({
            "protocolVersion": if known { asked } else { &options.protocol },
            "capabilities": { "tools": { "listChanged": true }, "logging": {} },
            "serverInfo": { "name": "testkit", "version": env!("CARGO_PKG_VERSION") },
            "instructions": "Tools for tests.",
        }))
    }

    fn notified(&self, method: &str, params: &Value) {
        if method == "notifications/cancelled" {
            // Dropping its other end cancels it.
            locked(&self.running).remove(&params["requestId"].to_string());
        }
    }

    /// Asks the client and waits for what it answers.
    pub(super) async fn ask(&self, method: &str, params: Value, port: &Port) -> Option<Value> {
        let id = json!(format!("ask-{}", self.questions.fetch_add(1, Ordering::Relaxed)));
        let (answer, answered) = oneshot::channel();
        locked(&self.asked).insert(id.to_string(), answer);
        let question = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        port.send(question).await.ok()?;
        answered.await.ok()
    }

    /// Writes log messages for ever.
    pub(super) async fn flood(&self) {
        let noise = log("noise");
        while self.notices.send(noise.clone()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}

/// A notice without consequence.
pub(super) fn log(text: &str) -> Value {
    let params = json!({ "level": "info", "data": text });
    json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": params })
}
