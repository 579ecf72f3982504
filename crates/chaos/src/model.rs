//! The model: what must be true of a history, whatever died while it was made. Pure, so that it is tested by itself.

use std::collections::BTreeMap;

use session_core::event::{Event, EventKind};
use session_core::id::TurnId;
use session_core::state::{InterruptCause, SessionState, Transition};
use session_core::turn::{TurnInfo, TurnStatus};

use crate::engine::answer_to;

/// What the clients of one session were told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// What a follower saw, from the first event to the last, over all its reconnections.
    pub(crate) events: Vec<Event>,
    /// The prompts that were acknowledged.
    pub(crate) prompts: Vec<Prompt>,
    /// The commands that were acknowledged, by name.
    pub(crate) commands: Vec<String>,
    /// The session was ended while it worked, so that turns and commands need not have run.
    pub(crate) cut: bool,
    /// The session may have lost its container: what ran then has failed.
    pub(crate) shaken: bool,
}

/// A prompt that was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Prompt {
    pub(crate) text: String,
    /// As it was when it was accepted, and as it was last.
    pub(crate) first: TurnInfo,
    pub(crate) last: TurnInfo,
    /// Somebody asked for its end, perhaps after it had ended.
    pub(crate) interrupted: bool,
}

/// How often everything ran, by the engine's own count.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) prompts: BTreeMap<String, u64>,
    pub(crate) commands: BTreeMap<String, u64>,
}

/// What is wrong with the history of one session that has ended; nothing, when all is well.
pub(crate) fn judge(told: &Told, ledger: &Ledger) -> Vec<String> {
    let mut wrong: Vec<String> = numbers(&told.events).into_iter().collect();
    wrong.extend(states(&told.events));
    wrong.extend(turns(&told.events));
    for prompt in &told.prompts {
        wrong.extend(one_prompt(prompt, told, ledger));
    }
    for command in &told.commands {
        let runs = ledger.commands.get(command).copied().unwrap_or_default();
        let enough = runs == 1 || (runs == 0 && (told.cut || told.shaken));
        if !enough {
            wrong.push(format!(
                "the command {command:?} was acknowledged and ran {runs} times"
            ));
        }
    }
    wrong
}

/// Numbered from 1 without a gap or a duplicate.
fn numbers(events: &[Event]) -> Option<String> {
    let seen = (1..).zip(events);
    let (wanted, event) = seen.into_iter().find(|(wanted, event)| event.seq != *wanted)?;
    Some(format!(
        "event {wanted} was wanted and {} was told: {:?}",
        event.seq, event.kind
    ))
}

/// Every change of the state is a step of the state machine.
fn states(events: &[Event]) -> Vec<String> {
    let mut state = &SessionState::Creating;
    let mut wrong = Vec::new();
    for event in events {
        let EventKind::StateChanged { to } = &event.kind else {
            continue;
        };
        if !step_exists(state, to) {
            wrong.push(format!(
                "event {}: no step leads from {state:?} to {to:?}",
                event.seq
            ));
        }
        state = to;
    }
    wrong
}

fn step_exists(from: &SessionState, to: &SessionState) -> bool {
    let cause = match to {
        SessionState::Failed { cause } => cause.clone(),
        _ => String::new(),
    };
    let lost = match to {
        SessionState::Interrupted { cause } => *cause,
        _ => InterruptCause::ContainerExited,
    };
    let steps = [
        Transition::Launched,
        Transition::LaunchFailed { cause },
        Transition::TurnStarted,
        Transition::TurnEnded,
        Transition::Paused,
        Transition::Resumed,
        Transition::Lost { cause: lost },
        Transition::Recovered,
        Transition::DestroyAsked,
        Transition::DestroyDone,
    ];
    steps
        .into_iter()
        .any(|step| from.after(step).is_ok_and(|after| after == *to))
}

/// Each turn is queued, started and finished in this order and once; one runs at a time.
fn turns(events: &[Event]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut stages: BTreeMap<TurnId, TurnStatus> = BTreeMap::new();
    let mut running = None;
    for event in events {
        let Some(turn) = event.turn else { continue };
        let before = stages.get(&turn).copied();
        let after = match &event.kind {
            EventKind::TurnQueued { .. } if before.is_none() => TurnStatus::Queued,
            EventKind::TurnStarted if before == Some(TurnStatus::Queued) && running.is_none() => {
                running = Some(turn);
                TurnStatus::Running
            }
            EventKind::TurnFinished { outcome } if before.is_some_and(|status| !status.is_ended()) => {
                running = running.filter(|running| *running != turn);
                outcome.status
            }
            EventKind::TurnQueued { .. } | EventKind::TurnStarted | EventKind::TurnFinished { .. } => {
                wrong.push(format!(
                    "event {}: {:?} of turn {turn}, which was {before:?} while {running:?} ran",
                    event.seq, event.kind
                ));
                continue;
            }
            _ => continue,
        };
        stages.insert(turn, after);
    }
    let open = stages.iter().filter(|(_, status)| !status.is_ended());
    wrong.extend(open.map(|(turn, status)| format!("turn {turn} was {status:?} when its session had ended")));
    wrong
}

/// An acknowledged prompt ran once and ended as it had to; none ran twice.
fn one_prompt(prompt: &Prompt, told: &Told, ledger: &Ledger) -> Vec<String> {
    let mut wrong = Vec::new();
    let Prompt {
        text, first, last, ..
    } = prompt;
    let runs = ledger.prompts.get(text).copied().unwrap_or_default();
    let queued = told.events.iter().find(|event| event.seq == first.first_event);
    if !queued.is_some_and(|event| {
        event.turn == Some(first.id)
            && matches!(&event.kind, EventKind::TurnQueued { prompt } if prompt == text)
    }) {
        wrong.push(format!(
            "the prompt {text:?} was acknowledged and its first event is {queued:?}"
        ));
    }
    if first.id != last.id {
        wrong.push(format!(
            "the prompt {text:?} is the turns {} and {}",
            first.id, last.id
        ));
    }
    let outcome = last.outcome.as_ref();
    let succeeded = last.status == TurnStatus::Succeeded
        && outcome.is_some_and(|outcome| outcome.text == answer_to(text));
    let fine = if told.cut || told.shaken || prompt.interrupted {
        last.status.is_ended() && runs <= 1 && (runs == 1 || last.status != TurnStatus::Succeeded)
    } else {
        succeeded && runs == 1
    };
    if !fine {
        wrong.push(format!(
            "the prompt {text:?} was acknowledged, ran {runs} times and is {:?}: {outcome:?}",
            last.status
        ));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SESSION: &str = "6f1c2f2e-0000-4000-8000-000000000001";
    const TURN: &str = "6f1c2f2e-0000-4000-8000-000000000002";

    fn event(seq: u64, mut what: Value) -> Event {
        what["session"] = json!(SESSION);
        what["seq"] = json!(seq);
        what["at"] = json!("2026-01-01T00:00:00Z");
        serde_json::from_value(what).unwrap()
    }

    fn state(seq: u64, state: &str) -> Event {
        event(seq, json!({ "event": "state_changed", "state": state }))
    }

    fn outcome(text: &str) -> Value {
        json!({ "status": "succeeded", "text": text, "usage": { "input": 0, "output": 0, "cache_read": 0, "cache_creation": 0 },
            "cost_usd": null, "model_calls": 0, "duration_ms": 1 })
    }

    fn good() -> (Told, Ledger) {
        let events = vec![
            state(1, "ready"),
            state(2, "busy"),
            event(
                3,
                json!({ "event": "turn_queued", "turn": TURN, "prompt": "p 1ms" }),
            ),
            event(4, json!({ "event": "turn_started", "turn": TURN })),
            event(
                5,
                json!({ "event": "agent_text", "turn": TURN, "text": "I begin." }),
            ),
            event(
                6,
                json!({ "event": "turn_finished", "turn": TURN, "outcome": outcome("done: p 1ms") }),
            ),
            state(7, "ready"),
            state(8, "destroying"),
            state(9, "destroyed"),
        ];
        let turn: TurnInfo = serde_json::from_value(json!({
            "id": TURN, "session": SESSION, "status": "succeeded", "prompt": "p 1ms", "first_event": 3,
            "created_at": "2026-01-01T00:00:00Z", "outcome": outcome("done: p 1ms")
        }))
        .unwrap();
        let told = Told {
            events,
            prompts: vec![Prompt {
                text: "p 1ms".to_owned(),
                first: turn.clone(),
                last: turn,
                interrupted: false,
            }],
            commands: vec!["c 1ms".to_owned()],
            ..Told::default()
        };
        let ledger = Ledger {
            prompts: [("p 1ms".to_owned(), 1)].into(),
            commands: [("c 1ms".to_owned(), 1)].into(),
        };
        (told, ledger)
    }

    fn findings(change: impl FnOnce(&mut Told, &mut Ledger)) -> String {
        let (mut told, mut ledger) = good();
        change(&mut told, &mut ledger);
        judge(&told, &ledger).join("\n")
    }

    #[test]
    fn a_history_without_fault_has_none() {
        assert_eq!(findings(|_, _| {}), "");
    }

    #[test]
    fn an_event_that_is_lost_or_told_twice_is_found() {
        assert!(findings(|told, _| drop(told.events.remove(4))).contains("event 5 was wanted"));
        assert!(
            findings(|told, _| told.events.insert(4, told.events[3].clone())).contains("event 5 was wanted")
        );
    }

    #[test]
    fn a_step_that_does_not_exist_is_found() {
        let found = findings(|told, _| told.events[6] = state(7, "paused"));
        assert!(found.contains("no step leads from Busy to Paused"), "{found}");
    }

    #[test]
    fn a_prompt_that_ran_twice_or_never_is_found() {
        for runs in [0, 2] {
            let found = findings(|_, ledger| ledger.prompts.extend([("p 1ms".to_owned(), runs)]));
            assert!(found.contains(&format!("ran {runs} times")), "{found}");
        }
    }

    #[test]
    fn a_command_that_ran_twice_or_never_is_found() {
        for runs in [0, 2] {
            let found = findings(|_, ledger| ledger.commands.extend([("c 1ms".to_owned(), runs)]));
            assert!(found.contains(&format!("ran {runs} times")), "{found}");
        }
    }

    #[test]
    fn a_turn_that_failed_without_cause_or_never_ended_is_found() {
        let found = findings(|told, _| told.prompts[0].last.status = TurnStatus::Failed);
        assert!(found.contains("is Failed"), "{found}");
        let found = findings(|told, _| {
            told.events.remove(5);
            for (index, event) in told.events.iter_mut().enumerate() {
                event.seq = index as u64 + 1;
            }
        });
        assert!(found.contains("when its session had ended"), "{found}");
    }

    #[test]
    fn what_was_interrupted_has_ended_and_still_runs_at_most_once() {
        let interrupted = |status, runs| {
            findings(|told, ledger| {
                told.prompts[0].interrupted = true;
                told.prompts[0].last.status = status;
                ledger.prompts.insert("p 1ms".to_owned(), runs);
            })
        };
        assert_eq!(interrupted(TurnStatus::Interrupted, 0), "");
        assert_eq!(interrupted(TurnStatus::Interrupted, 1), "");
        assert!(interrupted(TurnStatus::Interrupted, 2).contains("ran 2 times"));
        assert!(interrupted(TurnStatus::Running, 1).contains("is Running"));
    }

    #[test]
    fn what_was_cut_off_may_fail_and_still_runs_at_most_once() {
        let cut = |runs| {
            findings(|told, ledger| {
                told.cut = true;
                told.prompts[0].last.status = TurnStatus::Failed;
                ledger.prompts.insert("p 1ms".to_owned(), runs);
            })
        };
        assert_eq!(cut(0), "");
        assert_eq!(cut(1), "");
        assert!(cut(2).contains("ran 2 times"));
    }
}
