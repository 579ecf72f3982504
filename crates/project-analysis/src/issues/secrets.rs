//! What looks like a secret: known formats of keys, and long random values that something calls a secret.
//!
//! A value is never shown. A known format shows the public beginning that tells what it is.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex, RegexSet};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Issues, Place};

/// Something that looks like a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SecretFinding {
    /// The file.
    pub path: String,
    /// The line, from 1.
    pub line: u64,
    /// What it looks like.
    pub kind: String,
    /// Its beginning as far as it is the same for all of its kind, and its length; never its value.
    pub masked: String,
    /// How sure that is.
    pub confidence: Confidence,
}

/// How sure a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// The format is unmistakable.
    High,
    /// It is random and something calls it a secret.
    Medium,
}

struct Format {
    kind: &'static str,
    /// What all of them begin with; shown.
    prefix: &'static str,
    /// The value is its group 1.
    pattern: &'static str,
}

const fn format(kind: &'static str, prefix: &'static str, pattern: &'static str) -> Format {
    Format {
        kind,
        prefix,
        pattern,
    }
}

const FORMATS: &[Format] = &[
    format(
        "private key",
        "-----BEGIN ",
        r"(-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----)",
    ),
    format("AWS access key id", "AKIA", r"\b((?:AKIA|ASIA)[0-9A-Z]{16})\b"),
    format(
        "AWS secret access key",
        "",
        r#"(?i)aws_?secret_?access_?key["']?\s*[:=]\s*["']?([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"#,
    ),
    format("Anthropic API key", "sk-ant-", r"\b(sk-ant-[A-Za-z0-9_-]{20,})"),
    format(
        "OpenAI API key",
        "sk-",
        r"\b(sk-(?:proj-|svcacct-)?[A-Za-z0-9_-]{32,})",
    ),
    format("GitHub token", "gh", r"\b(gh[pousr]_[A-Za-z0-9]{36,})\b"),
    format(
        "GitHub token",
        "github_pat_",
        r"\b(github_pat_[A-Za-z0-9_]{50,})\b",
    ),
    format("GitLab token", "glpat-", r"\b(glpat-[A-Za-z0-9_-]{20,})"),
    format("Slack token", "xox", r"\b(xox[abposr]-[A-Za-z0-9-]{10,})"),
    format(
        "Slack webhook",
        "https://hooks.slack.com/",
        r"(https://hooks\.slack\.com/services/T[A-Za-z0-9]+/B[A-Za-z0-9]+/[A-Za-z0-9]{20,})",
    ),
    format("Stripe key", "", r"\b((?:sk|rk)_live_[A-Za-z0-9]{20,})\b"),
    format("Google API key", "AIza", r"\b(AIza[A-Za-z0-9_-]{35})"),
    format("npm token", "npm_", r"\b(npm_[A-Za-z0-9]{36})\b"),
    format("PyPI token", "pypi-", r"\b(pypi-[A-Za-z0-9_-]{50,})"),
    format("crates.io token", "cio", r"\b(cio[A-Za-z0-9]{32})\b"),
    format("Hugging Face token", "hf_", r"\b(hf_[A-Za-z0-9]{30,})\b"),
    format(
        "SendGrid key",
        "SG.",
        r"\b(SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{32,})",
    ),
    format("Twilio key", "SK", r"\b(SK[0-9a-f]{32})\b"),
    format("DigitalOcean token", "do", r"\b(do[opr]_v1_[0-9a-f]{64})\b"),
    format("Telegram bot token", "", r"\b([0-9]{8,10}:AA[A-Za-z0-9_-]{33})"),
    format("Cofferdam token", "cfd_", r"\b(cfd_[A-Za-z0-9_-]{32,})"),
    format(
        "JSON web token",
        "eyJ",
        r"\b(eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,})",
    ),
    format("Azure storage key", "", r"AccountKey=([A-Za-z0-9+/]{86}==)"),
    format(
        "password in a URL",
        "",
        r#"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/:@"'<>{}$%]*:([^\s/@"'<>{}$]{3,})@[^\s/"']+"#,
    ),
];

static SET: LazyLock<Option<RegexSet>> =
    LazyLock::new(|| RegexSet::new(FORMATS.iter().map(|format| format.pattern)).ok());
static EACH: LazyLock<Vec<Option<Regex>>> = LazyLock::new(|| {
    FORMATS
        .iter()
        .map(|format| Regex::new(format.pattern).ok())
        .collect()
});
/// Something that is called a secret, and its value.
static NAMED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"(?i)(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|auth[_-]?key|private[_-]?key|client[_-]?secret|credential)[A-Za-z0-9_-]*["']?\s*(?::=|=>|[:=])\s*["'`]?([^\s"'`,;<>(){}\[\]]{8,200})"#,
    )
    .ok()
});

/// In the kernel's words: bits for each character. English has about 4.1 at length, random base64 about 5; short values have
/// less, so this is what a random hexadecimal value of 16 characters has.
const MIN_ENTROPY: f64 = 3.2;

pub(super) fn look(place: &Place<'_>, number: u64, line: &str, issues: &mut Issues) {
    let mut known = false;
    for (format, value) in formats_in(line) {
        known = true;
        issues.secrets.push(SecretFinding {
            path: place.file.path.clone(),
            line: number,
            kind: format.kind.to_owned(),
            masked: mask(format.prefix, value),
            confidence: Confidence::High,
        });
    }
    // Locks are full of random values that are none.
    if known || place.is_lock {
        return;
    }
    for value in named_in(line) {
        issues.secrets.push(SecretFinding {
            path: place.file.path.clone(),
            line: number,
            kind: "value that something calls a secret".to_owned(),
            masked: mask("", value),
            confidence: Confidence::Medium,
        });
    }
}

fn formats_in(line: &str) -> Vec<(&'static Format, &str)> {
    let Some(set) = SET.as_ref() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for at in set.matches(line) {
        let (Some(format), Some(Some(pattern))) = (FORMATS.get(at), EACH.get(at)) else {
            continue;
        };
        for value in pattern.captures_iter(line).filter_map(|captures| captures.get(1)) {
            let is_other = format.kind == "OpenAI API key" && value.as_str().starts_with("sk-ant-");
            if !is_other && !is_placeholder(value.as_str()) {
                found.push((format, value.as_str()));
            }
        }
    }
    found
}

fn named_in(line: &str) -> Vec<&str> {
    let found = NAMED.iter().flat_map(|pattern| pattern.captures_iter(line));
    found
        .filter_map(|captures| captures.get(1))
        .map(|value| value.as_str())
        .filter(|value| is_random(value) && !is_placeholder(value))
        .collect()
}

/// Neither a word nor a name nor an expression: digits and letters mixed, and spread widely.
fn is_random(value: &str) -> bool {
    let has = |wanted: fn(char) -> bool| value.chars().any(wanted);
    has(|c| c.is_ascii_digit())
        && has(|c| c.is_ascii_alphabetic())
        && !value.contains("::")
        && !value.contains("->")
        && !value.starts_with(['$', '%', '@', '/', '.'])
        && value.matches('.').count() < 2
        && entropy(value) >= MIN_ENTROPY
}

fn is_placeholder(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let words = [
        "example",
        "changeme",
        "placeholder",
        "your",
        "xxxx",
        "****",
        "dummy",
        "redacted",
        "<",
        "${",
        "{{",
        "todo",
        "sample",
        "....",
    ];
    let repeated = value
        .chars()
        .next()
        .is_some_and(|first| value.chars().all(|c| c == first));
    repeated || words.iter().any(|word| lower.contains(word))
}

/// Shannon's, in bits for each character.
fn entropy(value: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in value.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let all = value.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let part = f64::from(*count) / all;
            -part * part.log2()
        })
        .sum()
}

fn mask(prefix: &str, value: &str) -> String {
    let shown = if value.starts_with(prefix) { prefix } else { "" };
    format!("{shown}**** ({} characters)", value.chars().count())
}

/// The text without what looks like a secret in it.
pub(crate) fn redact(text: &str) -> Cow<'_, str> {
    let mut masked = Cow::Borrowed(text);
    let formats = SET
        .as_ref()
        .map(|set| set.matches(text).into_iter().collect::<Vec<_>>());
    for at in formats.into_iter().flatten() {
        if let Some(Some(pattern)) = EACH.get(at) {
            masked = Cow::Owned(pattern.replace_all(&masked, hide).into_owned());
        }
    }
    let named = NAMED
        .as_ref()
        .filter(|pattern| pattern.is_match(&masked))
        .map(|pattern| pattern.replace_all(&masked, hide).into_owned());
    named.map_or(masked, Cow::Owned)
}

/// The whole match with its value away.
fn hide(captures: &Captures<'_>) -> String {
    let (Some(whole), Some(value)) = (captures.get(0), captures.get(1)) else {
        return "****".to_owned();
    };
    let (before, after) = (value.start() - whole.start(), value.end() - whole.start());
    format!("{}****{}", &whole.as_str()[..before], &whole.as_str()[after..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_compiles() {
        assert!(SET.is_some() && NAMED.is_some());
        assert!(EACH.iter().all(Option::is_some));
    }

    #[test]
    fn what_is_called_a_secret_and_is_none_is_left_alone() {
        for line in [
            "token = os.environ['API_TOKEN']",
            "password: ${PASSWORD}",
            "let token = self.tokens.next();",
            "secret = \"changeme123\"",
            "api_key: your-api-key-1234",
            "password = getpass()",
            "tokens: usize = 1024",
        ] {
            assert!(named_in(line).is_empty(), "{line}: {:?}", named_in(line));
            assert!(formats_in(line).is_empty(), "{line}");
        }
    }

    #[test]
    fn redaction_hides_values_and_keeps_the_rest() {
        let key = format!("AKIA{}", "IOSFODNN7QWERTYU");
        let line = format!("key {key} and password=hunter2hunter2 end");
        let redacted = redact(&line);
        assert_eq!(redacted, "key **** and password=**** end");
        assert!(matches!(redact("nothing here"), Cow::Borrowed(_)));
    }
}
