//! The program: a server on its standard streams, or listening for as long as its standard input is open.

use std::process::ExitCode;
use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::session::{Session, World};
use super::{HttpServer, Mode, Options, Transport, orphan};

/// With what it ends when somebody called `crash`.
pub const CRASHED: u8 = 42;
/// With what [`Mode::ExitAtOnce`] ends.
pub const REFUSED: u8 = 3;

/// Messages that wait to be written.
const QUEUE: usize = 64;

/// Runs the program to its end. It owns the process: its streams, its signals.
pub fn run(options: Options) -> ExitCode {
    if let Transport::Orphan { settled } = options.transport {
        return orphan::run(&options, settled);
    }
    options.note(&format!("start {}", std::process::id()));
    if options.has(Mode::ExitAtOnce) {
        complain("this server ends at once");
        return ExitCode::from(REFUSED);
    }
    if options.has(Mode::DoubleFork) {
        orphan::leave(&options);
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    let code = match options.transport {
        Transport::Http(_) => runtime.block_on(listen(options)),
        _ => runtime.block_on(serve(options)),
    };
    // A thread may still read from the standard input.
    runtime.shutdown_background();
    code
}

fn complain(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{line}");
}

async fn serve(options: Options) -> ExitCode {
    let stubborn = options.has(Mode::IgnoreSigterm);
    let world = World::new(options);
    let (port, messages) = mpsc::channel(QUEUE);
    let session = Session::new(world.clone(), port.clone(), None);
    let mut tasks = JoinSet::new();
    tasks.spawn(write(messages, world.options.has(Mode::StdoutNoise)));
    if world.options.has(Mode::StderrNoise) {
        tasks.spawn(complain_for_ever());
    }
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return ExitCode::FAILURE;
    };
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut open = true;
    loop {
        tokio::select! {
            // Cancel-safe: what was read of a line is kept.
            line = lines.next_line(), if open => match line {
                Ok(Some(line)) => hear(&line, &session, &port, &mut tasks),
                Ok(None) | Err(_) => open = stubborn && wait_for_ever(&mut tasks),
            },
            _ = terminate.recv() => if !stubborn { return ExitCode::SUCCESS },
            () = world.crashes() => return ExitCode::from(CRASHED),
            Some(_) = tasks.join_next() => {}
        }
        if !open && !stubborn {
            return ExitCode::SUCCESS;
        }
    }
}

/// Keeps the loop alive whose input has ended; it reads no more.
fn wait_for_ever(tasks: &mut JoinSet<()>) -> bool {
    tasks.spawn(std::future::pending());
    false
}

fn hear(line: &str, session: &Arc<Session>, port: &mpsc::Sender<Value>, tasks: &mut JoinSet<()>) {
    let Ok(message) = serde_json::from_str::<Value>(line) else {
        return;
    };
    if message["method"] == "notifications/initialized" && session.world.options.has(Mode::Flood) {
        let session = session.clone();
        tasks.spawn(async move { session.flood().await });
    }
    let (session, port) = (session.clone(), port.clone());
    tasks.spawn(async move { session.take(message, &port).await });
}

async fn write(mut messages: mpsc::Receiver<Value>, noisy: bool) {
    let mut stdout = tokio::io::stdout();
    while let Some(message) = messages.recv().await {
        let noise = if noisy { "this line is no JSON\n" } else { "" };
        let line = format!("{noise}{message}\n");
        if stdout.write_all(line.as_bytes()).await.is_err() || stdout.flush().await.is_err() {
            return;
        }
    }
}

async fn complain_for_ever() {
    let mut stderr = tokio::io::stderr();
    let noise = "something is not as it should be\n".repeat(1000);
    while stderr.write_all(noise.as_bytes()).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

async fn listen(options: Options) -> ExitCode {
    let stubborn = options.has(Mode::IgnoreSigterm);
    let (Ok(mut server), Ok(mut terminate)) =
        (HttpServer::start(options).await, signal(SignalKind::terminate()))
    else {
        return ExitCode::FAILURE;
    };
    let mut stdout = tokio::io::stdout();
    let told = format!("listening on {}\n", server.url());
    if stdout.write_all(told.as_bytes()).await.is_err() || stdout.flush().await.is_err() {
        return ExitCode::FAILURE;
    }
    let mut rest = Vec::new();
    let mut stdin = tokio::io::stdin();
    loop {
        tokio::select! {
            // What was read is of no interest, and its end comes again.
            _ = stdin.read_to_end(&mut rest) => return ExitCode::SUCCESS,
            _ = terminate.recv() => if !stubborn { return ExitCode::SUCCESS },
            () = server.crashed() => return ExitCode::from(CRASHED),
        }
    }
}
