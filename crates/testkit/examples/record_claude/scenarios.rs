//! What is recorded. The name of a scenario is the name of its files.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::fixtures::{FIX_CALCULATOR_PROMPT, fix_calculator_script_at};
use testkit::model::{ApiFailure, Ending, Gate, Message, Script};

/// What to do next with the agent.
pub(crate) enum Step {
    /// Write a line.
    Send(Value),
    /// Read up to a line of this `type` or `type/subtype`.
    Until(&'static str),
    /// Wait until this many requests of the conversation have arrived.
    Asked(u64),
    /// Read for a while.
    Wait(Duration),
    /// Let the model go on.
    Open(Gate),
    /// Write something that is not JSON.
    SendRaw(&'static str),
    /// Answer the last control request with this.
    Answer(Value),
    /// Close the input.
    Close,
}

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Gets the path of the workspace.
    pub(crate) script: Box<dyn Fn(&str) -> Script>,
    pub(crate) arguments: &'static [&'static str],
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// Whether the agent must ask before it uses a tool.
    pub(crate) asks: bool,
    pub(crate) steps: Vec<Step>,
}

impl Scenario {
    fn new(name: &'static str, script: Script, steps: Vec<Step>) -> Self {
        Self {
            name,
            script: Box::new(move |_| script.clone()),
            arguments: &[],
            environment: &[],
            asks: false,
            steps,
        }
    }

    fn arguments(mut self, arguments: &'static [&'static str]) -> Self {
        self.arguments = arguments;
        self
    }

    fn environment(mut self, environment: &'static [(&'static str, &'static str)]) -> Self {
        self.environment = environment;
        self
    }
}

fn prompt(text: &str) -> Step {
    Step::Send(
        json!({ "type": "user", "message": { "role": "user", "content": [{ "type": "text", "text": text }] } }),
    )
}

fn control(id: &str, request: Value) -> Step {
    Step::Send(json!({ "type": "control_request", "request_id": id, "request": request }))
}

fn one_turn() -> Vec<Step> {
    vec![prompt("Say hello."), Step::Until("result")]
}

fn interrupt() -> [Step; 2] {
    [
        control("interrupt-1", json!({ "subtype": "interrupt" })),
        Step::Until("control_response"),
    ]
}

fn fails(name: &'static str, failure: ApiFailure) -> Scenario {
    Scenario::new(name, Script::new().fail(failure).forever(), one_turn()).environment(TWO_RETRIES)
}

/// Ten retries with growing pauses take minutes and say the same thing ten times.
const TWO_RETRIES: &[(&str, &str)] = &[("CLAUDE_CODE_MAX_RETRIES", "2")];

const PARTIAL: &[&str] = &["--include-partial-messages"];

/// All scenarios, grouped by what they are about.
pub(crate) fn all() -> Vec<Scenario> {
    [
        turns(),
        steering(),
        refusals(),
        broken_answers(),
        control_requests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn turns() -> Vec<Scenario> {
    let thinking = Message::new()
        .thinking("The user wants a greeting.")
        .text("Hello. This is an answer in a few pieces.");
    vec![
        Scenario::new("text", Script::new().say("Hello. This is a plain answer."), one_turn()),
        Scenario::new(
            "partial",
            Script::new()
                .reply(thinking.tool("Bash", json!({ "command": "echo hello", "description": "Greet" })))
                .say("Hello again."),
            one_turn(),
        )
        .arguments(PARTIAL),
        Scenario {
            script: Box::new(fix_calculator_script_at),
            ..Scenario::new("tools", Script::new(), vec![prompt(FIX_CALCULATOR_PROMPT), Step::Until("result")])
        },
        Scenario::new("second_prompt", Script::new().say("First.").say("Second."), [one_turn(), one_turn()].into_iter().flatten().collect()),
        Scenario::new(
            "subagent",
            Script::new()
                .tool("Task", json!({ "description": "Greet", "prompt": "Say hello.", "subagent_type": "general-purpose", "run_in_background": false }))
                .say("Hello from below.")
                .say("The other agent says hello."),
            one_turn(),
        ),
        Scenario::new("max_tokens", Script::new().reply(Message::new().text("A story that never").stop_reason("max_tokens")).forever(), one_turn()),
        Scenario::new("refusal", Script::new().reply(Message::new().text("I will not.").stop_reason("refusal")).forever(), one_turn()),
    ]
}

fn steering() -> Vec<Scenario> {
    let (gate, second_gate) = (Gate::new(), Gate::new());
    let with_id = |text: &str, uuid: &str| {
        Step::Send(json!({
            "type": "user", "uuid": uuid,
            "message": { "role": "user", "content": [{ "type": "text", "text": text }] },
        }))
    };
    vec![
        Scenario::new(
            "interrupt_model",
            Script::new()
                .hang_midway("A long answer that stops in the middle of what it says.")
                .say("Still here."),
            [
                vec![
                    prompt("Tell a story."),
                    Step::Asked(1),
                    Step::Wait(Duration::from_millis(500)),
                ],
                interrupt().into(),
                vec![Step::Until("result")],
                one_turn(),
            ]
            .into_iter()
            .flatten()
            .collect(),
        )
        .arguments(PARTIAL),
        Scenario::new(
            "interrupt_command",
            Script::new()
                .tool(
                    "Bash",
                    json!({ "command": "tail -f /dev/null", "description": "Wait" }),
                )
                .say("Still here."),
            [
                vec![
                    prompt("Wait."),
                    Step::Until("assistant"),
                    Step::Wait(Duration::from_millis(500)),
                ],
                interrupt().into(),
                vec![Step::Until("result")],
                one_turn(),
            ]
            .into_iter()
            .flatten()
            .collect(),
        ),
        Scenario::new(
            "interrupt_idle",
            Script::new().say("Hello."),
            one_turn().into_iter().chain(interrupt()).collect(),
        ),
        Scenario::new(
            "queued_prompts",
            Script::new()
                .say("First.")
                .gated(&gate)
                .say("Second.")
                .say("Third."),
            vec![
                with_id("One.", "11111111-1111-4111-8111-111111111111"),
                Step::Asked(1),
                with_id("Two.", "22222222-2222-4222-8222-222222222222"),
                with_id("Three.", "33333333-3333-4333-8333-333333333333"),
                Step::Wait(Duration::from_millis(500)),
                Step::Open(gate),
                Step::Until("result"),
                Step::Wait(Duration::from_secs(2)),
            ],
        )
        .arguments(&["--replay-user-messages"]),
        Scenario::new(
            "repeated_uuid",
            Script::new().say("First.").say("Second."),
            vec![
                with_id("One.", "11111111-1111-4111-8111-111111111111"),
                Step::Until("result"),
                with_id("One.", "11111111-1111-4111-8111-111111111111"),
                Step::Wait(Duration::from_secs(1)),
            ],
        ),
        Scenario::new(
            "input_closed_midway",
            Script::new()
                .tool("Bash", json!({ "command": "echo a", "description": "Say a" }))
                .gated(&second_gate)
                .say("Done."),
            vec![
                prompt("Go on."),
                Step::Asked(1),
                Step::Close,
                Step::Wait(Duration::from_millis(500)),
                Step::Open(second_gate),
            ],
        ),
        permission(
            "permission_allowed",
            json!({ "behavior": "allow", "updatedInput": touch() }),
        ),
        permission(
            "permission_denied",
            json!({ "behavior": "deny", "message": "Not today." }),
        ),
    ]
}

fn touch() -> Value {
    json!({ "command": "touch a", "description": "Make a file" })
}

fn permission(name: &'static str, answer: Value) -> Scenario {
    Scenario {
        asks: true,
        ..Scenario::new(
            name,
            Script::new().tool("Bash", touch()).say("Done."),
            vec![
                prompt("Make a file."),
                Step::Until("control_request"),
                Step::Answer(answer),
                Step::Until("result"),
            ],
        )
    }
}

fn refusals() -> Vec<Scenario> {
    vec![
        fails(
            "error_400",
            ApiFailure::invalid_request("messages.0: text content blocks must be non-empty"),
        ),
        fails("error_401", ApiFailure::unauthorized()),
        fails("error_403", ApiFailure::forbidden()),
        fails("error_404", ApiFailure::not_found("model: claude-none")),
        fails(
            "error_429",
            ApiFailure::rate_limited().retry_after(Duration::from_secs(1)),
        ),
        fails("error_500", ApiFailure::internal()),
        fails("error_529", ApiFailure::overloaded()),
        Scenario::new(
            "error_529_once",
            Script::new().fail(ApiFailure::overloaded()).say("Hello."),
            one_turn(),
        ),
    ]
}

fn broken_answers() -> Vec<Scenario> {
    let broken =
        |name, script: Script| Scenario::new(name, script.forever(), one_turn()).environment(TWO_RETRIES);
    let text = "An answer that does not come to its end.";
    let ending = |ending| Script::new().reply(Message::new().text(text).ending(ending));
    vec![
        broken("garbage", Script::new().garbage()),
        broken("closed", Script::new().close()),
        broken("dropped", Script::new().drop_midway(text)),
        broken("truncated", ending(Ending::Truncate)),
        broken("error_event", ending(Ending::Fail(ApiFailure::overloaded()))),
        broken("hang", Script::new().hang())
            .environment(&[("CLAUDE_CODE_MAX_RETRIES", "2"), ("API_TIMEOUT_MS", "3000")]),
        broken("hang_midway", Script::new().hang_midway(text)).environment(&[
            ("CLAUDE_CODE_MAX_RETRIES", "2"),
            ("API_TIMEOUT_MS", "3000"),
            ("CLAUDE_BYTE_STREAM_IDLE_TIMEOUT_MS", "10000"),
        ]),
    ]
}

fn control_requests() -> Vec<Scenario> {
    let ask = |id, request| [control(id, request), Step::Until("control_response")];
    vec![
        Scenario::new(
            "control",
            Script::new().say("Hello."),
            [
                ask("initialize-1", json!({ "subtype": "initialize" })),
                ask("unknown-1", json!({ "subtype": "brew_coffee" })),
                ask(
                    "model-1",
                    json!({ "subtype": "set_model", "model": "claude-haiku-4-5" }),
                ),
                ask(
                    "mode-1",
                    json!({ "subtype": "set_permission_mode", "mode": "plan" }),
                ),
                ask("mcp-1", json!({ "subtype": "mcp_status" })),
            ]
            .into_iter()
            .flatten()
            .chain(one_turn())
            .collect(),
        ),
        Scenario::new(
            "bad_line",
            Script::new().say("Hello."),
            vec![
                Step::SendRaw("this is not JSON"),
                Step::Wait(Duration::from_secs(2)),
            ],
        ),
        Scenario::new(
            "unknown_type",
            Script::new().say("Hello."),
            [
                vec![Step::Send(json!({ "type": "from_the_future", "x": 1 }))],
                one_turn(),
            ]
            .into_iter()
            .flatten()
            .collect(),
        ),
    ]
}
