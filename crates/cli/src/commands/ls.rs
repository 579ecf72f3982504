//! `ls`: the sessions.

use jiff::Timestamp;
use session_core::api::SessionApi;
use session_core::error::Result;
use session_core::session::{SessionFilter, SessionInfo};

use crate::args::LsArgs;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::render::{self, Table};
use crate::sanitize;

/// The longest cell of free text, in characters.
const WIDTH: usize = 48;

/// Lists sessions: a table, with `-q` whole ids, with `--json` one object a line.
///
/// # Errors
/// Those of [`SessionApi::list`].
pub async fn ls(args: &LsArgs, api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    let filter = SessionFilter {
        all: args.all,
        labels: args.label.iter().cloned().collect(),
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
        printer.line(table(&sessions, Timestamp::now()).render(printer.paint()))?;
    }
    Ok(ExitStatus::SUCCESS)
}

fn table(sessions: &[SessionInfo], now: Timestamp) -> Table {
    let mut table = Table::new(&["ID", "NAME", "STATE", "AGE", "TURNS", "COST", "WORKSPACE"]);
    for session in sessions {
        let name = session.name.as_deref().unwrap_or("-");
        table.row(vec![
            render::short_id(session),
            sanitize::shorten(&sanitize::one_line(name), WIDTH).into_owned(),
            render::state(&session.state),
            render::age(session.created_at, now),
            session.turns.to_string(),
            format!("${:.2}", session.cost_usd),
            sanitize::shorten(&render::workspace(&session.workspace), WIDTH).into_owned(),
        ]);
    }
    table
}
