//! Terminals outlive their manager and their link, and the agent's own interface keeps the conversation meanwhile.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use session_core::api::SessionApi;
use session_core::error::ErrorKind;
use session_core::id::{SessionId, TerminalId};
use session_core::terminal::{
    AttachedTerminal, OpenTerminal, TerminalEvent, TerminalInfo, TerminalProgram, TerminalSize,
};
use session_core::turn::TurnStatus;
use testkit::harness::ManagerProcess;
use testkit::memory::AgentTurn;

use super::world::{World, ask, create, outcome, send, soon};

async fn open(manager: &ManagerProcess, session: &SessionId, program: TerminalProgram) -> TerminalInfo {
    let request = OpenTerminal {
        program,
        size: TerminalSize {
            rows: 33,
            columns: 99,
        },
        idempotency_key: None,
    };
    soon("a terminal", manager.open_terminal(session, request))
        .await
        .unwrap()
}

async fn look(manager: &ManagerProcess, session: &SessionId, terminal: &TerminalId) -> AttachedTerminal {
    let size = TerminalSize {
        rows: 33,
        columns: 99,
    };
    let attached = manager.attach_terminal(session, terminal, size);
    soon("a viewer", attached).await.unwrap()
}

async fn type_in(viewer: &AttachedTerminal, text: &'static str) {
    let typed = viewer.control.write(Bytes::from_static(text.as_bytes()));
    soon("typing", typed).await.unwrap();
}

/// All that is seen until `wanted` was.
async fn until(viewer: &mut AttachedTerminal, wanted: &str) -> String {
    let mut seen = String::new();
    let reading = async {
        while !seen.contains(wanted) {
            match viewer.events.next().await {
                Some(Ok(TerminalEvent::Output(bytes))) => seen.push_str(&String::from_utf8_lossy(&bytes)),
                Some(Ok(TerminalEvent::Resized(_))) => {}
                other => panic!("{other:?} instead of {wanted:?} behind {seen:?}"),
            }
        }
    };
    soon(wanted, reading).await;
    seen
}

async fn exit(viewer: &mut AttachedTerminal) -> Option<i32> {
    let reading = async {
        while let Some(event) = viewer.events.next().await {
            if let TerminalEvent::Exited(exit) = event.unwrap() {
                return exit.code;
            }
        }
        panic!("nobody told the end")
    };
    soon("the end", reading).await
}

fn shell() -> TerminalProgram {
    TerminalProgram::Command {
        argv: vec!["sh".to_owned()],
    }
}

#[tokio::test]
async fn the_next_manager_finds_them_and_shows_what_was_written() {
    let world = World::new();
    let first = world.manager().await;
    let session = create(&first).await;
    let opened = open(&first, &session, shell()).await;
    let mut viewer = look(&first, &session, &opened.id).await;
    type_in(&viewer, "echo before\r").await;
    until(&mut viewer, "before\r\n$ ").await;
    drop(viewer);
    first.kill().await;
    let second = world.manager().await;
    let found = soon("the list", second.terminals(&session)).await.unwrap();
    let [found] = &found[..] else { panic!("{found:?}") };
    assert_eq!(
        (found.id, &found.program, found.size),
        (opened.id, &shell(), opened.size)
    );
    let apart = found.opened_at.duration_since(opened.opened_at).abs();
    assert!(apart < jiff::SignedDuration::from_secs(5), "opened {apart} apart");
    let mut viewer = look(&second, &session, &opened.id).await;
    let seen = until(&mut viewer, "before\r\n$ ").await;
    assert!(
        seen.starts_with("$ echo before\r\n"),
        "not from the beginning: {seen:?}"
    );
    type_in(&viewer, "exit 4\r").await;
    assert_eq!(exit(&mut viewer).await, Some(4));
    world.finish(&second).await;
}

#[tokio::test]
async fn a_broken_link_costs_a_viewer_nothing() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    let terminal = open(&manager, &session, shell()).await.id;
    let mut viewer = look(&manager, &session, &terminal).await;
    until(&mut viewer, "$ ").await;
    for _ in 0..3 {
        world.container(&session).cut_links();
        let answered = async {
            loop {
                // What is typed at this moment may be lost with the link.
                let _ = viewer
                    .control
                    .write(Bytes::from_static(b"echo still $TERM\r"))
                    .await;
                let answer = until(&mut viewer, "still xterm-256color\r\n");
                if tokio::time::timeout(Duration::from_millis(300), answer)
                    .await
                    .is_ok()
                {
                    return;
                }
            }
        };
        soon("an answer", answered).await;
    }
    type_in(&viewer, "exit\r").await;
    exit(&mut viewer).await;
    world.finish(&manager).await;
}

#[tokio::test]
async fn two_managers_show_the_same() {
    let world = World::new();
    let (one, two) = (world.manager().await, world.manager().await);
    let session = create(&one).await;
    let terminal = open(&one, &session, shell()).await.id;
    let (mut mine, mut theirs) = (
        look(&one, &session, &terminal).await,
        look(&two, &session, &terminal).await,
    );
    type_in(&mine, "echo from one\r").await;
    until(&mut theirs, "from one\r\n$ ").await;
    type_in(&theirs, "echo from two; exit 9\r").await;
    until(&mut mine, "from two\r\n").await;
    assert_eq!(
        (exit(&mut mine).await, exit(&mut theirs).await),
        (Some(9), Some(9))
    );
    assert!(two.terminals(&session).await.unwrap().is_empty());
    two.shutdown().await;
    world.finish(&one).await;
}

async fn at_work(manager: &ManagerProcess) -> bool {
    let asked = manager.run(|manager| async move { Ok(manager.at_work()) });
    asked.await.unwrap()
}

#[tokio::test]
async fn a_manager_is_at_work_while_a_terminal_is_open() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    let terminal = open(&manager, &session, shell()).await.id;
    for _ in 0..20 {
        assert!(at_work(&manager).await, "a terminal is open");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    manager.close_terminal(&session, &terminal).await.unwrap();
    let rest = async {
        while at_work(&manager).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("rest", rest).await;
    world.finish(&manager).await;
}

#[tokio::test]
async fn turns_wait_for_the_agents_interface_whoever_serves_it() {
    let world = World::new();
    let first = world.manager().await;
    let session = create(&first).await;
    ask(&first, &session, "Hello").await;
    let terminal = open(&first, &session, TerminalProgram::Agent).await.id;
    let mut viewer = look(&first, &session, &terminal).await;
    until(&mut viewer, "Claude").await;
    drop(viewer);
    first.kill().await;
    let second = world.manager().await;
    let turn = send(&second, &session, "And then?").await;
    let third = world.manager().await;
    for manager in [&second, &third] {
        for _ in 0..60 {
            let now = manager.turn(&session, &turn.id).await.unwrap();
            assert_eq!(now.status, TurnStatus::Queued, "a person has the conversation");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let mut viewer = look(&third, &session, &terminal).await;
    type_in(&viewer, "What a person says\r").await;
    until(&mut viewer, "What a person says\r\nWhat a person says\r\n").await;
    type_in(&viewer, "/exit\r").await;
    assert_eq!(exit(&mut viewer).await, Some(0));
    assert_eq!(outcome(&second, &turn).await.text, "And then?");
    let conversations = conversations(&world);
    assert_eq!(conversations.len(), 3, "{conversations:?}");
    assert!(
        conversations[1].is_some() && conversations[1] == conversations[2],
        "{conversations:?}"
    );
    third.shutdown().await;
    world.finish(&second).await;
}

/// What each start of an agent went on with.
fn conversations(world: &World) -> Vec<Option<String>> {
    let starts = world.site.memory.agents().starts();
    starts.into_iter().map(|start| start.resumed).collect()
}

#[tokio::test]
async fn a_conversation_begun_at_the_interface_is_gone_on_with_and_an_empty_one_is_none() {
    for says_something in [true, false] {
        let world = World::new();
        let manager = world.manager().await;
        let session = create(&manager).await;
        let terminal = open(&manager, &session, TerminalProgram::Agent).await.id;
        let mut viewer = look(&manager, &session, &terminal).await;
        until(&mut viewer, "Claude").await;
        if says_something {
            world.then(AgentTurn::new().say("An answer."));
            type_in(&viewer, "A question\r").await;
            until(&mut viewer, "An answer.\r\n").await;
        }
        type_in(&viewer, "/exit\r").await;
        exit(&mut viewer).await;
        assert_eq!(
            ask(&manager, &session, "Go on").await.status,
            TurnStatus::Succeeded
        );
        let last = conversations(&world).pop().unwrap();
        assert_eq!(last.is_some(), says_something, "{last:?}");
        world.finish(&manager).await;
    }
}

#[tokio::test]
async fn an_interface_that_ended_while_nobody_looked_gives_the_conversation_back() {
    let world = World::new();
    let first = world.manager().await;
    let session = create(&first).await;
    ask(&first, &session, "Hello").await;
    let terminal = open(&first, &session, TerminalProgram::Agent).await.id;
    let mut viewer = look(&first, &session, &terminal).await;
    until(&mut viewer, "Claude").await;
    first.kill().await;
    let container = world.container(&session);
    container.cut_links();
    let second = world.manager().await;
    for pid in 7..30 {
        let pid = pid.to_string();
        let kill = session_core::command::CommandRequest::new(["kill", "-9", &pid]);
        let mut killing = soon("a signal", second.command(&session, kill)).await.unwrap();
        while killing.events.next().await.is_some() {}
    }
    let ended = async {
        while container
            .running()
            .iter()
            .any(|argv| argv.contains(&"--settings".to_owned()))
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("its end", ended).await;
    assert_eq!(ask(&second, &session, "Go on").await.text, "Go on");
    world.finish(&second).await;
}

#[tokio::test]
async fn one_with_a_key_is_opened_once_whoever_is_asked() {
    let world = World::new();
    let first = world.manager().await;
    let session = create(&first).await;
    let request = || OpenTerminal {
        program: shell(),
        idempotency_key: Some("mine".to_owned()),
        ..OpenTerminal::default()
    };
    let opened = soon("a terminal", first.open_terminal(&session, request()))
        .await
        .unwrap();
    first.kill().await;
    let second = world.manager().await;
    let again = soon("the same terminal", second.open_terminal(&session, request()))
        .await
        .unwrap();
    assert_eq!(again.id, opened.id);
    assert_eq!(
        soon("the list", second.terminals(&session)).await.unwrap().len(),
        1
    );
    let mut viewer = look(&second, &session, &opened.id).await;
    type_in(&viewer, "exit\r").await;
    exit(&mut viewer).await;
    // It ran, and is not run again.
    let refused = soon("a refusal", second.open_terminal(&session, request())).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::StateConflict);
    world.finish(&second).await;
}

#[tokio::test]
async fn an_interface_that_does_not_open_because_the_session_is_frozen_keeps_nobody_waiting() {
    let world = World::new();
    let manager = world.manager().await;
    let session = create(&manager).await;
    ask(&manager, &session, "Hello").await;
    world.container(&session).pause();
    let resuming = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let resumed = tokio::time::timeout(Duration::from_secs(10), manager.resume(&session)).await;
        resumed.expect("it is not waited for").unwrap();
    };
    let (opened, ()) = tokio::join!(open(&manager, &session, TerminalProgram::Agent), resuming);
    let mut viewer = look(&manager, &session, &opened.id).await;
    until(&mut viewer, "Claude").await;
    assert_eq!(manager.terminals(&session).await.unwrap().len(), 1);
    drop(viewer);
    manager.close_terminal(&session, &opened.id).await.unwrap();
    assert_eq!(ask(&manager, &session, "Again").await.text, "Again");
    world.finish(&manager).await;
}
