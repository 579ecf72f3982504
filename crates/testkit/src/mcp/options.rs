//! What the server does, as arguments say it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The newest revision that the server speaks.
const NEWEST: &str = "2025-11-25";

/// A way to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// It ends before it reads anything, with exit code 3 and a complaint.
    ExitAtOnce,
    /// It never answers `initialize`.
    HangInitialize,
    /// Once initialized it writes log messages as fast as it can, and works on.
    Flood,
    /// Each answer comes twice.
    AnswerTwice,
    /// Each answer but that to `initialize` bears an id that nobody used.
    WrongIds,
    /// Before it lists its tools it writes a message of 64 MiB in one line.
    HugeLine,
    /// Descriptions and results have characters in them that nobody sees.
    HiddenCharacters,
    /// It writes to its standard error as fast as it can.
    StderrNoise,
    /// Between its messages it writes lines that are no JSON, as programs do that log to the wrong stream.
    StdoutNoise,
    /// It does not care for SIGTERM, nor for the end of its input.
    IgnoreSigterm,
    /// It leaves a process behind in a session of its own, whose parent has ended: its process group is not enough to find
    /// it. The orphan's pid is in the journal, as `orphan PID`.
    DoubleFork,
}

impl Mode {
    const ALL: [(&'static str, Self); 11] = [
        ("exit-at-once", Self::ExitAtOnce),
        ("hang-initialize", Self::HangInitialize),
        ("flood", Self::Flood),
        ("answer-twice", Self::AnswerTwice),
        ("wrong-ids", Self::WrongIds),
        ("huge-line", Self::HugeLine),
        ("hidden-characters", Self::HiddenCharacters),
        ("stderr-noise", Self::StderrNoise),
        ("stdout-noise", Self::StdoutNoise),
        ("ignore-sigterm", Self::IgnoreSigterm),
        ("double-fork", Self::DoubleFork),
    ];

    /// As it is written behind `--mode`.
    pub fn as_str(self) -> &'static str {
        let named = Self::ALL.iter().find(|(_, mode)| *mode == self);
        named.map_or("", |(name, _)| name)
    }
}

/// How it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// Its standard streams.
    #[default]
    Stdio,
    /// Streamable HTTP at `/mcp`. The program writes `listening on URL` and ends with its standard input.
    Http(SocketAddr),
    /// Not at all: it is the orphan of [`Mode::DoubleFork`], or what starts it.
    Orphan {
        /// Whether it is the orphan itself.
        settled: bool,
    },
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How it is reached.
    pub transport: Transport,
    /// How it goes wrong, all at once.
    pub modes: BTreeSet<Mode>,
    /// So many further tools, `tool_000` and so on, which answer their names.
    pub tools: usize,
    /// How many tools stand in one page of the list; all when 0.
    pub page: usize,
    /// The newest revision that it speaks.
    pub protocol: String,
    /// It takes so long to answer `initialize`.
    pub start_delay: Duration,
    /// A line is added to this file for its start (`start PID`) and each call (`call PID TOOL`) before it does anything.
    pub journal: Option<PathBuf>,
    /// Over HTTP: what requests have to bear.
    pub bearer: Option<String>,
    /// Over HTTP: it has no sessions.
    pub stateless: bool,
    /// Its environment.
    pub env: BTreeMap<String, String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            transport: Transport::default(),
            modes: BTreeSet::new(),
            tools: 0,
            page: 0,
            protocol: NEWEST.to_owned(),
            start_delay: Duration::ZERO,
            journal: None,
            bearer: None,
            stateless: false,
            env: BTreeMap::new(),
        }
    }
}

impl Options {
    /// Options with one way to go wrong.
    pub fn going_wrong(mode: Mode) -> Self {
        Self {
            modes: [mode].into(),
            ..Self::default()
        }
    }

    /// Reads arguments, without the program's name: `--mode MODE` (any number of times), `--http ADDRESS`, `--tools N`,
    /// `--page N`, `--protocol REVISION`, `--start-delay MS`, `--journal FILE`, `--bearer TOKEN`, `--stateless`.
    ///
    /// # Errors
    /// What is wrong with them, in one line.
    pub fn from_args(args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = args.into_iter();
        while let Some(option) = args.next() {
            if option == "--stateless" {
                options.stateless = true;
                continue;
            }
            let value = args.next().ok_or_else(|| format!("{option} needs a value"))?;
            let bad = || format!("{option} does not take {value}");
            match option.as_str() {
                "--mode" => {
                    let mode = Mode::ALL.iter().find(|(name, _)| *name == value);
                    options.modes.insert(mode.ok_or_else(bad)?.1);
                }
                "--http" => options.transport = Transport::Http(value.parse().map_err(|_| bad())?),
                "--orphan" => {
                    let settled = value == "settled";
                    options.transport = Transport::Orphan { settled };
                }
                "--tools" => options.tools = value.parse().map_err(|_| bad())?,
                "--page" => options.page = value.parse().map_err(|_| bad())?,
                "--protocol" => options.protocol = value,
                "--start-delay" => {
                    options.start_delay = Duration::from_millis(value.parse().map_err(|_| bad())?);
                }
                "--journal" => options.journal = Some(value.into()),
                "--bearer" => options.bearer = Some(value),
                _ => return Err(format!("{option} is not known")),
            }
        }
        Ok(options)
    }

    pub(super) fn has(&self, mode: Mode) -> bool {
        self.modes.contains(&mode)
    }

    /// Adds a line to the journal, in one write, so that those of several processes stay whole.
    pub(super) fn note(&self, line: &str) {
        use std::io::Write as _;
        let Some(path) = &self.journal else { return };
        let opened = std::fs::File::options().create(true).append(true).open(path);
        // A test that looks for the line finds out.
        let _ = opened.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    }
}
