//! Programs of the gateway: in a session's container or in one of their own, owned by whoever holds their stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use libtest_mimic::Failed;
use session_core::error::ErrorKind;
use session_core::event::EventKind;
use session_core::gateway::{EGRESS_PORT, ProgramPlace, ProgramSpec, RunningProgram, SidecarSpec};
use session_core::id::SessionId;
use session_core::session::{CreateSession, PromptRequest, SIDECAR_LABEL, SessionFilter, SessionInfo};
use session_core::state::SessionState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stage::Stage;
use crate::conformance::{Case, Outcome, cases, refused, refused_with_hint};

pub(super) fn cases() -> Vec<Case<Stage>> {
    cases!["programs":
        bytes_go_both_ways_and_errors_stay_apart,
        one_in_a_session_has_its_environment_and_is_no_command,
        the_end_of_the_input_and_of_the_program_are_told,
        one_that_cannot_be_started_says_so_by_its_end,
        dropping_the_stream_ends_it_with_all_it_started,
        a_flood_that_nobody_reads_waits_and_loses_nothing,
        errors_that_nobody_reads_hold_up_nothing,
        one_in_a_session_ends_with_it,
        a_sidecar_is_sealed_hidden_and_gone_with_its_program,
        a_sidecar_goes_when_its_stream_is_dropped,
        a_sidecar_that_cannot_be_made_leaves_nothing,
        a_sidecar_has_no_agent,
        what_no_program_can_be_is_refused,
    ]
}

fn program(argv: &[&str]) -> ProgramSpec {
    ProgramSpec {
        argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
        env: BTreeMap::new(),
        cwd: None,
    }
}

fn sidecar(name: &str) -> SidecarSpec {
    SidecarSpec {
        name: name.to_owned(),
        image: None,
        allow: Vec::new(),
        mounts: Vec::new(),
        limits: None,
    }
}

async fn in_session(stage: &Stage, id: &SessionId, argv: &[&str]) -> Result<RunningProgram, Failed> {
    let place = ProgramPlace::Session(*id);
    Ok(stage.site.start_program(place, program(argv)).await?)
}

async fn in_sidecar(stage: &Stage, name: &str, argv: &[&str]) -> Result<RunningProgram, Failed> {
    let place = ProgramPlace::Sidecar(sidecar(name));
    Ok(stage.site.start_program(place, program(argv)).await?)
}

/// Sidecars as they are listed when somebody asks for them.
async fn sidecars(stage: &Stage, name: &str) -> Result<Vec<SessionInfo>, Failed> {
    let filter = SessionFilter {
        all: false,
        labels: [(SIDECAR_LABEL.to_owned(), name.to_owned())].into(),
        ..SessionFilter::default()
    };
    Ok(stage.api.list(filter).await?)
}

/// Everything that it says, up to its end.
async fn to_end(running: &mut RunningProgram) -> Result<String, Failed> {
    let mut said = String::new();
    running.stream.read_to_string(&mut said).await?;
    Ok(said)
}

async fn line(running: &mut RunningProgram) -> Result<String, Failed> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.push(running.stream.read_u8().await?);
    }
    Ok(String::from_utf8(line)?)
}

async fn pids(stage: &Stage, id: &SessionId) -> Result<u64, Failed> {
    let details = stage.api.inspect(id).await?;
    Ok(details.resources.ok_or("it is not said what it uses")?.pids)
}

async fn bytes_go_both_ways_and_errors_stay_apart(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let mut running = in_session(&stage, &id, &["sh", "-c", "echo aside >&2; cat"]).await?;
    for word in ["one\n", "two\n", "\u{0}\u{1}three\n"] {
        running.stream.write_all(word.as_bytes()).await?;
        running.stream.flush().await?;
        ensure_eq!(line(&mut running).await?, word, "what came back");
    }
    let aside = running.stderr.next().await.ok_or("no errors came")?;
    ensure_eq!(aside, "aside\n", "standard error");
    // More than any buffer on the way holds, in both directions at once.
    let big: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    let (mut reader, mut writer) = tokio::io::split(running.stream);
    let writing = async {
        writer.write_all(&big).await?;
        writer.shutdown().await
    };
    let mut back = Vec::new();
    let (written, read) = tokio::join!(writing, reader.read_to_end(&mut back));
    written?;
    read?;
    ensure!(back == big, "{} bytes came back otherwise", back.len());
    ensure_eq!(running.ended.await, "it ended with exit code 0", "the end");
    Ok(())
}

async fn one_in_a_session_has_its_environment_and_is_no_command(stage: Arc<Stage>) -> Outcome {
    let mut request = stage.site.request();
    request.env.insert("OF_SESSION".to_owned(), "1".to_owned());
    request.env.insert("OF_BOTH".to_owned(), "session".to_owned());
    let id = stage.create(request).await?.id;
    let spec = ProgramSpec {
        env: [("OF_BOTH", "program"), ("OF_PROGRAM", "2")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        cwd: Some("/tmp".to_owned()),
        ..program(&["sh", "-c", "pwd; id -u; env"])
    };
    let place = ProgramPlace::Session(id);
    let said = to_end(&mut stage.site.start_program(place, spec).await?).await?;
    let uid = stage.api.inspect(&id).await?.info.user.uid;
    for expected in [
        "/tmp".to_owned(),
        uid.to_string(),
        "OF_SESSION=1".to_owned(),
        "OF_BOTH=program".to_owned(),
        "OF_PROGRAM=2".to_owned(),
        format!("HTTP_PROXY=http://127.0.0.1:{EGRESS_PORT}"),
    ] {
        ensure!(
            said.lines().any(|line| line == expected),
            "{expected} is not in {said}"
        );
    }
    ensure!(
        !said.contains("cofferdam-session-"),
        "the session's token is in {said}"
    );
    let events = stage.stored(&id).await?;
    let commands = events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::CommandStarted { .. }));
    ensure_eq!(commands.count(), 0, "commands that were told of");
    Ok(())
}

async fn the_end_of_the_input_and_of_the_program_are_told(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let mut counting = in_session(&stage, &id, &["wc", "-c"]).await?;
    counting.stream.write_all(b"12345").await?;
    counting.stream.shutdown().await?;
    ensure_eq!(
        to_end(&mut counting).await?.trim(),
        "5",
        "what was read up to the end"
    );
    let mut failing = in_session(&stage, &id, &["sh", "-c", "echo last words; exit 7"]).await?;
    ensure_eq!(to_end(&mut failing).await?, "last words\n", "what it said");
    ensure_eq!(failing.ended.await, "it ended with exit code 7", "the end");
    let mut killed = in_session(&stage, &id, &["sh", "-c", "kill -9 $$"]).await?;
    to_end(&mut killed).await?;
    ensure_eq!(killed.ended.await, "signal 9 ended it", "the end");
    Ok(())
}

async fn one_that_cannot_be_started_says_so_by_its_end(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    for (argv, told) in [
        ("no-such-program", "its program is not in the session"),
        ("/tmp", "its program cannot be executed in this image"),
    ] {
        let mut running = in_session(&stage, &id, &[argv]).await?;
        ensure_eq!(to_end(&mut running).await?, "", "what it said");
        ensure_eq!(running.ended.await, told, "the end");
    }
    Ok(())
}

async fn dropping_the_stream_ends_it_with_all_it_started(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let idle = pids(&stage, &id).await?;
    // It does not care for the end of its input, nor for a polite request.
    let script = "trap '' TERM HUP; echo up; sleep 1000; sleep 1000";
    let script = if stage.site.has_git() {
        script
    } else {
        "echo up; sleep 1000"
    };
    let mut running = in_session(&stage, &id, &["sh", "-c", script]).await?;
    ensure_eq!(line(&mut running).await?, "up\n", "what it said");
    ensure!(pids(&stage, &id).await? > idle, "it does not run");
    running.stream.shutdown().await?;
    let RunningProgram { stream, ended, .. } = running;
    drop(stream);
    ensure!(ended.await.starts_with("it was ended"), "it ended by itself");
    ensure_eq!(pids(&stage, &id).await?, idle, "the processes that are left");
    Ok(())
}

async fn a_flood_that_nobody_reads_waits_and_loses_nothing(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let mut flood = in_session(&stage, &id, &["yes", "0123456"]).await?;
    let mut first = [0; 8];
    flood.stream.read_exact(&mut first).await?;
    ensure_eq!(&first, b"0123456\n", "the first line");
    for _ in 0..20 {
        let said = stage.run(&id, &["echo", "quick"]).await?.stdout;
        ensure_eq!(said, b"quick\n", "what a command said meanwhile");
    }
    let mut bytes = vec![0; 8 << 20];
    flood.stream.read_exact(&mut bytes).await?;
    ensure!(
        bytes.chunks(8).all(|line| line == b"0123456\n"),
        "bytes are missing in between"
    );
    Ok(())
}

async fn errors_that_nobody_reads_hold_up_nothing(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let noise = "x".repeat(100_000);
    let script = "echo $1 >&2; echo $1 >&2; echo $1 >&2; echo $1 >&2; echo $1 >&2; echo $1 >&2; echo done";
    let mut running = in_session(&stage, &id, &["sh", "-c", script, "sh", &noise]).await?;
    ensure_eq!(to_end(&mut running).await?, "done\n", "what it said");
    let mut kept = 0;
    while let Some(piece) = running.stderr.next().await {
        kept += piece.len();
    }
    ensure!((1..=600_006).contains(&kept), "{kept} bytes of errors were kept");
    ensure!(kept <= 512 << 10, "{kept} bytes of errors were kept for nobody");
    Ok(())
}

async fn one_in_a_session_ends_with_it(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let mut running = in_session(&stage, &id, &["cat"]).await?;
    running.stream.write_all(b"here\n").await?;
    ensure_eq!(line(&mut running).await?, "here\n", "what came back");
    stage.api.destroy(&id).await?;
    ensure_eq!(to_end(&mut running).await?, "", "what it said at last");
    ensure!(!running.ended.await.is_empty(), "nobody said why it ended");
    let place = ProgramPlace::Session(id);
    let after = stage.site.start_program(place, program(&["cat"])).await;
    refused_with_hint(after, ErrorKind::StateConflict)?;
    let place = ProgramPlace::Session(SessionId::new());
    let nowhere = stage.site.start_program(place, program(&["cat"])).await;
    refused(nowhere, ErrorKind::NotFound)?;
    Ok(())
}

async fn a_sidecar_is_sealed_hidden_and_gone_with_its_program(stage: Arc<Stage>) -> Outcome {
    let mut spec = sidecar("files");
    spec.allow = vec!["example.com:443".parse()?];
    let place = ProgramPlace::Sidecar(spec);
    let mut running = stage
        .site
        .start_program(place, program(&["sh", "-c", "id -u; env; cat"]))
        .await?;
    let uid = line(&mut running).await?;
    ensure!(uid.trim() != "0", "it runs as root");
    let shown = stage.api.list(SessionFilter::default()).await?;
    ensure_eq!(shown.len(), 0, "the sessions that people see");
    let of_it = sidecars(&stage, "files").await?;
    let [info] = &of_it[..] else {
        return Err(format!("{} sidecars", of_it.len()).into());
    };
    ensure_eq!(info.name.as_deref(), Some("files"), "its name");
    ensure_eq!(
        info.network,
        session_core::runtime::NetworkMode::Sealed,
        "its network"
    );
    ensure_eq!(info.allow.len(), 1, "the hosts that it may reach");
    ensure_eq!(info.mcp, None, "the servers of a server");
    running.stream.shutdown().await?;
    let said = to_end(&mut running).await?;
    ensure!(
        said.contains(&format!("HTTPS_PROXY=http://127.0.0.1:{EGRESS_PORT}")),
        "it is not told the way out: {said}"
    );
    ensure_eq!(running.ended.await, "it ended with exit code 0", "the end");
    stage
        .until(async || Ok(sidecars(&stage, "files").await?.is_empty()))
        .await?;
    stage.expect_gone(&info.id).await
}

async fn a_sidecar_goes_when_its_stream_is_dropped(stage: Arc<Stage>) -> Outcome {
    let (one, two) = tokio::join!(
        in_sidecar(&stage, "one", &["cat"]),
        in_sidecar(&stage, "two", &["cat"])
    );
    let (one, mut two) = (one?, two?);
    let info = sidecars(&stage, "one").await?.pop().ok_or("there is none")?;
    drop(one);
    stage
        .until(async || Ok(sidecars(&stage, "one").await?.is_empty()))
        .await?;
    stage.expect_gone(&info.id).await?;
    two.stream.write_all(b"still here\n").await?;
    ensure_eq!(line(&mut two).await?, "still here\n", "what the other says");
    Ok(())
}

async fn a_sidecar_that_cannot_be_made_leaves_nothing(stage: Arc<Stage>) -> Outcome {
    let mut spec = sidecar("missing");
    spec.image = Some(stage.site.missing_image());
    let started = stage
        .site
        .start_program(ProgramPlace::Sidecar(spec), program(&["cat"]))
        .await;
    refused_with_hint(started, ErrorKind::ImageNotFound)?;
    ensure_eq!(sidecars(&stage, "missing").await?.len(), 0, "sidecars");
    // One that is there and whose program cannot even be asked for.
    let started = stage
        .site
        .start_program(ProgramPlace::Sidecar(sidecar("empty")), program(&[]))
        .await;
    refused(started, ErrorKind::InvalidArgument)?;
    stage
        .until(async || Ok(sidecars(&stage, "empty").await?.is_empty()))
        .await
}

async fn a_sidecar_has_no_agent(stage: Arc<Stage>) -> Outcome {
    let running = in_sidecar(&stage, "quiet", &["cat"]).await?;
    let info = sidecars(&stage, "quiet").await?.pop().ok_or("there is none")?;
    ensure_eq!(info.state, SessionState::Ready, "its state");
    let request = PromptRequest {
        prompt: "Hello".to_owned(),
        ..PromptRequest::default()
    };
    refused_with_hint(
        stage.api.prompt(&info.id, request).await,
        ErrorKind::StateConflict,
    )?;
    let label = |key: &str| CreateSession {
        labels: [(key.to_owned(), "mine".to_owned())].into(),
        ..stage.site.request()
    };
    refused_with_hint(
        stage.api.create(label(SIDECAR_LABEL)).await,
        ErrorKind::InvalidArgument,
    )?;
    drop(running);
    Ok(())
}

async fn what_no_program_can_be_is_refused(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let secret = ProgramSpec {
        env: [("GITHUB_TOKEN".to_owned(), "canary".to_owned())].into(),
        ..program(&["cat"])
    };
    for spec in [program(&[]), program(&["a\0b"]), secret] {
        let started = stage.site.start_program(ProgramPlace::Session(id), spec).await;
        let error = refused(started, ErrorKind::InvalidArgument)?;
        ensure!(!format!("{error:?}").contains("canary"), "a secret is told");
    }
    // Nothing of it is left to be waited for.
    tokio::time::timeout(Duration::from_secs(20), stage.api.destroy(&id)).await??;
    Ok(())
}
