//! What an agent does with one prompt, step by step.

use crate::memory::program::Exit;
use crate::model::Gate;

/// What the agent does with one prompt.
#[derive(Debug, Clone, Default)]
pub struct AgentTurn {
    pub(super) steps: Vec<Step>,
    pub(super) after: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
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

    /// All that it says, for whoever reads no more than that.
    pub(super) fn words(&self) -> String {
        let said = self.steps.iter().filter_map(|step| match step {
            Step::Say(text) => Some(text.as_str()),
            _ => None,
        });
        said.collect::<Vec<_>>().join("\n")
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}
