//! Proof by programs that we did not write: the published conformance suites and the protocol's own inspector, run against
//! our MCP server, and the suites against their own fixture behind our MCP gateway.
//!
//! ```text
//! suite ── HTTP ──▶ proxy.rs (adds the token, lends our tools) ──┐
//! inspector ── HTTP, with the token ─────────────────────────────┼─▶ server.rs
//! inspector ── stdio ────────────────────────────────────────────┘
//! suite ── HTTP ──▶ proxy.rs (adds the token) ──▶ the gateway ──▶ fixture/
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | `packages`, `wheels`, `kept` | clients, servers and their Node from npm; servers from PyPI; keeping both |
//! | `server`, `running` | the servers under test; programs that others talk to |
//! | `proxy`, `stand_ins` | what the suites need between them and the server |
//! | `suites` | running a suite, reading what it found |
//! | `exempt`, `judge` | what does not apply and why; holding the two against each other |
//! | `fixture`, `behind` | the suites' own server; the same behind the gateway |
//! | `inspector` | the inspector and what it must find |
//! | `schemathesis` | what tries to break the HTTP API by its description |
//! | `page` | `docs/conformance.md` |

mod behind;
mod exempt;
mod fixture;
mod inspector;
mod judge;
mod kept;
mod packages;
mod page;
mod proxy;
mod running;
mod schemathesis;
mod server;
mod stand_ins;
mod suites;
mod wheels;

use serde_json::json;

use xtask::error::{Error, Result};
use xtask::process::Tool;
use xtask::reporter::Reporter;
use xtask::workspace;

use self::inspector::{Era, Inspector, Transport};
pub(crate) use self::judge::Tally;
use self::judge::judge;
use self::packages::Packages;
use self::proxy::Route;
pub(crate) use self::running::token;
use self::server::{Server, Subject};
use self::stand_ins::StandIns;
use self::suites::Suite;
use crate::engine::Engine;
use crate::product;

/// `--only` of it runs the inspector and no suite.
const INSPECTOR: &str = "inspector";
/// `--only` of it runs schemathesis and nothing of MCP.
const SCHEMATHESIS: &str = "schemathesis";

/// Runs clients that others wrote against the MCP server and the MCP gateway.
///
/// The published conformance suites over HTTP, and the protocol's inspector over HTTP and stdio. The server is cofferdam-mcp on
/// the engine, and the same server over an in-memory runtime. Behind the gateway stands the suites' own fixture, over stdio and
/// HTTP. A check that fails is in the list of what does not apply, with its reason, or it fails the run; so does one of the list
/// that passes. See docs/conformance.md.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Only this scenario of the suites, or `inspector`, or `schemathesis`
    #[arg(long, value_name = "NAME")]
    only: Option<String>,

    /// Only what needs no engine: the server over the in-memory runtime, and the gateway
    #[arg(long)]
    in_memory: bool,

    /// Only the fixture behind the gateway
    #[arg(long)]
    gateway: bool,

    /// Write the versions and the list of what does not apply into docs/conformance.md, and run nothing
    #[arg(long, conflicts_with_all = ["only", "in_memory", "gateway"])]
    write: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args, reporter: &Reporter) -> Result<()> {
    if args.write {
        return page::write();
    }
    if args.only.as_deref() == Some(SCHEMATHESIS) {
        build(&schemathesis::TARGET, reporter)?;
        let tally = schemathesis::check(reporter)?;
        reporter.data(&tally.to_string());
        return verdict(&tally);
    }
    let engine = if args.in_memory || args.gateway {
        None
    } else {
        Some(product::stand(reporter)?)
    };
    let subjects = if args.gateway {
        Vec::new()
    } else {
        subjects(engine.as_ref())
    };
    compile(&subjects, reporter)?;
    let tally = check_some(&subjects, engine.as_ref(), args.only.as_deref(), reporter)?;
    reporter.data(&tally.to_string());
    verdict(&tally)
}

fn compile(subjects: &[Subject<'_>], reporter: &Reporter) -> Result<()> {
    let targets = subjects.iter().map(|subject| subject.target());
    targets
        .chain([behind::TARGET])
        .try_for_each(|target| build(&target, reporter))
}

fn build(target: &[&str], reporter: &Reporter) -> Result<()> {
    let mut step = reporter.step(format!("compile {}", target.last().unwrap_or(&"")));
    Tool::new(workspace::env("CARGO").unwrap_or_else(|| "cargo".to_owned()))
        .args(["build", "--locked"])
        .args(target)
        .dir(workspace::root())
        .run(|line| step.update(line))?;
    step.done("");
    Ok(())
}

/// Installs what others published and the tests use: nothing when it is there.
pub(crate) fn install(engine: Option<&Engine>, reporter: &Reporter) -> Result<()> {
    Packages::ensure(engine, reporter)?;
    wheels::SERVERS.ensure(reporter)?;
    wheels::SCHEMATHESIS.ensure(reporter)?;
    Ok(())
}

/// Whether everything is as it has to be; the error shows what is not.
pub(crate) fn verdict(tally: &Tally) -> Result<()> {
    if tally.failures.is_empty() {
        return Ok(());
    }
    let failed = tally.failures.len();
    Err(Error::new(format!("{failed} checks by other people's clients failed"))
        .output(tally.failures.join("\n"))
        .hint(
            "run one alone with `cargo xtask conformance --only SCENARIO`; what is asked of servers of another kind belongs \
             into xtask/src/clients/exempt.rs, with its reason",
        ))
}

/// What cargo has to have built.
pub(crate) fn programs_are_built(engine: &Engine) -> bool {
    let subjects = subjects(Some(engine));
    let programs = subjects.iter().map(|subject| subject.program());
    programs
        .chain([behind::program()])
        .all(|program| program.is_file())
}

/// Whether cargo has built the server of [`http_api`].
pub(crate) fn http_api_is_built() -> bool {
    schemathesis::program().is_file()
}

/// Runs schemathesis against the HTTP API.
pub(crate) fn http_api(reporter: &Reporter) -> Result<Tally> {
    schemathesis::check(reporter)
}

/// Runs all clients against everything that is there to be examined and built.
pub(crate) fn check(engine: &Engine, reporter: &Reporter) -> Result<Tally> {
    check_some(&subjects(Some(engine)), Some(engine), None, reporter)
}

/// Runs all clients, or those that `only` names, against these servers and the gateway.
fn check_some(
    subjects: &[Subject<'_>],
    engine: Option<&Engine>,
    only: Option<&str>,
    reporter: &Reporter,
) -> Result<Tally> {
    let packages = Packages::ensure(engine, reporter)?;
    let wanted = Wanted::of(only, &packages)?;
    let mut tally = Tally::default();
    for subject in subjects {
        tally += examine(*subject, &packages, &wanted, reporter)?;
    }
    tally += behind::check(&packages, &wanted, reporter)?;
    Ok(tally)
}

fn subjects(engine: Option<&Engine>) -> Vec<Subject<'_>> {
    std::iter::once(Subject::InMemory)
        .chain(engine.map(Subject::Program))
        .chain(engine.map(Subject::Daemon))
        .collect()
}

/// Which clients run.
#[derive(Debug)]
struct Wanted<'a> {
    suites: Vec<Suite>,
    /// The one scenario of theirs.
    scenario: Option<&'a str>,
    inspector: bool,
}

impl<'a> Wanted<'a> {
    fn of(only: Option<&'a str>, packages: &Packages) -> Result<Self> {
        let scenario = only.filter(|name| *name != INSPECTOR);
        let mut suites = Vec::new();
        for suite in Suite::ALL {
            let has_it = match scenario {
                None => only.is_none(),
                Some(name) => suite.scenarios(packages)?.contains(name),
            };
            suites.extend(has_it.then_some(suite));
        }
        if let Some(name) = scenario.filter(|_| suites.is_empty()) {
            return Err(Error::new(format!("no suite has a scenario {name}"))
                .hint("`inspector` names the inspector's checks"));
        }
        Ok(Self {
            suites,
            scenario,
            inspector: scenario.is_none(),
        })
    }
}

/// Runs the clients against one server, and leaves nothing behind whatever comes of it.
fn examine(
    subject: Subject<'_>,
    packages: &Packages,
    wanted: &Wanted<'_>,
    reporter: &Reporter,
) -> Result<Tally> {
    let server = Server::start(subject)?;
    let examined = with_session(&server, packages, wanted, reporter);
    let stopped = server.stop();
    let tally = examined?;
    stopped?;
    Ok(tally)
}

fn with_session(
    server: &Server<'_>,
    packages: &Packages,
    wanted: &Wanted<'_>,
    reporter: &Reporter,
) -> Result<Tally> {
    let maker = Inspector {
        packages,
        server,
        transport: Transport::Http,
        era: Era::Legacy,
    };
    let title = server.subject.title();
    let step = reporter.step(format!("{title}: a session, made by the inspector"));
    let made = maker.call("create_session", &json!({ "sessionName": "clients" }))?;
    let session = made["sessionId"].as_str();
    let session =
        session.ok_or_else(|| Error::new("create_session gave no session").output(made.to_string()))?;
    step.done("");

    let found = by_suites(server, session, packages, wanted, reporter).map(|mut tally| {
        if wanted.inspector {
            tally += by_inspector(server, session, packages, reporter);
        }
        tally
    });
    let destroyed = maker.call("destroy_session", &json!({ "sessionId": session, "force": true }));
    let tally = found?;
    destroyed?;
    Ok(tally)
}

fn by_inspector(server: &Server<'_>, session: &str, packages: &Packages, reporter: &Reporter) -> Tally {
    let mut step = reporter.step(format!("{}: inspector", server.subject.title()));
    let mut tally = Tally::default();
    for transport in Transport::ALL {
        for era in Era::ALL {
            let inspector = Inspector {
                packages,
                server,
                transport,
                era,
            };
            tally += inspector.check(session, &mut step);
        }
    }
    step.done(&tally.to_string());
    tally
}

fn by_suites(
    server: &Server<'_>,
    session: &str,
    packages: &Packages,
    wanted: &Wanted<'_>,
    reporter: &Reporter,
) -> Result<Tally> {
    let takes_cues = server.subject.takes_cues();
    let route = Route {
        server: server.address,
        token: server.token.clone(),
        stand_ins: Some(StandIns {
            session: session.to_owned(),
            takes_cues,
        }),
    };
    let mut tally = Tally::default();
    for suite in &wanted.suites {
        let mut step = reporter.step(format!("{}: {}", server.subject.title(), suite.title()?));
        let checks = proxy::serve(&route, |address| {
            suite.run(packages, address, wanted.scenario, server.place(), &mut step)
        })?;
        let found = judge(*suite, &checks, wanted.scenario.is_none(), takes_cues);
        step.done(&found.to_string());
        tally += found;
    }
    Ok(tally)
}
