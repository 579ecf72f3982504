//! The suites' own fixture behind the MCP gateway: what passes when a suite asks it directly passes through the gateway, too.
//!
//! ```text
//! suite ── HTTP ──▶ fixture over HTTP                                                       the baseline
//! suite ── HTTP ──▶ proxy.rs (adds the token) ──▶ door.rs ──▶ fixture, over stdio or HTTP,
//!                                                            that knows all revisions or only the older ones
//! ```

mod compare;
mod door;
mod lost;

use std::path::PathBuf;

use xtask::error::Result;
use xtask::reporter::Reporter;

use self::compare::compare;
use self::door::Door;
pub(super) use self::lost::{LOST, Lost};
use super::Wanted;
use super::fixture::{Era, Fixture, Served};
use super::judge::Tally;
use super::packages::Packages;
use super::proxy::{self, Route};
use super::suites::{Check, Suite};

/// What cargo has to build for it.
pub(super) const TARGET: [&str; 4] = ["--package", "session-gateway", "--example", "mcp_door"];

/// How the gateway reaches the fixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Stdio,
    Http,
}

impl Transport {
    const ALL: [Self; 2] = [Self::Stdio, Self::Http];

    fn title(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Http => "HTTP",
        }
    }
}

/// The program that serves the door, as a debug build makes it.
pub(super) fn program() -> PathBuf {
    door::program()
}

/// Runs the suites that are wanted, directly and through the gateway.
pub(super) fn check(packages: &Packages, wanted: &Wanted<'_>, reporter: &Reporter) -> Result<Tally> {
    let fixture = Fixture::lay_out(packages)?;
    let mut tally = Tally::default();
    for suite in &wanted.suites {
        let examined = Examined {
            suite: *suite,
            packages,
            fixture: &fixture,
            scenario: wanted.scenario,
            reporter,
        };
        tally += examined.everywhere()?;
    }
    Ok(tally)
}

/// One suite, and what it asks.
struct Examined<'a> {
    suite: Suite,
    packages: &'a Packages,
    fixture: &'a Fixture,
    scenario: Option<&'a str>,
    reporter: &'a Reporter,
}

impl Examined<'_> {
    fn everywhere(&self) -> Result<Tally> {
        let direct = self.directly()?;
        let mut tally = Tally::default();
        for era in Era::ALL {
            for transport in Transport::ALL {
                tally += self.behind(transport, era, &direct)?;
            }
        }
        Ok(tally)
    }

    fn directly(&self) -> Result<Vec<Check>> {
        let mut step = self
            .reporter
            .step(format!("fixture, directly: {}", self.suite.title()?));
        let fixture = self.fixture.serve(Era::Newer)?;
        let checks = self.suite.run(
            self.packages,
            fixture.address,
            self.scenario,
            fixture.place(),
            &mut step,
        )?;
        step.done(&format!("{} checks", checks.len()));
        Ok(checks)
    }

    fn behind(&self, transport: Transport, era: Era, direct: &[Check]) -> Result<Tally> {
        let (how, revision, suite) = (transport.title(), era.revision(), self.suite.title()?);
        let mut step = self.reporter.step(format!(
            "fixture of {revision} over {how}, behind the gateway: {suite}"
        ));
        let (door, _served) = self.open(transport, era)?;
        let route = Route {
            server: door.address,
            token: door.token.clone(),
            stand_ins: None,
        };
        let through = proxy::serve(&route, |address| {
            self.suite
                .run(self.packages, address, self.scenario, door.place(), &mut step)
        });
        let through = through.map_err(|error| error.output(door.last_words()))?;
        door.stop()?;
        let mut tally = compare(self.suite, era, direct, &through, self.scenario.is_none());
        for failure in &mut tally.failures {
            failure.insert_str(0, &format!("behind the gateway, {revision} over {how}: "));
        }
        step.done(&tally.to_string());
        Ok(tally)
    }

    /// A door with the fixture behind it. What is served over HTTP has to outlive the door.
    fn open(&self, transport: Transport, era: Era) -> Result<(Door, Option<Served>)> {
        match transport {
            Transport::Stdio => {
                let [command, args @ ..] = &self.fixture.stdio(era);
                let definition = format!("command = {command:?}\nargs = {args:?}\n");
                Ok((Door::open(&definition)?, None))
            }
            Transport::Http => {
                let served = self.fixture.serve(era)?;
                let definition = format!("url = \"http://{}/mcp\"\nprivate = true\n", served.address);
                Ok((Door::open(&definition)?, Some(served)))
            }
        }
    }
}
