//! The images that we build: the default session image, and a hostile one for the conformance tests.
//!
//! The session image is a chain: base, tools, agent, our programs. Each link carries a digest of everything that went
//! into it as a label, so a link is built again only when its inputs or the link below it changed. What changes
//! most often is the last link and costs about a second.

use std::path::{Path, PathBuf};

use crate::engine::{self, Engine};
use xtask::error::{Context, Error, Result};
use xtask::reporter::Reporter;
use xtask::workspace;

use self::builder::{Builder, Image, Stage};
use self::dockerfile::Dockerfile;

mod base;
mod builder;
mod dockerfile;
mod host;
mod inputs;
mod program;
pub(crate) mod server;

/// The default session image.
pub(crate) const SESSION: &str = "cofferdam-session:latest";
/// The server's own image.
pub(crate) const SERVER: &str = server::TAG;
/// The image of the conformance tests that knows nothing of us.
pub(crate) const FOREIGN: &str = "cofferdam-test-foreign:latest";

/// Builds cofferdam-session:latest, and only the parts of it that changed.
///
/// The base is made with debootstrap (as root, without any image registry), or is a Debian or Ubuntu image of yours.
/// Packages are fetched from inside the build, from the mirrors and with the certificates that this machine uses.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Start from this Debian or Ubuntu image, pulled when it is not there
    #[arg(long, value_name = "NAME")]
    base: Option<String>,

    /// Build every part again, even if nothing changed
    #[arg(long)]
    force: bool,

    /// Put this static session-init into the image instead of building one
    #[arg(long, value_name = "PATH")]
    session_init: Option<PathBuf>,

    /// Put this static project-analysis into the image instead of building one
    #[arg(long, value_name = "PATH")]
    project_analysis: Option<PathBuf>,

    /// Also build cofferdam-server:latest, the server's own image
    #[arg(long)]
    server: bool,

    /// Put this static cofferdam into the server's image instead of building one
    #[arg(long, value_name = "PATH", requires = "server")]
    server_program: Option<PathBuf>,

    /// Also build cofferdam-test-foreign:latest, the hostile image of the conformance tests
    #[arg(long)]
    foreign: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args, reporter: &Reporter) -> Result<()> {
    let engine = engine::ensure(reporter)?;
    let image = session(&engine, args, reporter)?;
    reporter.data(&format!("{SESSION} {}", image.id));
    // A base that was made again a moment ago is not made once more: the session image stands on it.
    let args = Args {
        force: false,
        ..args.clone()
    };
    if args.server {
        let image = server::build(&engine, &args, reporter)?;
        reporter.data(&format!("{SERVER} {}", image.id));
    }
    if args.foreign {
        let image = foreign(&engine, &args, reporter)?;
        reporter.data(&format!("{FOREIGN} {}", image.id));
    }
    Ok(())
}

/// Makes sure that [`SESSION`] is there and up to date.
pub(crate) fn session(engine: &Engine, args: &Args, reporter: &Reporter) -> Result<Image> {
    same_architecture(engine)?;
    let program = |given: &Option<PathBuf>, program| match given {
        Some(path) => program::given(path),
        None => program::build(program, reporter),
    };
    let init = program(&args.session_init, program::SESSION_INIT)?;
    let analysis = program(&args.project_analysis, program::PROJECT_ANALYSIS)?;
    let dir = images().join("session");
    let builder = Builder::new(engine, reporter, args.force)?;
    let dockerfile = Dockerfile::read(&dir)?;

    let tools = tools(&builder, &dockerfile, args)?;
    let agent = Stage::new(&dockerfile, "agent", "cofferdam-stage:agent")?
        .file(&dir.join("agent.sh"))?
        .file(&dir.join("claude-code.version"))?
        .fetches();
    let agent = builder.stage(&agent, &tools)?;
    let session = Stage::new(&dockerfile, "session", SESSION)?
        .program("session-init", init)
        .program("project-analysis", analysis);
    let image = builder.stage(&session, &agent)?;
    builder.finish();
    Ok(image)
}

/// The base with the packages of a session: what the agent stands on.
fn tools(builder: &Builder<'_>, dockerfile: &Dockerfile, args: &Args) -> Result<Image> {
    let dir = images().join("session");
    let base = base::ensure(builder, args.base.as_deref())?;
    let tools = Stage::new(dockerfile, "tools", "cofferdam-stage:tools")?
        .file(&dir.join("tools.sh"))?
        .file(&dir.join("requirements.txt"))?
        .fetches();
    builder.stage(&tools, &base)
}

/// Makes sure that [`FOREIGN`] is there and up to date.
pub(crate) fn foreign(engine: &Engine, args: &Args, reporter: &Reporter) -> Result<Image> {
    let builder = Builder::new(engine, reporter, args.force)?;
    let dockerfile = Dockerfile::read(&images().join("test-foreign"))?;
    let base = base::ensure(&builder, args.base.as_deref())?;
    let image = builder.stage(&Stage::new(&dockerfile, "foreign", FOREIGN)?, &base)?;
    builder.finish();
    Ok(image)
}

fn images() -> PathBuf {
    workspace::root().join("images")
}

/// What we build here runs there: both must be the same kind of machine.
fn same_architecture(engine: &Engine) -> Result<()> {
    let there = engine.architecture()?;
    let here = std::env::consts::ARCH;
    if there == here {
        return Ok(());
    }
    Err(
        Error::new(format!("the engine runs on {there}, this machine is {here}"))
            .hint("build the image on a machine of the engine's kind, or set DOCKER_HOST to another engine"),
    )
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).context(|| format!("cannot read {}", path.display()))
}
