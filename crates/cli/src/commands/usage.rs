//! `usage`: what was used of the model.

use serde::Serialize;
use session_core::api::SessionApi;
use session_core::budget::{Budget, Spending, Spent};
use session_core::error::Result;
use session_core::id::SessionId;

use crate::args::UsageArgs;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::render::{self, Table};
use crate::target;

/// It as a JSON line.
#[derive(Debug, Serialize)]
struct Usage {
    event: &'static str,
    /// Whose; of all sessions when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
    /// In its whole life.
    total: Spending,
    /// By all sessions since midnight UTC.
    today: Spending,
    /// How much the session may use.
    #[serde(skip_serializing_if = "Budget::is_unlimited")]
    budget: Budget,
}

/// Shows what a session used in its life, or all that ever were, and what all used today.
///
/// # Errors
/// Those of [`SessionApi::usage`].
pub async fn usage(args: &UsageArgs, api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    let (session, budget) = match &args.session {
        Some(text) => {
            let session = target::find(api, text).await?;
            (Some(session), budget(&session, api).await?)
        }
        None => (None, Budget::default()),
    };
    let spent = api.usage(session.as_ref()).await?;
    let printer = &console.printer;
    if printer.json() {
        printer.object(&Usage {
            event: "usage",
            session,
            total: spent.session,
            today: spent.today,
            budget,
        })?;
    } else {
        printer.line(table(session.as_ref(), &spent).render(printer.paint()))?;
        if let (Some(limits), Some(percent)) =
            (render::budget(&budget), render::used_up(&budget, &spent.session))
        {
            printer.note(format_args!("budget: {limits}; {percent}% used up"));
        }
    }
    Ok(ExitStatus::SUCCESS)
}

/// A session's budget is in its record; the list is asked, because it asks no container.
async fn budget(session: &SessionId, api: &dyn SessionApi) -> Result<Budget> {
    let filter = session_core::session::SessionFilter {
        all: true,
        ..Default::default()
    };
    let sessions = api.list(filter).await?;
    let found = sessions.into_iter().find(|info| info.id == *session);
    Ok(found.map(|info| info.budget).unwrap_or_default())
}

fn table(session: Option<&SessionId>, spent: &Spent) -> Table {
    let mut table = Table::new(&[
        "USED BY",
        "COST",
        "REQUESTS",
        "INPUT",
        "OUTPUT",
        "CACHE READ",
        "CACHE WRITTEN",
        "TIME",
    ]);
    let whose = session.map_or_else(|| "all".to_owned(), render::short);
    for (whose, used) in [(whose, &spent.session), ("all, today".to_owned(), &spent.today)] {
        table.row(vec![
            whose,
            render::usd(used.cost_microusd),
            render::thousands(used.requests),
            render::thousands(used.input_tokens),
            render::thousands(used.output_tokens),
            render::thousands(used.cache_read_tokens),
            render::thousands(used.cache_creation_tokens),
            render::duration(std::time::Duration::from_millis(used.model_ms)),
        ]);
    }
    table
}
