//! Events as they happen, a few lines each: who did what, and when.
//!
//! ```text
//!   0.0s ▸ Make the failing test pass
//!   1.2s ● I will look at the tests first.
//!   1.4s ⏺ Bash  python3 -m unittest
//!   2.0s   └ FAIL: test_add
//!            … 12 more lines
//!            FAILED (failures=1)
//! ```

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use session_core::event::{Event, EventKind};
use session_core::lifetime::ExpiryCause;
use session_core::state::SessionState;

use super::{count, doors, duration, outcome, state, tool};
use crate::parse::format_bytes;
use crate::printer::Paint;
use crate::sanitize;

/// How many lines of a tool's answer, and of a prompt, are shown from the start and from the end.
const HEAD: usize = 2;
const TAIL: usize = 2;
/// The longest line of these, in characters.
const WIDTH: usize = 160;

/// What stands in front of each event.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The time since the first event.
    Elapsed,
    /// The time of day.
    Wall(TimeZone),
}

/// Turns events into text. Keeps what it takes to know since when, and what goes on now.
#[derive(Debug)]
pub struct Timeline {
    clock: Clock,
    paint: Paint,
    verbose: bool,
    start: Option<Timestamp>,
    activity: Option<String>,
}

impl Timeline {
    /// An empty timeline; `verbose` shows thoughts, standard error and what is not known, too.
    pub fn new(clock: Clock, paint: Paint, verbose: bool) -> Self {
        Self {
            clock,
            paint,
            verbose,
            start: None,
            activity: None,
        }
    }

    /// What goes on now, for the changing line.
    pub fn activity(&self) -> Option<&str> {
        self.activity.as_deref()
    }

    /// The event's lines, without a final line end; `None` when it is not shown.
    pub fn render(&mut self, event: &Event) -> Option<String> {
        let start = *self.start.get_or_insert(event.at);
        self.follow(&event.kind);
        let body = match doors::door(event, self.paint, self.verbose) {
            Some(line) => line,
            None => self.body(&event.kind)?,
        };
        let stamp = self.stamp(event.at, start);
        let indent = " ".repeat(stamp.chars().count() + 3);
        let mut lines = body.split('\n');
        let first = lines.next().unwrap_or_default();
        let mut text = format!("{} {first}", self.paint.dim(&stamp));
        for line in lines {
            text.push('\n');
            if !line.is_empty() {
                text += &indent;
                text += line;
            }
        }
        Some(text)
    }

    fn stamp(&self, at: Timestamp, start: Timestamp) -> String {
        match &self.clock {
            Clock::Elapsed => {
                let elapsed = Duration::try_from(at.duration_since(start)).unwrap_or_default();
                format!("{:>6}", duration(elapsed))
            }
            Clock::Wall(zone) => at.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string(),
        }
    }

    fn follow(&mut self, kind: &EventKind) {
        self.activity = match kind {
            EventKind::TurnQueued { .. } => Some("waiting for the agent".to_owned()),
            EventKind::TurnStarted | EventKind::ToolResult { .. } | EventKind::AgentText { .. } => {
                Some("thinking".to_owned())
            }
            EventKind::ToolCall { tool, .. } => Some(format!("running {tool}")),
            EventKind::Progress { message } => Some(message.clone()),
            EventKind::ModelRetry { .. } => Some("waiting for the model".to_owned()),
            EventKind::PermissionAsked { .. } => Some("waiting for a permission".to_owned()),
            EventKind::AgentStalled { cause, .. } => Some(doors::stall(*cause).to_owned()),
            EventKind::AgentRecovered { .. } => Some("going on".to_owned()),
            EventKind::TurnFinished { .. } => None,
            _ => return,
        };
    }

    fn body(&self, kind: &EventKind) -> Option<String> {
        let paint = self.paint;
        Some(match kind {
            EventKind::StateChanged { to } => return self.state_change(to),
            EventKind::Progress { message } => paint.dim(format_args!("· {}", sanitize::one_line(message))),
            EventKind::TurnQueued { prompt } => format!("{} {}", paint.bold("▸"), excerpt(prompt, paint)),
            EventKind::TurnFinished { outcome: ended } => outcome(ended, paint),
            EventKind::AgentText { text } => format!("● {}", sanitize::lines(text.trim())),
            EventKind::ToolCall { tool, input, .. } => {
                let summary = tool::summary(tool, input);
                let name = paint.bold(sanitize::shorten(&sanitize::one_line(tool), 60));
                format!("{} {name}  {summary}", paint.cyan("⏺"))
            }
            EventKind::ToolResult { is_error, text, .. } => self.tool_result(*is_error, text),
            EventKind::ModelRetry {
                attempt,
                delay_ms,
                reason,
            } => paint.yellow(format_args!(
                "↻ the model did not answer (attempt {attempt}: {}); again in {}",
                sanitize::shorten(&sanitize::one_line(reason), WIDTH),
                duration(Duration::from_millis(*delay_ms))
            )),
            EventKind::AgentExited { cause } => paint.yellow(format_args!(
                "! the agent's process ended: {}",
                sanitize::one_line(cause)
            )),
            EventKind::AgentOutputLost { bytes } => paint.yellow(format_args!(
                "! {} of the agent's output were lost",
                format_bytes(*bytes)
            )),
            EventKind::Problem { error } => {
                let hint = error.hint.as_ref().map_or_else(String::new, |hint| {
                    format!("\n{} {}", paint.cyan("hint:"), sanitize::one_line(hint))
                });
                format!(
                    "{}{hint}",
                    paint.red(format_args!("! {}", sanitize::one_line(&error.message)))
                )
            }
            EventKind::CommandStarted { argv, .. } => {
                let line = argv.join(" ");
                paint.dim(format_args!(
                    "$ {}",
                    sanitize::shorten(&sanitize::one_line(&line), WIDTH)
                ))
            }
            EventKind::CommandFinished { code, signal, .. } => return self.command_end(*code, *signal),
            EventKind::FilesCopied {
                inward,
                path,
                bytes,
                entries,
            } => paint.dim(format_args!(
                "{} {}: {} entries, {}",
                if *inward {
                    "→ copied to"
                } else {
                    "← copied from"
                },
                sanitize::one_line(path),
                entries,
                format_bytes(*bytes)
            )),
            EventKind::Expired { cause } => paint.yellow(format_args!(
                "! the session ends by itself: {}",
                match cause {
                    ExpiryCause::Idle => "it had nothing to do for too long",
                    ExpiryCause::MaximumLife => "it is as old as it may become",
                    ExpiryCause::LeaseLapsed => "nobody renewed its lease",
                }
            )),
            EventKind::Recovered { cause, checkpoint } => paint.yellow(format_args!(
                "↻ the session came back ({}){}",
                cause.as_str().replace('_', " "),
                match checkpoint {
                    Some(checkpoint) => format!("; its work is that of checkpoint {checkpoint}"),
                    None => String::new(),
                }
            )),
            EventKind::CheckpointTaken { files, bytes, .. } => {
                return self.verbose.then(|| {
                    paint.dim(format_args!(
                        "· kept the changes of {}, {}",
                        count(*files, "file"),
                        format_bytes(*bytes)
                    ))
                });
            }
            // Without -v it is no news that a host was reached which is allowed, or that a server works.
            EventKind::EgressAllowed { .. } | EventKind::McpServer { .. } => return None,
            other => return self.verbose.then(|| self.detail(other)),
        })
    }

    fn state_change(&self, to: &SessionState) -> Option<String> {
        let routine = matches!(
            to,
            SessionState::Ready | SessionState::Busy | SessionState::Creating
        );
        let line = match to {
            SessionState::Failed { cause } => format!("session failed: {}", sanitize::one_line(cause)),
            other => format!("session {}", state(other)),
        };
        match to {
            SessionState::Failed { .. } | SessionState::Interrupted { .. } => {
                Some(self.paint.red(format_args!("! {line}")))
            }
            _ if routine && !self.verbose => None,
            _ => Some(self.paint.dim(format_args!("· {line}"))),
        }
    }

    fn tool_result(&self, is_error: bool, text: &str) -> String {
        // The continuation lines stand under the first, behind the corner.
        let shown = excerpt(text, self.paint).replace('\n', "\n  ");
        let shown = if shown.is_empty() {
            "(no output)".to_owned()
        } else {
            shown
        };
        if is_error {
            format!("  {} {}", self.paint.red("└ error:"), shown)
        } else {
            format!("  {} {}", self.paint.dim("└"), self.paint.dim(shown))
        }
    }

    fn command_end(&self, code: Option<i32>, signal: Option<i32>) -> Option<String> {
        let line = match (code, signal) {
            (Some(0), _) => return self.verbose.then(|| self.paint.dim("  └ exit code 0")),
            (Some(code), _) => format!("  └ exit code {code}"),
            (None, Some(signal)) => format!("  └ ended by signal {signal}"),
            (None, None) => "  └ ended without an exit code".to_owned(),
        };
        Some(self.paint.dim(line))
    }

    fn detail(&self, kind: &EventKind) -> String {
        let line = match kind {
            EventKind::TurnStarted => "the agent has the prompt".to_owned(),
            EventKind::AgentReady { model, tools } => format!(
                "agent ready, model {}, {} tools",
                model.as_deref().unwrap_or("unknown"),
                tools.len()
            ),
            EventKind::AgentThinking { text } => {
                return self.paint.dim(format_args!("✻ {}", sanitize::lines(text.trim())));
            }
            EventKind::AgentStderr { text } => {
                return self
                    .paint
                    .dim(format_args!("stderr: {}", sanitize::lines(text.trim_end())));
            }
            // What this version does not know is shown as it is stored.
            other => serde_json::to_string(other).unwrap_or_default(),
        };
        self.paint.dim(format_args!(
            "· {}",
            sanitize::shorten(&sanitize::one_line(&line), WIDTH)
        ))
    }
}

/// The first and the last lines of a text, each cut, with a count of those between: what a program says at its end tells
/// more than what it says in the middle.
fn excerpt(text: &str, paint: Paint) -> String {
    let safe = sanitize::lines(text.trim());
    let lines: Vec<&str> = safe.lines().filter(|line| !line.trim().is_empty()).collect();
    let shown = |lines: &[&str]| -> Vec<String> {
        let cut = lines
            .iter()
            .map(|line| sanitize::shorten(line.trim_end(), WIDTH).into_owned());
        cut.collect()
    };
    // One line that is left out would take as much room as the line that says so.
    if lines.len() <= HEAD + TAIL + 1 {
        return shown(&lines).join("\n");
    }
    let between = lines.len() - HEAD - TAIL;
    let mut parts = shown(&lines[..HEAD]);
    parts.push(paint.dim(format_args!("… {between} more lines")));
    parts.extend(shown(&lines[lines.len() - TAIL..]));
    parts.join("\n")
}
