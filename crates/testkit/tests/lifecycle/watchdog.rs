//! Turns that do not get on: whose fault it is is told by name, once, and acted on by policy and not otherwise.

use std::time::Duration;

use futures::StreamExt;
use session_core::activity::{Activity, StallAction, StallCause, StallRule, WatchdogPolicy};
use session_core::api::SessionApi;
use session_core::event::{Event, EventKind};
use session_core::gateway::{ModelActivity, ModelFailure};
use session_core::id::SessionId;
use session_core::manager::ManagerOptions;
use session_core::session::{CreateSession, SessionDetails};
use session_core::state::StateName;
use session_core::turn::{TurnFailureCause, TurnInfo, TurnOutcome, TurnStatus};
use testkit::harness::ManagerProcess;
use testkit::memory::AgentTurn;
use testkit::model::Gate;

use super::world::{World, ask, create, history, outcome, reaches, send, soon, stored};

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

#[tokio::test]
async fn each_cause_is_told_once_by_name_and_ends_nothing() {
    for hanging in ALL {
        let world = World::new();
        let manager = watched_by(&world, every(WORD)).await;
        let session = create(&manager).await;
        let gate = hanging.script(&world);
        let turn = send(&manager, &session, "Work.").await;
        let told = wait_for(&manager, &session, "a word", |event| {
            assert!(stall(event).is_none() || event.turn == Some(turn.id));
            stall(event)
        });
        assert_eq!(told.await, (hanging.cause, StallAction::Tell));
        let details = look(&manager, &session).await;
        let activity = details.activity.unwrap();
        assert!((hanging.is)(&activity), "{activity:?}");
        assert_eq!(details.stall, Some(hanging.cause));
        // Looked at many times more, and told no more.
        let looks = world.site.gateway.activities();
        let later = async {
            while world.site.gateway.activities() < looks + 5 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon("further looks", later).await;
        assert_eq!(
            stalls(&manager, &session).await,
            [(hanging.cause, StallAction::Tell)]
        );
        gate.open();
        assert_eq!(outcome(&manager, &turn).await.text, "Done.");
        assert_eq!(world.site.memory.agents().interrupts(), 0);
        assert_eq!(world.site.memory.agents().starts().len(), 1);
        world.finish(&manager).await;
    }
}

#[tokio::test]
async fn a_stall_that_ends_is_told_and_the_next_one_again() {
    let world = World::new();
    let manager = watched_by(&world, every(WORD)).await;
    let session = create(&manager).await;
    let gate = world.hold("Done.");
    world.site.gateway.set_activity(HANGING);
    let turn = send(&manager, &session, "Work.").await;
    let cause = StallCause::ModelUnreachable;
    assert_eq!(
        wait_for(&manager, &session, "a word", stall).await,
        (cause, StallAction::Tell)
    );
    world.site.gateway.set_activity(SPEAKING);
    assert_eq!(wait_for(&manager, &session, "relief", recovery).await, cause);
    assert_eq!(look(&manager, &session).await.stall, None);
    world.site.gateway.set_activity(HANGING);
    let again = async {
        while stalls(&manager, &session).await.len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("another word", again).await;
    gate.open();
    assert_eq!(outcome(&manager, &turn).await.text, "Done.");
    // The end of a turn needs no word of its own.
    let recovered = history(&manager, &session).await;
    assert_eq!(recovered.iter().filter_map(recovery).count(), 1);
    world.finish(&manager).await;
}

#[tokio::test]
async fn an_idle_session_is_never_looked_at() {
    let world = World::new();
    let rule = StallRule::tell(Duration::ZERO).then(StallAction::Restart, Duration::ZERO);
    let manager = watched_by(&world, every(rule)).await;
    world.site.gateway.set_activity(HANGING);
    let warm = CreateSession {
        warm_agent: true,
        ..CreateSession::default()
    };
    let session = manager.create(warm).await.unwrap().id;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(world.site.gateway.activities(), 0);
    assert_eq!(look(&manager, &session).await.activity, Some(Activity::Idle));
    assert_eq!(stalls(&manager, &session).await, []);
    assert_eq!(world.site.memory.agents().starts().len(), 1);
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_policy_without_rules_looks_at_nothing() {
    let world = World::new();
    let manager = watched_by(&world, WatchdogPolicy::OFF).await;
    let session = create(&manager).await;
    world.site.gateway.set_activity(HANGING);
    let gate = world.hold("Done.");
    let turn = send(&manager, &session, "Work.").await;
    world.asked(1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.site.gateway.activities(), 0);
    gate.open();
    assert_eq!(outcome(&manager, &turn).await.text, "Done.");
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_stall_that_lasts_is_interrupted_and_the_outcome_names_it() {
    for (hanging, cause) in [
        (&ALL[1], TurnFailureCause::ToolRunning),
        (&ALL[2], TurnFailureCause::WaitingForPermission),
        (&ALL[3], TurnFailureCause::ModelUnreachable),
        (&ALL[4], TurnFailureCause::ModelOverloaded),
    ] {
        let world = World::new();
        let manager = watched_by(&world, every(WORD.then(StallAction::Interrupt, DONE))).await;
        let session = create(&manager).await;
        hanging.script(&world);
        let turn = send(&manager, &session, "Work.").await;
        assert_eq!(failed_by(&outcome(&manager, &turn).await), cause);
        let told = stalls(&manager, &session).await;
        assert_eq!(told.last(), Some(&(hanging.cause, StallAction::Interrupt)));
        // On a busy machine the first look may come late.
        assert!(told.len() <= 2, "{told:?}");
        world.site.gateway.set_activity(NOTHING);
        assert_eq!(ask(&manager, &session, "Next.").await.text, "Next.");
        assert_eq!(world.site.memory.agents().interrupts(), 1);
        assert_eq!(world.site.memory.agents().starts().len(), 1);
        world.finish(&manager).await;
    }
}

#[tokio::test]
async fn an_interrupt_of_the_watchdog_that_is_ignored_ends_the_agent() {
    let world = World::new();
    let manager = watched_by(&world, every(WORD.then(StallAction::Interrupt, DONE))).await;
    let session = create(&manager).await;
    assert_eq!(ask(&manager, &session, "Hello.").await.text, "Hello.");
    world.then(AgentTurn::new().say("I do not listen.").deaf().hang());
    let outcome = ask(&manager, &session, "Work.").await;
    assert_eq!(failed_by(&outcome), TurnFailureCause::AgentSilent);
    assert_eq!(ask(&manager, &session, "Next.").await.text, "Next.");
    resumed_once(&world);
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_restart_resumes_the_conversation_and_repeats_nothing() {
    let world = World::new();
    let manager = watched_by(&world, every(WORD.then(StallAction::Restart, DONE))).await;
    let session = create(&manager).await;
    assert_eq!(ask(&manager, &session, "Hello.").await.text, "Hello.");
    world.then(
        AgentTurn::new()
            .say("I do not listen.")
            .line(tool_call())
            .deaf()
            .hang(),
    );
    let turn = send(&manager, &session, "Work.").await;
    let outcome = outcome(&manager, &turn).await;
    assert_eq!(failed_by(&outcome), TurnFailureCause::ToolRunning);
    assert!(outcome.failure.unwrap().error.message.contains("started again"));
    // Nobody has to ask for it.
    let again = async {
        while world.site.memory.agents().starts().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("another agent", again).await;
    assert_eq!(world.prompts(), ["Hello.", "Work."]);
    assert_eq!(ask(&manager, &session, "Next.").await.text, "Next.");
    resumed_once(&world);
    world.finish(&manager).await;
}

fn resumed_once(world: &World) {
    let agents = world.site.memory.agents();
    let (starts, prompts) = (agents.starts(), agents.prompts());
    assert_eq!(starts.len(), 2);
    assert_eq!(starts[1].resumed.as_ref(), Some(&prompts[0].conversation));
    assert_eq!(world.prompts(), ["Hello.", "Work.", "Next."]);
    assert_eq!(prompts[2].conversation, prompts[0].conversation);
}

#[tokio::test]
async fn after_a_restart_the_next_turn_in_the_queue_goes_on() {
    let world = World::new();
    let manager = watched_by(&world, every(WORD.then(StallAction::Restart, DONE))).await;
    let session = create(&manager).await;
    world.then(AgentTurn::new().say("I am at it.").hang());
    let turn = send(&manager, &session, "Work.").await;
    world.asked(1).await;
    let next = send(&manager, &session, "Next.").await;
    assert_eq!(
        failed_by(&outcome(&manager, &turn).await),
        TurnFailureCause::AgentSilent
    );
    assert_eq!(outcome(&manager, &next).await.text, "Next.");
    assert_eq!(world.prompts(), ["Work.", "Next."]);
    assert_eq!(world.site.memory.agents().starts().len(), 2);
    world.finish(&manager).await;
}

#[tokio::test]
async fn an_agent_that_says_anything_is_not_silent() {
    let world = World::new();
    let policy = WatchdogPolicy {
        agent_silent: Some(
            StallRule::tell(Duration::from_millis(400))
                .then(StallAction::Restart, Duration::from_millis(400)),
        ),
        ..WatchdogPolicy::OFF
    };
    let manager = watched_by(&world, policy).await;
    let session = create(&manager).await;
    let gates: Vec<Gate> = (0..8).map(|_| Gate::new()).collect();
    // A line that means nothing and is no event.
    let alive = "{\"type\":\"keep_alive\"}";
    let script = gates
        .iter()
        .fold(AgentTurn::new(), |turn, gate| turn.hold(gate).line(alive));
    world.then(script.say("Done."));
    let turn = send(&manager, &session, "Work.").await;
    world.asked(1).await;
    for gate in &gates {
        tokio::time::sleep(Duration::from_millis(100)).await;
        gate.open();
    }
    assert_eq!(outcome(&manager, &turn).await.text, "Done.");
    assert_eq!(stalls(&manager, &session).await, []);
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_container_that_somebody_froze_is_not_taken_for_a_silent_agent() {
    let world = World::new();
    let manager = watched_by(&world, every(WORD.then(StallAction::Restart, DONE))).await;
    let session = create(&manager).await;
    let gate = world.hold("Done.");
    world.site.gateway.set_activity(SPEAKING);
    let turn = send(&manager, &session, "Work.").await;
    world.asked(1).await;
    world.container(&session).pause();
    world.site.gateway.set_activity(NOTHING);
    tokio::time::sleep(DONE * 4).await;
    gate.open();
    world.site.gateway.set_activity(SPEAKING);
    world.container(&session).resume();
    assert_eq!(outcome(&manager, &turn).await.text, "Done.");
    assert_eq!(stalls(&manager, &session).await, []);
    world.finish(&manager).await;
}

#[tokio::test]
async fn whoever_takes_a_turn_over_watches_on() {
    let world = World::new();
    let first = watched_by(&world, every(WORD)).await;
    let session = create(&first).await;
    let gate = ALL[1].script(&world);
    let turn = send(&first, &session, "Work.").await;
    let told = (StallCause::ToolRunning, StallAction::Tell);
    assert_eq!(wait_for(&first, &session, "a word", stall).await, told);
    first.kill().await;
    // It knows what was told, and for how long the tool has been running.
    let second = watched_by(&world, every(WORD.then(StallAction::Interrupt, DONE))).await;
    assert_eq!(
        failed_by(&outcome(&second, &turn).await),
        TurnFailureCause::ToolRunning
    );
    gate.open();
    assert_eq!(
        stalls(&second, &session).await,
        [told, (StallCause::ToolRunning, StallAction::Interrupt)]
    );
    assert_eq!(world.prompts(), ["Work."]);
    world.finish(&second).await;
}

#[tokio::test]
async fn a_stall_that_ended_while_nobody_looked_is_told_by_whoever_takes_over() {
    let world = World::new();
    let first = watched_by(&world, every(WORD)).await;
    let session = create(&first).await;
    let gate = world.hold("Done.");
    world.site.gateway.set_activity(HANGING);
    let turn = send(&first, &session, "Work.").await;
    wait_for(&first, &session, "a word", stall).await;
    first.kill().await;
    world.site.gateway.set_activity(SPEAKING);
    let second = watched_by(&world, every(WORD)).await;
    wait_for(&second, &session, "relief", recovery).await;
    gate.open();
    assert_eq!(outcome(&second, &turn).await.text, "Done.");
    world.finish(&second).await;
}

#[tokio::test]
async fn a_restart_that_was_begun_is_finished_by_whoever_takes_over() {
    let world = World::new();
    let rule = WORD.then(StallAction::Restart, TOLD);
    let first = watched_by(&world, every(rule)).await;
    let session = create(&first).await;
    assert_eq!(ask(&first, &session, "Hello.").await.text, "Hello.");
    world.then(AgentTurn::new().say("I do not listen.").deaf().hang());
    let turn = send(&first, &session, "Work.").await;
    let told = wait_for(&first, &session, "a word", stall).await;
    assert_eq!(told, (StallCause::AgentSilent, StallAction::Restart));
    first.kill().await;
    // It would not do so by itself.
    let second = watched_by(&world, WatchdogPolicy::OFF).await;
    assert_eq!(
        failed_by(&outcome(&second, &turn).await),
        TurnFailureCause::AgentSilent
    );
    assert_eq!(ask(&second, &session, "Next.").await.text, "Next.");
    assert_eq!(world.prompts(), ["Hello.", "Work.", "Next."]);
    world.finish(&second).await;
}

#[tokio::test]
async fn another_process_tells_what_the_events_show() {
    let world = World::new();
    let owner = watched_by(&world, every(WORD)).await;
    let session = create(&owner).await;
    let gate = ALL[1].script(&world);
    let turn = send(&owner, &session, "Work.").await;
    wait_for(&owner, &session, "a word", stall).await;
    let other = world.manager().await;
    let details = look(&other, &session).await;
    let activity = details.activity.unwrap();
    assert!((ALL[1].is)(&activity), "{activity:?}");
    assert_eq!(details.stall, Some(StallCause::ToolRunning));
    gate.open();
    outcome(&owner, &turn).await;
    reaches(&owner, &session, StateName::Ready).await;
    for manager in [&owner, &other] {
        let details = look(manager, &session).await;
        assert_eq!((details.activity, details.stall), (Some(Activity::Idle), None));
    }
    owner.destroy(&session).await.unwrap();
    assert_eq!(look(&other, &session).await.activity, None);
    world.finish(&owner).await;
}

#[tokio::test]
async fn a_caller_s_interrupt_of_a_stalled_turn_is_an_interrupt() {
    let world = World::new();
    let manager = watched_by(
        &world,
        every(WORD.then(StallAction::Restart, Duration::from_secs(600))),
    )
    .await;
    let session = create(&manager).await;
    world.then(AgentTurn::new().say("I am at it.").hang());
    let turn: TurnInfo = send(&manager, &session, "Work.").await;
    wait_for(&manager, &session, "a word", stall).await;
    assert!(soon("an interrupt", manager.interrupt(&session)).await.unwrap());
    let outcome = outcome(&manager, &turn).await;
    assert_eq!((outcome.status, outcome.failure), (TurnStatus::Interrupted, None));
    world.finish(&manager).await;
}
