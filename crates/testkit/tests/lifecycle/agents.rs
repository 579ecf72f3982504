//! Agents that misbehave: each end has its cause by name, and the next prompt works.

use std::time::Duration;

use session_core::api::SessionApi;
use session_core::error::ErrorKind;
use session_core::event::EventKind;
use session_core::manager::ManagerOptions;
use session_core::session::{CreateSession, PromptRequest};
use session_core::state::StateName;
use session_core::turn::{TurnFailureCause, TurnOutcome, TurnStatus};
use testkit::harness::ManagerProcess;
use testkit::memory::AgentTurn;

use super::world::{World, ask, create, history, outcome, prompt, recorded, send, soon};

/// A manager that gives an interrupted agent little time.
async fn impatient(world: &World) -> ManagerProcess {
    let options = ManagerOptions {
        interrupt_grace: Duration::from_millis(200),
        ..world.site.options()
    };
    world.site.manager_with(options).await.unwrap()
}

fn expect_failure(outcome: &TurnOutcome, cause: TurnFailureCause, code: ErrorKind) {
    assert_eq!(outcome.status, TurnStatus::Failed);
    let failure = outcome.failure.as_ref().unwrap();
    assert_eq!(
        (failure.cause, failure.error.code),
        (cause, code),
        "{}",
        failure.error.message
    );
    assert!(failure.error.hint.is_some(), "{}", failure.error.message);
}

#[tokio::test]
async fn an_agent_that_dies_in_the_middle_fails_the_turn_and_is_resumed() {
    for (turn, cause, code) in [
        (
            AgentTurn::new().say("Oh.").exit(7),
            TurnFailureCause::AgentDied,
            ErrorKind::AgentFailed,
        ),
        (
            AgentTurn::new().say("Oh.").die(11),
            TurnFailureCause::AgentDied,
            ErrorKind::AgentFailed,
        ),
        (
            AgentTurn::new().out_of_memory(),
            TurnFailureCause::OutOfMemory,
            ErrorKind::LimitExceeded,
        ),
    ] {
        let world = World::new();
        let manager = world.manager().await;
        let session = create(&manager).await;
        assert_eq!(ask(&manager, &session, "Hello.").await.text, "Hello.");
        world.then(turn.clone().stderr("never said"));
        expect_failure(&ask(&manager, &session, "Work.").await, cause, code);
        assert_eq!(recorded(&manager, &session).await.name(), StateName::Ready);
        assert_eq!(ask(&manager, &session, "Next.").await.text, "Next.");
        let agents = world.site.memory.agents();
        assert_eq!(agents.starts().len(), 2);
        assert_eq!(
            agents.starts()[1].resumed,
            Some(agents.prompts()[0].conversation.clone())
        );
        assert_eq!(world.prompts(), ["Hello.", "Work.", "Next."]);
        world.finish(&manager).await;
    }
}

#[tokio::test]
async fn an_agent_that_dies_before_its_first_words_has_no_conversation_and_begins_a_new_one() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    world.then(AgentTurn::new().exit(1));
    let outcome = ask(&manager, &session, "Work.").await;
    expect_failure(&outcome, TurnFailureCause::AgentDied, ErrorKind::AgentFailed);
    assert_eq!(ask(&manager, &session, "Next.").await.text, "Next.");
    let starts = world.site.memory.agents().starts();
    assert_eq!(starts.len(), 3, "the second one could not resume");
    assert!(starts[1].resumed.is_some() && starts[2].resumed.is_none());
    assert_eq!(world.prompts(), ["Work.", "Next."]);
    world.finish(&manager).await;
}

#[tokio::test]
async fn the_last_words_of_a_dead_agent_are_told() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    world.then(
        AgentTurn::new()
            .stderr("no space left\u{1b}[31m on device")
            .exit(1),
    );
    let outcome = ask(&manager, &session, "Work.").await;
    let message = outcome.failure.unwrap().error.message;
    assert!(message.contains("no space left"), "{message}");
    assert!(!message.contains('\u{1b}'), "{message:?}");
    assert!(message.contains("exit code 1"), "{message}");
    world.finish(&manager).await;
}

#[tokio::test]
async fn an_agent_that_dies_between_turns_is_started_again() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    for round in 0..3 {
        let text = format!("Round {round}.");
        assert_eq!(ask(&manager, &session, &text).await.text, text);
        let pids = soon(
            "the agents",
            manager.run({
                move |manager| async move {
                    let kill = session_core::command::CommandRequest::new(["kill", "-9", "7"]);
                    manager.command(&session, kill).await.map(drop)
                }
            }),
        )
        .await;
        pids.unwrap();
    }
    world.finish(&manager).await;
}

#[tokio::test]
async fn garbage_is_kept_and_harms_nothing() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    let turn = AgentTurn::new()
        .line("this is no JSON")
        .line("")
        .line("{\"type\":\"a type of next year\",\"field\":1}")
        .line("{\"type\":\"assistant\",\"message\":{\"content\":\"odd\"}}")
        .line("{\"type\":\"control_response\",\"response\":{\"subtype\":\"success\",\"request_id\":\"not ours\"}}")
        .line("[1,2,3]")
        .line("\u{0}\u{1b}]0;title\u{7}")
        .say("Still sane.");
    world.then(turn);
    let outcome = ask(&manager, &session, "Rave.").await;
    assert_eq!(
        (outcome.status, outcome.text.as_str()),
        (TurnStatus::Succeeded, "Still sane.")
    );
    let events = history(&manager, &session).await;
    let kept = events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::AgentOther { .. }))
        .count();
    assert!(kept >= 3, "{kept} lines were kept");
    world.finish(&manager).await;
}

#[tokio::test]
async fn results_that_nobody_asked_for_end_no_other_turn() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    let forged = "{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"forged\"}";
    // Said in one breath with the true one.
    world.then(AgentTurn::new().say("True.").after(forged));
    assert_eq!(ask(&manager, &session, "One.").await.text, "True.");
    assert_eq!(ask(&manager, &session, "Two.").await.text, "Two.");
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_time_limit_interrupts_and_the_conversation_goes_on() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    world.then(AgentTurn::new().say("I am at it.").hang());
    let limited = PromptRequest {
        time_limit: Some(Duration::from_millis(100)),
        ..prompt("Work.")
    };
    let turn = manager.prompt(&session, limited).await.unwrap();
    expect_failure(
        &outcome(&manager, &turn).await,
        TurnFailureCause::TimedOut,
        ErrorKind::LimitExceeded,
    );
    assert_eq!(world.site.memory.agents().interrupts(), 1);
    assert_eq!(ask(&manager, &session, "Next.").await.text, "Next.");
    assert_eq!(world.site.memory.agents().starts().len(), 1);
    world.finish(&manager).await;
}

#[tokio::test]
async fn an_agent_that_ignores_an_interrupt_is_ended_and_its_conversation_resumed() {
    let world = World::new();
    let manager = impatient(&world).await;
    let session = create(&manager).await;
    assert_eq!(ask(&manager, &session, "Hello.").await.text, "Hello.");
    world.then(AgentTurn::new().say("I do not listen.").deaf().hang());
    let turn = send(&manager, &session, "Work.").await;
    world.asked(2).await;
    assert!(soon("an interrupt", manager.interrupt(&session)).await.unwrap());
    assert_eq!(outcome(&manager, &turn).await.status, TurnStatus::Interrupted);
    assert_eq!(ask(&manager, &session, "Next.").await.text, "Next.");
    let agents = world.site.memory.agents();
    assert_eq!(
        agents.starts()[1].resumed,
        Some(agents.prompts()[0].conversation.clone())
    );
    assert_eq!(world.prompts(), ["Hello.", "Work.", "Next."]);
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_time_limit_that_is_ignored_ends_the_agent() {
    let world = World::new();
    let manager = impatient(&world).await;
    let session = create(&manager).await;
    world.then(AgentTurn::new().deaf().hang());
    let limited = PromptRequest {
        time_limit: Some(Duration::from_millis(50)),
        ..prompt("Work.")
    };
    let turn = manager.prompt(&session, limited).await.unwrap();
    expect_failure(
        &outcome(&manager, &turn).await,
        TurnFailureCause::TimedOut,
        ErrorKind::LimitExceeded,
    );
    assert_eq!(ask(&manager, &session, "Next.").await.text, "Next.");
    world.finish(&manager).await;
}

#[tokio::test]
async fn an_agent_that_reads_nothing_can_still_be_interrupted() {
    let world = World::new();
    let manager = impatient(&world).await;
    let session = create(&manager).await;
    world.site.memory.program("/opt/cofferdam/bin/claude", async |_| {
        std::future::pending().await
    });
    // More than a pipe takes.
    let long = "x".repeat(1 << 20);
    let turn = send(&manager, &session, &long).await;
    let running = async {
        while recorded(&manager, &session).await.name() != StateName::Busy {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the turn", running).await;
    assert!(soon("an interrupt", manager.interrupt(&session)).await.unwrap());
    assert_eq!(outcome(&manager, &turn).await.status, TurnStatus::Interrupted);
    world.finish(&manager).await;
}

#[tokio::test]
async fn an_agent_that_reads_nothing_can_still_be_destroyed() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    world.site.memory.program("/opt/cofferdam/bin/claude", async |_| {
        std::future::pending().await
    });
    send(&manager, &session, &"x".repeat(1 << 20)).await;
    let running = async {
        while recorded(&manager, &session).await.name() != StateName::Busy {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the turn", running).await;
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_session_without_its_agents_program_says_so() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    world.site.memory.remove_program("/opt/cofferdam/bin/claude");
    let outcome = ask(&manager, &session, "Hello?").await;
    expect_failure(&outcome, TurnFailureCause::AgentDied, ErrorKind::AgentFailed);
    let message = outcome.failure.unwrap().error.message;
    assert!(message.contains("program is not in the session"), "{message}");
    assert_eq!(recorded(&manager, &session).await.name(), StateName::Ready);
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_warm_agent_is_there_before_the_first_prompt() {
    let world = World::new();
    let manager = world.manager().await;
    let request = CreateSession {
        warm_agent: true,
        ..CreateSession::default()
    };
    let session = manager.create(request).await.unwrap().id;
    let started = async {
        while world.site.memory.agents().starts().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the agent", started).await;
    let mut ports = world.container(&session).ports();
    ports.sort_unstable();
    assert_eq!(
        ports,
        [
            session_core::gateway::MODEL_PORT,
            session_core::gateway::EGRESS_PORT
        ]
    );
    assert_eq!(ask(&manager, &session, "Hello.").await.text, "Hello.");
    assert_eq!(world.site.memory.agents().starts().len(), 1);
    world.finish(&manager).await;
}

#[tokio::test]
async fn the_model_door_leads_to_the_gateway() {
    use testkit::memory::Exit;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::new();
    world.site.memory.program("knock", async |context| {
        let Ok(mut door) = context.machine.dial(session_core::gateway::MODEL_PORT).await else {
            return Exit::Code(1);
        };
        let mut answer = [0; 5];
        let spoke = door.write_all(b"knock").await.is_ok() && door.read_exact(&mut answer).await.is_ok();
        context.stdout.write(answer.to_vec()).await;
        Exit::Code(i32::from(!spoke))
    });
    let manager = world.manager().await;
    let request = CreateSession {
        warm_agent: true,
        ..CreateSession::default()
    };
    let session = manager.create(request).await.unwrap().id;
    let knock = session_core::command::CommandRequest::new(["knock"]);
    let output = session_core::api::SessionApiExt::command_output(&manager, &session, knock, 100)
        .await
        .unwrap();
    assert_eq!(
        (output.stdout.as_slice(), output.exit.code),
        (b"knock".as_slice(), Some(0))
    );
    world.finish(&manager).await;
}
