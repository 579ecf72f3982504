//! The log: for operators, on standard error, in the words of `COFFERDAM_LOG`.
//!
//! Libraries that log what passes through them are pinned: the engine's prints request bodies at `debug`, and those carry
//! environments; the MCP library prints messages of clients, and those carry arguments.

mod file;

use session_core::error::{Error, ErrorKind, Result};
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

pub use self::file::BoundedFile;
use crate::printer::{LogWriter, Paint, Printer};
use crate::settings::env::EnvVar;

/// Crates of others whose detailed logs carry bodies or headers, or a line a frame, and the most that they may log.
const PINNED: &[(&str, LevelFilter)] = &[
    ("bollard", LevelFilter::INFO),
    ("hyper", LevelFilter::INFO),
    ("hyper_util", LevelFilter::INFO),
    ("rmcp", LevelFilter::WARN),
    ("rustls", LevelFilter::INFO),
    ("yamux", LevelFilter::INFO),
];

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct LogSettings {
    targets: Targets,
    json: bool,
}

impl LogSettings {
    /// As a list such as `warn,session_core=debug` says, which came in `variable`.
    ///
    /// # Errors
    /// `InvalidArgument` when it cannot be read.
    pub fn of_list(list: &str, variable: EnvVar) -> Result<Self> {
        let targets = list.parse::<Targets>().map_err(|source| {
            Error::new(
                ErrorKind::InvalidArgument,
                "set up the log",
                "the variable is not a list of levels",
            )
            .with_context("variable", variable.name)
            .with_hint("write a level (warn, info, debug, trace), or a list such as warn,session_core=debug")
            .with_source(source)
        })?;
        Ok(Self::of_targets(targets))
    }

    /// Everything up to a level.
    pub fn of_level(level: LevelFilter) -> Self {
        Self::of_targets(Targets::new().with_default(level))
    }

    /// As often as `-v` was given.
    pub fn of_verbosity(verbose: u8) -> Self {
        Self::of_level(match verbose {
            0 | 1 => LevelFilter::WARN,
            2 => LevelFilter::INFO,
            _ => LevelFilter::DEBUG,
        })
    }

    /// One JSON object a line instead of text.
    #[must_use]
    pub fn as_json(mut self, json: bool) -> Self {
        self.json = json;
        self
    }

    /// Whether it is JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    fn of_targets(targets: Targets) -> Self {
        Self {
            targets: pinned(targets),
            json: false,
        }
    }
}

/// Installs the log.
pub fn install(settings: LogSettings, printer: &Printer) {
    let writer = LogWriter(printer.clone());
    let layer = fmt::layer().with_writer(move || writer.clone()).with_target(true);
    let registry = tracing_subscriber::registry();
    // Somebody who embeds this crate may have a log of their own; theirs stays.
    let _ = if settings.json {
        registry
            .with(layer.json().with_filter(settings.targets))
            .try_init()
    } else {
        let ansi = printer.err_paint() != Paint::new(false);
        registry
            .with(layer.with_ansi(ansi).compact().with_filter(settings.targets))
            .try_init()
    };
}

/// The log of a server: on standard error and in a file, or, when nobody has its standard error, in the file alone.
pub fn install_for_server(
    settings: LogSettings,
    printer: &Printer,
    file: Option<BoundedFile>,
    detached: bool,
) {
    let LogSettings { targets, json } = settings;
    let writer = LogWriter(printer.clone());
    let (shown, kept) = (!detached, file);
    let error = shown.then(|| {
        formed(
            move || writer.clone(),
            json,
            printer.err_paint() != Paint::new(false),
        )
    });
    let file = kept.map(|file| formed(move || file.clone(), json, false));
    // Somebody who embeds this crate may have a log of their own; theirs stays.
    let _ = tracing_subscriber::registry()
        .with(targets)
        .with(error)
        .with(file)
        .try_init();
}

/// A log in one of two forms.
fn formed<S, W>(writer: W, json: bool, ansi: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer).with_target(true);
    if json {
        layer.json().flatten_event(true).boxed()
    } else {
        layer.with_ansi(ansi).compact().boxed()
    }
}

fn pinned(mut targets: Targets) -> Targets {
    // A more specific entry of the user would win over the pin.
    let entries: Vec<_> = targets
        .iter()
        .map(|(target, level)| (target.to_owned(), level))
        .collect();
    for (target, level) in entries {
        let parent = target.split("::").next().unwrap_or_default();
        if let Some((_, most)) = PINNED
            .iter()
            .find(|(name, most)| *name == parent && level > *most)
        {
            targets = targets.with_target(target, *most);
        }
    }
    for (target, most) in PINNED {
        let beyond = if *most == LevelFilter::WARN {
            Level::INFO
        } else {
            Level::DEBUG
        };
        if targets.would_enable(target, &beyond) {
            targets = targets.with_target(*target, *most);
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::env::COFFERDAM_LOG;

    fn targets(list: &str) -> Targets {
        LogSettings::of_list(list, COFFERDAM_LOG).unwrap().targets
    }

    #[test]
    fn bodies_of_engine_requests_and_messages_of_clients_are_never_logged() {
        for text in [
            "trace",
            "debug",
            "info",
            "bollard=trace,rmcp=trace",
            "bollard::docker=debug,rmcp::service=debug,warn",
        ] {
            let targets = targets(text);
            for target in ["bollard", "bollard::docker"] {
                assert!(!targets.would_enable(target, &Level::DEBUG), "{text}");
            }
            for target in ["rmcp", "rmcp::service", "rmcp::transport::io"] {
                assert!(!targets.would_enable(target, &Level::INFO), "{text}");
            }
        }
        assert!(!targets("warn").would_enable("bollard", &Level::INFO));
        assert!(targets("warn").would_enable("rmcp", &Level::WARN));
    }

    #[test]
    fn the_default_grows_with_v() {
        let enables = |verbose, level| {
            let targets = LogSettings::of_verbosity(verbose).targets;
            targets.would_enable("session_core", &level)
        };
        assert!(!enables(0, Level::INFO));
        assert!(enables(2, Level::INFO));
        assert!(enables(3, Level::DEBUG));
        assert!(LogSettings::of_list("nonsense=x=y", COFFERDAM_LOG).is_err());
    }
}
