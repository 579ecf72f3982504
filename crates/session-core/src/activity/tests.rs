//! The judgement over all facts, and the course over all histories.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::event::EventKind;

fn calls() -> impl Strategy<Value = Option<OpenCall>> {
    prop::option::of(("[A-Z][a-z]{0,5}", any::<u64>()).prop_map(|(tool, for_ms)| OpenCall { tool, for_ms }))
}

fn models() -> impl Strategy<Value = Option<ModelActivity>> {
    let failures = prop_oneof![
        Just(ModelFailure::Unreachable),
        Just(ModelFailure::Overloaded),
        Just(ModelFailure::Unauthorized),
        Just(ModelFailure::Silent),
        Just(ModelFailure::Failing),
    ];
    let model = (
        0_u32..3,
        0_u32..3,
        prop::option::of(any::<u64>()),
        prop::option::of(any::<u64>()),
        prop::option::of(failures),
        0_u32..3,
    );
    prop::option::of(
        model.prop_map(
            |(under_way, queued, silent_ms, idle_ms, failure, failures)| ModelActivity {
                under_way,
                queued,
                silent_ms,
                idle_ms,
                failure,
                failures,
            },
        ),
    )
}

fn retries() -> impl Strategy<Value = Option<Retrying>> {
    let fault = prop_oneof![
        Just(None),
        Just(Some(StallCause::ModelUnreachable)),
        Just(Some(StallCause::ModelOverloaded)),
    ];
    let retry = (fault, any::<u64>(), any::<u64>(), any::<u64>());
    prop::option::of(retry.prop_map(|(fault, for_ms, latest_ms, delay_ms)| Retrying {
        fault,
        for_ms,
        latest_ms,
        delay_ms,
    }))
}

fn facts() -> impl Strategy<Value = Facts> {
    let turn = (
        any::<bool>(),
        any::<u64>(),
        any::<u64>(),
        calls(),
        calls(),
        retries(),
    );
    let turn = turn.prop_map(|(begun, quiet_ms, stuck_ms, tool, permission, retry)| TurnFacts {
        begun,
        quiet_ms,
        stuck_ms,
        tool,
        permission,
        retry,
    });
    (prop::option::of(turn), models(), any::<u64>()).prop_map(|(turn, model, queued_ms)| Facts {
        turn,
        model,
        queued_ms,
    })
}

fn kinds() -> impl Strategy<Value = EventKind> {
    let id = || "[ab]";
    prop_oneof![
        Just(EventKind::TurnStarted),
        Just(EventKind::AgentReady {
            model: None,
            tools: Vec::new()
        }),
        Just(EventKind::AgentText { text: "x".into() }),
        id().prop_map(|id| EventKind::ToolCall {
            id,
            tool: "Bash".into(),
            input: Value::Null
        }),
        id().prop_map(|id| EventKind::ToolResult {
            id,
            is_error: false,
            text: String::new()
        }),
        id().prop_map(|call| EventKind::PermissionAsked {
            call,
            tool: "Bash".into()
        }),
        "(529 x|no answer|500 x)".prop_map(|reason| EventKind::ModelRetry {
            attempt: 1,
            delay_ms: 500,
            reason
        }),
        Just(EventKind::AgentOutputLost { bytes: 1 }),
        Just(EventKind::AgentStalled {
            cause: StallCause::AgentSilent,
            for_ms: 7,
            action: StallAction::Tell
        }),
        Just(EventKind::AgentRecovered {
            cause: StallCause::AgentSilent,
            for_ms: 8
        }),
    ]
}

fn course(history: &[(u64, EventKind)]) -> (Course, u64) {
    let (mut course, mut now) = (Course::begun_at(0), 0);
    for (pause, kind) in history {
        now += pause;
        course.note(now, kind);
    }
    (course, now)
}

fn histories() -> impl Strategy<Value = Vec<(u64, EventKind)>> {
    prop::collection::vec((0_u64..10_000, kinds()), 0..60)
}

proptest! {
    #[test]
    fn i7_a_session_without_a_turn_is_idle_and_hangs_on_nothing(facts in facts()) {
        let facts = Facts { turn: None, ..facts };
        prop_assert_eq!(facts.judge(), (Activity::Idle, None));
    }

    /// What is named as the cause is there.
    #[test]
    fn i7_no_cause_is_named_that_the_facts_do_not_show(facts in facts()) {
        let (activity, suspicion) = facts.judge();
        let (Some(turn), Some(suspicion)) = (&facts.turn, suspicion) else { return Ok(()) };
        let model = facts.model.unwrap_or_default();
        let waits = model.under_way > 0 || model.queued > 0;
        match suspicion.cause {
            StallCause::AgentSilent => {
                prop_assert!(facts.model.is_some() && !waits);
                prop_assert!(turn.tool.is_none() && turn.permission.is_none());
                prop_assert!(suspicion.for_ms <= turn.quiet_ms);
                let alone = matches!(activity, Activity::Working { .. } | Activity::Starting);
                prop_assert!(alone, "{:?}", activity);
            }
            StallCause::WaitingForPermission => {
                prop_assert_eq!(Some(suspicion.for_ms), turn.permission.as_ref().map(|asked| asked.for_ms));
            }
            StallCause::ToolRunning => {
                prop_assert!(!waits && turn.permission.is_none());
                prop_assert!(turn.tool.as_ref().is_some_and(|tool| suspicion.for_ms <= tool.for_ms));
                prop_assert!(suspicion.for_ms <= turn.stuck_ms);
            }
            StallCause::ModelUnreachable | StallCause::ModelOverloaded => {
                prop_assert!(waits || turn.retry.is_some() || model.failures > 0);
                let kind = matches!(activity, Activity::WaitingForModel { .. } | Activity::ModelQueued { .. });
                prop_assert!(kind, "{:?}", activity);
            }
        }
    }

    /// An agent is not taken for silent by a process that cannot see whether it waits for the model.
    #[test]
    fn i7_silence_is_judged_only_by_whoever_sees_the_model_door(facts in facts()) {
        let (_, suspicion) = Facts { model: None, ..facts }.judge();
        prop_assert!(suspicion.is_none_or(|suspicion| suspicion.cause != StallCause::AgentSilent));
    }

    /// As long as bytes come from the model and nothing else was announced, nothing hangs for any time.
    #[test]
    fn i7_a_model_that_speaks_is_no_stall(facts in facts(), under_way in 1_u32..5) {
        let Some(turn) = facts.turn else { return Ok(()) };
        let turn = TurnFacts { permission: None, retry: None, ..turn };
        let model = ModelActivity { under_way, silent_ms: Some(0), ..facts.model.unwrap_or_default() };
        let (activity, suspicion) = Facts { turn: Some(turn), model: Some(model), ..facts }.judge();
        prop_assert_eq!(activity, Activity::WaitingForModel { silent_ms: 0 });
        prop_assert_eq!(suspicion.map(|suspicion| suspicion.for_ms), Some(0));
    }

    /// Nothing is older than the turn, and an open call is younger than the turn's last step.
    #[test]
    fn the_ages_of_a_course_agree(history in histories(), later in 0_u64..10_000) {
        let (course, now) = course(&history);
        let facts = course.facts(now + later);
        let all = now + later;
        prop_assert!(facts.quiet_ms <= facts.stuck_ms && facts.stuck_ms <= all);
        if let Some(tool) = &facts.tool {
            prop_assert!(tool.for_ms >= facts.stuck_ms && tool.for_ms <= all);
        }
        if let Some(retry) = facts.retry {
            prop_assert!(retry.latest_ms <= retry.for_ms && retry.for_ms <= facts.stuck_ms);
        }
    }

    /// What answers every call leaves none open, whatever came before.
    #[test]
    fn an_answered_call_runs_no_more(history in histories()) {
        let (mut course, now) = course(&history);
        for id in ["a", "b"] {
            course.note(now, &EventKind::ToolResult { id: id.into(), is_error: true, text: String::new() });
        }
        let facts = course.facts(now);
        prop_assert_eq!((facts.tool, facts.permission), (None, None));
    }

    /// More time never means that less is to be done.
    #[test]
    fn a_longer_stall_is_never_taken_more_lightly(tell in 0_u64..1000, remedy in 0_u64..1000, early in 0_u64..2000, more in 0_u64..2000) {
        let rule = StallRule::tell(Duration::from_millis(tell)).then(StallAction::Interrupt, Duration::from_millis(remedy));
        let policy = WatchdogPolicy { tool_running: Some(rule), ..WatchdogPolicy::OFF };
        let at = |for_ms| Suspicion { cause: StallCause::ToolRunning, for_ms };
        prop_assert!(policy.due(at(early)) <= policy.due(at(early + more)));
        // And what comes next comes when it is said to, not before.
        if let Some(next) = policy.next(at(early)) {
            let next = early + u64::try_from(next.as_millis()).unwrap();
            prop_assert_eq!(policy.due(at(next - 1)), policy.due(at(early)));
            prop_assert!(next == tell || next == remedy);
        }
    }
}

fn a_turn() -> TurnFacts {
    TurnFacts {
        begun: true,
        quiet_ms: 90_000,
        stuck_ms: 90_000,
        ..TurnFacts::default()
    }
}

fn judged(turn: TurnFacts, model: ModelActivity) -> (Activity, Option<Suspicion>) {
    Facts {
        turn: Some(turn),
        model: Some(model),
        queued_ms: 4_000,
    }
    .judge()
}

fn cause(turn: TurnFacts, model: ModelActivity) -> (StallCause, u64) {
    let suspicion = judged(turn, model).1.unwrap();
    (suspicion.cause, suspicion.for_ms)
}

#[test]
fn each_cause_is_told_from_the_others() {
    let nothing = ModelActivity::default();
    assert_eq!(cause(a_turn(), nothing), (StallCause::AgentSilent, 90_000));
    let answered = ModelActivity {
        idle_ms: Some(10),
        ..nothing
    };
    assert_eq!(cause(a_turn(), answered), (StallCause::AgentSilent, 10));
    let asked = ModelActivity {
        under_way: 1,
        silent_ms: Some(61_000),
        ..nothing
    };
    assert_eq!(cause(a_turn(), asked), (StallCause::ModelUnreachable, 61_000));
    let asked_again = ModelActivity {
        failure: Some(ModelFailure::Overloaded),
        failures: 1,
        ..asked
    };
    assert_eq!(
        cause(a_turn(), asked_again),
        (StallCause::ModelOverloaded, 61_000)
    );
    let crowded = ModelActivity { queued: 2, ..nothing };
    assert_eq!(cause(a_turn(), crowded), (StallCause::ModelOverloaded, 4_000));
    let refused = ModelActivity {
        failure: Some(ModelFailure::Overloaded),
        failures: 3,
        idle_ms: Some(7_000),
        ..nothing
    };
    assert_eq!(cause(a_turn(), refused), (StallCause::ModelOverloaded, 7_000));
    let tool = TurnFacts {
        tool: Some(OpenCall {
            tool: "Bash".into(),
            for_ms: 90_000,
        }),
        ..a_turn()
    };
    assert_eq!(cause(tool.clone(), refused), (StallCause::ToolRunning, 90_000));
    let asks = TurnFacts {
        permission: tool.tool.clone(),
        ..tool
    };
    assert_eq!(cause(asks, asked), (StallCause::WaitingForPermission, 90_000));
}

#[test]
fn an_announced_retry_names_the_fault_until_its_attempt_is_answered() {
    let retrying = TurnFacts {
        retry: Some(Retrying {
            fault: Some(StallCause::ModelOverloaded),
            for_ms: 80_000,
            latest_ms: 20_000,
            delay_ms: 8_000,
        }),
        ..a_turn()
    };
    let waiting = ModelActivity {
        idle_ms: Some(20_010),
        failures: 2,
        failure: Some(ModelFailure::Overloaded),
        ..ModelActivity::default()
    };
    assert_eq!(
        cause(retrying.clone(), waiting),
        (StallCause::ModelOverloaded, 80_000)
    );
    let attempt = ModelActivity {
        under_way: 1,
        silent_ms: Some(12_000),
        ..waiting
    };
    assert_eq!(
        cause(retrying.clone(), attempt),
        (StallCause::ModelOverloaded, 80_000)
    );
    let speaking = ModelActivity {
        silent_ms: Some(300),
        ..attempt
    };
    assert_eq!(cause(retrying, speaking).1, 300, "it has been answered since");
}

#[test]
fn the_provider_s_status_names_the_fault() {
    let fault = |reason: &str| {
        let mut course = Course::begun_at(0);
        course.note(
            0,
            &EventKind::ModelRetry {
                attempt: 1,
                delay_ms: 0,
                reason: reason.into(),
            },
        );
        course.facts(0).retry.unwrap().fault
    };
    assert_eq!(
        fault("no answer (connection_failed)"),
        Some(StallCause::ModelUnreachable)
    );
    assert_eq!(fault("502 server_error"), Some(StallCause::ModelUnreachable));
    assert_eq!(fault("529 overloaded_error"), Some(StallCause::ModelOverloaded));
    assert_eq!(fault("500 server_error"), None);
    assert_eq!(fault("401 authentication_failed"), None);
}

#[test]
fn calls_without_end_are_not_remembered_without_end() {
    let mut course = Course::begun_at(0);
    for number in 0..5_000_u64 {
        let call = EventKind::ToolCall {
            id: number.to_string(),
            tool: "Bash".into(),
            input: Value::Null,
        };
        course.note(number, &call);
    }
    for number in 4_000..5_000_u64 {
        let result = EventKind::ToolResult {
            id: number.to_string(),
            is_error: false,
            text: String::new(),
        };
        course.note(5_000, &result);
    }
    assert_eq!(course.facts(5_000).tool, None);
}

#[test]
fn what_was_told_is_known_until_it_ends() {
    let mut course = Course::begun_at(0);
    let stalled = EventKind::AgentStalled {
        cause: StallCause::ToolRunning,
        for_ms: 30,
        action: StallAction::Tell,
    };
    course.note(100, &stalled);
    let told = course.told().unwrap();
    assert_eq!((told.cause, told.for_ms(150)), (StallCause::ToolRunning, 80));
    let recovered = EventKind::AgentRecovered {
        cause: StallCause::ToolRunning,
        for_ms: 80,
    };
    course.note(150, &recovered);
    assert_eq!(course.told(), None);
}

#[test]
fn a_call_of_an_mcp_server_is_a_tool_that_runs_and_may_take_its_time() {
    let call = EventKind::ToolCall {
        id: "1".to_owned(),
        tool: "mcp__gw__git__log".to_owned(),
        input: Value::Null,
    };
    let mut course = Course::begun_at(0);
    course.note(1000, &call);
    let idle = ModelActivity {
        idle_ms: Some(1000),
        ..ModelActivity::default()
    };
    let minute = 60_000;
    let due = |course: &Course, at: u64| {
        let (activity, suspicion) = judged(course.facts(at), idle);
        assert!(matches!(activity, Activity::ToolRunning { tool, .. } if tool == "mcp__gw__git__log"));
        WatchdogPolicy::default().due(suspicion.unwrap())
    };
    assert_eq!(due(&course, 29 * minute), None);
    // Its server tells how far it is: the agent shows signs of life.
    course.heard(29 * minute);
    assert_eq!(due(&course, 32 * minute), Some(StallAction::Tell));
    assert_eq!(
        due(&course, 24 * 60 * minute),
        Some(StallAction::Tell),
        "and nothing is done about it"
    );
}

#[test]
fn no_default_ends_work() {
    let policy = WatchdogPolicy::default();
    for cause in StallCause::ALL {
        let remedy = policy.rule(cause).unwrap().remedy;
        assert_eq!(
            remedy.is_some(),
            cause == StallCause::AgentSilent,
            "{}",
            cause.as_str()
        );
    }
    assert_eq!(WatchdogPolicy::OFF.shortest(), None);
    assert_eq!(policy.shortest(), Some(Duration::from_secs(30)));
}

#[test]
fn names_are_stable() {
    for cause in StallCause::ALL {
        assert_eq!(serde_json::to_value(cause).unwrap(), cause.as_str());
    }
    let activity = Activity::ToolRunning {
        tool: "Bash".into(),
        for_ms: 5,
    };
    assert_eq!(
        serde_json::to_value(activity).unwrap(),
        serde_json::json!({ "kind": "tool_running", "tool": "Bash", "for_ms": 5 })
    );
}
