//! The log: for operators, on standard error, in the words of `COFFERDAM_LOG`.
//!
//! The engine's client library is pinned: at `debug` it prints request bodies, and those carry environments.

use session_core::error::{Error, ErrorKind, Result};
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::printer::{LogWriter, Printer};
use crate::settings::env;

/// Crates of others whose detailed logs carry bodies or headers, or a line a frame, and the most that they may log.
const PINNED: &[(&str, Level)] = &[
    ("bollard", Level::INFO),
    ("hyper", Level::INFO),
    ("hyper_util", Level::INFO),
    ("rustls", Level::INFO),
    ("yamux", Level::INFO),
];

/// Installs the log. What is said twice, by the variable and by `-v`, is decided by the variable.
///
/// # Errors
/// `InvalidArgument` when the variable cannot be read.
pub fn install(variable: Option<&str>, printer: &Printer) -> Result<()> {
    let targets = targets(variable, printer.verbose())?;
    let writer = LogWriter(printer.clone());
    let layer = fmt::layer()
        .with_writer(move || writer.clone())
        .with_ansi(printer.err_paint() != crate::printer::Paint::new(false))
        .with_target(true)
        .compact()
        .with_filter(targets);
    // Somebody who embeds this crate may have a log of their own; theirs stays.
    let _ = tracing_subscriber::registry().with(layer).try_init();
    Ok(())
}

fn targets(variable: Option<&str>, verbose: u8) -> Result<Targets> {
    let mut targets = match variable {
        Some(text) => text.parse::<Targets>().map_err(|source| {
            Error::new(
                ErrorKind::InvalidArgument,
                "set up the log",
                "the variable is not a list of levels",
            )
            .with_context("variable", env::COFFERDAM_LOG.name)
            .with_hint("write a level (warn, info, debug, trace), or a list such as warn,session_core=debug")
            .with_source(source)
        })?,
        None => Targets::new().with_default(match verbose {
            0 | 1 => LevelFilter::WARN,
            2 => LevelFilter::INFO,
            _ => LevelFilter::DEBUG,
        }),
    };
    for (target, most) in PINNED {
        if targets.would_enable(target, &Level::DEBUG) {
            targets = targets.with_target(*target, *most);
        }
    }
    // A more specific entry of the user would win over the pin.
    let specific: Vec<String> = targets
        .iter()
        .filter(|(target, level)| {
            *level > LevelFilter::INFO
                && PINNED
                    .iter()
                    .any(|(pinned, _)| target.starts_with(&format!("{pinned}::")))
        })
        .map(|(target, _)| target.to_owned())
        .collect();
    for target in specific {
        targets = targets.with_target(target, Level::INFO);
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_engine_requests_are_never_logged() {
        for text in ["trace", "debug", "bollard=trace", "bollard::docker=debug,warn"] {
            let targets = targets(Some(text), 0).unwrap();
            assert!(!targets.would_enable("bollard", &Level::DEBUG), "{text}");
            assert!(!targets.would_enable("bollard::docker", &Level::DEBUG), "{text}");
        }
        assert!(
            !targets(Some("warn"), 0)
                .unwrap()
                .would_enable("bollard", &Level::INFO)
        );
    }

    #[test]
    fn the_default_grows_with_v() {
        assert!(
            !targets(None, 0)
                .unwrap()
                .would_enable("session_core", &Level::INFO)
        );
        assert!(
            targets(None, 2)
                .unwrap()
                .would_enable("session_core", &Level::INFO)
        );
        assert!(
            targets(None, 3)
                .unwrap()
                .would_enable("session_core", &Level::DEBUG)
        );
        assert!(targets(Some("nonsense=x=y"), 0).is_err());
    }
}
