//! Turns that do not get on: whose fault it is is told by name, once, and acted on by policy and not otherwise.

mod acted;
mod takeover;
mod told;

use std::time::Duration;

use futures::StreamExt;
use session_core::activity::{Activity, StallAction, StallCause, StallRule, WatchdogPolicy};
use session_core::api::SessionApi;
use session_core::event::{Event, EventKind};
use session_core::gateway::{ModelActivity, ModelFailure};
use session_core::id::SessionId;
use session_core::manager::ManagerOptions;
use session_core::session::SessionDetails;
use session_core::turn::{TurnFailureCause, TurnOutcome, TurnStatus};
use testkit::harness::ManagerProcess;
use testkit::memory::AgentTurn;
use testkit::model::Gate;

use super::world::{World, soon, stored};

/// After so long a stall is told here, and after the second something is done.
const TOLD: Duration = Duration::from_millis(60);
const DONE: Duration = Duration::from_millis(150);

const WORD: StallRule = StallRule::tell(TOLD);

/// A model that took a request and says nothing.
const HANGING: ModelActivity = ModelActivity {
    under_way: 1,
    queued: 0,
    silent_ms: Some(3_600_000),
    idle_ms: None,
    failure: None,
    failures: 0,
};

/// A model that speaks.
const SPEAKING: ModelActivity = ModelActivity {
    silent_ms: Some(0),
    ..HANGING
};

/// Every cause under the same rule.
fn every(rule: StallRule) -> WatchdogPolicy {
    WatchdogPolicy {
        model_unreachable: Some(rule),
        model_overloaded: Some(rule),
        agent_silent: Some(rule),
        waiting_for_permission: Some(rule),
        tool_running: Some(rule),
    }
}

async fn watched_by(world: &World, watchdog: WatchdogPolicy) -> ManagerProcess {
    let options = ManagerOptions {
        watchdog,
        interrupt_grace: Duration::from_millis(200),
        supervise: true,
        ..world.site.options()
    };
    world.site.manager_with(options).await.unwrap()
}

/// The first such event that is or will be there.
async fn wait_for<T>(
    manager: &ManagerProcess,
    session: &SessionId,
    what: &str,
    wanted: impl Fn(&Event) -> Option<T>,
) -> T {
    let mut events = manager.events(session, 0).await.unwrap();
    let waiting = async {
        loop {
            let event = events.next().await.expect("the session goes on").unwrap();
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    };
    soon(what, waiting).await
}

fn stall(event: &Event) -> Option<(StallCause, StallAction)> {
    match event.kind {
        EventKind::AgentStalled { cause, action, .. } => Some((cause, action)),
        _ => None,
    }
}

fn recovery(event: &Event) -> Option<StallCause> {
    match event.kind {
        EventKind::AgentRecovered { cause, .. } => Some(cause),
        _ => None,
    }
}

async fn stalls(manager: &ManagerProcess, session: &SessionId) -> Vec<(StallCause, StallAction)> {
    stored(manager, session).await.iter().filter_map(stall).collect()
}

async fn look(manager: &ManagerProcess, session: &SessionId) -> SessionDetails {
    soon("an inspection", manager.inspect(session)).await.unwrap()
}

fn failed_by(outcome: &TurnOutcome) -> TurnFailureCause {
    assert_eq!(outcome.status, TurnStatus::Failed, "{outcome:?}");
    let failure = outcome.failure.as_ref().unwrap();
    assert!(failure.error.hint.is_some() && failure.error.retryable);
    failure.cause
}

fn tool_call() -> &'static str {
    "{\"type\":\"assistant\",\"message\":{\"content\":[{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"Bash\",\
     \"input\":{}}]}}"
}

fn tool_result() -> &'static str {
    "{\"type\":\"user\",\"message\":{\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"t1\",\"content\":\"\"}]}}"
}

fn question() -> &'static str {
    "{\"type\":\"control_request\",\"request_id\":\"q1\",\"request\":{\"subtype\":\"can_use_tool\",\
     \"tool_name\":\"Bash\",\"tool_use_id\":\"t1\"}}"
}

fn retry() -> &'static str {
    "{\"type\":\"system\",\"subtype\":\"api_retry\",\"attempt\":1,\"retry_delay_ms\":600000,\"error_status\":529,\
     \"error\":\"overloaded_error\"}"
}

/// Something on which a turn hangs.
struct Hanging {
    cause: StallCause,
    lines: &'static [fn() -> &'static str],
    model: ModelActivity,
    is: fn(&Activity) -> bool,
}

const NOTHING: ModelActivity = ModelActivity {
    under_way: 0,
    silent_ms: None,
    ..HANGING
};

const ALL: [Hanging; 7] = [
    Hanging {
        cause: StallCause::AgentSilent,
        lines: &[],
        model: NOTHING,
        is: |activity| matches!(activity, Activity::Working { .. }),
    },
    Hanging {
        cause: StallCause::ToolRunning,
        lines: &[tool_call],
        model: NOTHING,
        is: |activity| matches!(activity, Activity::ToolRunning { tool, .. } if tool == "Bash"),
    },
    Hanging {
        cause: StallCause::WaitingForPermission,
        lines: &[tool_call, question],
        model: NOTHING,
        is: |activity| matches!(activity, Activity::WaitingForPermission { tool, .. } if tool == "Bash"),
    },
    Hanging {
        cause: StallCause::ModelUnreachable,
        lines: &[],
        model: HANGING,
        is: |activity| matches!(activity, Activity::WaitingForModel { silent_ms: 60.. }),
    },
    Hanging {
        cause: StallCause::ModelOverloaded,
        lines: &[retry],
        model: NOTHING,
        is: |activity| matches!(activity, Activity::WaitingForModel { .. }),
    },
    Hanging {
        cause: StallCause::ModelOverloaded,
        lines: &[],
        model: ModelActivity { queued: 1, ..NOTHING },
        is: |activity| matches!(activity, Activity::ModelQueued { .. }),
    },
    Hanging {
        cause: StallCause::ModelUnreachable,
        lines: &[],
        model: ModelActivity {
            failure: Some(ModelFailure::Unreachable),
            failures: 2,
            idle_ms: Some(3_600_000),
            ..NOTHING
        },
        is: |activity| matches!(activity, Activity::WaitingForModel { .. }),
    },
];

impl Hanging {
    /// The next prompt is worked on like this, and then answered.
    fn script(&self, world: &World) -> Gate {
        let gate = Gate::new();
        let begun = AgentTurn::new().say("I am at it.");
        let hanging = self.lines.iter().fold(begun, |turn, line| turn.line(line()));
        world.then(hanging.hold(&gate).line(tool_result()).say("Done."));
        world.site.gateway.set_activity(self.model);
        gate
    }
}

fn resumed_once(world: &World) {
    let agents = world.site.memory.agents();
    let (starts, prompts) = (agents.starts(), agents.prompts());
    assert_eq!(starts.len(), 2);
    assert_eq!(starts[1].resumed.as_ref(), Some(&prompts[0].conversation));
    assert_eq!(world.prompts(), ["Hello.", "Work.", "Next."]);
    assert_eq!(prompts[2].conversation, prompts[0].conversation);
}
