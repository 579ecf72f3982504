//! `wrk` asks for the list of sessions as fast as it is answered.
//!
//! It comes over TCP, with many tokens in turn: each has a limit of its own, as every client has.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Child;
use xtask::error::{Context, Error, Result};

use super::super::cases::Figures;
use super::super::{Lab, scripted};
use super::{SESSIONS, Served};
use crate::daemon::{Daemon, printed};
use crate::lab::State;

const TOKENS: usize = 100;
const CONNECTIONS: usize = 32;
const SECONDS: u32 = 10;
/// How long a daemon may take until it listens.
const PATIENCE: Duration = Duration::from_secs(20);

pub(in super::super) async fn list(lab: &mut Lab) -> Result<Figures> {
    let state = State::new()?;
    let daemon = Daemon::new(state.path(), &lab.host, &scripted(&lab.model.url()), [])?;
    let (child, port) = listening(&daemon).await?;
    let served = Served { daemon, state };
    let measured = measure(&served, port, lab.rounds(SECONDS)).await;
    served.stop().await?;
    drop(child);
    measured
}

/// Not started by a client: only who asks for it is listened for on TCP.
async fn listening(daemon: &Daemon) -> Result<(Child, u16)> {
    let doing = || "cannot serve over TCP".to_owned();
    let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    let port = free.context(doing)?.port();
    let address = format!("127.0.0.1:{port}");
    let mut command = daemon.command(["serve", "--listen", &address]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = child.context(doing)?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while daemon.process().await.is_err() {
        if tokio::time::Instant::now() > deadline {
            return Err(Error::new(doing()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok((child, port))
}

async fn measure(served: &Served, port: u16, seconds: usize) -> Result<Figures> {
    served.sessions(SESSIONS).await?;
    let mut tokens = Vec::new();
    for number in 0..TOKENS {
        let name = format!("client-{number}");
        let token = ["token", "create", &name, "--scope", "read"];
        tokens.push(served.daemon.run(token).await?.trim().to_owned());
    }
    let script = served.daemon.socket().with_file_name("wrk.lua");
    std::fs::write(&script, lua(&tokens)).context(|| "cannot write the script of wrk".to_owned())?;
    // The first seconds are to warm up.
    wrk(&script, port, 2).await?;
    let said = wrk(&script, port, seconds).await?;
    read(&said).ok_or_else(|| Error::new("wrk did not get what it asked for").output(said))
}

async fn wrk(script: &Path, port: u16, seconds: usize) -> Result<String> {
    let mut wrk = tokio::process::Command::new("wrk");
    wrk.args([
        "--latency",
        "--threads",
        "2",
        "--connections",
        &CONNECTIONS.to_string(),
    ])
    .args(["--duration", &format!("{seconds}s"), "--script"])
    .arg(script)
    .arg(format!("http://127.0.0.1:{port}/v1/sessions"));
    printed(wrk).await
}

/// Requests that are made before the clock runs, one for each token.
fn lua(tokens: &[String]) -> String {
    let quoted: Vec<_> = tokens.iter().map(|token| format!("{token:?}")).collect();
    format!(
        "local tokens = {{ {} }}\nlocal requests, last = {{}}, 0\n\
         init = function() for i, token in ipairs(tokens) do\n\
         requests[i] = wrk.format(\"GET\", nil, {{ [\"Authorization\"] = \"Bearer \" .. token }}) end end\n\
         request = function() last = last % #requests + 1; return requests[last] end\n",
        quoted.join(", ")
    )
}

/// The rate and the 99th percentile; nothing unless every answer was a success.
fn read(said: &str) -> Option<Figures> {
    let value = |name: &str| {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(name));
        line.map(str::trim)
    };
    if said.contains("Non-2xx") || said.contains("Socket errors") {
        return None;
    }
    Some(Figures::Load {
        per_second: value("Requests/sec:")?.parse().ok()?,
        p99: time(value("99%")?)?,
    })
}

fn time(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "  Latency Distribution\n     50%  801.00us\n     99%    4.25ms\n  120000 requests in 10.00s\n\
                        Requests/sec:  12000.50\n";

    #[test]
    fn what_wrk_says_is_read_and_failures_count_for_nothing() {
        let Some(Figures::Load { per_second, p99 }) = read(SAID) else {
            panic!("it is read");
        };
        assert!((per_second - 12_000.5).abs() < 1e-9);
        assert_eq!(p99, Duration::from_micros(4250));
        assert!(read(&format!("{SAID}  Non-2xx or 3xx responses: 3\n")).is_none());
        assert!(read(&format!("{SAID}  Socket errors: connect 0, read 1\n")).is_none());
        assert!(read("nothing").is_none());
    }

    #[test]
    fn each_token_has_its_turn() {
        let script = lua(&["cfd_a".to_owned(), "cfd_b".to_owned()]);
        assert!(script.contains("{ \"cfd_a\", \"cfd_b\" }"), "{script}");
    }
}
