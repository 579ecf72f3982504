//! What a session may do in which state: a pure function (I7).
//!
//! ```text
//!             create                    turn / command
//!  (absent) ─────────▶ Creating ─────▶ Ready ◀────────▶ Busy
//!                         │              │  ▲     ▲        │
//!                         ▼         pause▼  │resume└──┐    ▼
//!                       Failed{cause}  Paused        Interrupted{cause}   engine restart, OOM, lost container
//!                         └──────────────┴── destroy ──────┘
//!                                           ▼
//!                                      Destroying ─────▶ Destroyed (its history stays readable)
//! ```
//!
//! What was interrupted comes back to `Ready` when somebody resumes it, or by itself when its policy says so; it stays
//! `Interrupted` until its container runs again and its link is up, so whoever dies in between leaves it so.
//!
//! `Busy` means that a turn runs. Commands and copies need a container that runs, so they are allowed in `Ready` and
//! `Busy` alike and change nothing.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// Where a session is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SessionState {
    /// Its container is being made.
    Creating,
    /// It waits for work.
    Ready,
    /// A turn runs.
    Busy,
    /// Its processes are frozen.
    Paused,
    /// It was not made. Nothing of it is left on the engine.
    Failed {
        /// Why, in one line.
        cause: String,
    },
    /// Its container ended although nobody asked for it.
    Interrupted {
        /// Why.
        cause: InterruptCause,
    },
    /// It is being removed.
    Destroying,
    /// It is gone; its history stays readable.
    Destroyed,
}

/// Why a session was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum InterruptCause {
    /// The engine restarted, or was restarted, and ended the container.
    EngineRestart,
    /// The container used more memory than it may.
    OutOfMemory,
    /// Somebody removed the container behind our back.
    ContainerRemoved,
    /// PID 1 ended by itself.
    ContainerExited,
}

/// The name of a state without its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the state of the same name")]
pub enum StateName {
    Creating,
    Ready,
    Busy,
    Paused,
    Failed,
    Interrupted,
    Destroying,
    Destroyed,
}

/// What can happen to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// The container runs and its link is up.
    Launched,
    /// It could not be made.
    LaunchFailed {
        /// Why, in one line.
        cause: String,
    },
    /// A turn was handed to the agent.
    TurnStarted,
    /// The turn ended, however it did.
    TurnEnded,
    /// Its processes were frozen.
    Paused,
    /// Its processes go on.
    Resumed,
    /// The container ended although nobody asked for it.
    Lost {
        /// Why.
        cause: InterruptCause,
    },
    /// The container runs again, its link is up, and its workspace is what it was.
    Recovered,
    /// Somebody asked for its end.
    DestroyAsked,
    /// Nothing of it is left on the engine.
    DestroyDone,
}

/// What a caller may want of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Give the agent a prompt; it is queued while another turn runs.
    Prompt,
    /// Interrupt the running turn.
    Interrupt,
    /// Run or reattach to a command.
    Command,
    /// Move files in or out, or compare them.
    Files,
    /// Freeze.
    Pause,
    /// Go on, or come back after an interruption.
    Resume,
    /// Remove.
    Destroy,
    /// Read its history.
    Read,
}

impl SessionState {
    /// The state's name.
    pub fn name(&self) -> StateName {
        match self {
            Self::Creating => StateName::Creating,
            Self::Ready => StateName::Ready,
            Self::Busy => StateName::Busy,
            Self::Paused => StateName::Paused,
            Self::Failed { .. } => StateName::Failed,
            Self::Interrupted { .. } => StateName::Interrupted,
            Self::Destroying => StateName::Destroying,
            Self::Destroyed => StateName::Destroyed,
        }
    }

    /// Whether nothing more is expected to happen.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Destroyed)
    }

    /// Whether a container of this session may exist on the engine.
    pub fn may_have_container(&self) -> bool {
        !matches!(self, Self::Failed { .. } | Self::Destroyed)
    }

    /// Whether no further transition is possible.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Destroyed)
    }

    /// The state after `transition`.
    ///
    /// # Errors
    /// `StateConflict` when the transition does not exist from here; the state stays as it is.
    pub fn after(&self, transition: Transition) -> Result<Self, Error> {
        use SessionState as S;
        use Transition as T;
        Ok(match (self, transition) {
            (S::Creating, T::Launched) => S::Ready,
            (S::Creating, T::LaunchFailed { cause }) => S::Failed { cause },
            (S::Ready, T::TurnStarted) => S::Busy,
            (S::Busy, T::TurnEnded) => S::Ready,
            (S::Ready, T::Paused) => S::Paused,
            (S::Paused, T::Resumed) => S::Ready,
            (S::Creating | S::Ready | S::Busy | S::Paused, T::Lost { cause }) => S::Interrupted { cause },
            (S::Interrupted { .. }, T::Recovered) => S::Ready,
            // Whatever the state, an end that was asked for begins, and begins again after a crash in the middle.
            (S::Destroyed, T::DestroyAsked) => S::Destroyed,
            (_, T::DestroyAsked) => S::Destroying,
            (S::Destroying, T::DestroyDone) => S::Destroyed,
            (state, transition) => {
                return Err(Error::new(
                    ErrorKind::StateConflict,
                    "change the session's state",
                    "no such step",
                )
                .with_context("state", state.name().as_str())
                .with_context("step", format!("{transition:?}")));
            }
        })
    }

    /// Whether `operation` is allowed now.
    ///
    /// # Errors
    /// `StateConflict` with a hint that says what leads out of the state.
    pub fn permits(&self, operation: Operation) -> Result<(), Error> {
        use Operation as O;
        use SessionState as S;
        let allowed = match operation {
            O::Read => true,
            O::Destroy => true,
            O::Prompt | O::Command | O::Files | O::Interrupt => matches!(self, S::Ready | S::Busy),
            O::Pause => matches!(self, S::Ready | S::Paused),
            O::Resume => matches!(self, S::Paused | S::Ready | S::Busy | S::Interrupted { .. }),
        };
        if allowed {
            Ok(())
        } else {
            Err(self.refusal(operation))
        }
    }

    fn refusal(&self, operation: Operation) -> Error {
        let (message, hint): (String, &'static str) = match self {
            Self::Creating => (
                "the session is still being created".into(),
                "wait until it is ready",
            ),
            Self::Busy => ("a turn is running".into(), "wait for it or interrupt it first"),
            Self::Paused => ("the session is paused".into(), "resume it first"),
            Self::Failed { cause } => (
                format!("the session could not be created: {cause}"),
                "create a new one",
            ),
            Self::Interrupted { cause } => (
                format!("the session's container is gone: {}", cause.as_str()),
                "resume it to bring it back with its workspace and its conversation, or destroy it",
            ),
            Self::Destroying | Self::Destroyed => ("the session was destroyed".into(), "create a new one"),
            Self::Ready => (
                "the session is not paused or busy".into(),
                "nothing needs to be done",
            ),
        };
        Error::new(ErrorKind::StateConflict, operation.as_str(), message)
            .with_hint(hint)
            .with_retryable(matches!(self, Self::Creating | Self::Busy))
    }
}

impl StateName {
    /// The name as it is stored and shown, `snake_case`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Ready => "ready",
            Self::Busy => "busy",
            Self::Paused => "paused",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Destroying => "destroying",
            Self::Destroyed => "destroyed",
        }
    }
}

impl InterruptCause {
    /// The cause as it is stored and shown, `snake_case`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EngineRestart => "engine_restart",
            Self::OutOfMemory => "out_of_memory",
            Self::ContainerRemoved => "container_removed",
            Self::ContainerExited => "container_exited",
        }
    }
}

impl Operation {
    /// The operation as a verb phrase, for messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prompt => "prompt the agent",
            Self::Interrupt => "interrupt the agent",
            Self::Command => "run a command",
            Self::Files => "transfer files",
            Self::Pause => "pause the session",
            Self::Resume => "resume the session",
            Self::Destroy => "destroy the session",
            Self::Read => "read the session",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn transitions() -> impl Strategy<Value = Transition> {
        prop_oneof![
            Just(Transition::Launched),
            Just(Transition::LaunchFailed { cause: "x".into() }),
            Just(Transition::TurnStarted),
            Just(Transition::TurnEnded),
            Just(Transition::Paused),
            Just(Transition::Resumed),
            Just(Transition::Lost {
                cause: InterruptCause::OutOfMemory
            }),
            Just(Transition::Recovered),
            Just(Transition::DestroyAsked),
            Just(Transition::DestroyDone),
        ]
    }

    fn run(steps: Vec<Transition>) -> Vec<SessionState> {
        let mut states = vec![SessionState::Creating];
        for step in steps {
            let now = states.last().unwrap().clone();
            states.push(now.after(step).unwrap_or(now));
        }
        states
    }

    proptest! {
        #[test]
        fn i7_the_end_is_the_end(steps in prop::collection::vec(transitions(), 0..40)) {
            let states = run(steps);
            for pair in states.windows(2) {
                if pair[0].is_final() {
                    prop_assert!(pair[1].is_final());
                }
            }
        }

        #[test]
        fn i7_a_failed_or_ending_session_never_becomes_ready(steps in prop::collection::vec(transitions(), 0..40)) {
            let states = run(steps);
            let mut lost = false;
            for state in states {
                lost |= matches!(state.name(), StateName::Failed | StateName::Destroying);
                if lost {
                    prop_assert!(state.permits(Operation::Prompt).is_err());
                    prop_assert!(state.permits(Operation::Command).is_err());
                    prop_assert!(state.permits(Operation::Resume).is_err());
                }
            }
        }

        #[test]
        fn i7_an_interrupted_session_works_again_only_when_it_was_brought_back(steps in prop::collection::vec(transitions(), 0..40)) {
            let mut state = SessionState::Creating;
            for step in steps {
                let next = state.after(step.clone()).unwrap_or_else(|_| state.clone());
                if state.name() == StateName::Interrupted {
                    prop_assert!(state.permits(Operation::Prompt).is_err());
                    prop_assert!(state.permits(Operation::Resume).is_ok());
                    let expected = match step {
                        Transition::Recovered => StateName::Ready,
                        Transition::DestroyAsked => StateName::Destroying,
                        _ => StateName::Interrupted,
                    };
                    prop_assert_eq!(next.name(), expected);
                }
                state = next;
            }
        }

        #[test]
        fn i7_destroy_is_always_permitted_and_leads_to_the_end(steps in prop::collection::vec(transitions(), 0..40)) {
            let state = run(steps).pop().unwrap();
            prop_assert!(state.permits(Operation::Destroy).is_ok());
            let destroying = state.after(Transition::DestroyAsked).unwrap();
            prop_assert!(destroying.is_final() || destroying.after(Transition::DestroyDone).unwrap().is_final());
        }

        #[test]
        fn i7_a_turn_starts_only_when_none_runs(steps in prop::collection::vec(transitions(), 0..40)) {
            let mut running = 0_i32;
            let mut state = SessionState::Creating;
            for step in steps {
                if let Ok(next) = state.after(step.clone()) {
                    match step {
                        Transition::TurnStarted => running += 1,
                        Transition::TurnEnded => running -= 1,
                        // What ran there ended with its container.
                        Transition::Lost { .. } => running = 0,
                        _ => {}
                    }
                    state = next;
                }
                prop_assert!((0..=1).contains(&running));
            }
        }
    }

    #[test]
    fn every_refusal_has_a_hint() {
        for state in [
            SessionState::Creating,
            SessionState::Paused,
            SessionState::Destroyed,
        ] {
            let refusal = state.permits(Operation::Prompt).unwrap_err();
            assert_eq!(refusal.kind(), ErrorKind::StateConflict);
            assert!(refusal.hint().is_some());
        }
    }
}
