//! The link breaks and is made again: nothing is lost, nothing comes twice.

use session_core::api::SessionApi;
use session_core::command::CommandRequest;
use session_core::event::EventKind;
use session_core::session::Carrier;
use session_core::turn::TurnStatus;
use testkit::memory::AgentTurn;
use testkit::model::Gate;

use super::world::{World, ask, create, history, outcome, said, send, soon};

#[tokio::test]
async fn both_carriers_work_and_the_socket_is_preferred() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    let details = manager.inspect(&session).await.unwrap();
    assert_eq!(details.carrier, Some(Carrier::Socket));
    world.site.memory.set_dials(false);
    world.container(&session).cut_links();
    // The link that is gone may still be handed out for a moment.
    let bridged =
        async { while manager.inspect(&session).await.unwrap().carrier != Some(Carrier::Bridge) {} };
    soon("the bridge", bridged).await;
    assert_eq!(ask(&manager, &session, "Hello").await.text, "Hello");
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_turn_survives_its_link_and_every_word_comes_once() {
    for dials in [true, false] {
        let world = World::new();
        let manager = world.manager().await;
        let session = create(&manager).await;
        let gates = [Gate::new(), Gate::new(), Gate::new()];
        let mut turn = AgentTurn::new();
        for (number, gate) in gates.iter().enumerate() {
            turn = turn.say(format!("Step {number}.")).hold(gate);
        }
        world.then(turn.say("Done."));
        let turn = send(&manager, &session, "Work.").await;
        world.asked(1).await;
        world.site.memory.set_dials(dials);
        for (number, gate) in gates.iter().enumerate() {
            let step = format!("Step {number}.");
            let heard = async {
                while said(&history(&manager, &session).await, &step) == 0 {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            };
            soon(&step, heard).await;
            world.container(&session).cut_links();
            gate.open();
        }
        let outcome = outcome(&manager, &turn).await;
        assert_eq!(
            (outcome.status, outcome.text.as_str()),
            (TurnStatus::Succeeded, "Done.")
        );
        let events = history(&manager, &session).await;
        for words in ["Step 0.", "Step 1.", "Step 2.", "Done."] {
            assert_eq!(said(&events, words), 1, "{words}");
        }
        assert_eq!(world.prompts(), ["Work."]);
        assert_eq!(world.site.memory.agents().starts().len(), 1);
        world.finish(&manager).await;
    }
}

#[tokio::test]
async fn a_link_that_breaks_in_the_middle_of_a_long_line_loses_nothing_of_it() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    let gate = Gate::new();
    // One line, longer than what is acknowledged at once, with the break in its middle.
    let half = "x".repeat(400_000);
    let line = format!("{{\"type\":\"not known yet\",\"half\":\"{half}\"}}");
    let (begin, end) = line.split_at(300_000);
    world.then(AgentTurn::new().bytes(begin).hold(&gate).line(end).say("Done."));
    let turn = send(&manager, &session, "Work.").await;
    world.asked(1).await;
    let read = async {
        let container = world.container(&session);
        while container.written() < 300_000 || container.unread() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    soon("the first half at the manager", read).await;
    world.container(&session).cut_links();
    gate.open();
    assert_eq!(outcome(&manager, &turn).await.text, "Done.");
    let events = history(&manager, &session).await;
    assert!(
        !events
            .iter()
            .any(|event| matches!(event.kind, EventKind::AgentOutputLost { .. })),
        "output was lost"
    );
    assert!(
        events
            .iter()
            .any(|event| matches!(event.kind, EventKind::AgentOther { .. })),
        "the line is not there"
    );
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_detached_command_survives_its_link() {
    use futures::StreamExt;
    use session_core::command::{CommandEvent, OnDisconnect};
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    let request = CommandRequest {
        on_disconnect: OnDisconnect::Detach,
        stdin: true,
        ..CommandRequest::new(["sh", "-c", "echo begun; cat"])
    };
    let mut running = manager.command(&session, request).await.unwrap();
    let Some(Ok(CommandEvent::Output { bytes, .. })) = running.events.next().await else {
        panic!("there is no output");
    };
    assert_eq!(bytes, "begun\n");
    world.container(&session).cut_links();
    assert!(soon("the break", running.events.next()).await.unwrap().is_err());
    let again = async {
        loop {
            if let Ok(running) = manager.attach_command(&session, &running.id, 6).await {
                return running;
            }
        }
    };
    let mut again = soon("the command", again).await;
    again.control.write("more\n".into()).await.unwrap();
    again.control.close_stdin().await.unwrap();
    let Some(Ok(CommandEvent::Output { offset: 6, bytes, .. })) = again.events.next().await else {
        panic!("there is no more output");
    };
    assert_eq!(bytes, "more\n");
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_link_that_breaks_while_idle_is_made_again_for_the_next_prompt() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    for round in 0..5 {
        let text = format!("Round {round}.");
        assert_eq!(ask(&manager, &session, &text).await.text, text);
        world.container(&session).cut_links();
    }
    assert_eq!(
        world.site.memory.agents().starts().len(),
        1,
        "the agent was started anew"
    );
    world.finish(&manager).await;
}
