//! What is known to go wrong, by its looks. A hint for a person, not a proof.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Issues, Place, excerpt};

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BadPattern {
    /// The pattern's name, which does not change.
    pub id: String,
    /// What is wrong with it.
    pub title: String,
    /// How bad it is when it is what it looks like.
    pub severity: Severity,
    /// The file.
    pub path: String,
    /// The line, from 1; none when it is about the whole file.
    pub line: Option<u64>,
    /// The line.
    pub text: Option<String>,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

struct Rule {
    id: &'static str,
    title: &'static str,
    severity: Severity,
    pattern: &'static str,
    /// Only in files of these extensions; everywhere when empty.
    extensions: &'static [&'static str],
}

const fn rule(
    id: &'static str,
    severity: Severity,
    title: &'static str,
    pattern: &'static str,
    extensions: &'static [&'static str],
) -> Rule {
    Rule {
        id,
        title,
        severity,
        pattern,
        extensions,
    }
}

const SCRIPTS: &[&str] = &["py", "js", "ts", "jsx", "tsx", "mjs", "cjs", "rb", "php", "pl"];

const RULES: &[Rule] = &[
    rule(
        "eval_of_input",
        Severity::High,
        "evaluates text that may come from outside",
        r#"\b(?:eval|exec)\s*\(\s*(?:request|req\.|input\s*\(|sys\.argv|process\.argv|params|\$_(?:GET|POST|REQUEST|COOKIE)|location\.|window\.location|document\.URL|event\.data)"#,
        SCRIPTS,
    ),
    rule(
        "eval",
        Severity::Medium,
        "evaluates text as code",
        r#"(?:^|[^.\w])eval\s*\(\s*[^)"'\s]"#,
        SCRIPTS,
    ),
    rule(
        "shell_eval",
        Severity::Medium,
        "evaluates text as a shell command",
        r#"(?:^|[;&|]\s*)eval\s+["']?\$"#,
        &["sh", "bash", "zsh"],
    ),
    rule(
        "tls_not_verified",
        Severity::High,
        "does not verify certificates",
        r#"(?i)verify\s*=\s*False|rejectUnauthorized\s*:\s*false|InsecureSkipVerify\s*:\s*true|NODE_TLS_REJECT_UNAUTHORIZED\s*['"]?\]?\s*[=:]\s*['"]?0|CURLOPT_SSL_VERIFYPEER\s*,\s*(?:0|false)|danger_accept_invalid_certs\s*\(\s*true|ssl\._create_unverified_context|CERT_NONE\b|http\.sslVerify\s*=?\s*false|strict-ssl\s*=?\s*false|OpenSSL::SSL::VERIFY_NONE"#,
        &[],
    ),
    rule(
        "tls_not_verified_by_tool",
        Severity::Medium,
        "downloads without verifying certificates",
        r"\bcurl\s+(?:[^|;&]*\s)?(?:-[A-Za-z]*k[A-Za-z]*|--insecure)\b|\bwget\s+[^|;&]*--no-check-certificate",
        &[],
    ),
    rule(
        "chmod_777",
        Severity::Medium,
        "lets everybody write",
        r"(?i)\bchmod\s+(?:-[A-Za-z]+\s+)*(?:0?777|a\+rwx|ugo\+rwx)\b|os\.chmod\([^)]*0o?777",
        &[],
    ),
    rule(
        "pipe_to_shell",
        Severity::High,
        "runs what it downloads without looking at it",
        r"\b(?:curl|wget)\b[^|;\n]*\|\s*(?:sudo\s+(?:-[A-Za-z]+\s+)*)?(?:/bin/)?(?:ba|z|da|k)?sh\b|\b(?:ba|z)?sh\s+(?:-c\s+)?[\x22']?(?:<\(|\$\()\s*(?:curl|wget)\b",
        &[],
    ),
    rule(
        "merge_conflict",
        Severity::High,
        "a merge conflict was left in the file",
        r"^(?:<{7} \S|>{7} \S)",
        &[],
    ),
    rule(
        "shell_from_program",
        Severity::Medium,
        "starts a shell with text that may come from outside",
        r#"subprocess\.\w+\([^)]*shell\s*=\s*True|\bos\.system\s*\(\s*(?:f["']|[^"')]*[%+])|child_process\.exec\s*\(\s*`"#,
        SCRIPTS,
    ),
    rule(
        "unsafe_deserialisation",
        Severity::Medium,
        "reads objects from data that could build any",
        r"\bpickle\.loads?\s*\(|\byaml\.load\s*\(\s*[^,)]*\)|\bMarshal\.load\b|\bunserialize\s*\(\s*\$_",
        SCRIPTS,
    ),
    rule(
        "sql_from_strings",
        Severity::Medium,
        "puts values into a query as text",
        r#"(?i)\bexecute(?:many)?\s*\(\s*(?:f["']\s*(?:select|insert|update|delete)\b|["']\s*(?:select|insert|update|delete)\b[^"']*["']\s*(?:%|\+|\.format))"#,
        &["py", "js", "ts", "rb", "php"],
    ),
    rule(
        "weak_hash_of_password",
        Severity::Medium,
        "hashes a password with a fast or broken function",
        r"(?i)\b(?:md5|sha1)\s*\(\s*[^)]*passw",
        &[],
    ),
    rule(
        "all_capabilities",
        Severity::High,
        "gives a container the host",
        r"(?i)privileged\s*:\s*true|docker\s+run\b[^\n]*--privileged\b|/var/run/docker\.sock:/",
        &["yml", "yaml", "sh", "bash"],
    ),
    rule(
        "workflow_runs_foreign_code",
        Severity::High,
        "a workflow with secrets runs on pull requests of strangers",
        r"^\s*(?:-\s*)?pull_request_target\s*:?",
        &["yml", "yaml"],
    ),
];

/// All at once, and each for its own.
static ALL: LazyLock<Option<RegexSet>> =
    LazyLock::new(|| RegexSet::new(RULES.iter().map(|rule| rule.pattern)).ok());
/// What only shows others how not to do it.
static SHOWN: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)\b(?:never|don't|do not|avoid)\b").ok());

pub(super) fn look(place: &Place<'_>, number: u64, line: &str, issues: &mut Issues) {
    let Some(all) = ALL.as_ref() else {
        return;
    };
    let extension = place.file.extension().unwrap_or_default();
    let found = all.matches(line);
    if !found.matched_any()
        || SHOWN
            .as_ref()
            .is_some_and(|shown| place.is_markdown && shown.is_match(line))
    {
        return;
    }
    let mut rules: Vec<&Rule> = found
        .into_iter()
        .filter_map(|at| RULES.get(at))
        .filter(|rule| rule.extensions.is_empty() || rule.extensions.contains(&extension.as_str()))
        .collect();
    // The narrower of the two says it.
    if rules.iter().any(|rule| rule.id == "eval_of_input") {
        rules.retain(|rule| rule.id != "eval");
    }
    for rule in rules {
        issues.patterns.push(BadPattern {
            id: rule.id.to_owned(),
            title: rule.title.to_owned(),
            severity: rule.severity,
            path: place.file.path.clone(),
            line: Some(number),
            text: Some(excerpt(line)),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_compiles() {
        for rule in RULES {
            Regex::new(rule.pattern).unwrap_or_else(|error| panic!("{}: {error}", rule.id));
        }
        assert!(ALL.is_some() && SHOWN.is_some());
    }
}
