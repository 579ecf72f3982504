//! The agent at work: a program of the container that reads prompts and control requests, and plays its turns.

use serde_json::{Value, json};
use session_core::id::SessionId;

use super::turn::Step;
use super::{AgentStart, Agents, SeenPrompt};
use crate::memory::program::{Context, Exit, Input};
use crate::model::Gate;

impl Agents {
    /// The program.
    pub(in crate::memory) async fn run(self, mut context: Context) -> Exit {
        let args = context.args();
        let resumed = args
            .iter()
            .position(|arg| arg == "--resume")
            .and_then(|at| args.get(at + 1))
            .cloned();
        let conversation = resumed.clone().unwrap_or_else(|| SessionId::new().to_string());
        let session = context.machine.session();
        let unknown = resumed.is_some() && !self.lock().kept.contains(&conversation);
        let start = AgentStart {
            session,
            args,
            env: context.env.clone(),
            resumed,
        };
        let alone = start.args.iter().any(|arg| arg == "-p");
        self.note(|state| state.starts.push(start));
        if unknown {
            let error = format!("No conversation found with session ID: {conversation}");
            let result = json!({ "type": "result", "subtype": "error_during_execution", "is_error": true,
                "num_turns": 0, "errors": [error] });
            context.stdout.line(result).await;
            return Exit::Code(1);
        }
        if !alone {
            return self.converse(context, conversation).await;
        }
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
        if value["type"] != "system" {
            self.agents.keep(&self.conversation);
        }
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
        let turn = self.agents.lock().next(&prompt);
        self.agents.note(|state| state.prompts.push(seen));
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
        self.agents.keep(&self.conversation);
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
