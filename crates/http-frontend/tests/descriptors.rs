//! A server that may have 256 file descriptors: it refuses, and neither dies nor spins nor lets clients wait for ever.
//!
//! The limit is that of a whole process, so this is a program of its own, and its clients are another: the same program,
//! told to be one.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

#[expect(dead_code, reason = "the surface's tests need more of it")]
#[path = "surface/support/mod.rs"]
mod support;

use std::fs::File;
use std::io::{BufRead as _, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::support::client::get;
use crate::support::{House, SOON};

const LIMIT: u64 = 256;
const FLOOD: usize = 300;

/// The other program.
struct Clients {
    _child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Clients {
    fn start() -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program)
            .args(["--ignored", "--exact", "clients", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take().unwrap(),
            stdout: BufReader::new(child.stdout.take().unwrap()).lines(),
            _child: child,
        }
    }

    /// Has so many connections made and kept; answers how many of them the server ended.
    async fn flood(&mut self, house: &House, connections: usize) -> usize {
        let order = format!("{} {connections}\n", house.address);
        self.stdin.write_all(order.as_bytes()).await.unwrap();
        let reading = async {
            loop {
                let line = self.stdout.next_line().await.unwrap().unwrap();
                if let Some(ended) = line.strip_prefix("ended ") {
                    return ended.parse().unwrap();
                }
            }
        };
        tokio::time::timeout(SOON * 2, reading).await.unwrap()
    }
}

/// Not a test, but the other program: connects as it is told on its standard input.
#[test]
#[ignore = "started by the test beside it"]
fn clients() {
    let mut kept = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let (address, count) = line.split_once(' ').unwrap();
        let mut streams: Vec<TcpStream> = (0..count.parse().unwrap())
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        let deadline = Instant::now() + Duration::from_secs(3);
        let mut ended = 0;
        streams.retain_mut(|stream| {
            let left = deadline.saturating_duration_since(Instant::now());
            stream
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))
                .unwrap();
            let over = match stream.read(&mut [0; 1024]) {
                Ok(_) => true,
                Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
            };
            ended += usize::from(over);
            !over
        });
        kept.extend(streams);
        writeln!(std::io::stdout(), "ended {ended}").unwrap();
        std::io::stdout().flush().unwrap();
    }
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

#[tokio::test]
async fn with_256_file_descriptors_the_server_refuses_and_goes_on() {
    // Started before: the limit is inherited.
    let mut clients = Clients::start();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(LIMIT),
            maximum: limit.maximum,
        },
    )
    .unwrap();
    let house = House::with(|options| options.max_connections = 100_000).await;

    // More than there are: those beyond a share are told so, and the rest of the process has descriptors to work with.
    let ended = clients.flood(&house, FLOOD).await;
    let kept = *house.connections.borrow();
    assert_eq!(kept, usize::try_from(LIMIT / 4).unwrap());
    assert_eq!(ended, FLOOD - kept);
    assert_eq!(house.send_local(&get("/metrics")).await.status, 200);
    assert!(
        house.session(None).await.to_string().len() > 8,
        "sessions can be made meanwhile"
    );

    // None left at all: whoever comes is refused all the same, and the server does not run hot.
    let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(!taken.is_empty());
    let (began, before) = (Instant::now(), cpu_time());
    let ended = clients.flood(&house, 20).await;
    assert_eq!(ended, 20);
    // Long enough to tell a server that runs hot from one that had something to do.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (took, used) = (began.elapsed(), cpu_time() - before);
    assert!(used < took / 2, "{used:?} of {took:?}");

    taken.clear();
    assert_eq!(house.send_local(&get("/metrics")).await.status, 200);
    drop(clients);
    house.ended().await;
}
