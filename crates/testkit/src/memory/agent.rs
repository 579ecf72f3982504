//! A scripted agent: it stands where Claude Code stands and speaks its stream-json, line by line as recorded.
//!
//! The real agent needs its 377 MB, an image and a model; what tests of a session's life need is one that does on command
//! what the real one does rarely: die in the middle, ignore an interrupt, write garbage, take all memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use session_core::id::SessionId;
use tokio::sync::watch;

use super::program::{Context, Exit, Input};
use crate::model::Gate;

/// Where sessions look for their agent.
pub(super) const PROGRAM: &str = "/opt/cofferdam/bin/claude";

/// What the agent does with one prompt.
#[derive(Debug, Clone, Default)]
pub struct AgentTurn {
    steps: Vec<Step>,
    after: Vec<String>,
}

#[derive(Debug, Clone)]
enum Step {
    Say(String),
    Line(String),
    Bytes(Vec<u8>),
    Stderr(String),
    Write(String, Vec<u8>),
    Hold(Gate),
    Replay(&'static str),
    Deaf,
    StopReading,
    Exit(Exit),
    OutOfMemory,
}

impl AgentTurn {
    /// A turn that ends at once with an empty answer.
    pub fn new() -> Self {
        Self::default()
    }

    /// It says this; the last thing that it says is the turn's text.
    #[must_use]
    pub fn say(self, text: impl Into<String>) -> Self {
        self.step(Step::Say(text.into()))
    }

    /// It writes this line to its standard output, whatever it is.
    #[must_use]
    pub fn line(self, line: impl Into<String>) -> Self {
        self.step(Step::Line(line.into()))
    }

    /// It writes these bytes to its standard output, whatever they are.
    #[must_use]
    pub fn bytes(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.step(Step::Bytes(bytes.into()))
    }

    /// It writes this line to its standard output right behind the result of the turn.
    #[must_use]
    pub fn after(mut self, line: impl Into<String>) -> Self {
        self.after.push(line.into());
        self
    }

    /// It writes this line to its standard error.
    #[must_use]
    pub fn stderr(self, line: impl Into<String>) -> Self {
        self.step(Step::Stderr(line.into()))
    }

    /// It writes a file, as one of its tools would.
    #[must_use]
    pub fn write(self, path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        self.step(Step::Write(path.into(), content.into()))
    }

    /// It works until the gate opens. An interrupt ends the turn.
    #[must_use]
    pub fn hold(self, gate: &Gate) -> Self {
        self.step(Step::Hold(gate.clone()))
    }

    /// It works for ever. An interrupt ends the turn.
    #[must_use]
    pub fn hang(self) -> Self {
        self.step(Step::Hold(Gate::new()))
    }

    /// From here on it does not obey interrupts.
    #[must_use]
    pub fn deaf(self) -> Self {
        self.step(Step::Deaf)
    }

    /// From here on it does not read its input.
    #[must_use]
    pub fn stop_reading(self) -> Self {
        self.step(Step::StopReading)
    }

    /// It says what the real agent said in a recording of one turn, its result included. See
    /// [`crate::fixtures::claude_recording`].
    #[must_use]
    pub fn replay(self, recording: &'static str) -> Self {
        self.step(Step::Replay(recording))
    }

    /// It exits in the middle of the turn.
    #[must_use]
    pub fn exit(self, code: i32) -> Self {
        self.step(Step::Exit(Exit::Code(code)))
    }

    /// A signal ends it in the middle of the turn.
    #[must_use]
    pub fn die(self, signal: i32) -> Self {
        self.step(Step::Exit(Exit::Signal(signal)))
    }

    /// The kernel ends it for lack of memory.
    #[must_use]
    pub fn out_of_memory(self) -> Self {
        self.step(Step::OutOfMemory)
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

/// A prompt that an agent read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenPrompt {
    /// The session.
    pub session: SessionId,
    /// The conversation, as the agent names it.
    pub conversation: String,
    /// The prompt.
    pub text: String,
}

/// A start of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentStart {
    /// The session.
    pub session: SessionId,
    /// Its arguments after the program.
    pub args: Vec<String>,
    /// The conversation that it goes on with.
    pub resumed: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    turns: VecDeque<AgentTurn>,
    prompts: Vec<SeenPrompt>,
    starts: Vec<AgentStart>,
    ends: usize,
    interrupts: u64,
    overlaps: u64,
}

/// The agents of all containers of a [`super::MemoryRuntime`]: what they will do, and what they saw.
#[derive(Debug, Clone)]
pub struct Agents {
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<u64>>,
}

impl Agents {
    pub(super) fn new() -> Self {
        Self {
            state: Arc::default(),
            changed: Arc::new(watch::Sender::new(0)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.send_modify(|count| *count += 1);
    }

    /// What is done with the next prompt for which nothing was said yet. Without anything said, the agent repeats the
    /// prompt and is done.
    pub fn then(&self, turn: AgentTurn) {
        self.lock().turns.push_back(turn);
    }

    /// Every prompt that any agent read, in order.
    pub fn prompts(&self) -> Vec<SeenPrompt> {
        self.lock().prompts.clone()
    }

    /// Every start of an agent, in order.
    pub fn starts(&self) -> Vec<AgentStart> {
        self.lock().starts.clone()
    }

    /// How many interrupts any agent read.
    pub fn interrupts(&self) -> u64 {
        self.lock().interrupts
    }

    /// How many prompts came while a turn ran; the real agent would merge them. Always 0 with a correct manager.
    pub fn overlaps(&self) -> u64 {
        self.lock().overlaps
    }

    /// Waits until agents have read so many prompts.
    pub async fn wait_for_prompts(&self, count: usize) {
        self.wait(|state| state.prompts.len() >= count).await;
    }

    /// Waits until agents are done with so many prompts, one way or another.
    pub async fn wait_for_ends(&self, count: usize) {
        self.wait(|state| state.ends >= count).await;
    }

    /// Waits until agents have read so many interrupts.
    pub async fn wait_for_interrupts(&self, count: u64) {
        self.wait(|state| state.interrupts >= count).await;
    }

    async fn wait(&self, reached: impl Fn(&State) -> bool) {
        let mut changed = self.changed.subscribe();
        while !reached(&self.lock()) {
            // The sender lives in `self`.
            let _ = changed.changed().await;
        }
    }

    /// The program.
    pub(super) async fn run(self, mut context: Context) -> Exit {
        let args = context.args();
        let resumed = args
            .iter()
            .position(|arg| arg == "--resume")
            .and_then(|at| args.get(at + 1))
            .cloned();
        let conversation = resumed.clone().unwrap_or_else(|| SessionId::new().to_string());
        let session = context.machine.session();
        self.note(|state| {
            state.starts.push(AgentStart {
                session,
                args,
                resumed,
            })
        });
        let input = std::mem::replace(&mut context.stdin, Input::empty());
        let mut agent = Agent {
            agents: self,
            context,
            input,
            conversation,
            failed: false,
            cost: 0.0,
            closed: false,
        };
        loop {
            let line = agent.input.line().await;
            let exit = match line.as_deref().map(said) {
                None => Some(Exit::Code(i32::from(agent.failed))),
                Some(Said::Prompt(text)) => {
                    let exit = agent.turn(text).await;
                    agent.agents.note(|state| state.ends += 1);
                    exit
                }
                Some(Said::Control(id, _)) => {
                    agent.obey(&id).await;
                    None
                }
                Some(Said::Other) => None,
                Some(Said::Garbage) => {
                    agent
                        .context
                        .stderr
                        .line("Error parsing streaming input line")
                        .await;
                    Some(Exit::Code(1))
                }
            };
            if let Some(exit) = exit {
                return exit;
            }
        }
    }
}

enum Said {
    Prompt(String),
    Control(String, String),
    Other,
    Garbage,
}

fn said(line: &[u8]) -> Said {
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        return Said::Garbage;
    };
    match value["type"].as_str() {
        Some("user") => {
            let content = &value["message"]["content"];
            let text = content.as_str().or_else(|| content[0]["text"].as_str());
            Said::Prompt(text.unwrap_or_default().to_owned())
        }
        Some("control_request") => Said::Control(
            value["request_id"].as_str().unwrap_or_default().to_owned(),
            value["request"]["subtype"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        ),
        _ => Said::Other,
    }
}

/// One running agent.
struct Agent {
    agents: Agents,
    context: Context,
    input: Input,
    conversation: String,
    failed: bool,
    cost: f64,
    closed: bool,
}

/// What a turn came to.
enum Flow {
    On,
    Interrupted,
    Replayed,
    Gone(Exit),
}

impl Agent {
    async fn emit(&self, mut value: Value) {
        value["session_id"] = json!(self.conversation);
        self.context.stdout.line(value).await;
    }

    /// Answers a control request.
    async fn obey(&self, id: &str) {
        let response = json!({ "subtype": "success", "request_id": id, "response": { "still_queued": [] } });
        self.context
            .stdout
            .line(json!({ "type": "control_response", "response": response }))
            .await;
    }

    async fn turn(&mut self, prompt: String) -> Option<Exit> {
        let seen = SeenPrompt {
            session: self.context.machine.session(),
            conversation: self.conversation.clone(),
            text: prompt.clone(),
        };
        let turn = self.agents.lock().turns.pop_front();
        self.agents.note(|state| state.prompts.push(seen));
        let turn = turn.unwrap_or_else(|| AgentTurn::new().say(prompt));
        if !matches!(turn.steps.first(), Some(Step::Replay(_))) {
            let model = "claude-in-memory";
            self.emit(
                json!({ "type": "system", "subtype": "init", "cwd": "/workspace", "tools": ["Bash"],
                "mcp_servers": [], "model": model, "permissionMode": "bypassPermissions" }),
            )
            .await;
        }
        let (mut text, mut deaf, mut reads) = (String::new(), false, !self.closed);
        for step in turn.steps {
            match self.step(step, &mut text, &mut deaf, &mut reads).await {
                Flow::On => {}
                Flow::Interrupted => {
                    self.result(None, &[]).await;
                    return None;
                }
                Flow::Replayed => return None,
                Flow::Gone(exit) => return Some(exit),
            }
        }
        self.result(Some(text), &turn.after).await;
        None
    }

    async fn step(&mut self, step: Step, text: &mut String, deaf: &mut bool, reads: &mut bool) -> Flow {
        match step {
            Step::Say(words) => {
                let content = json!([{ "type": "text", "text": words }]);
                let message = json!({ "id": "msg", "type": "message", "role": "assistant",
                    "model": "claude-in-memory", "content": content });
                self.emit(json!({ "type": "assistant", "message": message, "parent_tool_use_id": null }))
                    .await;
                *text = words;
            }
            Step::Line(line) => self.context.stdout.line(line).await,
            Step::Bytes(bytes) => self.context.stdout.write(bytes).await,
            Step::Stderr(line) => self.context.stderr.line(line).await,
            Step::Write(path, content) => {
                if let Ok(path) = self.context.writable(&path) {
                    let _ = std::fs::write(path, content);
                }
            }
            Step::Replay(name) => {
                self.replay(name).await;
                return Flow::Replayed;
            }
            Step::Deaf => *deaf = true,
            Step::StopReading => *reads = false,
            Step::Exit(exit) => return Flow::Gone(exit),
            Step::OutOfMemory => self.context.machine.out_of_memory().await,
            Step::Hold(gate) => return self.hold(&gate, *deaf, reads).await,
        }
        Flow::On
    }

    /// Works until the gate opens, and listens meanwhile.
    async fn hold(&mut self, gate: &Gate, deaf: bool, reads: &mut bool) -> Flow {
        loop {
            let line = tokio::select! {
                // Both are cancel-safe: a gate stays open, and what was read of a line is kept.
                () = gate.pass() => return Flow::On,
                line = self.input.line(), if *reads => line,
            };
            match line.as_deref().map(said) {
                // The real agent finishes its turn at the end of its input.
                None => {
                    *reads = false;
                    self.closed = true;
                }
                Some(Said::Control(id, what)) if what == "interrupt" => {
                    self.agents.note(|state| state.interrupts += 1);
                    if !deaf {
                        self.obey(&id).await;
                        return Flow::Interrupted;
                    }
                }
                Some(Said::Control(id, _)) => self.obey(&id).await,
                Some(Said::Prompt(_)) => self.agents.note(|state| state.overlaps += 1),
                Some(Said::Other) => {}
                Some(Said::Garbage) => return Flow::Gone(Exit::Code(1)),
            }
        }
    }

    /// The line that ends a turn; an interrupted one has no text.
    async fn result(&mut self, text: Option<String>, after: &[String]) {
        self.cost += 0.001;
        self.failed = text.is_none();
        let usage = json!({ "input_tokens": 100, "output_tokens": 10,
            "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0 });
        let spent = json!({ "claude-in-memory": { "inputTokens": 100, "outputTokens": 10, "cacheReadInputTokens": 0,
            "cacheCreationInputTokens": 0, "costUSD": 0.001 } });
        let mut result = json!({ "type": "result", "model_usage_since_last_result": spent, "total_cost_usd": self.cost, "usage": usage, "num_turns": 1,
            "duration_ms": 5, "permission_denials": [] });
        match text {
            Some(text) => {
                result["subtype"] = json!("success");
                result["is_error"] = json!(false);
                result["terminal_reason"] = json!("completed");
                result["result"] = json!(text);
            }
            None => {
                result["subtype"] = json!("error_during_execution");
                result["is_error"] = json!(true);
                result["terminal_reason"] = json!("aborted_streaming");
                result["errors"] =
                    json!(["[ede_diagnostic] result_type=user last_content_type=n/a stop_reason=null"]);
            }
        }
        result["session_id"] = json!(self.conversation);
        // In one piece, so that a reader gets all of it at once.
        let lines: String = after.iter().map(|line| format!("{line}\n")).collect();
        self.context.stdout.write(format!("{result}\n{lines}")).await;
    }

    async fn replay(&mut self, name: &str) {
        for line in crate::fixtures::claude_recording(name)
            .unwrap_or_default()
            .lines()
        {
            match serde_json::from_str(line) {
                Ok(value @ Value::Object(_)) => self.emit(value).await,
                _ => self.context.stdout.line(line).await,
            }
        }
    }
}
