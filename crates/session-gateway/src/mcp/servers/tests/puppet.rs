//! A server in memory that does what a test wants, wrong things included, and counts what was done to it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, WriteHalf};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Strings of a puppet. Shared by all of its lives.
pub(crate) struct Puppet {
    /// Its tools, in the form of `tools/list`.
    pub(crate) tools: Mutex<Vec<Value>>,
    /// How often it was started, and how often that is to fail from now on.
    pub(crate) starts: AtomicUsize,
    pub(crate) failing: AtomicUsize,
    /// How many of it live.
    pub(crate) alive: AtomicUsize,
    /// It reads, and says nothing any more, also to pings.
    pub(crate) frozen: AtomicBool,
    /// It does not even read.
    pub(crate) blocked: AtomicBool,
    /// It keeps who asks for its tools waiting.
    pub(crate) dawdling: AtomicBool,
    /// It answers everything but pings.
    pub(crate) deaf: AtomicBool,
    /// It speaks the revision without a handshake.
    pub(crate) modern: AtomicBool,
    /// How long it takes to be initialized.
    pub(crate) slow: Mutex<Duration>,
    /// Calls that ran, and requests of any method.
    pub(crate) ran: AtomicUsize,
    pub(crate) heard: Mutex<HashMap<String, usize>>,
    /// Rung to end all of its lives.
    kill: Mutex<CancellationToken>,
    /// Calls of `wait` go on.
    pub(crate) go_on: Notify,
}

impl Puppet {
    pub(crate) fn new() -> Arc<Self> {
        let tool = |name: &str, hints: Value| json!({"name": name, "description": format!("Does {name}."), "inputSchema": {"type": "object"}, "annotations": hints});
        Arc::new(Self {
            tools: Mutex::new(vec![
                tool("echo", json!({"idempotentHint": true})),
                tool("look", json!({"readOnlyHint": true})),
                tool("crash", json!({})),
                tool("crash_once", json!({"idempotentHint": true})),
                tool("hang", json!({})),
                tool("steps", json!({})),
                tool("wait", json!({})),
                tool("ask", json!({})),
                tool("flood", json!({})),
                tool("nonsense", json!({})),
                tool("tick", json!({})),
                tool("roots", json!({})),
                tool("change", json!({})),
                tool("count", json!({})),
            ]),
            starts: AtomicUsize::new(0),
            failing: AtomicUsize::new(0),
            alive: AtomicUsize::new(0),
            frozen: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            dawdling: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            modern: AtomicBool::new(false),
            slow: Mutex::default(),
            ran: AtomicUsize::new(0),
            heard: Mutex::default(),
            kill: Mutex::default(),
            go_on: Notify::new(),
        })
    }

    /// Ends every life of it, as a signal would.
    pub(crate) fn kill(&self) {
        std::mem::take(&mut *self.kill.lock().unwrap()).cancel();
    }

    pub(crate) fn starts(&self) -> usize {
        self.starts.load(Ordering::SeqCst)
    }

    pub(crate) fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }

    pub(crate) fn ran(&self) -> usize {
        self.ran.load(Ordering::SeqCst)
    }

    /// How often a method was asked for.
    pub(crate) fn heard(&self, method: &str) -> usize {
        self.heard
            .lock()
            .unwrap()
            .get(method)
            .copied()
            .unwrap_or_default()
    }

    pub(crate) fn describe(&self, tool: &str, description: &str) {
        for own in self.tools.lock().unwrap().iter_mut() {
            if own["name"] == tool {
                own["description"] = json!(description);
            }
        }
    }

    /// One life, until its input ends or it is killed.
    pub(crate) async fn live(self: Arc<Self>, stream: DuplexStream) {
        struct Alive(Arc<Puppet>);
        impl Drop for Alive {
            fn drop(&mut self) {
                self.0.alive.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.starts.fetch_add(1, Ordering::SeqCst);
        self.alive.fetch_add(1, Ordering::SeqCst);
        let _alive = Alive(Arc::clone(&self));
        let kill = self.kill.lock().unwrap().clone();
        let (reader, writer) = tokio::io::split(stream);
        let voice = Voice(Arc::new(tokio::sync::Mutex::new(writer)));
        let mut lines = BufReader::new(reader).lines();
        let mut doing = JoinSet::new();
        loop {
            let reading = async {
                while self.blocked.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                lines.next_line().await
            };
            let line = tokio::select! {
                line = reading => line,
                () = kill.cancelled() => return,
                Some(_) = doing.join_next() => continue,
            };
            let Ok(Some(line)) = line else { return };
            let message: Value = serde_json::from_str(&line).unwrap();
            let method = message["method"].as_str().unwrap_or("answer").to_owned();
            *self.heard.lock().unwrap().entry(method.clone()).or_default() += 1;
            if self.frozen.load(Ordering::SeqCst) || self.deaf.load(Ordering::SeqCst) && method == "ping" {
                continue;
            }
            if method == "tools/call"
                && message["params"]["name"]
                    .as_str()
                    .is_some_and(|name| name.starts_with("crash"))
            {
                self.ran.fetch_add(1, Ordering::SeqCst);
                let again = self.ran() > 1 && message["params"]["name"] == "crash_once";
                if !again {
                    return;
                }
            }
            doing.spawn(Arc::clone(&self).answer(method, message, voice.clone()));
        }
    }

    async fn answer(self: Arc<Self>, method: String, message: Value, voice: Voice) {
        let modern = self.modern.load(Ordering::SeqCst);
        let result = match method.as_str() {
            "server/discover" if modern => json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 0, "cacheScope": "private",
                "capabilities": {"tools": {"listChanged": true}, "resources": {"subscribe": true}},
            }),
            "server/discover" => return voice.refuse(&message["id"]).await,
            "subscriptions/listen" => return self.listened_to(&message, &voice).await,
            "initialize" => {
                let slow = *self.slow.lock().unwrap();
                tokio::time::sleep(slow).await;
                json!({
                    "protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {"listChanged": true}, "resources": {"subscribe": true}, "logging": {}},
                    "serverInfo": {"name": "puppet", "version": "1"},
                })
            }
            "tools/list" => {
                while self.dawdling.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                json!({"tools": *self.tools.lock().unwrap(), "resultType": "complete", "ttlMs": 0, "cacheScope": "private"})
            }
            "resources/list" => json!({"resources": []}),
            "resources/templates/list" => json!({"resourceTemplates": []}),
            "tools/call" => self.call(&message["params"], &voice).await,
            "answer" | "notifications/initialized" | "notifications/cancelled" => return,
            _ => json!({}),
        };
        voice
            .say(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
            .await;
    }

    /// Acknowledges, and tells what changes under the number of the request.
    async fn listened_to(&self, request: &Value, voice: &Voice) {
        let about = json!({"io.modelcontextprotocol/subscriptionId": request["id"]});
        let tell = |method: &str, mut params: Value| {
            params["_meta"] = about.clone();
            json!({"jsonrpc": "2.0", "method": method, "params": params})
        };
        let filter = json!({"notifications": request["params"]["notifications"]});
        voice
            .say(&tell("notifications/subscriptions/acknowledged", filter.clone()))
            .await;
        self.go_on.notified().await;
        if filter["notifications"]["toolsListChanged"] == true {
            voice
                .say(&tell("notifications/tools/list_changed", json!({})))
                .await;
        }
        for uri in filter["notifications"]["resourceSubscriptions"]
            .as_array()
            .into_iter()
            .flatten()
        {
            voice
                .say(&tell("notifications/resources/updated", json!({"uri": uri})))
                .await;
        }
        std::future::pending::<()>().await;
    }

    async fn call(&self, params: &Value, voice: &Voice) -> Value {
        self.ran.fetch_add(1, Ordering::SeqCst);
        let text = |text: &str| json!({"content": [{"type": "text", "text": text}]});
        let progress = |n: usize| {
            json!({"jsonrpc": "2.0", "method": "notifications/progress",
                "params": {"progressToken": params["_meta"]["progressToken"], "progress": n}})
        };
        match params["name"].as_str().unwrap() {
            "hang" => std::future::pending().await,
            "wait" => self.go_on.notified().await,
            // The answer to another question.
            "nonsense" => return json!({"messages": []}),
            "steps" => {
                for n in 1..=20 {
                    voice.say(&progress(n)).await;
                }
            }
            "roots" => {
                voice
                    .say(&json!({"jsonrpc": "2.0", "id": "r", "method": "roots/list"}))
                    .await;
                self.go_on.notified().await;
            }
            "change" => {
                for _ in 0..1000 {
                    voice
                        .say(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}))
                        .await;
                }
            }
            "tick" => loop {
                voice.say(&progress(1)).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            },
            "flood" => {
                for n in 0..50_000 {
                    voice.say(&progress(n)).await;
                }
            }
            "ask" => {
                let question = json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create",
                    "params": {"message": "Really?", "requestedSchema": {"type": "object", "properties": {}}}});
                voice.say(&question).await;
                self.go_on.notified().await;
            }
            _ => {}
        }
        text(params["arguments"]["text"].as_str().unwrap_or("done"))
    }
}

#[derive(Clone)]
struct Voice(Arc<tokio::sync::Mutex<WriteHalf<DuplexStream>>>);

impl Voice {
    async fn refuse(&self, id: &Value) {
        let error = json!({"code": -32601, "message": "there is no such method"});
        self.say(&json!({"jsonrpc": "2.0", "id": id, "error": error}))
            .await;
    }

    async fn say(&self, message: &Value) {
        let line = format!("{message}\n");
        // Nobody listens any more: its next line is the end of it.
        drop(self.0.lock().await.write_all(line.as_bytes()).await);
    }
}
