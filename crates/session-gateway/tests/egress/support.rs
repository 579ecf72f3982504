//! A session's end of the door, hosts on loopback, names that lead where a test says, and a ledger that remembers.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use session_core::egress::{DenialReason, EgressDecision};
use session_core::gateway::{DoorEvent, Ledger};
use session_core::id::SessionId;
use session_gateway::egress::{EgressConfig, EgressLimits, EgressProxy, Resolve};
use testkit::ledger::MemoryLedger;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Names and what they lead to; a name with several answers gives one after the other and stays with the last.
#[derive(Default)]
pub(crate) struct Names {
    answers: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    pub(crate) asked: AtomicUsize,
}

impl Names {
    pub(crate) fn put(&self, name: &str, answers: &[&[&str]]) {
        let parse = |addresses: &&[&str]| addresses.iter().map(|text| text.parse().unwrap()).collect();
        let answers = answers.iter().map(parse).collect();
        self.answers.lock().unwrap().insert(name.to_owned(), answers);
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut names = self.answers.lock().unwrap();
        let Some(answers) = names.get_mut(host) else {
            return Ok(Vec::new());
        };
        Ok(if answers.len() > 1 {
            answers.remove(0)
        } else {
            answers[0].clone()
        })
    }
}

/// A session's ledger, with what a test asks it.
#[derive(Default)]
pub(crate) struct Book {
    ledger: MemoryLedger,
    decisions: Mutex<Vec<EgressDecision>>,
}

impl Book {
    pub(crate) fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::new(self.ledger.clone())
    }

    /// A person decides.
    pub(crate) fn decide(&self, session: Option<SessionId>, rule: &str, allow: bool) {
        let decision = EgressDecision {
            session,
            rule: rule.parse().unwrap(),
            allow,
            at: jiff::Timestamp::UNIX_EPOCH,
        };
        let mut decisions = self.decisions.lock().unwrap();
        decisions.insert(0, decision);
        self.ledger.decide(decisions.clone());
    }

    /// The ledger cannot be read.
    pub(crate) fn fail(&self, fails: bool) {
        self.ledger.fail(fails, false);
    }

    /// Nothing can be recorded.
    pub(crate) fn fail_to_record(&self, fails: bool) {
        self.ledger.fail(false, fails);
    }

    pub(crate) fn events(&self) -> Vec<DoorEvent> {
        self.ledger.events()
    }

    pub(crate) fn denied(&self) -> Vec<(String, u16, DenialReason)> {
        let denied = |event| match event {
            DoorEvent::EgressDenied { host, port, reason } => Some((host, port, reason)),
            _ => None,
        };
        self.events().into_iter().filter_map(denied).collect()
    }

    pub(crate) fn allowed(&self) -> Vec<(String, u16, String)> {
        let allowed = |event| match event {
            DoorEvent::EgressAllowed { host, port, rule } => Some((host, port, rule)),
            _ => None,
        };
        self.events().into_iter().filter_map(allowed).collect()
    }
}

/// A door with one session.
pub(crate) struct Door {
    pub(crate) proxy: EgressProxy,
    pub(crate) session: SessionId,
    pub(crate) names: Arc<Names>,
    pub(crate) book: Book,
}

impl Door {
    /// A door whose session may reach these; loopback is opened, as an operator could.
    pub(crate) fn new(allow: &[&str]) -> Self {
        Self::with(allow, |_| {})
    }

    pub(crate) fn with_limits(allow: &[&str], change: impl FnOnce(&mut EgressLimits)) -> Self {
        Self::with(allow, |config| change(&mut config.limits))
    }

    pub(crate) fn with(allow: &[&str], change: impl FnOnce(&mut EgressConfig)) -> Self {
        let names = Arc::new(Names::default());
        let mut config = EgressConfig {
            private_networks: vec!["127.0.0.0/8".parse().unwrap()],
            resolver: Arc::clone(&names) as Arc<dyn Resolve>,
            ..EgressConfig::default()
        };
        change(&mut config);
        let (proxy, book, session) = (EgressProxy::new(config), Book::default(), SessionId::new());
        let allow: Vec<_> = allow.iter().map(|entry| entry.parse().unwrap()).collect();
        proxy.register(session, &allow, book.ledger()).unwrap();
        Self {
            proxy,
            session,
            names,
            book,
        }
    }

    /// The name leads to loopback.
    pub(crate) fn lead_home(&self, name: &str) {
        self.names.put(name, &[&["127.0.0.1"]]);
    }

    /// A connection from inside.
    pub(crate) fn dial(&self) -> DuplexStream {
        let (inside, outside) = tokio::io::duplex(64 * 1024);
        let (proxy, session) = (self.proxy.clone(), self.session);
        tokio::spawn(async move { proxy.serve(&session, outside).await });
        inside
    }

    /// Asks for a tunnel; the connection and the head of the answer.
    pub(crate) async fn connect(&self, authority: &str) -> (DuplexStream, String) {
        let mut inside = self.dial();
        let request = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n");
        inside.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut inside).await;
        (inside, head)
    }

    /// A tunnel that must come about.
    pub(crate) async fn tunnel(&self, authority: &str) -> DuplexStream {
        let (inside, head) = self.connect(authority).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        inside
    }

    /// Sends these bytes, ends the sending side, and reads all that comes back.
    pub(crate) async fn send_raw(&self, bytes: &[u8]) -> String {
        let mut inside = self.dial();
        inside.write_all(bytes).await.unwrap();
        inside.shutdown().await.unwrap();
        read_all(&mut inside).await
    }

    /// A plain request on a connection of its own, with these fields more.
    pub(crate) async fn get(&self, url: &str, fields: &str) -> String {
        let request =
            format!("GET {url} HTTP/1.1\r\nhost: ignored.example\r\nconnection: close\r\n{fields}\r\n");
        let mut inside = self.dial();
        // A head that is refused before its end is not read to its end.
        let _ended = inside.write_all(request.as_bytes()).await;
        read_all(&mut inside).await
    }
}

/// Reads to the end; an error is an end, too.
pub(crate) async fn read_all(io: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    let _ended = tokio::time::timeout(PATIENCE, io.read_to_end(&mut answer))
        .await
        .expect("the connection ends");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads the head of a message, or less if the connection ends.
pub(crate) async fn read_head(io: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    let reading = async {
        while !head.ends_with(b"\r\n\r\n") {
            match io.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("a head in time");
    String::from_utf8_lossy(&head).into_owned()
}

/// The JSON body of a whole answer, after a check of its status.
pub(crate) fn error_of(answer: &str, status: u16) -> serde_json::Value {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
    body["error"].clone()
}

/// Reads the whole denial of a connection that stays open.
pub(crate) async fn denial(inside: &mut DuplexStream, head: &str) -> serde_json::Value {
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .expect("a length");
    let mut body = vec![0; length.parse().unwrap()];
    inside.read_exact(&mut body).await.unwrap();
    error_of(&format!("{head}{}", String::from_utf8(body).unwrap()), 403)
}

/// A host on loopback.
pub(crate) struct Server {
    pub(crate) port: u16,
    taken: Arc<AtomicUsize>,
}

impl Server {
    /// A host that does this with every connection.
    pub(crate) async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::start_at(IpAddr::V4(Ipv4Addr::LOCALHOST), 0, serve).await
    }

    pub(crate) async fn start_at<F>(
        address: IpAddr,
        port: u16,
        serve: impl Fn(TcpStream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((address, port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&taken);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream));
            }
        });
        Self { port, taken }
    }

    /// A host that says everything back.
    pub(crate) async fn echo() -> Self {
        Self::start(async |stream| echo(stream).await).await
    }

    /// A host that answers requests with their own text, as a plain body.
    pub(crate) async fn mirror() -> Self {
        Self::start(async |stream| mirror(stream).await).await
    }

    /// Connections so far.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }
}

pub(crate) async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    drop(stream.shutdown().await);
}

/// Answers each request with its own head; bodies of a known length are read and given back behind it.
pub(crate) async fn mirror(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    loop {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => text.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8_lossy(&text).to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        text.extend(body);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len());
        text.splice(0..0, head.into_bytes());
        if stream.write_all(&text).await.is_err() {
            return;
        }
    }
}

/// Writes these bytes to whoever has sent a head, then closes.
pub(crate) async fn say(mut stream: TcpStream, answer: &'static str) {
    read_head(&mut stream).await;
    drop(stream.write_all(answer.as_bytes()).await);
    drop(stream.shutdown().await);
}
