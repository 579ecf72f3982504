//! `egress rules`: what sessions were given, and what people decided.

use jiff::Timestamp;
use serde::Serialize;
use session_core::api::SessionApi;
use session_core::egress::EgressDecision;
use session_core::error::Result;
use session_core::id::SessionId;
use session_core::session::{SessionFilter, SessionInfo};

use super::{find, shown};
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::render::{self, Table};

/// Where a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    /// What the session was made with.
    Created,
    /// What a person decided.
    Decided,
}

/// One rule.
#[derive(Debug, Serialize)]
struct Rule {
    event: &'static str,
    /// For which session; for every one when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
    /// A rule, or a preset that a session was made with.
    rule: String,
    allow: bool,
    source: Source,
    at: Timestamp,
}

impl Rule {
    fn decided(decision: &EgressDecision) -> Self {
        Self {
            event: "egress_rule",
            session: decision.session,
            rule: decision.rule.to_string(),
            allow: decision.allow,
            source: Source::Decided,
            at: decision.at,
        }
    }

    fn created(session: &SessionInfo) -> impl Iterator<Item = Self> {
        session.allow.iter().map(|entry| Self {
            event: "egress_rule",
            session: Some(session.id),
            rule: entry.to_string(),
            allow: true,
            source: Source::Created,
            at: session.created_at,
        })
    }
}

/// Lists them: first what was decided, newest first, then what sessions were made with.
pub(super) async fn rules(
    session: Option<&str>,
    api: &dyn SessionApi,
    console: &Console,
) -> Result<ExitStatus> {
    let session = find(session, api).await?;
    let decisions = api.egress_decisions(session.as_ref()).await?;
    let sessions = api.list(SessionFilter {
        all: session.is_some(),
        ..SessionFilter::default()
    });
    let sessions = sessions.await?;
    let meant = sessions
        .iter()
        .filter(|info| session.is_none_or(|session| session == info.id));
    let mut rules: Vec<Rule> = decisions.iter().map(Rule::decided).collect();
    rules.extend(meant.flat_map(Rule::created));
    let printer = &console.printer;
    if printer.json() {
        rules.iter().try_for_each(|rule| printer.object(rule))?;
    } else if rules.is_empty() {
        printer.note("nothing is allowed or refused but what the operator's policy says");
    } else {
        printer.line(table(&rules, Timestamp::now()).render(printer.paint()))?;
    }
    Ok(ExitStatus::SUCCESS)
}

fn table(rules: &[Rule], now: Timestamp) -> Table {
    let mut table = Table::new(&["SESSION", "RULE", "EFFECT", "SOURCE", "AGE"]);
    for rule in rules {
        table.row(vec![
            rule.session
                .as_ref()
                .map_or_else(|| "all".to_owned(), render::short),
            shown(&rule.rule),
            if rule.allow { "allowed" } else { "refused" }.to_owned(),
            match rule.source {
                Source::Created => "created with it",
                Source::Decided => "decided",
            }
            .to_owned(),
            render::age(rule.at, now),
        ]);
    }
    table
}
