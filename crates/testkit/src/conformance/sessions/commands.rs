//! Commands: vectors in, both streams and the way it ended out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use libtest_mimic::Failed;
use session_core::command::{
    CommandEvent, CommandRequest, ExitCause, OnDisconnect, OutputStream, RunningCommand,
};
use session_core::error::ErrorKind;
use session_core::event::EventKind;
use session_core::session::CreateSession;

use super::stage::Stage;
use crate::conformance::archives::Tar;
use crate::conformance::{Case, Outcome, cases, refused};

pub(super) fn cases() -> Vec<Case<Stage>> {
    cases!["commands":
        exit_codes_come_back,
        the_two_streams_are_apart_and_in_order,
        arguments_arrive_byte_for_byte,
        a_program_that_is_missing_is_127,
        a_program_that_cannot_be_executed_is_126,
        a_working_directory_that_is_missing_is_told_apart,
        a_signal_is_told_apart_from_an_exit,
        a_time_limit_ends_it,
        an_output_limit_ends_it,
        running_out_of_memory_is_told_apart,
        input_arrives_and_ends,
        environment_and_directory_are_as_asked,
        its_caller_can_signal_it,
        it_ends_with_its_caller_unless_it_was_detached,
        a_detached_one_is_read_again_from_any_offset,
        a_flood_that_nobody_reads_blocks_nobody_else,
        many_at_once_do_not_mix,
        start_and_end_are_events,
    ]
}

async fn exit_codes_come_back(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    for (argv, code) in [
        (vec!["true"], 0),
        (vec!["false"], 1),
        (vec!["sh", "-c", "exit 42"], 42),
        (vec!["sh", "-c", "exit 255"], 255),
    ] {
        let exit = stage.run(&id, &argv).await?.exit;
        ensure_eq!(
            (exit.cause, exit.code, exit.signal),
            (ExitCause::Exited, Some(code), None),
            "the end"
        );
        ensure_eq!(exit.shell_code(), code, "the code of a shell");
    }
    Ok(())
}

async fn the_two_streams_are_apart_and_in_order(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let script = "echo one; echo two >&2; echo three; echo four >&2; exit 3";
    let output = stage.run(&id, &["sh", "-c", script]).await?;
    ensure_eq!(output.stdout, b"one\nthree\n", "standard output");
    ensure_eq!(output.stderr, b"two\nfour\n", "standard error");
    ensure_eq!(output.exit.code, Some(3), "the code");
    ensure_eq!(output.exit.output_bytes, 19, "the bytes of both");
    ensure!(!output.truncated, "it was cut");
    Ok(())
}

async fn arguments_arrive_byte_for_byte(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let odd: [&[u8]; 7] = [
        b"",
        b"two words",
        b"new\nline",
        b"$(id) `id` ; & | > '\"\\",
        b"\xff\xfe invalid \x80",
        b"-n",
        "täxt".as_bytes(),
    ];
    let mut argv: Vec<Vec<u8>> = vec![b"printf".to_vec(), b"[%s]".to_vec()];
    argv.extend(odd.iter().map(|argument| argument.to_vec()));
    let output = stage.run_request(&id, CommandRequest::new(argv)).await?;
    let expected: Vec<u8> = odd
        .iter()
        .flat_map(|argument| [b"[".as_slice(), argument, b"]"].concat())
        .collect();
    ensure_eq!(output.stdout, expected, "what printf got");
    let long = "x".repeat(120 << 10);
    let output = stage.run(&id, &["printf", "%s", &long]).await?;
    ensure!(output.stdout == long.as_bytes(), "a long argument did not arrive");
    Ok(())
}

async fn a_program_that_is_missing_is_127(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    for program in [
        "no-such-program",
        "/workspace/no-such-program",
        "./no-such-program",
    ] {
        let exit = stage.run(&id, &[program]).await?.exit;
        ensure_eq!(
            (exit.cause, exit.shell_code()),
            (ExitCause::NotFound, 127),
            "the end"
        );
    }
    ensure_eq!(
        stage.run(&id, &["true"]).await?.exit.code,
        Some(0),
        "a command afterwards"
    );
    Ok(())
}

async fn a_program_that_cannot_be_executed_is_126(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    stage
        .api
        .copy_in(&id, ".", Tar::new().file("text", b"no program").stream())
        .await?;
    let exit = stage.run(&id, &["./text"]).await?.exit;
    ensure_eq!(
        (exit.cause, exit.shell_code()),
        (ExitCause::NotExecutable, 126),
        "the end"
    );
    let exit = stage.run(&id, &["/tmp"]).await?.exit;
    ensure_eq!(
        (exit.cause, exit.shell_code()),
        (ExitCause::NotExecutable, 126),
        "the end of a directory"
    );
    Ok(())
}

async fn a_working_directory_that_is_missing_is_told_apart(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let request = CommandRequest {
        cwd: Some("no/such/directory".to_owned()),
        ..CommandRequest::new(["true"])
    };
    ensure_eq!(
        stage.run_request(&id, request).await?.exit.cause,
        ExitCause::BadWorkingDirectory,
        "the end"
    );
    Ok(())
}

async fn a_signal_is_told_apart_from_an_exit(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    for signal in [9, 15] {
        let exit = stage
            .run(&id, &["sh", "-c", &format!("kill -{signal} $$")])
            .await?
            .exit;
        ensure_eq!(
            (exit.cause, exit.code, exit.signal),
            (ExitCause::Signaled, None, Some(signal)),
            "the end"
        );
        ensure_eq!(exit.shell_code(), 128 + signal, "the code of a shell");
    }
    Ok(())
}

async fn a_time_limit_ends_it(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let limit = Duration::from_millis(200);
    let request = CommandRequest {
        time_limit: Some(limit),
        ..CommandRequest::new(["sleep", "1000"])
    };
    let began = Instant::now();
    let exit = stage.run_request(&id, request).await?.exit;
    ensure_eq!(
        (exit.cause, exit.shell_code()),
        (ExitCause::TimedOut, 124),
        "the end"
    );
    ensure!(began.elapsed() >= limit, "it ended before its time");
    ensure!(
        exit.duration_ms >= 200,
        "it says that it took {} ms",
        exit.duration_ms
    );
    Ok(())
}

async fn an_output_limit_ends_it(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let request = CommandRequest {
        output_limit: Some(100_000),
        ..CommandRequest::new(["yes"])
    };
    let output = stage.run_request(&id, request).await?;
    ensure_eq!(output.exit.cause, ExitCause::OutputLimit, "the end");
    ensure_eq!(output.stdout.len(), 100_000, "what came of its output");
    Ok(())
}

async fn running_out_of_memory_is_told_apart(stage: Arc<Stage>) -> Outcome {
    let limits = session_core::runtime::ResourceLimits {
        memory_bytes: 96 << 20,
        ..Default::default()
    };
    let id = stage
        .create(CreateSession {
            limits: Some(limits),
            ..stage.site.request()
        })
        .await?
        .id;
    let exit = stage.run(&id, &["tail", "/dev/zero"]).await?.exit;
    ensure_eq!(exit.cause, ExitCause::OutOfMemory, "the end");
    ensure_eq!(
        stage.run(&id, &["true"]).await?.exit.code,
        Some(0),
        "a command afterwards"
    );
    Ok(())
}

async fn input_arrives_and_ends(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let mut running = stage
        .api
        .command(
            &id,
            CommandRequest {
                stdin: true,
                ..CommandRequest::new(["cat"])
            },
        )
        .await?;
    let input = Bytes::from((0..=u8::MAX).collect::<Vec<u8>>().repeat(1000));
    running.control.write(input.slice(..1000)).await?;
    running.control.write(input.slice(1000..)).await?;
    running.control.close_stdin().await?;
    let (output, _) = drain(&mut running, OutputStream::Stdout).await?;
    ensure!(
        output == input,
        "what came back is not what went in: {} of {} bytes",
        output.len(),
        input.len()
    );
    // Without input there is nothing to read, and no wait for it.
    ensure_eq!(
        stage.run(&id, &["cat"]).await?.stdout,
        b"",
        "what is read without input"
    );
    Ok(())
}

/// Everything of one stream, and the cause of the end.
async fn drain(running: &mut RunningCommand, wanted: OutputStream) -> Result<(Vec<u8>, ExitCause), Failed> {
    let mut output = Vec::new();
    while let Some(event) = running.events.next().await {
        match event? {
            CommandEvent::Output { stream, bytes, .. } if stream == wanted => {
                output.extend_from_slice(&bytes)
            }
            CommandEvent::Output { .. } => {}
            CommandEvent::Gap { from, to } => return Err(format!("lost {from} to {to}").into()),
            CommandEvent::Exited(exit) => return Ok((output, exit.cause)),
        }
    }
    Err("the end was not told".into())
}

async fn environment_and_directory_are_as_asked(stage: Arc<Stage>) -> Outcome {
    let env = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut request = stage.site.request();
    request
        .env
        .extend([env("OF_SESSION", "one"), env("OF_BOTH", "session")]);
    let id = stage.create(request).await?.id;
    stage.run(&id, &["mkdir", "sub"]).await?;
    let command = CommandRequest {
        env: [env("OF_COMMAND", "two"), env("OF_BOTH", "command")].into(),
        cwd: Some("sub".to_owned()),
        ..CommandRequest::new(["sh", "-c", "pwd; echo $OF_SESSION $OF_COMMAND $OF_BOTH $HOME"])
    };
    let output = stage.run_request(&id, command).await?;
    let expected = "/workspace/sub\none two command /home/agent\n";
    ensure_eq!(String::from_utf8_lossy(&output.stdout), expected, "what it finds");
    Ok(())
}

async fn its_caller_can_signal_it(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let mut running = stage
        .api
        .command(&id, CommandRequest::new(["sleep", "1000"]))
        .await?;
    refused(running.control.signal(99).await, ErrorKind::InvalidArgument)?;
    running.control.signal(15).await?;
    let (_, cause) = drain(&mut running, OutputStream::Stdout).await?;
    ensure_eq!(cause, ExitCause::Signaled, "the end");
    Ok(())
}

/// How many commands run in the session.
async fn running_commands(stage: &Stage, id: &session_core::id::SessionId) -> Result<u64, Failed> {
    let details = stage.api.inspect(id).await?;
    Ok(details.resources.ok_or("it is not said what it uses")?.pids)
}

async fn it_ends_with_its_caller_unless_it_was_detached(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let idle = running_commands(&stage, &id).await?;
    let detach = CommandRequest {
        on_disconnect: OnDisconnect::Detach,
        ..CommandRequest::new(["sleep", "1000"])
    };
    let kept = stage.api.command(&id, detach).await?;
    let ended = stage
        .api
        .command(&id, CommandRequest::new(["sleep", "1000"]))
        .await?;
    stage
        .until(async || Ok(running_commands(&stage, &id).await? > idle))
        .await?;
    let both = running_commands(&stage, &id).await?;
    let (kept_id, ended_id) = (kept.id, ended.id);
    drop((kept, ended));
    stage
        .until(async || Ok(running_commands(&stage, &id).await? < both))
        .await?;
    stage
        .until(async || Ok(stage.api.attach_command(&id, &ended_id, 0).await.is_err()))
        .await?;
    let mut kept = stage.api.attach_command(&id, &kept_id, 0).await?;
    kept.control.signal(9).await?;
    drain(&mut kept, OutputStream::Stdout).await?;
    Ok(())
}

async fn a_detached_one_is_read_again_from_any_offset(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let request = CommandRequest {
        on_disconnect: OnDisconnect::Detach,
        stdin: true,
        ..CommandRequest::new(["sh", "-c", "echo 0123456789; cat"])
    };
    let mut running = stage.api.command(&id, request).await?;
    let Some(Ok(CommandEvent::Output { bytes, .. })) = running.events.next().await else {
        return Err("there was no output".into());
    };
    ensure_eq!(bytes, "0123456789\n", "the first output");
    let command = running.id;
    drop(running);
    for offset in [4, 0, 10] {
        let mut again = stage.api.attach_command(&id, &command, offset).await?;
        let Some(Ok(CommandEvent::Output {
            offset: at, bytes, ..
        })) = again.events.next().await
        else {
            return Err("there was no output".into());
        };
        let skip = usize::try_from(offset)?;
        ensure_eq!(
            (at, &bytes[..]),
            (offset, &b"0123456789\n"[skip..]),
            "the output from there"
        );
    }
    let mut last = stage.api.attach_command(&id, &command, 11).await?;
    last.control.write(Bytes::from_static(b"more\n")).await?;
    last.control.close_stdin().await?;
    let (output, cause) = drain(&mut last, OutputStream::Stdout).await?;
    ensure_eq!(
        (&output[..], cause),
        (&b"more\n"[..], ExitCause::Exited),
        "the rest"
    );
    stage
        .until(async || Ok(stage.api.attach_command(&id, &command, 0).await.is_err()))
        .await?;
    refused(
        stage.api.attach_command(&id, &command, 0).await,
        ErrorKind::NotFound,
    )?;
    Ok(())
}

async fn a_flood_that_nobody_reads_blocks_nobody_else(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let mut flood = stage.api.command(&id, CommandRequest::new(["yes"])).await?;
    ensure!(flood.events.next().await.is_some(), "there is no flood");
    for _ in 0..20 {
        ensure_eq!(
            stage.run(&id, &["echo", "quick"]).await?.stdout,
            b"quick\n",
            "what another command said"
        );
    }
    // Read on: what waited is whole and in order.
    let mut next = None;
    for _ in 0..50 {
        let Some(Ok(CommandEvent::Output { offset, bytes, .. })) = flood.events.next().await else {
            return Err("the flood dried up".into());
        };
        ensure!(
            next.is_none_or(|next| next == offset),
            "bytes are missing before {offset}"
        );
        next = Some(offset + bytes.len() as u64);
    }
    Ok(())
}

async fn many_at_once_do_not_mix(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let runs = (0..24).map(|number| {
        let stage = stage.clone();
        async move {
            let word = format!("word-{number}");
            let output = stage
                .run(&id, &["sh", "-c", "echo $1; echo $1 >&2", "sh", &word])
                .await?;
            ensure_eq!(output.stdout, format!("{word}\n").into_bytes(), "standard output");
            ensure_eq!(output.stderr, format!("{word}\n").into_bytes(), "standard error");
            Ok::<(), Failed>(())
        }
    });
    futures::future::try_join_all(runs).await?;
    Ok(())
}

async fn start_and_end_are_events(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    stage.run(&id, &["sh", "-c", "exit 5"]).await?;
    stage
        .until(async || {
            let events = stage.stored(&id).await?;
            let started = events.iter().any(
                |event| matches!(&event.kind, EventKind::CommandStarted { argv, .. } if argv.len() == 3),
            );
            let ended = events
                .iter()
                .any(|event| matches!(&event.kind, EventKind::CommandFinished { code: Some(5), .. }));
            Ok(started && ended)
        })
        .await
}
