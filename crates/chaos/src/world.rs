//! One world: an engine, a state directory, clients, and daemons that are killed one after the other. At its end everything is
//! looked at: what clients were told, what the engine counted, and what lies about.

use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_client::HttpSessions;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::client::{Client, Counts, Finished, Shared};
use crate::clock::Clock;
use crate::daemon::{Beginning, Daemon, KILL, Launcher};
use crate::dice::Dice;
use crate::disk::SmallDisk;
use crate::ending;
use crate::engine::{Engine, EngineKind};
use crate::points::{Favour, Way};
use crate::trouble::Trouble;

/// One daemon in so many lives longer.
const LONG_LIVED: u64 = 5;
/// How long the weather is bad at most.
const STORM: Duration = Duration::from_millis(250);
/// How long one may take to go down as it should.
const STOP: Duration = Duration::from_secs(30);
/// How long clients are given to bring what they began to an end.
const FINISH: Duration = Duration::from_secs(120);

/// What happens to one daemon.
#[derive(Debug, Clone)]
pub(crate) enum Strike {
    /// It is killed at some time.
    Random,
    /// It is killed where a fault point says, at the `nth` time that it comes there.
    Point { name: String, nth: u64, way: Way },
}

/// What happens besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Nothing.
    Calm,
    /// The engine hangs, goes away and comes back.
    Storms,
    /// The engine restarts: every container ends and stays where it is.
    Restarts,
    /// The state directory's file system is full for a while.
    FullDisk,
    /// The time of day jumps.
    Clocks,
}

impl Weather {
    /// Whether what runs may be lost with its container, or fail for want of room.
    pub(crate) fn shakes(self) -> bool {
        matches!(self, Self::Restarts | Self::FullDisk)
    }
}

/// What happens in a world.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) program: PathBuf,
    pub(crate) seed: u64,
    pub(crate) engine: EngineKind,
    pub(crate) clients: u64,
    pub(crate) strikes: Vec<Strike>,
    pub(crate) weather: Weather,
    /// The library that makes the clock jump, where it does.
    pub(crate) clock: Option<PathBuf>,
    /// Clients run commands.
    pub(crate) commands: bool,
}

/// What happened.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    /// Daemons that were killed at some time.
    pub(crate) kills: u64,
    /// Those that were killed before they answered.
    pub(crate) early: u64,
    /// Times that each point was reached, and the daemon died there.
    pub(crate) hits: Vec<(String, bool)>,
    pub(crate) storms: u64,
    pub(crate) sessions: u64,
    pub(crate) broken_creations: u64,
    pub(crate) prompts: u64,
    pub(crate) commands: u64,
    pub(crate) events: u64,
    pub(crate) retries: u64,
    pub(crate) seconds: f64,
    pub(crate) wrong: Vec<String>,
}

/// Runs a world to its end.
///
/// # Errors
/// When the world itself cannot be made; what goes wrong in it is told in the outcome.
pub(crate) async fn run(plan: Plan) -> io::Result<Outcome> {
    let began = Instant::now();
    let world = World::new(&plan).await?;
    let clients = world.clients(&plan);
    let mut outcome = Outcome {
        seed: plan.seed,
        ..Outcome::default()
    };
    let struck = world.strike(&plan, &mut outcome).await;
    if let Err(error) = struck {
        world.shared.trouble.tell(format!("the daemon: {error}"));
    }
    world.shared.ending.store(true, Ordering::Relaxed);
    world.end(clients).await;
    take_counts(&mut outcome, &world.shared.counts);
    outcome.seconds = began.elapsed().as_secs_f64();
    outcome.wrong = world.shared.trouble.all();
    if !outcome.wrong.is_empty() {
        let words = world.launcher.last_words(40);
        outcome
            .wrong
            .push(format!("what the daemons said last:\n{words}"));
    }
    Ok(outcome)
}

fn take_counts(outcome: &mut Outcome, counts: &Counts) {
    let read = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    outcome.sessions = read(&counts.sessions);
    outcome.broken_creations = read(&counts.broken_creations);
    outcome.prompts = read(&counts.prompts);
    outcome.commands = read(&counts.commands);
    outcome.events = read(&counts.events);
    outcome.retries = read(&counts.retries);
}

struct World {
    launcher: Launcher,
    engine: Engine,
    shared: Arc<Shared>,
    dice: Dice,
    clock: Option<Clock>,
    /// Taken away, and then removed, after everything that lives in them.
    _small: Option<SmallDisk>,
    _dir: TempDir,
}

impl World {
    async fn new(plan: &Plan) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("cofferdam-chaos-").tempdir()?;
        let engine = Engine::start(plan.engine, dir.path()).await?;
        let small = match plan.weather {
            Weather::FullDisk => Some(SmallDisk::mount(&dir.path().join("state"))?),
            Weather::Calm | Weather::Storms | Weather::Restarts | Weather::Clocks => None,
        };
        let clock = plan.clock.as_deref();
        let clock = clock.map(|library| Clock::new(library, dir.path())).transpose()?;
        let mut environment = engine.environment();
        environment.extend(clock.iter().flat_map(Clock::environment));
        let launcher = Launcher {
            program: plan.program.clone(),
            dir: dir.path().to_owned(),
            environment,
        };
        let api = HttpSessions::unix(launcher.socket()).map_err(io::Error::other)?;
        let shared = Shared {
            api,
            trouble: Trouble::default(),
            engine: plan.engine,
            ending: AtomicBool::new(false),
            counts: Counts::default(),
            weather: plan.weather,
            commands: plan.commands,
            project: project(dir.path())?,
            favour: Mutex::default(),
        };
        Ok(Self {
            engine,
            launcher,
            shared: Arc::new(shared),
            dice: Dice::new(plan.seed),
            clock,
            _small: small,
            _dir: dir,
        })
    }

    fn clients(&self, plan: &Plan) -> Vec<JoinHandle<Vec<Finished>>> {
        let client = |number| {
            let client = Client {
                shared: Arc::clone(&self.shared),
                name: format!("{:x}-{number}", plan.seed),
                dice: self.dice.stream(number),
                left: Vec::new(),
            };
            tokio::spawn(client.work())
        };
        (0..plan.clients).map(client).collect()
    }

    async fn strike(&self, plan: &Plan, outcome: &mut Outcome) -> io::Result<()> {
        let mut dice = self.dice.stream(u64::MAX);
        for strike in &plan.strikes {
            if self.shared.trouble.any() {
                break;
            }
            match strike {
                Strike::Random => self.random(plan, &mut dice, outcome).await?,
                Strike::Point { name, nth, way } => {
                    *self.shared.favour.lock().unwrap_or_else(PoisonError::into_inner) = Favour::of(name);
                    let hit = self.point(name, *nth, *way, &mut dice).await?;
                    outcome.hits.push((name.clone(), hit));
                }
            }
        }
        Ok(())
    }

    async fn random(&self, plan: &Plan, dice: &mut Dice, outcome: &mut Outcome) -> io::Result<()> {
        // A machine may come up with another time than it went down with.
        if dice.once_in(4) {
            self.jump(dice)?;
        }
        let mut daemon = self.launcher.start(None)?;
        let mut life = dice.time(plan.engine.pace().life);
        if dice.once_in(LONG_LIVED) {
            // Long enough to bring a session to its end.
            life *= 6;
        }
        if dice.once_in(8) {
            sleep(life).await;
            outcome.early += 1;
        } else {
            if let Beginning::Ended(status) = daemon.ready().await? {
                return Err(ended_by_itself(status));
            }
            if plan.weather != Weather::Calm && dice.once_in(3) {
                outcome.storms += 1;
                self.storm(plan.weather, dice).await?;
            }
            if let Some(status) = daemon.end_within(life).await? {
                return Err(ended_by_itself(status));
            }
        }
        daemon.kill().await?;
        outcome.kills += 1;
        Ok(())
    }

    /// Bad weather, for a while.
    async fn storm(&self, weather: Weather, dice: &mut Dice) -> io::Result<()> {
        let lasting = dice.time(STORM);
        match (weather, self.engine.memory()) {
            (Weather::Storms, Some(memory)) if dice.once_in(2) => {
                memory.set_hung(true);
                sleep(lasting).await;
                memory.set_hung(false);
            }
            (Weather::Storms, Some(memory)) => {
                memory.set_down(true);
                sleep(lasting).await;
                memory.set_down(false);
            }
            (Weather::Restarts, _) => {
                sleep(lasting).await;
                self.engine.restart().await?;
            }
            (Weather::FullDisk, _) => {
                let filler = self.launcher.state().join("filler");
                fill(&filler)?;
                sleep(lasting).await;
                std::fs::remove_file(&filler)?;
            }
            (Weather::Clocks, _) => {
                sleep(lasting).await;
                self.jump(dice)?;
            }
            (Weather::Calm | Weather::Storms, _) => {}
        }
        Ok(())
    }

    fn jump(&self, dice: &mut Dice) -> io::Result<()> {
        self.clock.as_ref().map_or(Ok(()), |clock| clock.jump(dice))
    }

    /// Whether the point was reached, and the daemon, or the program beside it, died there.
    async fn point(&self, name: &str, nth: u64, way: Way, dice: &mut Dice) -> io::Result<bool> {
        let faults = format!("{name}=kill@{nth}");
        match way {
            Way::Token => return self.launcher.token(&faults).await,
            Way::FirstStart => return self.first_start(&faults).await,
            Way::Work | Way::Start | Way::Loss | Way::Stop => {}
        }
        let mut daemon = self.launcher.start(Some(&faults))?;
        let status = match daemon.ready().await? {
            Beginning::Ended(status) => Some(status),
            Beginning::Ready => {
                if way == Way::Loss {
                    self.storm(Weather::Restarts, dice).await?;
                }
                let patience = if way == Way::Stop {
                    daemon.ask_to_stop()?;
                    STOP
                } else {
                    self.shared.engine.pace().point
                };
                daemon.end_within(patience).await?
            }
        };
        match status {
            Some(status) if status.signal() == Some(KILL) => Ok(true),
            Some(status) if way == Way::Stop && status.success() => Ok(false),
            Some(status) => Err(ended_by_itself(status)),
            None => {
                daemon.kill().await?;
                Ok(false)
            }
        }
    }

    /// The first daemon of a state directory is killed; the next one makes do with what is there.
    async fn first_start(&self, faults: &str) -> io::Result<bool> {
        let home = tempfile::Builder::new()
            .prefix("first-")
            .tempdir_in(&self.launcher.dir)?;
        let launcher = Launcher {
            dir: home.path().to_owned(),
            ..self.launcher.clone()
        };
        let mut first = launcher.start(Some(faults))?;
        let hit = matches!(first.ready().await?, Beginning::Ended(status) if status.signal() == Some(KILL));
        first.kill().await?;
        let mut second = launcher.start(None)?;
        match second.ready().await? {
            Beginning::Ready => second.stop().await.map(|_| hit),
            Beginning::Ended(status) => Err(ended_by_itself(status)),
        }
    }

    /// A last daemon, which nobody kills, and a look at everything.
    async fn end(&self, clients: Vec<JoinHandle<Vec<Finished>>>) {
        let daemon = match self.last_daemon().await {
            Ok(daemon) => daemon,
            Err(error) => {
                self.shared.trouble.tell(format!("the last daemon: {error}"));
                return;
            }
        };
        let mut finished = Vec::new();
        for client in clients {
            match tokio::time::timeout(FINISH, client).await {
                Ok(Ok(sessions)) => finished.extend(sessions),
                Ok(Err(error)) => self.shared.trouble.tell(format!("a client: {error}")),
                Err(_) => self.shared.trouble.tell("a client does not come to an end"),
            }
        }
        ending::judge(&self.shared, &self.engine, &self.launcher, &finished).await;
        self.shared.api.close().await;
        match daemon.stop().await {
            Ok(status) if status.success() => {
                ending::look_for_processes(&self.shared.trouble, &self.launcher.dir)
            }
            Ok(status) => self
                .shared
                .trouble
                .tell(format!("the daemon ended with {status}")),
            Err(error) => self.shared.trouble.tell(format!("the daemon: {error}")),
        }
    }

    async fn last_daemon(&self) -> io::Result<Daemon> {
        let mut daemon = self.launcher.start(None)?;
        match daemon.ready().await? {
            Beginning::Ready => Ok(daemon),
            Beginning::Ended(status) => Err(ended_by_itself(status)),
        }
    }
}

/// A project as people have it, small.
fn project(dir: &Path) -> io::Result<PathBuf> {
    let project = dir.join("project");
    std::fs::create_dir(&project)?;
    for number in 0..12 {
        std::fs::write(project.join(format!("{number}.txt")), [b'x'; 20 << 10])?;
    }
    Ok(project)
}

/// Writes until there is no room.
fn fill(file: &Path) -> io::Result<()> {
    let mut file = std::fs::File::create(file)?;
    for piece in [vec![0; 64 << 10], vec![0; 512], vec![0; 1]] {
        loop {
            match file.write_all(&piece) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn ended_by_itself(status: std::process::ExitStatus) -> io::Error {
    io::Error::other(format!("it ended by itself: {status}"))
}
