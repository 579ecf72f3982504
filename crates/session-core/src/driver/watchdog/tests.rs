//! What looks come to as time passes, on a clock that stands still until it is moved.

use serde_json::Value;
use tokio::time::advance;

use super::*;
use crate::activity::StallRule;
use crate::id::SessionId;

const SECOND: Duration = Duration::from_secs(1);

/// A model that took a request and says nothing since so many seconds.
fn hanging(seconds: u64) -> ModelActivity {
    ModelActivity {
        under_way: 1,
        silent_ms: Some(seconds * 1000),
        ..ModelActivity::default()
    }
}

fn tool_call() -> EventKind {
    EventKind::ToolCall {
        id: "t1".into(),
        tool: "Bash".into(),
        input: Value::Null,
    }
}

/// Looks as the task does, whenever it is time, and notes what comes of it with its second.
async fn run(
    watch: &mut Watch,
    policy: &WatchdogPolicy,
    seconds: u64,
    model: impl Fn(u64) -> ModelActivity,
) -> Vec<(u64, EventKind)> {
    let begun = Instant::now();
    let mut found = Vec::new();
    loop {
        let now = Instant::now();
        advance(watch.look_at.saturating_duration_since(now)).await;
        let second = begun.elapsed().as_secs();
        if second > seconds {
            return found;
        }
        let findings = watch.look(model(second), policy);
        assert!(
            watch.look_at > Instant::now(),
            "the next look is not at the same moment"
        );
        assert!(watch.look_at <= Instant::now() + SECOND, "it looks every second");
        let stalled = findings.stall.map(
            |Stall {
                 cause,
                 for_ms,
                 action,
             }| EventKind::AgentStalled {
                cause,
                for_ms,
                action,
            },
        );
        for kind in findings.recovered.into_iter().chain(stalled) {
            watch.note(&kind);
            found.push((second, kind));
        }
    }
}

fn stalled(cause: StallCause, seconds: u64, action: StallAction) -> (u64, EventKind) {
    let for_ms = seconds * 1000;
    (
        seconds,
        EventKind::AgentStalled {
            cause,
            for_ms,
            action,
        },
    )
}

#[tokio::test(start_paused = true)]
async fn a_silent_agent_is_told_of_after_five_minutes_and_restarted_after_fifteen() {
    let policy = WatchdogPolicy::default();
    let found = run(&mut Watch::begin(), &policy, 3_600, |_| ModelActivity::default()).await;
    let cause = StallCause::AgentSilent;
    assert_eq!(
        found,
        [
            stalled(cause, 300, StallAction::Tell),
            stalled(cause, 900, StallAction::Restart)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_tool_may_run_for_ever() {
    let mut watch = Watch::begin();
    watch.note(&tool_call());
    let policy = WatchdogPolicy::default();
    let found = run(&mut watch, &policy, 100_000, |_| ModelActivity::default()).await;
    assert_eq!(
        found,
        [stalled(StallCause::ToolRunning, 1_800, StallAction::Tell)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_model_that_speaks_now_and_then_is_no_stall_however_long_it_takes() {
    // A stream without a word of the agent, as its long answers are.
    let speaks = |second| hanging(second % 59);
    let found = run(&mut Watch::begin(), &WatchdogPolicy::default(), 20_000, speaks).await;
    assert_eq!(found, []);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_comes_back_is_relief_and_one_that_goes_again_another_stall() {
    let model = |second| match second {
        0..100 => hanging(second),
        100..200 => hanging(0),
        _ => hanging(second - 200),
    };
    let found = run(&mut Watch::begin(), &WatchdogPolicy::default(), 300, model).await;
    let cause = StallCause::ModelUnreachable;
    let (_, again) = stalled(cause, 60, StallAction::Tell);
    assert_eq!(
        found,
        [
            stalled(cause, 60, StallAction::Tell),
            (
                100,
                EventKind::AgentRecovered {
                    cause,
                    for_ms: 100_000
                }
            ),
            (260, again)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_turn_left_behind_is_not_held_against_the_next() {
    let model = |second| hanging(10_000 + second);
    let found = run(&mut Watch::begin(), &WatchdogPolicy::default(), 100, model).await;
    assert_eq!(
        found,
        [stalled(StallCause::ModelUnreachable, 60, StallAction::Tell)]
    );
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_place_counts_from_its_beginning() {
    let model = |second| match second {
        0..1000 => hanging(0),
        _ => ModelActivity {
            queued: 1,
            ..ModelActivity::default()
        },
    };
    let found = run(&mut Watch::begin(), &WatchdogPolicy::default(), 1_200, model).await;
    let (_, word) = stalled(StallCause::ModelOverloaded, 120, StallAction::Tell);
    assert_eq!(found, [(1_120, word)]);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_its_fault_is_forgiven() {
    let policy = WatchdogPolicy::default();
    let mut watch = Watch::begin();
    advance(Duration::from_secs(3_000)).await;
    watch.forgive();
    let found = run(&mut watch, &policy, 400, |_| ModelActivity::default()).await;
    assert_eq!(found, [stalled(StallCause::AgentSilent, 300, StallAction::Tell)]);
}

#[tokio::test(start_paused = true)]
async fn a_short_rule_is_kept_to_the_millisecond() {
    let short = Duration::from_millis(250);
    let policy = WatchdogPolicy {
        agent_silent: Some(StallRule::tell(short).then(StallAction::Interrupt, short * 2)),
        ..WatchdogPolicy::OFF
    };
    let mut watch = Watch::begin();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        advance(watch.look_at.saturating_duration_since(Instant::now())).await;
        if let Some(stall) = watch.look(ModelActivity::default(), &policy).stall {
            let Stall {
                cause,
                for_ms,
                action,
            } = stall;
            watch.note(&EventKind::AgentStalled {
                cause,
                for_ms,
                action,
            });
            seen.push((for_ms, action));
        }
    }
    assert_eq!(seen, [(250, StallAction::Tell), (500, StallAction::Interrupt)]);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_recalled_is_as_old_as_its_events() {
    let (session, turn) = (SessionId::new(), TurnId::new());
    let now = Timestamp::now();
    let event = |seq: u64, ago: i64, turn, kind| Event {
        session,
        seq,
        at: now - jiff::SignedDuration::from_secs(ago),
        turn: Some(turn),
        kind,
    };
    let told = EventKind::AgentStalled {
        cause: StallCause::ToolRunning,
        for_ms: 1_800_000,
        action: StallAction::Tell,
    };
    let events = [
        event(
            1,
            2_400,
            TurnId::new(),
            EventKind::AgentRecovered {
                cause: StallCause::ToolRunning,
                for_ms: 1,
            },
        ),
        event(2, 2_400, turn, EventKind::TurnStarted),
        event(3, 2_000, turn, tool_call()),
        event(4, 200, turn, told),
        // Of a clock that was ahead.
        event(5, -500, turn, EventKind::AgentStderr { text: "x".into() }),
    ];
    let watch = Watch::recall(&turn, &events);
    let told = watch.told().unwrap();
    assert_eq!(told.action, StallAction::Tell);
    assert!(told.for_ms.abs_diff(2_000_000) < 5_000, "{}", told.for_ms);
    let (activity, suspicion) = watch.judge(Some(ModelActivity::default()));
    let Activity::ToolRunning { tool, for_ms } = activity else {
        panic!("{activity:?}");
    };
    assert!(tool == "Bash" && for_ms.abs_diff(2_000_000) < 5_000, "{for_ms}");
    assert_eq!(suspicion.unwrap().cause, StallCause::ToolRunning);

    // Its next owner goes on from what was told,
    let watch = Watch::taken_over(&turn, &events);
    let told = watch.told().unwrap();
    assert_eq!((told.action, told.for_ms), (StallAction::Tell, 1_800_000));
    let (activity, _) = watch.judge(Some(ModelActivity::default()));
    assert!(
        matches!(
            &activity,
            Activity::ToolRunning {
                for_ms: 1_800_000,
                ..
            }
        ),
        "{activity:?}"
    );
    // or counts for itself.
    let (activity, suspicion) = Watch::taken_over(&turn, &events[..3]).judge(Some(ModelActivity::default()));
    assert!(
        matches!(&activity, Activity::ToolRunning { for_ms: 0, .. }),
        "{activity:?}"
    );
    assert_eq!(suspicion.map(|suspicion| suspicion.for_ms), Some(0));
}
