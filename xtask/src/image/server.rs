//! The server's own image: one static program on nothing.
//!
//! Its certificates come from the image that sessions stand on, so building it asks nobody for anything.

use crate::engine::Engine;
use xtask::error::{Error, Result};
use xtask::reporter::Reporter;

use super::builder::{Builder, Image, Stage};
use super::dockerfile::Dockerfile;
use super::{Args, images, program, same_architecture, tools};

/// What it is called.
pub(super) const TAG: &str = "cofferdam-server:latest";
/// More is a mistake: something got in that does not belong there.
const MOST_BYTES: u64 = 40_000_000;

/// Makes sure that the image is there and up to date, and no larger than it may be.
pub(crate) fn build(engine: &Engine, args: &Args, reporter: &Reporter) -> Result<Image> {
    same_architecture(engine)?;
    let cofferdam = match &args.server_program {
        Some(path) => program::given(path)?,
        None => program::build(program::SERVER, reporter)?,
    };
    let dir = images().join("server");
    let builder = Builder::new(engine, reporter, args.force)?;
    let parent = tools(&builder, &Dockerfile::read(&images().join("session"))?, args)?;
    let stage = Stage::whole(&Dockerfile::read(&dir)?, "server", TAG)
        .file(&dir.join("tree.sh"))?
        .program("cofferdam", cofferdam);
    let image = builder.stage(&stage, &parent)?;
    builder.finish();
    expect_small(engine)?;
    Ok(image)
}

fn expect_small(engine: &Engine) -> Result<()> {
    let size = ["image", "inspect", "--format", "{{.Size}}", TAG];
    let size = engine.docker().args(size).output()?.stdout;
    match size.trim().parse::<u64>() {
        Ok(size) if size <= MOST_BYTES => Ok(()),
        _ => Err(Error::new(format!(
            "{TAG} has {} bytes, and may have {MOST_BYTES}",
            size.trim()
        ))
        .hint("look for what got in: `docker history cofferdam-server:latest`")),
    }
}
