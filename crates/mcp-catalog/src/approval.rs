//! Which tools people know: the rug is not pulled (CVE-2025-54136).
//!
//! ```text
//!             first sight (FirstSeen)              approve
//!  unknown ─────────────────────────▶ approved ◀──────────── held
//!     │                                  │  what the server says differs  ▲
//!     └── later, or Each ────────────────┼────────────────────────────────┘
//!                                        └── revoke ───────────────────────┘
//! ```
//!
//! A tool is what the agent's model sees of it: its name, its texts, its schemas, its annotations. The version that was
//! approved is kept beside the one that is held, so that a person can see the difference. What was approved once stays so
//! while the server does not show it: one that takes a tool away and brings it back changed gains nothing.
//!
//! Names of tools are an attacker's text: they are keys in a file, never a name of one.

mod change;
mod file;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use session_core::error::{Error, ErrorKind, Result};
use session_core::mcp::ServerName;

use self::change::change_between;
pub use self::change::{Change, tool_digest};
pub(crate) use self::file::ApprovalCache;
use self::file::{Approvals, Known, OPERATION, Version};
use crate::catalog::Catalog;
use crate::definition::Approval;
use crate::digest::Digest;

/// What may be used of the tools that a server shows, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judgement {
    /// Indices of those that may.
    pub approved: Vec<usize>,
    /// Those that may not, until somebody approves them.
    pub held: Vec<HeldTool>,
}

/// A tool that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldTool {
    /// Its name, as the server says it.
    pub name: String,
    /// Why it is held.
    pub change: Change,
    /// What was approved of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved: Option<Digest>,
    /// What the server shows.
    pub seen: Digest,
}

/// A tool that waits for somebody to approve it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PendingTool {
    /// Its name, as the server says it.
    pub name: String,
    /// What was approved of it; `None` when it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What the server shows.
    pub after: Value,
    /// The address of `after`.
    pub seen: Digest,
}

impl Catalog {
    /// Judges what a server shows now, and keeps what is new for people to look at. At the first sight of a server that is
    /// declared so, its tools are taken as approved; of several processes at once, one is first for all.
    ///
    /// # Errors
    /// `StateDirRefused` for approvals that are damaged: nothing may be used then. `HostIo`, `LimitExceeded`, `Busy`.
    pub fn judge(&self, server: &ServerName, approval: Approval, tools: &[Value]) -> Result<Judgement> {
        let shown: Vec<Shown<'_>> = tools.iter().map(Shown::of).collect();
        let known = self.approvals_of(server)?;
        let (judgement, news) = weigh(&known, approval, &shown);
        if news.is_none() {
            return Ok(judgement);
        }
        self.change_approvals(server, |approvals| {
            let (judgement, news) = weigh(approvals, approval, &shown);
            let changed = news.is_some();
            if let Some(news) = news {
                *approvals = news;
            }
            Ok((judgement, changed))
        })
    }

    /// Judges as [`Self::judge`] would, for somebody who only looks: nothing is approved or kept, and nobody is waited for.
    ///
    /// # Errors
    /// `StateDirRefused` for approvals that are damaged; `HostIo`.
    pub fn judge_only(&self, server: &ServerName, approval: Approval, tools: &[Value]) -> Result<Judgement> {
        let shown: Vec<Shown<'_>> = tools.iter().map(Shown::of).collect();
        let known = self.approvals_of(server)?;
        Ok(weigh(&known, approval, &shown).0)
    }

    /// What waits for approval, by name.
    ///
    /// # Errors
    /// As [`Self::judge`].
    pub fn pending(&self, server: &ServerName) -> Result<Vec<PendingTool>> {
        let approvals = self.approvals_of(server)?;
        let waiting = |(name, known): (&String, &Known)| {
            known.pending.as_ref().map(|pending| PendingTool {
                name: name.clone(),
                before: known.approved.as_ref().map(|version| version.tool.clone()),
                after: pending.tool.clone(),
                seen: pending.digest.clone(),
            })
        };
        Ok(approvals.tools.iter().filter_map(waiting).collect())
    }

    /// Approves what was seen last of tools that are held, or of all of them. Says which were held.
    ///
    /// # Errors
    /// `NotFound` for a tool that the server never showed; else as [`Self::judge`].
    pub fn approve(&self, server: &ServerName, tools: Option<&[String]>) -> Result<Vec<String>> {
        self.change_approvals(server, |approvals| {
            if let Some(unknown) = tools
                .into_iter()
                .flatten()
                .find(|tool| !approvals.tools.contains_key(*tool))
            {
                return Err(unknown_tool(server, unknown));
            }
            let chosen = |name: &String| tools.is_none_or(|tools| tools.contains(name));
            let mut approved = Vec::new();
            for (name, known) in &mut approvals.tools {
                if chosen(name)
                    && let Some(pending) = known.pending.take()
                {
                    known.approved = Some(pending);
                    approved.push(name.clone());
                }
            }
            let changed = !approved.is_empty();
            Ok((approved, changed))
        })
    }

    /// Approves exactly what somebody was shown, and nothing at all if a server shows something else by now.
    ///
    /// # Errors
    /// `StateConflict` when a tool changed since it was shown; else as [`Self::judge`].
    pub fn approve_shown(&self, server: &ServerName, shown: &[PendingTool]) -> Result<()> {
        self.change_approvals(server, |approvals| {
            let mut changed = false;
            for tool in shown {
                let known = approvals
                    .tools
                    .get_mut(&tool.name)
                    .ok_or_else(|| unknown_tool(server, &tool.name))?;
                let approved = known.approved.as_ref().map(|version| &version.digest);
                if approved == Some(&tool.seen) {
                    continue;
                }
                match known.pending.take() {
                    Some(pending) if pending.digest == tool.seen => known.approved = Some(pending),
                    _ => {
                        return Err(Error::new(
                            ErrorKind::StateConflict,
                            OPERATION,
                            "the server shows something else by now",
                        )
                        .with_context("server", server)
                        .with_context("tool", one_line(&tool.name))
                        .with_hint(format!("look again with `cofferdam mcp approve {server}`")));
                    }
                }
                changed = true;
            }
            Ok(((), changed))
        })
    }

    /// Takes back what was approved of a server: all of it is held until it is approved again. Says which tools.
    ///
    /// # Errors
    /// As [`Self::judge`].
    pub fn revoke(&self, server: &ServerName) -> Result<Vec<String>> {
        self.change_approvals(server, |approvals| {
            let mut revoked = Vec::new();
            for (name, known) in &mut approvals.tools {
                if let Some(version) = known.approved.take() {
                    // What is shown by now is newer than what was approved.
                    known.pending.get_or_insert(version);
                    revoked.push(name.clone());
                }
            }
            let changed = !revoked.is_empty();
            Ok((revoked, changed))
        })
    }

    /// A number that changes whenever any process changes an approval. Asking costs a few microseconds.
    ///
    /// # Errors
    /// `StateDirRefused`, `HostIo`.
    pub fn approvals_stamp(&self) -> Result<u64> {
        self.count_approvals()
    }
}

/// A tool as a server shows it.
struct Shown<'a> {
    /// `None` for what is no tool.
    name: Option<&'a str>,
    digest: Digest,
    tool: &'a Value,
}

impl<'a> Shown<'a> {
    fn of(tool: &'a Value) -> Self {
        Self {
            name: tool.get("name").and_then(Value::as_str),
            digest: tool_digest(tool),
            tool,
        }
    }

    fn held(&self, change: Change, approved: Option<&Version>) -> HeldTool {
        HeldTool {
            name: self.name.unwrap_or_default().to_owned(),
            change,
            approved: approved.map(|version| version.digest.clone()),
            seen: self.digest.clone(),
        }
    }
}

/// What may be used, and what is to be kept from now on when that differs from what is kept.
fn weigh(known: &Approvals, approval: Approval, shown: &[Shown<'_>]) -> (Judgement, Option<Approvals>) {
    let pins = approval == Approval::FirstSeen && !known.seen;
    let mut judgement = Judgement::default();
    let mut news = Vec::new();
    let mut names = BTreeSet::new();
    for (index, tool) in shown.iter().enumerate() {
        let Some(name) = tool.name else {
            judgement.held.push(tool.held(Change::Malformed, None));
            continue;
        };
        if !names.insert(name) {
            judgement.held.push(tool.held(Change::Duplicate, None));
            continue;
        }
        let before = known.tools.get(name);
        let approved = before.and_then(|known| known.approved.as_ref());
        let pending = before.and_then(|known| known.pending.as_ref());
        if pins {
            judgement.approved.push(index);
            news.push((name, Known::approved(Version::of(tool.tool))));
        } else if let Some(version) = approved
            && version.digest == tool.digest
        {
            judgement.approved.push(index);
            // It shows what was approved again: there is nothing left to decide.
            if pending.is_some() {
                news.push((name, Known::approved(version.clone())));
            }
        } else {
            let change = approved.map_or(Change::New, |version| change_between(&version.tool, tool.tool));
            judgement.held.push(tool.held(change, approved));
            if pending.is_none_or(|version| version.digest != tool.digest) {
                news.push((name, Known::held(approved.cloned(), Version::of(tool.tool))));
            }
        }
    }
    // A server that shows nothing has not been seen.
    let first = !known.seen && !names.is_empty();
    if news.is_empty() && !first {
        return (judgement, None);
    }
    let mut next = known.clone();
    next.seen = true;
    next.tools
        .extend(news.into_iter().map(|(name, known)| (name.to_owned(), known)));
    next.prune(&names);
    (judgement, Some(next))
}

fn unknown_tool(server: &ServerName, tool: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        OPERATION,
        "the server never showed such a tool",
    )
    .with_context("server", server)
    .with_context("tool", one_line(tool))
    .with_hint(format!("`cofferdam mcp describe {server}` shows its tools"))
}

/// An attacker's text in an error: one line, and not all of it.
fn one_line(text: &str) -> String {
    text.chars()
        .take(80)
        .collect::<String>()
        .escape_debug()
        .to_string()
}
