//! `logs`: what happened in a session.

use futures::StreamExt;
use session_core::api::SessionApi;
use session_core::error::Result;
use session_core::event::Event;
use session_core::id::SessionId;
use session_core::session::EventQuery;

use crate::args::LogsArgs;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::printer::Printer;
use crate::render::{Clock, Timeline};
use crate::target;

/// How many events are read at once.
const PAGE: usize = 1000;

/// Prints stored events, and with `--follow` those that come, to standard output.
///
/// # Errors
/// Those of the lifecycle API.
pub async fn logs(args: &LogsArgs, api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    let session = target::find(api, &args.session).await?;
    let printer = &console.printer;
    let mut timeline = Timeline::new(
        Clock::Wall(console.time_zone()),
        printer.paint(),
        printer.verbose() > 0,
    );
    let after = match args.tail {
        Some(limit) => tail(api, &session, limit, printer, &mut timeline).await?,
        None if args.follow => args.since.unwrap_or(0),
        None => stored(api, &session, args.since.unwrap_or(0), printer, &mut timeline).await?,
    };
    if args.follow {
        let mut events = api.events(&session, after).await?;
        while let Some(event) = events.next().await {
            print(&event?, printer, &mut timeline)?;
        }
    }
    Ok(ExitStatus::SUCCESS)
}

async fn tail(
    api: &dyn SessionApi,
    session: &SessionId,
    limit: usize,
    printer: &Printer,
    timeline: &mut Timeline,
) -> Result<u64> {
    // One at least is read, to know where to go on when nothing of the past is wanted.
    let query = EventQuery {
        after: 0,
        limit: limit.max(1),
        tail: true,
    };
    let events = api.event_page(session, query).await?;
    let last = events.last().map_or(0, |event| event.seq);
    let skipped = events.len().saturating_sub(limit);
    for event in events.iter().skip(skipped) {
        print(event, printer, timeline)?;
    }
    Ok(last)
}

async fn stored(
    api: &dyn SessionApi,
    session: &SessionId,
    mut after: u64,
    printer: &Printer,
    timeline: &mut Timeline,
) -> Result<u64> {
    loop {
        let query = EventQuery {
            after,
            limit: PAGE,
            tail: false,
        };
        let events = api.event_page(session, query).await?;
        let Some(last) = events.last() else {
            return Ok(after);
        };
        after = last.seq;
        for event in &events {
            print(event, printer, timeline)?;
        }
    }
}

fn print(event: &Event, printer: &Printer, timeline: &mut Timeline) -> Result<()> {
    if printer.json() {
        return printer.object(event);
    }
    match timeline.render(event) {
        Some(text) => printer.line(text),
        None => Ok(()),
    }
}
