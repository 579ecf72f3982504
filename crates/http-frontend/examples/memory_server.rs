//! The API over an engine in memory: everything but the containers is real. For people who want to look at it, for tools
//! that test APIs, and for measuring.
//!
//! ```text
//! cargo run -p http-frontend --example memory_server -- [--listen HOST:PORT] [--sessions COUNT]
//! ```
//!
//! Prints one line of JSON with its `address`, a `token` that may do everything, and the `sessions` that it made. Ends with
//! an interrupt, with SIGTERM, or when its standard input ends. `POST /v1/server/stop` is answered and ends nothing; with
//! `if_idle` it is refused, because there is always work.

#![expect(clippy::print_stdout, reason = "what it prints is its result")]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_api::ServerInfo;
use http_frontend::tokens::TokenFile;
use http_frontend::{HttpOptions, HttpServer, Listeners, Rate, ServerControl};
use jiff::Timestamp;
use session_core::api::SessionApi;
use session_core::manager::SessionManager;
use session_core::session::CreateSession;
use session_core::state_dir::StateDir;
use testkit::harness::Site;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// So that whoever floods it meets the server and not its limiter.
const UNLIMITED: Rate = Rate {
    requests: 1_000_000,
    window: Duration::from_secs(1),
};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// What is asked for on the command line.
struct Wanted {
    listen: SocketAddr,
    sessions: usize,
}

/// A process that says what it is, and does not end when it is asked to.
struct Steady {
    started_at: Timestamp,
}

#[async_trait]
impl ServerControl for Steady {
    fn info(&self) -> ServerInfo {
        ServerInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: self.started_at,
            settings: "memory".to_owned(),
            settings_without_credentials: String::new(),
            auto_started: false,
            // Or a stop "if idle" would be taken at its word: the server refuses what comes after it, and this process stays.
            working: true,
        }
    }

    fn stop(&self) {}

    async fn ready(&self) -> session_core::error::Result<()> {
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Outcome {
    let wanted = wanted(std::env::args().skip(1))?;
    let site = Site::new()?;
    let state = StateDir::open(&site.state_dir())?;
    let tokens = TokenFile::of(&state);
    // There is no operator here who could declare servers; whoever asks for some gets none.
    site.gateway.plan_nothing(true);
    let engine = Arc::new(site.memory.clone());
    let manager = SessionManager::open(state, site.options(), engine, site.gateway.clone()).await?;
    let sessions = sessions(&manager, wanted.sessions).await?;

    let listener = TcpListener::bind(wanted.listen).await?;
    let key = format!("{:032x}", rand::random::<u128>());
    let started = serde_json::json!({
        "address": format!("http://{}", listener.local_addr()?),
        "token": key,
        "sessions": sessions,
    });
    let options = HttpOptions {
        tokens: Some(tokens),
        operator_key: Some(("memory-server".to_owned(), key.into())),
        rate: UNLIMITED,
        compat_rate: UNLIMITED,
        failure_rate: UNLIMITED,
        ..HttpOptions::default()
    };
    let control = Arc::new(Steady {
        started_at: Timestamp::now(),
    });
    let server = HttpServer::new(Arc::new(manager.clone()), options, control);
    println!("{started}");
    let listeners = Listeners {
        unix: None,
        tcp: vec![(listener, None)],
    };
    server.serve(listeners, ended()).await?;
    manager.shutdown().await;
    Ok(())
}

fn wanted(mut args: impl Iterator<Item = String>) -> Outcome<Wanted> {
    let mut wanted = Wanted {
        listen: ([127, 0, 0, 1], 0).into(),
        sessions: 0,
    };
    while let Some(option) = args.next() {
        let value = args.next().ok_or("an option without a value")?;
        match option.as_str() {
            "--listen" => wanted.listen = value.parse()?,
            "--sessions" => wanted.sessions = value.parse()?,
            _ => return Err("the options are --listen HOST:PORT and --sessions COUNT".into()),
        }
    }
    Ok(wanted)
}

async fn sessions(manager: &SessionManager, count: usize) -> Outcome<Vec<String>> {
    let mut made = Vec::new();
    for number in 0..count {
        let request = CreateSession {
            name: Some(format!("session {number}")),
            ..CreateSession::default()
        };
        made.push(manager.create(request).await?.id.to_string());
    }
    Ok(made)
}

/// Whoever started it has had enough.
async fn ended() {
    let waited = async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (mut input, mut ignored) = (tokio::io::stdin(), [0; 64]);
        let gone = async { while matches!(input.read(&mut ignored).await, Ok(1..)) {} };
        // The first is enough; nothing is lost with the others.
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = gone => {}
        }
        Ok::<_, std::io::Error>(())
    };
    if let Err(error) = waited.await {
        tracing::error!(%error, "signals cannot be waited for");
    }
}
