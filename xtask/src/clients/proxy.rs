//! What stands between a suite and the server: it adds the token, which the suites cannot, and lends them our tools.
//!
//! Loopback, HTTP/1.1, one request a connection. All else passes as it is, Host and Origin above all: the server shall judge
//! them. The answer passes byte for byte, as it comes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use xtask::error::{Context, Result};

use super::stand_ins::StandIns;

/// More than any suite sends.
const MAX_HEAD: u64 = 64 << 10;
const MAX_BODY: u64 = 16 << 20;
/// How long a suite may take to send what it began.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where requests go, and what is done to them.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) server: SocketAddr,
    pub(super) token: String,
    /// Without, every request passes as it is.
    pub(super) stand_ins: Option<StandIns>,
}

/// Serves while `work` runs with the address, and ends with it.
pub(super) fn serve<T>(route: &Route, work: impl FnOnce(SocketAddr) -> Result<T>) -> Result<T> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context(|| "cannot listen on loopback".to_owned())?;
    let address = listener
        .local_addr()
        .context(|| "the listener has no address".to_owned())?;
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for client in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                // A suite that goes away in the middle is its own business; what matters to it shows in its verdict.
                scope.spawn(move || pass(route, &client));
            }
        });
        let done = work(address);
        ended.store(true, Ordering::Relaxed);
        // Wakes the accepting thread, which then sees that it is over.
        let _woken = TcpStream::connect(address);
        done
    })
}

fn pass(route: &Route, client: &TcpStream) -> std::io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let request = Request::read(client)?.exchanged(route.stand_ins.as_ref());
    let server = TcpStream::connect(route.server)?;
    (&server).write_all(&request.to_bytes(&route.token))?;
    client.set_read_timeout(None)?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Nothing more is sent, so what can be read is the client's end; the server shall learn of it.
            let _ended = (&mut &*client).read(&mut [0]);
            let _gone = server.shutdown(Shutdown::Both);
        });
        let _broken = std::io::copy(&mut &server, &mut &*client);
        // Ends the thread above, too.
        let _gone = client.shutdown(Shutdown::Both);
    });
    Ok(())
}

/// A request, whole.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: impl Read) -> std::io::Result<Self> {
        let mut reader = BufReader::new(stream);
        let mut head = reader.by_ref().take(MAX_HEAD);
        let mut next = || {
            let mut line = String::new();
            match head.read_line(&mut line)? {
                0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
                _ => Ok::<_, std::io::Error>(line.trim_end_matches(['\r', '\n']).to_owned()),
            }
        };
        let line = next()?;
        let mut headers = Vec::new();
        loop {
            let header = next()?;
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').ok_or(std::io::ErrorKind::InvalidData)?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut request = Self {
            line,
            headers,
            body: Vec::new(),
        };
        let length = request.header("content-length").map_or(Ok(0), str::parse::<u64>);
        let length = length.map_err(std::io::Error::other)?;
        if length > MAX_BODY || request.header("transfer-encoding").is_some() {
            return Err(std::io::ErrorKind::Unsupported.into());
        }
        request.body.resize(usize::try_from(length).unwrap_or(0), 0);
        reader.read_exact(&mut request.body)?;
        Ok(request)
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        let found = all.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// With the real thing instead of a fixture, in the body and in the header that repeats its name, where that is right:
    /// some scenarios send a wrong one on purpose.
    fn exchanged(mut self, stand_ins: Option<&StandIns>) -> Self {
        let Some(stand_ins) = stand_ins else {
            return self;
        };
        let Ok(mut message) = serde_json::from_slice::<Value>(&self.body) else {
            return self;
        };
        let Some((fixture, real)) = stand_ins.exchange(&mut message) else {
            return self;
        };
        self.body = message.to_string().into_bytes();
        for (name, value) in &mut self.headers {
            if name.eq_ignore_ascii_case("mcp-name") && *value == fixture {
                value.clone_from(&real);
            }
        }
        self
    }

    fn to_bytes(&self, token: &str) -> Vec<u8> {
        const OURS: [&str; 4] = ["authorization", "connection", "content-length", "keep-alive"];
        let mut bytes = format!("{}\r\n", self.line).into_bytes();
        let ours = |name: &str| OURS.iter().any(|own| own.eq_ignore_ascii_case(name));
        for (name, value) in self.headers.iter().filter(|(name, _)| !ours(name)) {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(format!("Authorization: Bearer {token}\r\nConnection: close\r\n").as_bytes());
        if self.header("content-length").is_some() {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand_ins() -> StandIns {
        StandIns {
            session: "s".to_owned(),
            takes_cues: false,
        }
    }

    fn passed(request: &str) -> String {
        let request = Request::read(request.as_bytes()).expect("it is a request");
        String::from_utf8(request.exchanged(Some(&stand_ins())).to_bytes("secret")).expect("it is text")
    }

    #[test]
    fn a_request_gets_the_token_and_keeps_its_host() {
        let passed = passed(
            "POST /mcp HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\nauthorization: Bearer mine\r\n\
             connection: keep-alive\r\ncontent-length: 9\r\n\r\nnot: JSON",
        );
        assert_eq!(
            passed,
            "POST /mcp HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\nAuthorization: Bearer secret\r\n\
             Connection: close\r\nContent-Length: 9\r\n\r\nnot: JSON"
        );
    }

    #[test]
    fn the_header_that_repeats_the_name_follows_it_unless_it_was_wrong() {
        let body = r#"{"method":"tools/call","params":{"name":"greet"}}"#;
        let with = |name: &str| {
            passed(&format!(
                "POST / HTTP/1.1\r\nMcp-Name: {name}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ))
        };
        assert!(with("greet").contains("Mcp-Name: list_sessions\r\n"));
        assert!(with("greet").ends_with(r#""params":{"arguments":{},"name":"list_sessions"}}"#));
        assert!(with("other").contains("Mcp-Name: other\r\n"));
    }

    #[test]
    fn an_answer_comes_as_the_server_gives_it_and_nothing_stays() {
        let server = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let route = Route {
            server: server.local_addr().expect("an address"),
            token: "secret".to_owned(),
            stand_ins: Some(stand_ins()),
        };
        let answered = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().expect("a request");
            let request = Request::read(&stream).expect("it is one");
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").expect("sent");
            request
        });
        let said = serve(&route, |address| {
            let mut client = TcpStream::connect(address).expect("connected");
            client
                .write_all(b"GET /mcp HTTP/1.1\r\nHost: a\r\n\r\n")
                .expect("sent");
            let mut said = String::new();
            client.read_to_string(&mut said).expect("answered");
            Ok((said, address))
        });
        let (said, address) = said.expect("served");
        assert_eq!(said, "HTTP/1.1 200 OK\r\n\r\nhello");
        let request = answered.join().expect("it ended");
        assert_eq!(request.header("authorization"), Some("Bearer secret"));
        assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    }
}
