//! `audit`: who changed what, and what was refused.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::tz::TimeZone;
use session_core::api::SessionApi;
use session_core::audit::{AuditDecision, AuditLine, AuditQuery};
use session_core::error::Result;
use session_core::id::SessionId;

use crate::args::AuditArgs;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::printer::{Paint, Printer};
use crate::{render, sanitize, target};

/// How many lines are read at once.
const PAGE: usize = 1000;
/// How often it is looked for new ones.
const LOOK: Duration = Duration::from_millis(500);

/// Prints lines of the audit log, or says whether it is as it was written.
///
/// # Errors
/// Those of the lifecycle API.
pub async fn audit(args: &AuditArgs, api: &dyn SessionApi, console: &Console) -> Result<ExitStatus> {
    if args.verify {
        return verify(api, &console.printer).await;
    }
    let session = match &args.session {
        Some(text) => Some(target::find(api, text).await?),
        None => None,
    };
    let reader = Reader {
        api,
        session,
        printer: &console.printer,
        zone: console.time_zone(),
    };
    let mut after = match args.tail {
        Some(limit) => reader.tail(limit).await?,
        None => reader.stored(args.since.unwrap_or(0)).await?,
    };
    if !args.follow {
        return Ok(ExitStatus::SUCCESS);
    }
    loop {
        tokio::time::sleep(LOOK).await;
        after = reader.stored(after).await?;
    }
}

async fn verify(api: &dyn SessionApi, printer: &Printer) -> Result<ExitStatus> {
    let verdict = api.verify_audit().await?;
    if printer.json() {
        printer.object(&verdict)?;
    } else {
        let lines = render::count(verdict.lines, "line");
        printer.line(match verdict.broken_at {
            None => format!("{lines}, as they were written"),
            Some(seq) => format!("{lines}; line {seq} is not as it was written, or is missing"),
        })?;
    }
    Ok(match verdict.broken_at {
        None => ExitStatus::SUCCESS,
        Some(_) => ExitStatus::TURN_FAILED,
    })
}

struct Reader<'a> {
    api: &'a dyn SessionApi,
    session: Option<SessionId>,
    printer: &'a Printer,
    zone: TimeZone,
}

impl Reader<'_> {
    async fn tail(&self, limit: usize) -> Result<u64> {
        // One at least is read, to know where to go on when nothing of the past is wanted.
        let query = AuditQuery {
            after: 0,
            limit: limit.max(1),
            tail: true,
            session: self.session,
        };
        let lines = self.api.audit(query).await?;
        let skipped = lines.len().saturating_sub(limit);
        for line in lines.iter().skip(skipped) {
            self.print(line)?;
        }
        Ok(lines.last().map_or(0, |line| line.seq))
    }

    async fn stored(&self, mut after: u64) -> Result<u64> {
        loop {
            let query = AuditQuery {
                after,
                limit: PAGE,
                tail: false,
                session: self.session,
            };
            let lines = self.api.audit(query).await?;
            let Some(last) = lines.last() else {
                return Ok(after);
            };
            after = last.seq;
            for line in &lines {
                self.print(line)?;
            }
        }
    }

    fn print(&self, line: &AuditLine) -> Result<()> {
        if self.printer.json() {
            return self.printer.object(line);
        }
        self.printer.line(text(line, &self.zone, self.printer.paint()))
    }
}

/// A line for people. Who and what are text from outside in part, so all of it is made safe.
fn text(line: &AuditLine, zone: &TimeZone, paint: Paint) -> String {
    let at = line.at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S");
    let mut text = format!(
        "{}  {}  {}",
        paint.dim(format_args!("{:>6} {at}", line.seq)),
        sanitize::one_line(&line.actor),
        paint.bold(sanitize::one_line(&line.action)),
    );
    // Writing to a string does not fail.
    if let Some(session) = &line.session {
        let _ = write!(text, "  {}", render::short(session));
    }
    text += "  ";
    text += &match line.decision {
        AuditDecision::Done => "done".to_owned(),
        AuditDecision::Refused => paint.yellow("refused"),
        AuditDecision::Failed => paint.red("failed"),
    };
    if let Some(rule) = &line.rule {
        let _ = write!(text, " [{}]", sanitize::one_line(rule));
    }
    if let Some(detail) = &line.detail {
        let _ = write!(text, "  {}", sanitize::one_line(detail));
    }
    text
}
