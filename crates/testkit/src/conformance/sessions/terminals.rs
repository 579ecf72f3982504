//! Terminals: what is typed arrives, what is written is seen by everybody who looks, and nothing of it outlives its end.

mod viewer;

use std::sync::Arc;

use bytes::Bytes;
use session_core::api::SessionApiExt;
use session_core::command::{CommandRequest, ExitCause, OnDisconnect};
use session_core::error::ErrorKind;
use session_core::event::EventKind;
use session_core::id::{SessionId, TerminalId};
use session_core::terminal::{
    MAX_TERMINALS, MAX_VIEWERS, OpenTerminal, REPLAY_BYTES, TerminalProgram, TerminalSize,
};
use session_core::turn::TurnStatus;

use self::viewer::{Viewer, count, look, open, program, size};
use super::Act;
use super::stage::{Stage, prompt};
use crate::conformance::{Case, Outcome, cases, refused, refused_with_hint};

pub(super) fn cases() -> Vec<Case<Stage>> {
    cases!["terminals":
        a_shell_does_what_is_typed_and_its_exit_is_told,
        every_byte_goes_through,
        the_smallest_of_all_viewers_decides_the_size,
        several_viewers_see_the_same,
        who_comes_back_is_shown_what_was_written,
        a_slow_viewer_is_skipped_and_harms_nobody,
        a_flood_is_bounded,
        closing_ends_everything_in_it,
        they_end_with_their_session,
        the_same_key_gives_the_same_terminal,
        a_pause_harms_none,
        there_is_a_most_of_terminals_and_of_viewers,
        one_of_another_session_is_not_there,
        what_no_terminal_can_be_is_refused,
        the_agents_own_interface_has_the_conversation_for_as_long_as_it_is_open,
        the_agents_own_interface_waits_for_no_turn,
    ]
}

async fn a_shell_does_what_is_typed_and_its_exit_is_told(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let info = stage.api.open_terminal(&id, OpenTerminal::default()).await?;
    ensure_eq!(info.program, TerminalProgram::Shell, "the program");
    ensure_eq!(
        (info.session, info.size, info.viewers),
        (id, TerminalSize::default(), 0),
        "the terminal"
    );
    ensure_eq!(
        stage.api.terminals(&id).await?,
        vec![info.clone()],
        "the terminals"
    );
    let mut viewer = look(&stage, &id, &info.id).await?;
    ensure_eq!(viewer.attached.info.viewers, 1, "those who look");
    viewer.until("$ ").await?;
    viewer.type_in("echo $TERM; pwd\r").await?;
    // Not what was typed, which is echoed, but what came of it.
    viewer.until("xterm-256color\r\n").await?;
    viewer.until("/workspace\r\n").await?;
    viewer.type_in("exit 7\r").await?;
    let exit = viewer.end().await?.ok_or("nobody told the end")?;
    ensure_eq!((exit.cause, exit.code), (ExitCause::Exited, Some(7)), "the end");
    ensure!(exit.output_bytes > 0, "it wrote nothing");
    stage.until(async || Ok(count(&stage, &id).await? == 0)).await?;
    let gone = stage
        .api
        .attach_terminal(&id, &info.id, TerminalSize::default())
        .await;
    refused_with_hint(gone, ErrorKind::NotFound)?;
    refused(
        viewer.attached.control.write(Bytes::from_static(b"x")).await,
        ErrorKind::StateConflict,
    )?;
    stage.api.close_terminal(&id, &info.id).await?;
    Ok(())
}

async fn every_byte_goes_through(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let terminal = open(&stage, &id, "stty raw -echo; printf ready; exec cat").await?;
    let mut viewer = look(&stage, &id, &terminal).await?;
    viewer.until("ready").await?;
    viewer.seen.clear();
    let input: Vec<u8> = (0..=u8::MAX).cycle().take(100_000).collect();
    viewer.type_in(input.clone()).await?;
    while viewer.seen.len() < input.len() {
        ensure!(viewer.take().await?, "it ended");
    }
    ensure_eq!(viewer.skipped, 0, "what was skipped");
    ensure!(viewer.seen == input, "the bytes changed on their way");
    Ok(())
}

async fn the_smallest_of_all_viewers_decides_the_size(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let info = stage
        .api
        .open_terminal(
            &id,
            OpenTerminal {
                size: size(30, 100),
                ..program(&["sh", "-c", "stty size > first; exec sh"])
            },
        )
        .await?;
    stage
        .until(async || Ok(stage.run(&id, &["cat", "first"]).await?.stdout == b"30 100\n"))
        .await?;
    let mut wide = Viewer::of(&stage, &id, &info.id, size(20, 200)).await?;
    let resized = async |viewer: &mut Viewer, wanted: TerminalSize| -> Outcome {
        while viewer.sizes.last() != Some(&wanted) {
            ensure!(viewer.take().await?, "it ended at {:?}", viewer.sizes);
        }
        Ok(())
    };
    resized(&mut wide, size(20, 200)).await?;
    let high = Viewer::of(&stage, &id, &info.id, size(50, 90)).await?;
    resized(&mut wide, size(20, 90)).await?;
    wide.type_in("stty size\r").await?;
    wide.until("20 90\r\n").await?;
    high.attached.control.resize(size(10, 95)).await?;
    resized(&mut wide, size(10, 95)).await?;
    drop(high);
    resized(&mut wide, size(20, 200)).await?;
    drop(wide);
    stage
        .until(async || {
            let all = stage.api.terminals(&id).await?;
            Ok(all.iter().any(|terminal| terminal.viewers == 0))
        })
        .await?;
    let all = stage.api.terminals(&id).await?;
    ensure_eq!(
        all.first().map(|terminal| terminal.size),
        Some(size(20, 200)),
        "the size that nobody sees"
    );
    Ok(())
}

async fn several_viewers_see_the_same(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let terminal = open(&stage, &id, "stty -echo; printf ready; exec sh").await?;
    let mut one = look(&stage, &id, &terminal).await?;
    let mut two = look(&stage, &id, &terminal).await?;
    one.until("ready").await?;
    two.until("ready").await?;
    one.type_in("echo from one\r").await?;
    one.until("from one\r\n").await?;
    two.type_in("echo from two; exit\r").await?;
    let ends = (one.end().await?, two.end().await?);
    ensure!(
        ends.0.is_some() && ends.0 == ends.1,
        "they were told different ends: {ends:?}"
    );
    ensure!(one.seen == two.seen, "they saw different things");
    ensure!(one.has_seen(b"from two\r\n"), "one did not see what two did");
    Ok(())
}

async fn who_comes_back_is_shown_what_was_written(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let terminal = open(&stage, &id, "printf before; exec sh").await?;
    let mut first = look(&stage, &id, &terminal).await?;
    first.until("before").await?;
    first.type_in("echo while-I-was-here\r").await?;
    first.until("while-I-was-here\r\n").await?;
    drop(first);
    let mut again = look(&stage, &id, &terminal).await?;
    again.until("while-I-was-here\r\n").await?;
    ensure!(again.seen.starts_with(b"before"), "the beginning is not repeated");
    ensure_eq!(again.skipped, 0, "what was skipped");
    again.type_in("echo still-there\r").await?;
    again.until("still-there\r\n").await?;
    Ok(())
}

async fn a_slow_viewer_is_skipped_and_harms_nobody(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let script = "stty -echo; read go; head -c 3000000 /dev/zero; printf finished; exec sh";
    let terminal = open(&stage, &id, script).await?;
    let mut slow = look(&stage, &id, &terminal).await?;
    let mut quick = look(&stage, &id, &terminal).await?;
    quick.type_in("go\r").await?;
    // The slow one takes nothing, and the program gets to its end all the same.
    quick.until("finished").await?;
    slow.until("finished").await?;
    ensure!(
        slow.skipped > 0,
        "the slow one was not told that it missed something"
    );
    ensure!(
        slow.seen.len() <= REPLAY_BYTES,
        "more is repeated than is kept: {}",
        slow.seen.len()
    );
    quick.type_in("echo on; exit 3\r").await?;
    let exit = slow.end().await?.ok_or("nobody told the end")?;
    ensure_eq!(exit.code, Some(3), "the code");
    ensure!(slow.has_seen(b"on\r\n"), "it does not go on");
    Ok(())
}

async fn a_flood_is_bounded(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let flood = stage.api.open_terminal(&id, program(&["yes"])).await?.id;
    let other = open(&stage, &id, "exec sh").await?;
    let mut viewer = look(&stage, &id, &flood).await?;
    while viewer.skipped == 0 {
        ensure!(viewer.take().await?, "it ended");
        if viewer.seen.len() > 1 << 20 {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }
    // Nobody else waits for it.
    let mut calm = look(&stage, &id, &other).await?;
    calm.type_in("echo calm; exit\r").await?;
    calm.until("calm\r\n").await?;
    ensure_eq!(
        stage.run(&id, &["true"]).await?.exit.code,
        Some(0),
        "a command beside it"
    );
    viewer
        .attached
        .control
        .write(Bytes::from_static(b"typed"))
        .await?;
    stage.api.close_terminal(&id, &flood).await?;
    viewer.end().await?.ok_or("nobody told the end")?;
    Ok(())
}

async fn closing_ends_everything_in_it(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    // One that nobody hangs up on, where there are real processes.
    let script = if stage.site.has_git() {
        "setsid sh -c 'trap \"\" HUP; while :; do echo x >> beat; sleep 0.02; done' & \
         trap '' HUP; printf ready; while :; do sleep 1; done"
    } else {
        "printf ready; sleep 1000"
    };
    let terminal = open(&stage, &id, script).await?;
    let mut viewer = look(&stage, &id, &terminal).await?;
    viewer.until("ready").await?;
    stage.api.close_terminal(&id, &terminal).await?;
    let beat = async || stage.run(&id, &["sh", "-c", "cat beat 2>/dev/null"]).await;
    let before = beat().await?.stdout.len();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    ensure_eq!(beat().await?.stdout.len(), before, "what was left beats on");
    ensure_eq!(count(&stage, &id).await?, 0, "terminals");
    let exit = viewer.end().await?.ok_or("nobody told the end")?;
    ensure!(exit.code != Some(0), "it is told as a good end: {exit:?}");
    // Again, and one that never was.
    stage.api.close_terminal(&id, &terminal).await?;
    stage.api.close_terminal(&id, &TerminalId::new()).await?;
    Ok(())
}

async fn the_same_key_gives_the_same_terminal(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let keyed = |argv: &[&str]| OpenTerminal {
        idempotency_key: Some("one-and-the-same".to_owned()),
        ..program(argv)
    };
    let first = stage.api.open_terminal(&id, keyed(&["cat"])).await?;
    let larger = OpenTerminal {
        size: size(50, 132),
        ..keyed(&["cat"])
    };
    let again = stage.api.open_terminal(&id, larger).await?;
    ensure_eq!((again.id, again.size), (first.id, first.size), "the terminal");
    ensure_eq!(count(&stage, &id).await?, 1, "terminals");
    refused(
        stage.api.open_terminal(&id, keyed(&["cat", "-"])).await,
        ErrorKind::IdempotencyMismatch,
    )?;
    // A command may have the same key: it is another request.
    let command = CommandRequest {
        idempotency_key: Some("one-and-the-same".to_owned()),
        on_disconnect: OnDisconnect::Detach,
        ..CommandRequest::new(["true"])
    };
    stage.api.command(&id, command).await?;
    stage.api.close_terminal(&id, &first.id).await?;
    refused_with_hint(
        stage.api.open_terminal(&id, keyed(&["cat"])).await,
        ErrorKind::StateConflict,
    )?;
    ensure_eq!(count(&stage, &id).await?, 0, "terminals");
    Ok(())
}

async fn they_end_with_their_session(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let terminal = open(&stage, &id, "printf ready; exec cat").await?;
    let mut viewer = look(&stage, &id, &terminal).await?;
    viewer.until("ready").await?;
    stage.api.destroy(&id).await?;
    // The container is gone, and how the program ended with it is not known.
    let told = viewer.end().await;
    ensure!(told.is_err() || viewer.exit.is_some(), "nobody was told");
    ensure!(!viewer.take().await?, "something follows");
    ensure_eq!(count(&stage, &id).await?, 0, "terminals");
    let after = stage.api.open_terminal(&id, OpenTerminal::default()).await;
    refused_with_hint(after, ErrorKind::StateConflict)?;
    stage.api.close_terminal(&id, &terminal).await?;
    Ok(())
}

async fn a_pause_harms_none(stage: Arc<Stage>) -> Outcome {
    if !stage.site.capability().pause {
        return Ok(());
    }
    let id = stage.session().await?.id;
    let terminal = open(&stage, &id, "printf ready; exec sh").await?;
    let mut viewer = look(&stage, &id, &terminal).await?;
    viewer.until("ready").await?;
    stage.api.pause(&id).await?;
    let refusal = stage.api.open_terminal(&id, OpenTerminal::default()).await;
    refused_with_hint(refusal, ErrorKind::StateConflict)?;
    viewer.type_in("echo while-paused\r").await?;
    stage.api.resume(&id).await?;
    viewer.until("while-paused\r\n").await?;
    viewer.type_in("exit 5\r").await?;
    let exit = viewer.end().await?.ok_or("nobody told the end")?;
    ensure_eq!(exit.code, Some(5), "the code");
    Ok(())
}

async fn there_is_a_most_of_terminals_and_of_viewers(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let mut all = Vec::new();
    for _ in 0..MAX_TERMINALS {
        all.push(stage.api.open_terminal(&id, program(&["cat"])).await?.id);
    }
    let listed: Vec<_> = stage
        .api
        .terminals(&id)
        .await?
        .into_iter()
        .map(|info| info.id)
        .collect();
    ensure_eq!(listed, all, "the terminals, oldest first");
    let more = stage.api.open_terminal(&id, program(&["cat"])).await;
    refused_with_hint(more, ErrorKind::LimitExceeded)?;
    let [first, second, ..] = &all[..] else {
        return Err("there are none".into());
    };
    stage.api.close_terminal(&id, first).await?;
    stage.api.open_terminal(&id, program(&["cat"])).await?;
    let mut viewers = Vec::new();
    for _ in 0..MAX_VIEWERS {
        viewers.push(look(&stage, &id, second).await?);
    }
    let more = stage
        .api
        .attach_terminal(&id, second, TerminalSize::default())
        .await;
    refused_with_hint(more, ErrorKind::LimitExceeded)?;
    viewers.pop();
    stage
        .until(async || {
            let free = stage
                .api
                .attach_terminal(&id, second, TerminalSize::default())
                .await;
            Ok(free.is_ok())
        })
        .await
}

async fn one_of_another_session_is_not_there(stage: Arc<Stage>) -> Outcome {
    let (one, two) = (stage.session().await?.id, stage.session().await?.id);
    let terminal = open(&stage, &one, "printf ready; exec sh").await?;
    let foreign = stage
        .api
        .attach_terminal(&two, &terminal, TerminalSize::default())
        .await;
    refused_with_hint(foreign, ErrorKind::NotFound)?;
    ensure_eq!(count(&stage, &two).await?, 0, "terminals of the other");
    stage.api.close_terminal(&two, &terminal).await?;
    let nobody = SessionId::new();
    refused(stage.api.terminals(&nobody).await, ErrorKind::NotFound)?;
    refused(
        stage.api.close_terminal(&nobody, &terminal).await,
        ErrorKind::NotFound,
    )?;
    let opened = stage.api.open_terminal(&nobody, OpenTerminal::default()).await;
    refused(opened, ErrorKind::NotFound)?;
    let mut viewer = look(&stage, &one, &terminal).await?;
    viewer.until("ready").await?;
    viewer.type_in("echo alive\r").await?;
    viewer.until("alive\r\n").await
}

async fn what_no_terminal_can_be_is_refused(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    for size in [size(0, 80), size(24, 0), size(1001, 80), size(24, u16::MAX)] {
        let request = OpenTerminal {
            size,
            ..OpenTerminal::default()
        };
        refused(
            stage.api.open_terminal(&id, request).await,
            ErrorKind::InvalidArgument,
        )?;
    }
    for argv in [&[][..], &[""], &["a\0b"]] {
        let refusal = stage.api.open_terminal(&id, program(argv)).await;
        refused(refusal, ErrorKind::InvalidArgument)?;
    }
    let missing = stage.api.open_terminal(&id, program(&["no-such-program"])).await;
    refused_with_hint(missing, ErrorKind::ProgramNotFound)?;
    ensure_eq!(count(&stage, &id).await?, 0, "terminals");
    let terminal = open(&stage, &id, "exec cat").await?;
    let attached = stage.api.attach_terminal(&id, &terminal, size(0, 0)).await;
    refused(attached, ErrorKind::InvalidArgument)?;
    let viewer = look(&stage, &id, &terminal).await?;
    let resized = viewer.attached.control.resize(size(1, 1001)).await;
    refused(resized, ErrorKind::InvalidArgument)?;
    // A command's id is no terminal's.
    let command = stage
        .api
        .command(&id, CommandRequest::new(["sleep", "1000"]))
        .await?;
    let disguised: TerminalId = command.id.to_string().parse()?;
    let refusal = stage
        .api
        .attach_terminal(&id, &disguised, TerminalSize::default())
        .await;
    refused(refusal, ErrorKind::NotFound).map(drop)
}

/// Types and then presses enter, as people do: what comes at once is taken for something pasted.
async fn enter(viewer: &Viewer, text: &'static str) -> Outcome {
    viewer.type_in(text).await?;
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    viewer.type_in("\r").await
}

fn agent() -> OpenTerminal {
    OpenTerminal {
        program: TerminalProgram::Agent,
        size: size(40, 120),
        idempotency_key: None,
    }
}

async fn the_agents_own_interface_has_the_conversation_for_as_long_as_it_is_open(
    stage: Arc<Stage>,
) -> Outcome {
    let id = stage.session().await?.id;
    stage.prompt(&id, Act::Say("First.".to_owned())).await?;
    let info = stage.api.open_terminal(&id, agent()).await?;
    ensure_eq!(info.program, TerminalProgram::Agent, "the program");
    let mut viewer = Viewer::of(&stage, &id, &info.id, info.size).await?;
    viewer.until("Claude").await?;
    refused_with_hint(stage.api.open_terminal(&id, agent()).await, ErrorKind::Busy)?;
    // No question comes before the first prompt.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    stage.site.script(Act::Say("Typed-answer.".to_owned()));
    enter(&viewer, "A person asks").await?;
    viewer.until("Typed-answer.").await?;
    stage.site.script(Act::Say("Third.".to_owned()));
    let turn = stage.api.prompt(&id, prompt("Go on.")).await?;
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    let waiting = stage.api.turn(&id, &turn.id).await?;
    ensure_eq!(
        waiting.status,
        TurnStatus::Queued,
        "the turn while the interface is open"
    );
    enter(&viewer, "/exit").await?;
    let exit = viewer.end().await?.ok_or("nobody told the end")?;
    ensure_eq!(exit.cause, ExitCause::Exited, "the end");
    let outcome = stage.api.wait_turn(&turn).await?;
    ensure_eq!(
        (outcome.status, outcome.text.as_str()),
        (TurnStatus::Succeeded, "Third."),
        "the turn"
    );
    let mut told = stage.stored(&id).await?;
    // An image without git has another problem to tell.
    told.retain(
        |event| matches!(&event.kind, EventKind::Problem { error } if error.code == ErrorKind::AgentFailed),
    );
    ensure!(told.is_empty(), "the conversation was lost: {told:?}");
    Ok(())
}

async fn the_agents_own_interface_waits_for_no_turn(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    stage.site.script(Act::Work);
    let turn = stage.api.prompt(&id, prompt("Work.")).await?;
    stage
        .until(async || Ok(stage.api.turn(&id, &turn.id).await?.status == TurnStatus::Running))
        .await?;
    refused_with_hint(stage.api.open_terminal(&id, agent()).await, ErrorKind::Busy)?;
    ensure!(stage.api.interrupt(&id).await?, "there was nothing to interrupt");
    let outcome = stage.api.wait_turn(&turn).await?;
    ensure_eq!(outcome.status, TurnStatus::Interrupted, "the turn");
    // Closed as any other, and the agent takes prompts again.
    let terminal = stage.api.open_terminal(&id, agent()).await?.id;
    stage.api.close_terminal(&id, &terminal).await?;
    let outcome = stage.prompt(&id, Act::Say("Back.".to_owned())).await?;
    ensure_eq!(outcome.text, "Back.", "what the agent said");
    Ok(())
}
