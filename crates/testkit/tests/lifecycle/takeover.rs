//! A manager is killed, or two work at once: each prompt runs exactly once and every event is there once.

use std::time::Duration;

use futures::StreamExt;
use session_core::api::SessionApi;
use session_core::command::{CommandEvent, CommandRequest, OnDisconnect};
use session_core::event::EventKind;
use session_core::session::CreateSession;
use session_core::state::StateName;
use session_core::turn::{TurnFailureCause, TurnStatus};
use testkit::memory::AgentTurn;
use testkit::model::Gate;

use super::world::{World, ask, create, history, outcome, prompt, reaches, recorded, said, send, soon};

#[tokio::test]
async fn a_manager_killed_in_the_middle_of_a_turn_is_followed_by_one_that_goes_on() {
    let world = World::new();
    let first = world.manager().await;
    let session = create(&first).await;
    let (early, late) = (Gate::new(), Gate::new());
    world.then(
        AgentTurn::new()
            .say("One.")
            .hold(&early)
            .say("Two.")
            .hold(&late)
            .say("Three."),
    );
    let turn = send(&first, &session, "Count.").await;
    world.asked(1).await;
    first.kill().await;
    // Said while nobody listens.
    early.open();
    let second = world.manager().await;
    assert_eq!(recorded(&second, &session).await.name(), StateName::Busy);
    let following = outcome(&second, &turn);
    late.open();
    let outcome = following.await;
    assert_eq!(
        (outcome.status, outcome.text.as_str()),
        (TurnStatus::Succeeded, "Three.")
    );
    let events = history(&second, &session).await;
    for words in ["One.", "Two.", "Three."] {
        assert_eq!(said(&events, words), 1, "{words}");
    }
    assert_eq!(world.prompts(), ["Count."]);
    assert_eq!(world.site.memory.agents().starts().len(), 1);
    world.finish(&second).await;
}

#[tokio::test]
async fn a_turn_that_ended_while_nobody_listened_has_its_outcome() {
    let world = World::new();
    let first = world.manager().await;
    let session = create(&first).await;
    let gate = world.hold("Done.");
    let turn = send(&first, &session, "Work.").await;
    world.asked(1).await;
    first.kill().await;
    gate.open();
    soon("the agent's result", world.site.memory.agents().wait_for_ends(1)).await;
    let second = world.manager().await;
    assert_eq!(outcome(&second, &turn).await.text, "Done.");
    reaches(&second, &session, StateName::Ready).await;
    assert_eq!(ask(&second, &session, "Next.").await.text, "Next.");
    assert_eq!(world.prompts(), ["Work.", "Next."]);
    world.finish(&second).await;
}

#[tokio::test]
async fn queued_prompts_survive_and_run_in_order() {
    let world = World::new();
    let first = world.manager().await;
    let session = create(&first).await;
    let gate = world.hold("Done.");
    let mut turns = vec![send(&first, &session, "Work.").await];
    for text in ["Second.", "Third."] {
        turns.push(send(&first, &session, text).await);
    }
    world.asked(1).await;
    first.kill().await;
    gate.open();
    let second = world.supervisor().await;
    for (turn, answer) in turns.iter().zip(["Done.", "Second.", "Third."]) {
        assert_eq!(outcome(&second, turn).await.text, answer);
    }
    assert_eq!(world.prompts(), ["Work.", "Second.", "Third."]);
    world.finish(&second).await;
}

#[tokio::test]
async fn a_supervisor_takes_up_what_a_killed_one_left_although_nobody_asks() {
    let world = World::new();
    let first = world.supervisor().await;
    let session = create(&first).await;
    let gate = world.hold("Done.");
    send(&first, &session, "Work.").await;
    world.asked(1).await;
    first.kill().await;
    let second = world.supervisor().await;
    gate.open();
    reaches(&second, &session, StateName::Ready).await;
    let events = history(&second, &session).await;
    assert_eq!(said(&events, "Done."), 1);
    world.finish(&second).await;
}

#[tokio::test]
async fn the_same_key_after_a_kill_gives_the_same_turn_and_session() {
    let world = World::new();
    let first = world.manager().await;
    let create = CreateSession {
        idempotency_key: Some("create".to_owned()),
        ..CreateSession::default()
    };
    let session = first.create(create.clone()).await.unwrap().id;
    let mut request = prompt("Work.");
    request.idempotency_key = Some("prompt".to_owned());
    let turn = first.prompt(&session, request.clone()).await.unwrap();
    world.asked(1).await;
    first.kill().await;
    let second = world.manager().await;
    assert_eq!(second.create(create).await.unwrap().id, session);
    assert_eq!(second.prompt(&session, request).await.unwrap().id, turn.id);
    assert_eq!(outcome(&second, &turn).await.text, "Work.");
    assert_eq!(world.prompts(), ["Work."]);
    world.finish(&second).await;
}

/// The kill comes at a different moment each time: after so many events of the turn.
#[tokio::test]
async fn wherever_the_kill_comes_the_prompt_runs_once_and_no_event_is_lost() {
    for killed_after in 0..8 {
        let world = World::new();
        let first = world.manager().await;
        let session = create(&first).await;
        let mut script = AgentTurn::new();
        for number in 0..6 {
            script = script
                .say(format!("Word {number}."))
                .stderr(format!("remark {number}"));
        }
        world.then(script);
        let turn = send(&first, &session, "Talk.").await;
        let mut events = first.events(&session, turn.first_event - 1).await.unwrap();
        for _ in 0..killed_after {
            soon("an event", events.next()).await.unwrap().unwrap();
        }
        first.kill().await;
        let second = world.manager().await;
        let outcome = outcome(&second, &turn).await;
        assert_eq!(
            (outcome.status, outcome.text.as_str()),
            (TurnStatus::Succeeded, "Word 5."),
            "killed after {killed_after}: {:?}",
            outcome.failure
        );
        let events = history(&second, &session).await;
        for number in 0..6 {
            assert_eq!(
                said(&events, &format!("Word {number}.")),
                1,
                "word {number}, killed after {killed_after}"
            );
        }
        let mut remarks = String::new();
        for event in &events {
            if let EventKind::AgentStderr { text } = &event.kind {
                remarks.push_str(text);
            }
        }
        let expected: String = (0..6).map(|number| format!("remark {number}\n")).collect();
        assert_eq!(remarks, expected, "killed after {killed_after}");
        assert_eq!(world.prompts(), ["Talk."]);
        world.finish(&second).await;
    }
}

#[tokio::test]
async fn prompts_from_two_managers_run_one_at_a_time_in_the_order_they_came() {
    let world = World::new();
    let (one, other) = (world.manager().await, world.manager().await);
    let session = create(&one).await;
    let mut turns = Vec::new();
    for number in 0..6 {
        let manager = if number % 2 == 0 { &one } else { &other };
        turns.push(send(manager, &session, &format!("Prompt {number}.")).await);
    }
    for (number, turn) in turns.iter().enumerate() {
        // Each waits at the manager that did not accept it.
        let manager = if number % 2 == 0 { &other } else { &one };
        assert_eq!(outcome(manager, turn).await.text, format!("Prompt {number}."));
    }
    let expected: Vec<String> = (0..6).map(|number| format!("Prompt {number}.")).collect();
    assert_eq!(world.prompts(), expected);
    assert_eq!(world.site.memory.agents().starts().len(), 1);
    world.finish(&one).await;
}

#[tokio::test]
async fn a_prompt_runs_although_an_idle_manager_holds_the_agent() {
    let world = World::new();
    let (idle, busy) = (world.manager().await, world.manager().await);
    let session = create(&idle).await;
    assert_eq!(ask(&idle, &session, "Mine.").await.text, "Mine.");
    for round in 0..3 {
        let text = format!("Yours {round}.");
        assert_eq!(ask(&busy, &session, &text).await.text, text);
    }
    world.finish(&busy).await;
}

#[tokio::test]
async fn an_interrupt_from_another_manager_ends_the_turn() {
    let world = World::new();
    let (owner, other) = (world.manager().await, world.manager().await);
    let session = create(&owner).await;
    world.then(AgentTurn::new().say("I am at it.").hang());
    let turn = send(&owner, &session, "Work.").await;
    world.asked(1).await;
    assert!(soon("an interrupt", other.interrupt(&session)).await.unwrap());
    assert_eq!(outcome(&owner, &turn).await.status, TurnStatus::Interrupted);
    assert_eq!(ask(&owner, &session, "Next.").await.text, "Next.");
    world.finish(&other).await;
}

#[tokio::test]
async fn an_interrupt_that_is_ignored_ends_the_agent_also_from_another_manager() {
    let world = World::new();
    let options = || session_core::manager::ManagerOptions {
        interrupt_grace: Duration::from_millis(200),
        ..world.site.options()
    };
    let owner = world.site.manager_with(options()).await.unwrap();
    let other = world.site.manager_with(options()).await.unwrap();
    let session = create(&owner).await;
    world.then(AgentTurn::new().say("I do not listen.").deaf().hang());
    let turn = send(&owner, &session, "Work.").await;
    world.asked(1).await;
    assert!(soon("an interrupt", other.interrupt(&session)).await.unwrap());
    assert_eq!(outcome(&owner, &turn).await.status, TurnStatus::Interrupted);
    assert_eq!(ask(&owner, &session, "Next.").await.text, "Next.");
    world.finish(&other).await;
}

#[tokio::test]
async fn an_interrupt_that_was_acknowledged_survives_a_kill() {
    let world = World::new();
    let first = world.manager().await;
    let session = create(&first).await;
    world.then(AgentTurn::new().say("I am at it.").hang());
    let turn = send(&first, &session, "Work.").await;
    world.asked(1).await;
    // The agent does not get it before the manager is gone.
    world.container(&session).pause();
    let interrupted = tokio::time::timeout(Duration::from_millis(300), first.interrupt(&session)).await;
    first.kill().await;
    world.container(&session).resume();
    let second = world.manager().await;
    if interrupted.is_err() {
        // Nobody was told that it was interrupted: whoever wants it asks again.
        assert!(soon("an interrupt", second.interrupt(&session)).await.unwrap());
    }
    assert_eq!(outcome(&second, &turn).await.status, TurnStatus::Interrupted);
    world.finish(&second).await;
}

#[tokio::test]
async fn an_interrupt_after_a_kill_ends_the_turn_that_nobody_owns() {
    let world = World::new();
    let first = world.manager().await;
    let session = create(&first).await;
    world.then(AgentTurn::new().say("I am at it.").hang());
    let turn = send(&first, &session, "Work.").await;
    world.asked(1).await;
    first.kill().await;
    let second = world.manager().await;
    assert!(soon("an interrupt", second.interrupt(&session)).await.unwrap());
    reaches(&second, &session, StateName::Ready).await;
    assert_eq!(outcome(&second, &turn).await.status, TurnStatus::Interrupted);
    world.finish(&second).await;
}

#[tokio::test]
async fn an_agent_that_died_while_nobody_listened_fails_its_turn_and_is_resumed() {
    let world = World::new();
    let first = world.manager().await;
    let session = create(&first).await;
    assert_eq!(ask(&first, &session, "Hello.").await.text, "Hello.");
    let gate = Gate::new();
    world.then(AgentTurn::new().say("I am at it.").hold(&gate).exit(3));
    let turn = send(&first, &session, "Work.").await;
    world.asked(2).await;
    first.kill().await;
    gate.open();
    let second = world.manager().await;
    let outcome = outcome(&second, &turn).await;
    assert_eq!(outcome.failure.unwrap().cause, TurnFailureCause::AgentDied);
    assert_eq!(ask(&second, &session, "Next.").await.text, "Next.");
    let starts = world.site.memory.agents().starts();
    let conversation = world.site.memory.agents().prompts()[0].conversation.clone();
    assert_eq!(starts.len(), 2);
    assert_eq!(starts[1].resumed, Some(conversation));
    assert_eq!(world.prompts(), ["Hello.", "Work.", "Next."]);
    world.finish(&second).await;
}

#[tokio::test]
async fn a_detached_command_survives_its_manager() {
    let world = World::new();
    let first = world.manager().await;
    let session = create(&first).await;
    let detached = CommandRequest {
        on_disconnect: OnDisconnect::Detach,
        stdin: true,
        ..CommandRequest::new(["sh", "-c", "echo begun; cat"])
    };
    let kept = first.command(&session, detached).await.unwrap();
    let ended = first
        .command(&session, CommandRequest::new(["sleep", "1000"]))
        .await
        .unwrap();
    first.kill().await;
    drop(ended);
    let second = world.manager().await;
    let mut again = soon("the command", second.attach_command(&session, &kept.id, 0))
        .await
        .unwrap();
    drop(kept);
    let Some(Ok(CommandEvent::Output { offset: 0, bytes, .. })) = again.events.next().await else {
        panic!("there is no output");
    };
    assert_eq!(bytes, "begun\n");
    let alone = async {
        while world.container(&session).running().len() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the end of the other command", alone).await;
    again.control.close_stdin().await.unwrap();
    assert!(matches!(
        again.events.next().await,
        Some(Ok(CommandEvent::Exited(_)))
    ));
    world.finish(&second).await;
}

#[tokio::test]
async fn a_session_destroyed_by_another_manager_is_gone_for_both() {
    let world = World::new();
    let (owner, other) = (world.manager().await, world.manager().await);
    let session = create(&owner).await;
    world.then(AgentTurn::new().say("I am at it.").hang());
    let turn = send(&owner, &session, "Work.").await;
    world.asked(1).await;
    let watching = owner.events(&session, 0).await.unwrap();
    soon("the end", other.destroy(&session)).await.unwrap();
    assert_eq!(
        owner.turn(&session, &turn.id).await.unwrap().status,
        TurnStatus::Interrupted
    );
    let seen = soon("the end of the stream", watching.collect::<Vec<_>>()).await;
    assert_eq!(seen.len(), history(&other, &session).await.len());
    soon("a second end", owner.destroy(&session)).await.unwrap();
    world.finish(&owner).await;
}

#[tokio::test]
async fn the_result_of_a_turn_that_cannot_be_recalled_at_once_is_not_lost() {
    if !fail::has_failpoints() {
        return;
    }
    let world = World::new();
    let first = world.manager().await;
    let session = create(&first).await;
    let gate = world.hold("Done.");
    let turn = send(&first, &session, "Work.").await;
    world.asked(1).await;
    first.kill().await;
    gate.open();
    soon("the agent's result", world.site.memory.agents().wait_for_ends(1)).await;
    // Turns of other tests that this hits are as well off.
    fail::cfg("driver.turn.recalled", "3*return->off").unwrap();
    let second = world.supervisor().await;
    assert_eq!(outcome(&second, &turn).await.text, "Done.");
    let events = history(&second, &session).await;
    assert_eq!(said(&events, "Done."), 1);
    assert_eq!(world.prompts(), ["Work."]);
    fail::remove("driver.turn.recalled");
    world.finish(&second).await;
}

#[tokio::test]
async fn a_turn_in_a_frozen_container_waits_for_it_whoever_takes_it_over() {
    for dials in [true, false] {
        let world = World::new();
        world.site.memory.set_dials(dials);
        let first = world.manager().await;
        let session = create(&first).await;
        let gate = world.hold("Done.");
        let turn = send(&first, &session, "Work.").await;
        world.asked(1).await;
        world.container(&session).pause();
        first.kill().await;
        let second = world.supervisor().await;
        // With it the agent is wanted.
        let waiting = send(&second, &session, "Then this.").await;
        // Longer than it takes to find out that the container does not dial, and that nothing can be run in it.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let still = second.turn(&session, &turn.id).await.unwrap();
        assert_eq!(still.status, TurnStatus::Running, "{:?}", still.outcome);
        assert_eq!(recorded(&second, &session).await.name(), StateName::Busy);
        world.container(&session).resume();
        gate.open();
        assert_eq!(outcome(&second, &turn).await.text, "Done.");
        assert_eq!(outcome(&second, &waiting).await.text, "Then this.");
        assert_eq!(world.prompts(), ["Work.", "Then this."]);
        world.finish(&second).await;
    }
}
