//! What it is told on its command line. It reads no environment: that belongs to the session's programs.

use std::{ffi::OsString, path::PathBuf};

/// What to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Init(Settings),
    Bridge {
        session: String,
    },
    Supervise,
    /// Become a program that has a terminal.
    Sit {
        program: OsString,
        name: OsString,
        arguments: Vec<OsString>,
    },
    Version,
}

/// How to be init.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Where hosts put their sockets; without one there is only the bridge.
    pub(crate) link_dir: Option<PathBuf>,
    /// Where spools make their files.
    pub(crate) spool_dir: Option<PathBuf>,
    /// The session it serves.
    pub(crate) session: String,
}

pub(crate) const USAGE: &str = "\
usage: session-init [--link-dir DIR] [--spool-dir DIR] [--session ID]
       session-init bridge [--session ID]
       session-init supervise
       session-init sit PROGRAM NAME [ARGUMENT...]
       session-init --version";

/// Reads the arguments behind the program's name.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut arguments = arguments.into_iter().peekable();
    let first = arguments
        .peek()
        .and_then(|first| first.to_str())
        .unwrap_or_default()
        .to_owned();
    match first.as_str() {
        "--version" => Ok(Command::Version),
        "supervise" => Ok(Command::Supervise),
        "sit" => {
            arguments.next();
            let mut next = || arguments.next().ok_or("sit needs a program and its name");
            let (program, name) = (next()?, next()?);
            Ok(Command::Sit {
                program,
                name,
                arguments: arguments.collect(),
            })
        }
        "bridge" => {
            arguments.next();
            let settings = options(arguments)?;
            match settings {
                Settings {
                    link_dir: None,
                    spool_dir: None,
                    session,
                } => Ok(Command::Bridge { session }),
                _ => Err("a bridge takes --session only".to_owned()),
            }
        }
        _ => options(arguments).map(Command::Init),
    }
}

fn options(mut arguments: impl Iterator<Item = OsString>) -> Result<Settings, String> {
    let mut settings = Settings::default();
    while let Some(option) = arguments.next() {
        let option = option.to_string_lossy().into_owned();
        let mut value = || arguments.next().ok_or_else(|| format!("{option} needs a value"));
        match option.as_str() {
            "--link-dir" => settings.link_dir = Some(value()?.into()),
            "--spool-dir" => settings.spool_dir = Some(value()?.into()),
            "--session" => settings.session = session(&value()?)?,
            _ => return Err(format!("unknown argument {option}")),
        }
    }
    Ok(settings)
}

/// The id goes into the hello and into a socket's name.
fn session(value: &OsString) -> Result<String, String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match value.to_str() {
        Some(id) if id.len() <= 64 && id.bytes().all(legal) => Ok(id.to_owned()),
        _ => Err("a session's id is up to 64 of `A-Z a-z 0-9 . _ -`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Command, Settings, parse};

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(Into::into))
    }

    #[test]
    fn reads_what_it_documents() {
        let settings = Settings {
            link_dir: Some("/l".into()),
            spool_dir: Some("/s".into()),
            session: "a-1".to_owned(),
        };
        assert_eq!(
            parsed("--link-dir /l --spool-dir /s --session a-1"),
            Ok(Command::Init(settings))
        );
        assert_eq!(parsed(""), Ok(Command::Init(Settings::default())));
        assert_eq!(
            parsed("bridge --session x"),
            Ok(Command::Bridge {
                session: "x".to_owned()
            })
        );
        assert_eq!(parsed("supervise"), Ok(Command::Supervise));
        let sit = Command::Sit {
            program: "/bin/sh".into(),
            name: "sh".into(),
            arguments: vec!["-c".into(), "true".into()],
        };
        assert_eq!(parsed("sit /bin/sh sh -c true"), Ok(sit));
        assert_eq!(parsed("--version"), Ok(Command::Version));
    }

    #[test]
    fn refuses_the_rest() {
        for line in [
            "--session",
            "--session a/b",
            "--other",
            "bridge --link-dir /l",
            "--link-dir",
            "sit",
            "sit /bin/sh",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
