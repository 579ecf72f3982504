//! Output that nobody reads, by each way there is: a command whose caller is there and does not read, one whose caller has
//! gone, and a terminal with a viewer who does not look. What it costs is looked at from outside, all the time.

use std::time::Duration;

use futures::StreamExt as _;
use session_core::api::{SessionApi, SessionApiExt as _};
use session_core::command::{CommandEvent, CommandExit, CommandRequest, OnDisconnect};
use session_core::id::SessionId;
use session_core::terminal::{AttachedTerminal, OpenTerminal, TerminalEvent, TerminalProgram, TerminalSize};
use xtask::error::{Context, Error, Result};

use super::super::Lab;
use super::super::cases::Figures;
use super::super::memory::resident;
use super::super::served::Served;

/// What is written is so many times this: 10 GiB, or less in a short run.
const PART: u64 = 256 << 20;
const PARTS: u32 = 40;
/// The part of all that goes through a terminal, which is slower by design: no screen shows so much.
const OF_TERMINAL: u64 = 10;
const PATIENCE: Duration = Duration::from_secs(900);
/// How often the daemon's memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_millis(250);
/// What says inside that the command has written all.
const WRITTEN: &str = "/tmp/all-is-written";

/// By how much the daemon grew at most, from when its session had run its first command.
pub(in super::super) async fn unread(lab: &mut Lab) -> Result<Figures> {
    let bytes = lab.rounds(PARTS) as u64 * PART;
    let served = Served::start(lab).await?;
    let measured = flood(&served, bytes).await;
    served.stop().await?;
    Ok(Figures::Bytes(measured?))
}

async fn flood(served: &Served, bytes: u64) -> Result<u64> {
    let session = served.sessions(1).await?[0];
    run(served, &session, &["true"]).await?;
    let before = served.resident().await?;
    let process = served.daemon.process().await?;
    let writing = tokio::time::timeout(PATIENCE, write(served, &session, bytes));
    let (most, written) = highest(process, writing).await?;
    written.context(|| "the output does not end".to_owned())??;
    Ok(most.saturating_sub(before))
}

/// Polls `work` to its end and says how much memory the process had at most meanwhile.
async fn highest<T>(process: u32, work: impl Future<Output = T>) -> Result<(u64, T)> {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut most = 0;
    tokio::pin!(work);
    loop {
        // The work is kept outside of the loop, and a tick that is not taken comes again.
        tokio::select! {
            done = &mut work => return Ok((most.max(resident(process)?), done)),
            _ = looks.tick() => most = most.max(resident(process)?),
        }
    }
}

async fn write(served: &Served, session: &SessionId, bytes: u64) -> Result<()> {
    // It is waited for, as at the other end of a pipe: it fills what there is to be filled on its way, and stays.
    let waiting = served
        .daemon
        .sessions()
        .command(session, head(u64::MAX >> 1))
        .await;
    let waiting = waiting.context(|| "cannot start a command".to_owned())?;
    let of_terminal = bytes / OF_TERMINAL;
    tokio::try_join!(
        abandoned(served, session, bytes - of_terminal),
        unwatched(served, session, of_terminal)
    )?;
    drop(waiting);
    Ok(())
}

/// A command without a caller: the oldest of its output goes, and all of it was written.
async fn abandoned(served: &Served, session: &SessionId, bytes: u64) -> Result<()> {
    let doing = || "cannot let a command write".to_owned();
    let api = served.daemon.sessions();
    let script = format!("head -c {bytes} /dev/zero && : >{WRITTEN}");
    let request = CommandRequest {
        on_disconnect: OnDisconnect::Detach,
        ..CommandRequest::new(["sh", "-c", &script])
    };
    let command = api.command(session, request).await.context(doing)?.id;
    while run(served, session, &["test", "-e", WRITTEN]).await? != Some(0) {
        tokio::time::sleep(PAUSE).await;
    }
    let mut events = api
        .attach_command(session, &command, 0)
        .await
        .context(doing)?
        .events;
    while let Some(event) = events.next().await {
        if let CommandEvent::Exited(exit) = event.context(doing)? {
            return whole(&exit, bytes);
        }
    }
    Err(Error::new(doing()))
}

/// A terminal whose only viewer does not look until its program has ended.
async fn unwatched(served: &Served, session: &SessionId, bytes: u64) -> Result<()> {
    let doing = || "cannot let a terminal write".to_owned();
    let api = served.daemon.sessions();
    // It begins when there is somebody to look.
    let script = format!("read begin; head -c {bytes} /dev/zero");
    let argv = ["sh", "-c", &script].map(str::to_owned).to_vec();
    let request = OpenTerminal {
        program: TerminalProgram::Command { argv },
        ..OpenTerminal::default()
    };
    let terminal = api.open_terminal(session, request).await.context(doing)?.id;
    let viewer = api
        .attach_terminal(session, &terminal, TerminalSize::default())
        .await
        .context(doing)?;
    viewer.control.write("\n".into()).await.context(doing)?;
    while api
        .terminals(session)
        .await
        .context(doing)?
        .iter()
        .any(|open| open.id == terminal)
    {
        tokio::time::sleep(PAUSE).await;
    }
    let exit = end(viewer).await?;
    // The terminal says a few bytes of its own: what was typed, and the end of that line.
    let said = exit.output_bytes;
    if exit.code == Some(0) && said >= bytes {
        return Ok(());
    }
    Err(Error::new(format!("a terminal wrote {said} of {bytes} bytes")).output(format!("{exit:?}")))
}

async fn end(mut viewer: AttachedTerminal) -> Result<CommandExit> {
    let doing = || "the terminal does not say how it ended".to_owned();
    while let Some(event) = viewer.events.next().await {
        if let TerminalEvent::Exited(exit) = event.context(doing)? {
            return Ok(exit);
        }
    }
    Err(Error::new(doing()))
}

fn whole(exit: &CommandExit, bytes: u64) -> Result<()> {
    if exit.code == Some(0) && exit.output_bytes == bytes {
        return Ok(());
    }
    let said = exit.output_bytes;
    Err(Error::new(format!("a command wrote {said} of {bytes} bytes")).output(format!("{exit:?}")))
}

fn head(bytes: u64) -> CommandRequest {
    let bytes = bytes.to_string();
    CommandRequest::new(["head", "-c", &bytes, "/dev/zero"])
}

/// Runs a short command and answers its exit code.
async fn run(served: &Served, session: &SessionId, argv: &[&str]) -> Result<Option<i32>> {
    let request = CommandRequest::new(argv.iter().copied());
    let api = served.daemon.sessions();
    let ran = api.command_output(session, request, 0).await;
    Ok(ran.context(|| "cannot run a command".to_owned())?.exit.code)
}
