//! `attach`: the real program in front of a real pseudo-terminal, over a real socket to a scripted session.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http_api::ServerInfo;
use http_frontend::{HttpOptions, HttpServer, Listeners, ServerControl, bind_socket};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use session_core::error::Result;
use session_core::state_dir::StateDir;
use tokio::sync::oneshot;

use crate::support::User;
use crate::support::fake::Fake;
use crate::support::fixtures;

const PATIENCE: Duration = Duration::from_secs(20);

struct Control;

#[async_trait]
impl ServerControl for Control {
    fn info(&self) -> ServerInfo {
        ServerInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: fixtures::start(),
            settings: String::new(),
            settings_without_credentials: String::new(),
            auto_started: false,
            working: false,
        }
    }

    fn stop(&self) {}

    async fn ready(&self) -> Result<()> {
        Ok(())
    }
}

/// A daemon over the user's scripted sessions, until it is dropped.
fn daemon(user: &User) -> oneshot::Sender<()> {
    let state = StateDir::open(user.state_dir()).unwrap();
    let lock = state.lock_serving().unwrap();
    let unix = bind_socket(&state.socket_path(), &lock).unwrap();
    let server = HttpServer::new(user.fake.clone(), HttpOptions::default(), Arc::new(Control));
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let listeners = Listeners {
            unix: Some(unix),
            tcp: Vec::new(),
        };
        let stopped = async {
            let _ = stopped.await;
        };
        server.serve(listeners, stopped).await.unwrap();
        drop(lock);
    });
    stop
}

/// Somebody in front of a terminal of this host.
struct Seat {
    master: OwnedFd,
    child: Child,
    shown: Arc<Mutex<String>>,
}

impl Seat {
    fn take(user: &User, args: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize {
            ws_row: 30,
            ws_col: 90,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let open = || {
            std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(&name)
                .unwrap()
        };
        let child = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
            .args(args)
            .env_clear()
            .envs(&user.environment)
            .stdin(open())
            .stdout(open())
            .stderr(open())
            .spawn()
            .unwrap();
        let shown = Arc::<Mutex<String>>::default();
        let (mut reader, kept) = (std::fs::File::from(master.try_clone().unwrap()), shown.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // It fails when nobody has the other end any more.
            while let Ok(length) = reader.read(&mut buffer) {
                kept.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        Self { master, child, shown }
    }

    fn types(&self, keys: &str) {
        std::fs::File::from(self.master.try_clone().unwrap())
            .write_all(keys.as_bytes())
            .unwrap();
    }

    /// Waits until the text is on the screen.
    async fn sees(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.shown().contains(text) {
            assert!(Instant::now() < deadline, "no {text:?} in {:?}", self.shown());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    /// Whether the terminal shows what is typed by itself, as a shell expects it.
    fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.master).unwrap().local_modes;
        modes.contains(LocalModes::ECHO) && modes.contains(LocalModes::ICANON)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    async fn ended(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end: {:?}", self.shown());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_works_leaves_and_comes_back_and_the_terminal_is_as_it_was() {
    let user = User::new(Fake::new());
    let _daemon = daemon(&user);
    let mut seat = Seat::take(&user, &["attach", "fix-it"]);
    seat.sees("[90 columns, 30 rows]").await;
    assert!(!seat.is_cooked());
    seat.types("echo h\x03i\r");
    seat.sees("echo h\x03i\r").await;
    seat.types("\x10\x11");
    assert_eq!(seat.ended().await, Some(0));
    seat.sees("detached; come back with").await;
    assert!(seat.is_cooked());
    assert!(
        !seat.shown().contains('\x10'),
        "the keys that leave are for nobody else"
    );

    let mut again = Seat::take(&user, &["attach", "fix-it"]);
    again.sees("echo h").await;
    again.types("exit 7\r");
    assert_eq!(again.ended().await, Some(7), "{:?}", again.shown());
    assert!(again.is_cooked());
    let opened = user
        .fake
        .calls()
        .into_iter()
        .filter(|call| call.starts_with("open_terminal"));
    assert_eq!(opened.count(), 1, "it came back to the same one");
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_follow_and_several_look_at_one_terminal() {
    let user = User::new(Fake::new());
    let _daemon = daemon(&user);
    let first = Seat::take(&user, &["attach", "fix-it", "--", "top", "-d", "1"]);
    first.sees("[90 columns, 30 rows]").await;
    let second = Seat::take(&user, &["attach", "fix-it"]);
    second.types("from the second");
    first.sees("from the second").await;
    let size = Winsize {
        ws_row: 41,
        ws_col: 132,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&first.master, size).unwrap();
    first.signal(Signal::WINCH);
    second.sees("[132 columns, 41 rows]").await;
    let calls = user.fake.calls();
    let opened = calls
        .iter()
        .find(|call| call.starts_with("open_terminal"))
        .unwrap();
    assert!(opened.contains("[\"top\", \"-d\", \"1\"]"), "{opened}");
    let listed = user.runs("attach fix-it --list").await;
    assert_eq!((listed.code, listed.stdout().lines().count()), (0, 1));
    assert!(
        listed.stdout().contains("90x30") && listed.stdout().contains("top -d 1"),
        "{}",
        listed.stdout()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_gives_the_terminal_back_too() {
    let user = User::new(Fake::new());
    let _daemon = daemon(&user);
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::QUIT, 131)] {
        let mut seat = Seat::take(&user, &["attach", "fix-it", "--shell"]);
        seat.sees("columns").await;
        assert!(!seat.is_cooked());
        seat.signal(signal);
        assert_eq!(seat.ended().await, Some(code));
        assert!(seat.is_cooked());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_leave_can_be_chosen() {
    let user = User::new(Fake::new());
    let _daemon = daemon(&user);
    let mut seat = Seat::take(&user, &["attach", "fix-it", "--detach-keys", "ctrl-]"]);
    seat.sees("columns").await;
    seat.types("\x10\x11");
    seat.sees("\x10\x11").await;
    seat.types("\x1d");
    assert_eq!(seat.ended().await, Some(0));
}

#[tokio::test]
async fn without_a_terminal_nothing_is_opened() {
    let user = User::new(Fake::new());
    let outcome = user.runs("attach fix-it --shell").await;
    assert_eq!(outcome.code, 2);
    assert!(
        outcome.stderr().contains("are not a terminal"),
        "{}",
        outcome.stderr()
    );
    assert!(
        outcome.stderr().contains("cofferdam exec"),
        "{}",
        outcome.stderr()
    );
    assert!(user.fake.calls().is_empty());
}

#[tokio::test]
async fn the_agent_has_one_terminal_and_a_terminal_can_be_closed() {
    let user = User::new(Fake::new());
    let session = fixtures::session_id('f');
    let open = session_core::terminal::OpenTerminal {
        program: session_core::terminal::TerminalProgram::Agent,
        ..Default::default()
    };
    let terminal = session_core::api::SessionApi::open_terminal(user.fake.as_ref(), &session, open)
        .await
        .unwrap()
        .id;
    let listed = user.runs("attach fix-it --list --json").await;
    assert_eq!(listed.lines()[0]["program"]["kind"], "agent");
    let closed = user
        .runs(&format!("attach fix-it --terminal {terminal} --close"))
        .await;
    assert_eq!(closed.code, 0);
    assert!(user.runs("attach fix-it --list").await.stdout().is_empty());
}
