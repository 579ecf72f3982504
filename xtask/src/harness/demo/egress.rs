//! That a session reaches a host only once a person has said so: denied and told why, seen waiting, approved, reached.
//!
//! The host is a server of this demo under a name of this machine's own: nothing here needs the internet.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use session_core::api::SessionApi;
use session_core::command::CommandRequest;
use session_core::egress::{DecideEgress, EgressRequest};
use session_core::id::SessionId;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use xtask::error::{Context, Error, Result};
use xtask::reporter::Reporter;

use super::claims::{self, Claims};
use super::run_inside;

/// What the server of this demo is called inside the session.
const HOST: &str = "docs.localhost";
const PAGE: &str = "8 - 3 - 2 is 3: subtraction associates to the left.";
const PATIENCE: Duration = Duration::from_secs(20);

/// That this name may lead to this machine says an operator, in a policy. It allows nobody to go there.
pub(super) fn policy(state: &Path) -> Result<[(&'static str, String); 1]> {
    let path = state.join("policy.toml");
    std::fs::write(&path, "[egress]\nprivate_networks = [\"127.0.0.0/8\"]\n")
        .context(|| "cannot write the policy".to_owned())?;
    Ok([("COFFERDAM_POLICY", path.to_string_lossy().into_owned())])
}

pub(super) async fn check(
    api: &dyn SessionApi,
    session: &SessionId,
    reporter: &Reporter,
    claims: &mut Claims<'_>,
) -> Result<()> {
    let docs = Docs::start().await?;
    let inside = Inside {
        api,
        session,
        port: docs.port,
    };
    let denied = inside.ask().await?;
    inside.expect_denied(&denied, &docs, reporter, claims)?;
    if let Some(waiting) = inside.expect_waiting(claims).await? {
        inside.approve(&waiting, claims).await?;
    }
    let reached = inside.ask().await?;
    let seen = format!(
        "{} {} ({})",
        reached.status,
        reached.body,
        milliseconds(reached.taken)
    );
    let holds = reached.status == 200 && reached.body == PAGE && docs.visits() == 1;
    claims.check("the same request is answered now", holds, &seen);
    Ok(())
}

/// What a program in the session was answered.
struct Answer {
    status: u16,
    body: String,
    taken: Duration,
}

/// The session, and where its programs ask.
struct Inside<'a> {
    api: &'a dyn SessionApi,
    session: &'a SessionId,
    port: u16,
}

impl Inside<'_> {
    /// As any program asks: of the proxy that its environment names.
    async fn ask(&self) -> Result<Answer> {
        let url = format!("http://{HOST}:{}/subtraction", self.port);
        let status = "\n%{http_code}";
        // curl would not ask a proxy for a name of this kind.
        let curl = ["curl", "--noproxy", "", "--silent", "--show-error"];
        let mut request = CommandRequest::new(curl.into_iter().chain(["--write-out", status, &url]));
        request.time_limit = Some(PATIENCE);
        let started = Instant::now();
        let output = run_inside(self.api, self.session, request).await?;
        let taken = started.elapsed();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let parts = text
            .rsplit_once('\n')
            .map(|(body, status)| (body, status.parse()));
        let Some((body, Ok(status))) = parts else {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Error::new("a program in the session cannot ask for a page").output(said));
        };
        Ok(Answer {
            status,
            body: body.to_owned(),
            taken,
        })
    }

    fn expect_denied(
        &self,
        denied: &Answer,
        docs: &Docs,
        reporter: &Reporter,
        claims: &mut Claims<'_>,
    ) -> Result<()> {
        let told: Value = serde_json::from_str(&denied.body)
            .context(|| "the session was not told in JSON why it was denied".to_owned())?;
        let told = &told["error"];
        let said = |field: &str| told[field].as_str().unwrap_or_default().to_owned();
        let (reason, how) = (said("reason"), said("how_to_allow"));
        let holds = denied.status == 403
            && reason == "not_allowed"
            && said("host") == HOST
            && told["port"] == self.port
            && docs.visits() == 0;
        let seen = format!(
            "{} {reason}: {} ({})",
            denied.status,
            said("message"),
            milliseconds(denied.taken)
        );
        claims.check("a program is denied, and nobody was contacted", holds, &seen);
        let session = self.session.to_string();
        let holds = how.contains("cofferdam egress approve") && how.contains(&session);
        claims.check("it is told how to allow it", holds, "");
        reporter.notice(&format!("    {}", claims::shown(&how)));
        Ok(())
    }

    async fn expect_waiting(&self, claims: &mut Claims<'_>) -> Result<Option<EgressRequest>> {
        let started = Instant::now();
        let waiting = self.waiting().await?;
        let taken = milliseconds(started.elapsed());
        let seen = waiting.iter().map(|request| {
            let EgressRequest { rule, times, .. } = request;
            format!("{rule}, asked for {times}× ({taken})")
        });
        let seen: Vec<_> = seen.collect();
        let holds = matches!(
            waiting.as_slice(),
            [one] if one.host == HOST && one.port == self.port && one.times == 1
        );
        claims.check("the request waits for a person", holds, &seen.join("; "));
        Ok(waiting.into_iter().next())
    }

    async fn approve(&self, waiting: &EgressRequest, claims: &mut Claims<'_>) -> Result<()> {
        let decision = DecideEgress {
            session: Some(*self.session),
            rule: waiting.rule.clone(),
            allow: true,
        };
        let started = Instant::now();
        let decided = self.api.decide_egress(decision).await;
        let taken = started.elapsed();
        let decided = decided.context(|| "cannot approve the host".to_owned())?;
        let left = self.waiting().await?.len();
        let seen = format!("{}, {left} wait ({})", decided.rule, milliseconds(taken));
        claims.check(
            "it is approved for this session",
            decided.allow && left == 0,
            &seen,
        );
        Ok(())
    }

    async fn waiting(&self) -> Result<Vec<EgressRequest>> {
        let waiting = self.api.egress_requests(Some(self.session)).await;
        waiting.context(|| "cannot read which hosts wait for a decision".to_owned())
    }
}

/// Steps here take milliseconds.
fn milliseconds(taken: Duration) -> String {
    format!("{:.1} ms", taken.as_secs_f64() * 1e3)
}

/// A page on a loopback port of this machine, for as long as this lives.
struct Docs {
    port: u16,
    visits: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Docs {
    async fn start() -> Result<Self> {
        let doing = || "cannot start the server of the documentation".to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context(doing)?;
        let port = listener.local_addr().context(doing)?.port();
        let visits = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&visits);
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                // Whoever breaks off misses the page, and the demo sees that.
                drop(tokio::time::timeout(PATIENCE, serve(connection)).await);
            }
        });
        Ok(Self { port, visits, task })
    }

    /// How many connections arrived.
    fn visits(&self) -> usize {
        self.visits.load(Ordering::Relaxed)
    }
}

impl Drop for Docs {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request, whatever it asks for.
async fn serve(connection: TcpStream) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    let mut line = String::new();
    while connection.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{PAGE}",
        PAGE.len()
    );
    connection.write_all(answer.as_bytes()).await?;
    connection.shutdown().await
}
