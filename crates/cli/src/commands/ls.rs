//! `ls`: the sessions.

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use session_core::api::SessionApi;
use session_core::error::Result;
use session_core::session::{SessionFilter, SessionInfo};
use session_core::state::SessionState;

use crate::args::LsArgs;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::render::{self, Table};
use crate::sanitize;

/// The longest cell of free text, in characters.
const WIDTH: usize = 48;
/// The most sessions of which it is asked what they are doing: each takes an exchange with its container.
const ASKED: usize = 16;
/// How long these exchanges may keep the table waiting.
const PATIENCE: Duration = Duration::from_secs(2);

/// Lists sessions: a table, with `-q` whole ids, with `--json` one object a line.
///
/// # Errors
/// Those of [`SessionApi::list`].
pub async fn ls(args: &LsArgs, api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    let filter = SessionFilter {
        all: args.all,
        labels: args.label.iter().cloned().collect(),
        ..SessionFilter::default()
    };
    let sessions = api.list(filter).await?;
    let printer = &console.printer;
    if printer.json() {
        sessions.iter().try_for_each(|session| printer.object(session))?;
    } else if printer.quiet() {
        sessions.iter().try_for_each(|session| printer.line(session.id))?;
    } else if sessions.is_empty() {
        printer.note(if args.all {
            "no sessions"
        } else {
            "no sessions; --all shows destroyed and failed ones too"
        });
    } else {
        let rows = closely(&sessions, api).await;
        printer.line(table(&rows, Timestamp::now()).render(printer.paint()))?;
    }
    Ok(ExitStatus::SUCCESS)
}

/// A session, and what is not in its record.
struct Row<'a> {
    session: &'a SessionInfo,
    activity: Option<String>,
    /// How much of its budget is used up.
    budget: Option<String>,
}

/// Asks what those that work are doing, and how much of their budgets is left. A table is not worth a failure, so what
/// cannot be told is left out.
async fn closely<'a>(sessions: &'a [SessionInfo], api: &dyn SessionApi) -> Vec<Row<'a>> {
    let mut left = ASKED;
    let rows = sessions.iter().map(|session| {
        let asked = session.state == SessionState::Busy && left > 0;
        left -= usize::from(asked);
        async move {
            Row {
                session,
                activity: if asked { activity(session, api).await } else { None },
                budget: budget(session, api).await,
            }
        }
    });
    join_all(rows).await
}

async fn activity(session: &SessionInfo, api: &dyn SessionApi) -> Option<String> {
    let details = tokio::time::timeout(PATIENCE, api.inspect(&session.id)).await;
    let doing = details.ok()?.ok()?.activity?;
    Some(render::activity(&doing))
}

async fn budget(session: &SessionInfo, api: &dyn SessionApi) -> Option<String> {
    if session.budget.is_unlimited() {
        return None;
    }
    let used = api.usage(Some(&session.id)).await.ok()?.session;
    let percent = render::used_up(&session.budget, &used)?;
    Some(match session.budget.cost_microusd {
        Some(limit) => format!("{percent}% of {}", render::usd(limit)),
        None => format!("{percent}%"),
    })
}

fn table(rows: &[Row<'_>], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "ID",
        "NAME",
        "STATE",
        "AGE",
        "TURNS",
        "COST",
        "BUDGET",
        "NETWORK",
        "WORKSPACE",
    ]);
    for Row {
        session,
        activity,
        budget,
    } in rows
    {
        let name = session.name.as_deref().unwrap_or("-");
        table.row(vec![
            render::short_id(session),
            sanitize::shorten(&sanitize::one_line(name), WIDTH).into_owned(),
            match activity {
                Some(doing) => sanitize::shorten(&format!("busy: {doing}"), WIDTH).into_owned(),
                None => render::state(&session.state),
            },
            render::age(session.created_at, now),
            session.turns.to_string(),
            format!("${:.2}", session.cost_usd),
            budget.clone().unwrap_or_else(|| "-".to_owned()),
            sanitize::shorten(&render::network(session), WIDTH).into_owned(),
            sanitize::shorten(&render::workspace(&session.workspace), WIDTH).into_owned(),
        ]);
    }
    table
}
