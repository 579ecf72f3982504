//! The protocol's own inspector as a client: it lists and calls our tools over both transports, in both of its eras (with
//! the handshake, and without).

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use xtask::error::{Context, Error, Result};
use xtask::reporter::Step;

use super::judge::Tally;
use super::packages::Packages;
use super::server::Server;
use super::stand_ins::NOBODY;

pub(super) const PACKAGE: &str = "@modelcontextprotocol/inspector";
const SCRIPT: &str = "@modelcontextprotocol/inspector/clients/launcher/build/index.js";
/// It makes a container where there is an engine.
const LIMIT: Duration = Duration::from_secs(120);
/// The tools that existing clients call by name.
const EXISTING: [&str; 8] = [
    "create_session",
    "destroy_session",
    "execute_command",
    "execute_in_session",
    "get_session_logs",
    "list_sessions",
    "spawn_claude_container",
    "transfer_files",
];

/// How it reaches the server.
#[derive(Clone, Copy, Debug)]
pub(super) enum Transport {
    Http,
    Stdio,
}

/// Which way of speaking it uses.
#[derive(Clone, Copy, Debug)]
pub(super) enum Era {
    /// `initialize` first: revisions up to 2025-11-25.
    Legacy,
    /// Each request on its own: 2026-07-28.
    Modern,
}

impl Transport {
    pub(super) const ALL: [Self; 2] = [Self::Http, Self::Stdio];

    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Stdio => "stdio",
        }
    }
}

impl Era {
    pub(super) const ALL: [Self; 2] = [Self::Legacy, Self::Modern];

    fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }
}

/// The inspector, pointed at a server.
#[derive(Debug)]
pub(super) struct Inspector<'a> {
    pub(super) packages: &'a Packages,
    pub(super) server: &'a Server<'a>,
    pub(super) transport: Transport,
    pub(super) era: Era,
}

/// What it got.
#[derive(Debug)]
struct Answer {
    result: Value,
    /// All lines of its own.
    said: String,
    /// Whether it took the answer for a success.
    ended_well: bool,
}

impl Inspector<'_> {
    /// Calls a tool that must succeed and gives its structured content.
    pub(super) fn call(&self, tool: &str, arguments: &Value) -> Result<Value> {
        let answer = self.ask_tool(tool, arguments)?;
        if !answer.ended_well || answer.result["isError"] == true {
            return Err(
                Error::new(format!("{tool} failed")).output(format!("{}\n{}", answer.result, answer.said))
            );
        }
        Ok(answer.result["structuredContent"].clone())
    }

    /// What this client must find, with `session` there.
    pub(super) fn check(&self, session: &str, step: &mut Step) -> Tally {
        type Look<'a> = &'a dyn Fn() -> Result<(), String>;
        let looks: [(&str, Look<'_>); 4] = [
            ("tools/list --strict", &|| self.tools()),
            ("tools/call list_sessions", &|| self.a_success(session)),
            ("tools/call get_session of nobody", &|| self.a_failure()),
            ("resources/list", &|| self.resources(session)),
        ];
        let mut tally = Tally::default();
        for (name, look) in looks {
            let name = format!(
                "inspector, {}, {}: {name}",
                self.transport.name(),
                self.era.name()
            );
            step.update(&name);
            match look() {
                Ok(()) => tally.passed += 1,
                Err(why) => tally.failures.push(format!("{name}: {why}")),
            }
        }
        tally
    }

    /// Every schema is one that all model providers take: no error, and no warning.
    fn tools(&self) -> Result<(), String> {
        let answer = self
            .ask(&["--method", "tools/list", "--strict"])
            .map_err(|error| error.report())?;
        holds(
            answer.ended_well && !answer.said.contains("Warning"),
            "the schemas are not portable",
            &answer.said,
        )?;
        let tools = answer.result["tools"].as_array();
        let names: Vec<_> = tools.into_iter().flatten().map(|tool| &tool["name"]).collect();
        let missing = EXISTING
            .iter()
            .find(|name| !names.iter().any(|found| found == *name));
        holds(
            missing.is_none(),
            "a tool is missing",
            &format!("{missing:?} of {names:?}"),
        )
    }

    fn a_success(&self, session: &str) -> Result<(), String> {
        let answer = self
            .ask_tool("list_sessions", &json!({}))
            .map_err(|error| error.report())?;
        let (result, shown) = (&answer.result, answer.result.to_string());
        holds(answer.ended_well, "it is no success", &shown)?;
        let content = &result["structuredContent"];
        let text = result["content"][0]["text"].as_str().unwrap_or_default();
        let same = serde_json::from_str(text).is_ok_and(|text| equal(&text, content));
        holds(same, "the text is not the structured content", &shown)?;
        if self.shares_state() {
            let found = content["sessions"].as_array().into_iter().flatten();
            let known = found.into_iter().any(|found| found["sessionId"] == session);
            holds(known, "the session is not listed", &shown)?;
        }
        Ok(())
    }

    fn a_failure(&self) -> Result<(), String> {
        let answer = self
            .ask_tool("get_session", &json!({ "sessionId": NOBODY }))
            .map_err(|error| error.report())?;
        let (result, shown) = (&answer.result, answer.result.to_string());
        holds(
            !answer.ended_well && result["isError"] == true,
            "it is no failure",
            &shown,
        )?;
        let text = result["content"][0]["text"].as_str().unwrap_or_default();
        holds(
            text.starts_with("not_found: ") && text.contains("\nhint: "),
            "it does not say what and what to do",
            &shown,
        )
    }

    fn resources(&self, session: &str) -> Result<(), String> {
        let answer = self
            .ask(&["--method", "resources/list"])
            .map_err(|error| error.report())?;
        let shown = answer.result.to_string();
        let Some(resources) = answer.result["resources"].as_array() else {
            return Err(format!("there is no list: {shown}"));
        };
        let uri = format!("session://{session}");
        let listed = resources.iter().any(|resource| resource["uri"] == uri);
        holds(
            listed || !self.shares_state(),
            "the session is not listed",
            &shown,
        )
    }

    /// A server in memory has nothing in common with another one.
    fn shares_state(&self) -> bool {
        matches!(self.transport, Transport::Http) || !self.server.subject.takes_cues()
    }

    fn ask_tool(&self, tool: &str, arguments: &Value) -> Result<Answer> {
        self.ask(&[
            "--method",
            "tools/call",
            "--tool-name",
            tool,
            "--tool-args-json",
            &arguments.to_string(),
        ])
    }

    fn ask(&self, what: &[&str]) -> Result<Answer> {
        // Not by its output: a list of tools is one line, and a long one.
        let file = self.server.place().join("answer.json");
        let _absent = std::fs::remove_file(&file);
        let mut said = String::new();
        let outcome = self.command(&file).args(what).args(self.target()).run(|line| {
            said.push_str(line);
            said.push('\n');
        });
        let Ok(text) = std::fs::read_to_string(&file) else {
            let nothing = Error::new("the inspector wrote no answer").output(said);
            return Err(outcome.err().unwrap_or(nothing));
        };
        let result =
            serde_json::from_str(&text).context(|| "the inspector's answer is no JSON".to_owned())?;
        Ok(Answer {
            result,
            said,
            ended_well: outcome.is_ok(),
        })
    }

    fn command(&self, file: &PathBuf) -> xtask::process::Tool {
        self.packages
            .run(SCRIPT)
            .args(["--cli", "--format", "json", "--protocol-era", self.era.name()])
            .arg("--output")
            .arg(file)
            // It keeps files of its own in the home directory.
            .env("HOME", self.server.place())
            .limit(LIMIT)
    }

    fn target(&self) -> Vec<String> {
        match self.transport {
            Transport::Http => vec![
                "--transport".to_owned(),
                "http".to_owned(),
                "--server-url".to_owned(),
                format!("http://{}/mcp", self.server.address),
                "--header".to_owned(),
                format!("Authorization: Bearer {}", self.server.token),
            ],
            Transport::Stdio => {
                let variables = self.server.environment().into_iter();
                let variables =
                    variables.flat_map(|(name, value)| ["-e".to_owned(), format!("{name}={value}")]);
                let program = self.server.subject.stdio_program();
                variables
                    .chain(["--".to_owned(), program.to_string_lossy().into_owned()])
                    .collect()
            }
        }
    }
}

fn holds(it_does: bool, what: &str, shown: &str) -> Result<(), String> {
    if it_does {
        Ok(())
    } else {
        Err(format!("{what}: {}", shown.trim()))
    }
}

/// Equality as the inspector's language sees it: 2 and 2.0 are one number.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let same = |(key, value)| other.get(key).is_some_and(|other| equal(value, other));
            one.len() == other.len() && one.iter().all(same)
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_equal_in_either_form_and_nothing_else_is() {
        let one = json!({ "a": [1.0, { "b": "x" }], "c": null });
        assert!(equal(&one, &json!({ "a": [1, { "b": "x" }], "c": null })));
        for other in [
            json!({ "a": [1, { "b": "x" }] }),
            json!({ "a": [1, { "b": "y" }], "c": null }),
            json!({ "a": [2, { "b": "x" }], "c": null }),
            json!({ "a": [1], "c": null }),
        ] {
            assert!(!equal(&one, &other), "{other}");
        }
    }
}
