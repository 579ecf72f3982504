//! A campaign: many worlds, some at once, until all of it was run or the time is up.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::dice::Dice;
use crate::engine::EngineKind;
use crate::points::Way;
use crate::world::{self, Outcome, Plan, Strike, Weather};

/// Kills in one world: enough for histories that span many daemons, few enough that its store stays small.
const KILLS: u64 = 200;
/// Clients of a world.
const CLIENTS: u64 = 6;
/// A fault point is met at one of its first so many times.
const NTH: u64 = 6;

/// What a campaign is made of.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// So many kills at random times.
    Random { kills: u64 },
    /// The same, with an engine that hangs and goes away.
    Storms { kills: u64 },
    /// The same, with an engine that restarts.
    Restarts { kills: u64 },
    /// The same, with a state directory that has no room now and then.
    FullDisk { kills: u64 },
    /// The same, with a clock that jumps because of this library.
    Clocks { kills: u64, library: PathBuf },
    /// The same, on a real engine that is killed too.
    EngineRestarts { kills: u64 },
    /// So many kills at random times, on a real engine.
    Docker { kills: u64 },
    /// So many kills at each of these points, of a real engine or the in-memory one.
    Points {
        names: Vec<String>,
        times: u64,
        real: bool,
    },
}

/// How it is run.
#[derive(Debug, Clone)]
pub(crate) struct Campaign {
    pub(crate) program: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) seed: u64,
    /// Worlds at once.
    pub(crate) jobs: usize,
    pub(crate) limit: Option<Duration>,
    /// Clients run commands.
    pub(crate) commands: bool,
    /// Where a line for each world is added.
    pub(crate) results: Option<PathBuf>,
    /// Only the world of this seed.
    pub(crate) world: Option<u64>,
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Self::Random { .. } => "random",
            Self::Storms { .. } => "storms",
            Self::Restarts { .. } => "restarts",
            Self::FullDisk { .. } => "full-disk",
            Self::Clocks { .. } => "clocks",
            Self::EngineRestarts { .. } => "engine-restarts",
            Self::Docker { .. } => "docker",
            Self::Points { real: false, .. } => "points",
            Self::Points { real: true, .. } => "docker-points",
        }
    }

    fn weather(&self) -> Weather {
        match self {
            Self::Storms { .. } => Weather::Storms,
            Self::Restarts { .. } | Self::EngineRestarts { .. } => Weather::Restarts,
            Self::Clocks { .. } => Weather::Clocks,
            Self::FullDisk { .. } => Weather::FullDisk,
            Self::Random { .. } | Self::Docker { .. } | Self::Points { .. } => Weather::Calm,
        }
    }

    fn engine(&self) -> EngineKind {
        match self {
            Self::Docker { .. } | Self::Points { real: true, .. } => EngineKind::Docker,
            Self::EngineRestarts { .. } => EngineKind::OwnDocker,
            _ => EngineKind::Memory,
        }
    }

    /// What happens in each world, in its order.
    fn worlds(&self, dice: &Dice) -> Vec<(Weather, Vec<Strike>)> {
        let weather = self.weather();
        match self {
            Self::Random { kills }
            | Self::Storms { kills }
            | Self::Restarts { kills }
            | Self::FullDisk { kills }
            | Self::Clocks { kills, .. }
            | Self::EngineRestarts { kills }
            | Self::Docker { kills } => {
                let whole = usize::try_from(kills / KILLS).unwrap_or(usize::MAX);
                let mut worlds = vec![(weather, vec![Strike::Random; count(KILLS)]); whole];
                let rest = kills % KILLS;
                worlds.extend((rest > 0).then(|| (weather, vec![Strike::Random; count(rest)])));
                worlds
            }
            // Each round visits every point once, so that what is run is even however early it is stopped.
            Self::Points { names, times, .. } => (0..*times)
                .flat_map(|round| visit(names, dice.stream(round)))
                .collect(),
        }
    }
}

/// Two worlds that visit every point: one of them loses containers, which only some points need.
fn visit(names: &[String], mut dice: Dice) -> Vec<(Weather, Vec<Strike>)> {
    let mut names = names.to_vec();
    shuffle(&mut names, &mut dice);
    let (lossy, calm): (Vec<_>, Vec<_>) = names
        .into_iter()
        .map(|name| {
            let way = Way::to(&name);
            let later = if matches!(way, Way::Work | Way::Loss) {
                dice.below(NTH).min(dice.below(NTH))
            } else {
                0
            };
            Strike::Point {
                name,
                nth: 1 + later,
                way,
            }
        })
        .partition(|strike| matches!(strike, Strike::Point { way: Way::Loss, .. }));
    [(Weather::Calm, calm), (Weather::Restarts, lossy)]
        .into_iter()
        .filter(|(_, strikes)| !strikes.is_empty())
        .collect()
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn shuffle(names: &mut [String], dice: &mut Dice) {
    for last in (1..names.len()).rev() {
        let other = dice.below(last as u64 + 1);
        names.swap(last, count(other));
    }
}

impl Campaign {
    fn plans(&self) -> Vec<Plan> {
        let dice = Dice::new(self.seed);
        let worlds = self.kind.worlds(&dice).into_iter().zip(0_u64..);
        let plans = worlds.map(|((weather, strikes), number)| Plan {
            program: self.program.clone(),
            seed: dice.stream(number).draw() >> 16,
            engine: self.kind.engine(),
            clock: match &self.kind {
                Kind::Clocks { library, .. } => Some(library.clone()),
                _ => None,
            },
            clients: CLIENTS,
            strikes,
            weather,
            commands: self.commands,
        });
        plans
            .filter(|plan| self.world.is_none_or(|world| world == plan.seed))
            .collect()
    }

    /// Runs it. Answers the worlds in which something was wrong.
    ///
    /// # Errors
    /// When a world cannot be made, or a result not be written.
    pub(crate) async fn run(&self, mut tell: impl FnMut(&str)) -> io::Result<Vec<Outcome>> {
        let began = Instant::now();
        let mut plans = self.plans().into_iter();
        let (mut running, mut wrong, mut done) = (JoinSet::new(), Vec::new(), Sum::default());
        loop {
            let in_time = self.limit.is_none_or(|limit| began.elapsed() < limit);
            while running.len() < self.jobs && in_time && wrong.is_empty() {
                let Some(plan) = plans.next() else { break };
                running.spawn(world::run(plan));
            }
            let Some(ended) = running.join_next().await else {
                return Ok(wrong);
            };
            let outcome = ended.map_err(io::Error::other)??;
            if let Some(results) = &self.results {
                self.keep(results, &outcome)?;
            }
            done.add(&outcome);
            tell(&done.line(self.kind.name(), began.elapsed()));
            if !outcome.wrong.is_empty() {
                wrong.push(outcome);
            }
        }
    }

    fn keep(&self, results: &Path, outcome: &Outcome) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(results)?;
        writeln!(file, "{}", self.line(outcome))
    }

    fn line(&self, outcome: &Outcome) -> Value {
        json!({
            "kind": self.kind.name(),
            "campaign": self.seed,
            "world": outcome.seed,
            "kills": outcome.kills,
            "early": outcome.early,
            "hits": outcome.hits,
            "storms": outcome.storms,
            "sessions": outcome.sessions,
            "broken_creations": outcome.broken_creations,
            "prompts": outcome.prompts,
            "commands": outcome.commands,
            "events": outcome.events,
            "retries": outcome.retries,
            "seconds": outcome.seconds,
            "wrong": outcome.wrong,
        })
    }
}

/// What was done so far.
#[derive(Debug, Default)]
struct Sum {
    kills: u64,
    sessions: u64,
    prompts: u64,
    commands: u64,
    wrong: usize,
}

impl Sum {
    fn add(&mut self, outcome: &Outcome) {
        self.kills += outcome.kills + outcome.hits.iter().filter(|(_, hit)| *hit).count() as u64;
        self.sessions += outcome.sessions;
        self.prompts += outcome.prompts;
        self.commands += outcome.commands;
        self.wrong += usize::from(!outcome.wrong.is_empty());
    }

    fn line(&self, kind: &str, elapsed: Duration) -> String {
        format!(
            "{kind}: {} daemons killed, {} sessions, {} prompts, {} commands, {} worlds wrong, {} s",
            self.kills,
            self.sessions,
            self.prompts,
            self.commands,
            self.wrong,
            elapsed.as_secs()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn campaign(kind: Kind) -> Campaign {
        Campaign {
            program: PathBuf::new(),
            kind,
            seed: 7,
            jobs: 1,
            limit: None,
            commands: true,
            results: None,
            world: None,
        }
    }

    #[test]
    fn a_campaign_is_all_that_was_asked_for_and_the_same_again() {
        let random = campaign(Kind::Random { kills: KILLS * 2 + 5 });
        let sizes: Vec<_> = random.plans().iter().map(|plan| plan.strikes.len()).collect();
        assert_eq!(sizes, [count(KILLS), count(KILLS), 5]);
        let seeds = |campaign: &Campaign| campaign.plans().iter().map(|plan| plan.seed).collect::<Vec<_>>();
        assert_eq!(seeds(&random), seeds(&random.clone()));
    }

    #[test]
    fn each_round_visits_every_point_in_the_weather_it_needs() {
        let names = ["a", "driver.lost.before", "cli.serve.stopped"].map(str::to_owned);
        let points = campaign(Kind::Points {
            names: names.to_vec(),
            times: 4,
            real: false,
        });
        let plans = points.plans();
        assert_eq!(plans.len(), 8);
        for round in plans.chunks(2) {
            let mut visited: Vec<_> = round
                .iter()
                .flat_map(|plan| plan.strikes.iter().map(|strike| (plan.weather, strike)))
                .map(|(weather, strike)| match strike {
                    Strike::Point { name, nth, way } => (
                        name.as_str(),
                        weather == Weather::Restarts,
                        *way == Way::Stop && *nth > 1,
                    ),
                    Strike::Random => ("?", false, true),
                })
                .collect();
            visited.sort_unstable();
            assert_eq!(
                visited,
                [
                    ("a", false, false),
                    ("cli.serve.stopped", false, false),
                    ("driver.lost.before", true, false)
                ]
            );
        }
    }

    #[test]
    fn one_world_can_be_run_alone() {
        let mut random = campaign(Kind::Random { kills: KILLS * 3 });
        let seed = random.plans()[1].seed;
        random.world = Some(seed);
        assert_eq!(
            random.plans().iter().map(|plan| plan.seed).collect::<Vec<_>>(),
            [seed]
        );
    }
}
