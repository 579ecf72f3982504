//! Where secrets are, as a command line says it: `env:NAME`, `file:/path`, `command:PROGRAM ARGUMENT`.
//!
//! Whoever pastes the secret itself is told so, and what was pasted is repeated nowhere: neither by these messages nor by
//! the parser of the command line, which is why they are read through [`Unechoed`].

use std::ffi::OsStr;

use clap::builder::TypedValueParser;
use session_core::secret::SecretReference;

/// A name with where its secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretPair {
    /// The variable or the header field.
    pub name: String,
    /// Stands before the secret, for example `Bearer `.
    pub prefix: String,
    /// Where it is. Relative paths are relative to where the user is.
    pub secret: SecretReference,
}

const FORMS: &str =
    "write where the secret is, never the secret itself: env:NAME, file:/path, or command:PROGRAM ARGUMENT";

/// Reads `env:NAME`, `file:PATH` or `command:PROGRAM ARGUMENT`. A command's words are separated by blanks, or it is a JSON
/// array of strings; no shell reads it.
pub fn parse_secret(text: &str) -> Result<SecretReference, String> {
    let reference = if let Some(name) = text.strip_prefix("env:") {
        variable(name).then(|| SecretReference::Env(name.to_owned()))
    } else if let Some(path) = text.strip_prefix("file:") {
        (!path.is_empty()).then(|| SecretReference::File(path.into()))
    } else if let Some(line) = text.strip_prefix("command:") {
        words(line).map(SecretReference::Command)
    } else {
        None
    };
    reference.ok_or_else(|| FORMS.to_owned())
}

/// Reads `NAME=REFERENCE` for the environment of a program; `NAME=OTHER` and `NAME` alone mean variables of the host.
pub fn parse_secret_variable(text: &str) -> Result<SecretPair, String> {
    let (name, place) = text.split_once('=').unwrap_or((text, text));
    if !variable(name) {
        return Err("begin with the name of the variable: letters, digits and _, no digit first".to_owned());
    }
    let secret = if variable(place) {
        SecretReference::Env(place.to_owned())
    } else {
        parse_secret(place)?
    };
    Ok(SecretPair {
        name: name.to_owned(),
        prefix: String::new(),
        secret,
    })
}

/// Reads `NAME=REFERENCE` or `NAME=PREFIX REFERENCE` for a header field, such as `Authorization=Bearer env:TOKEN`.
pub fn parse_secret_header(text: &str) -> Result<SecretPair, String> {
    let (name, value) = parse_header(text)?;
    let starts = ["env:", "file:", "command:"].iter().filter_map(|form| {
        let at = value.find(form)?;
        (at == 0 || value[..at].ends_with(' ')).then_some(at)
    });
    let at = starts.min().ok_or_else(|| FORMS.to_owned())?;
    Ok(SecretPair {
        name,
        prefix: value[..at].to_owned(),
        secret: parse_secret(&value[at..])?,
    })
}

/// Reads `NAME=VALUE` or `NAME: VALUE` for a header field.
pub fn parse_header(text: &str) -> Result<(String, String), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let parts = text.split_once(['=', ':']);
    match parts.map(|(name, value)| (name.trim(), value.trim())) {
        Some((name, value)) if !name.is_empty() && name.chars().all(legal) && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("write it as NAME=VALUE, for example Accept-Language=de".to_owned()),
    }
}

fn variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn words(line: &str) -> Option<Vec<String>> {
    let words: Vec<String> = if line.trim_start().starts_with('[') {
        serde_json::from_str(line).ok()?
    } else {
        line.split_whitespace().map(str::to_owned).collect()
    };
    words
        .first()
        .is_some_and(|program| !program.is_empty())
        .then_some(words)
}

/// Lets clap read a value that may hold a secret by mistake: what cannot be read is not shown again.
#[derive(Clone)]
pub struct Unechoed<T>(pub fn(&str) -> Result<T, String>);

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Unechoed<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        let text = value.to_str().ok_or_else(|| "it is not UTF-8".to_owned());
        text.and_then(|text| (self.0)(text)).map_err(|message| {
            let name = arg.map_or_else(|| "value".to_owned(), ToString::to_string);
            clap::Error::raw(
                clap::error::ErrorKind::ValueValidation,
                format!("invalid value for '{name}': {message}\n"),
            )
            .with_cmd(command)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> SecretReference {
        SecretReference::Env(name.to_owned())
    }

    #[test]
    fn references() {
        assert_eq!(parse_secret("env:TOKEN"), Ok(env("TOKEN")));
        assert_eq!(
            parse_secret("file:/run/token"),
            Ok(SecretReference::File("/run/token".into()))
        );
        let words = |words: &[&str]| {
            Ok(SecretReference::Command(
                words.iter().map(ToString::to_string).collect(),
            ))
        };
        assert_eq!(
            parse_secret("command:vault read x"),
            words(&["vault", "read", "x"])
        );
        assert_eq!(
            parse_secret("command:[\"vault\", \"a b\"]"),
            words(&["vault", "a b"])
        );
        for bad in [
            "TOKEN",
            "env:",
            "env:1A",
            "file:",
            "command:",
            "command:[]",
            "command:[1]",
            "sk-1",
        ] {
            assert!(parse_secret(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn variables_of_programs() {
        let read = |text| parse_secret_variable(text).map(|pair| (pair.name, pair.secret));
        assert_eq!(read("A=B"), Ok(("A".into(), env("B"))));
        assert_eq!(read("A"), Ok(("A".into(), env("A"))));
        assert_eq!(read("A=env:B"), Ok(("A".into(), env("B"))));
        for bad in ["=B", "A=", "1=B", "A=ghp-very-secret", "A-B=C"] {
            let error = read(bad).unwrap_err();
            assert!(!error.contains("very-secret"), "{error}");
        }
    }

    #[test]
    fn header_fields() {
        let read = |text| parse_secret_header(text).map(|pair| (pair.name, pair.prefix, pair.secret));
        assert_eq!(
            read("Authorization=Bearer env:TOKEN"),
            Ok(("Authorization".into(), "Bearer ".into(), env("TOKEN")))
        );
        assert_eq!(
            read("X-Key: env:KEY"),
            Ok(("X-Key".into(), String::new(), env("KEY")))
        );
        let command = SecretReference::Command(vec!["pass".into(), "env:x".into()]);
        assert_eq!(
            read("X=command:pass env:x"),
            Ok(("X".into(), String::new(), command))
        );
        for bad in [
            "Authorization=Bearer sk-1",
            "Authorization",
            "X=benv:A",
            "a b=env:A",
            "=env:A",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_header("A: b=c"), Ok(("A".into(), "b=c".into())));
    }
}
