//! `token`: who may talk to the daemon over TCP. Works on the state directory's file, with or without a daemon.
//!
//! What is changed has its line in the audit log before it is told, whoever has the log open beside us: lines are appended
//! in a transaction of the store, and its end is anchored under a lock.

use http_api::{TokenInfo, TokenScope};
use http_frontend::tokens::{NewToken, TokenFile};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use session_core::audit::{AuditDecision, AuditEntry, AuditLog};
use session_core::error::{Error, ErrorKind, Result};
use session_core::state_dir::StateDir;
use session_core::store::Store;

use crate::args::{TokenCommand, TokenCreateArgs};
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::render::Table;

const OPERATION: &str = "make a token";

/// A token that was just made, as a JSON line. The only time that its secret is shown.
#[derive(Serialize)]
struct Created<'a> {
    #[serde(flatten)]
    info: &'a TokenInfo,
    token: &'a str,
}

/// Makes, lists or revokes tokens.
///
/// # Errors
/// `StateConflict` for a name that is taken, `NotFound` for one that is not, `InvalidArgument` for what is no name, and
/// those of the state directory and its store.
pub async fn token(command: &TokenCommand, state: &StateDir, console: &Console) -> Result<ExitStatus> {
    let tokens = TokenFile::of(state);
    match command {
        TokenCommand::Create(args) => {
            let log = AuditLog::new(Store::open(state).await?);
            let made = create(args, &tokens);
            let (info, secret) = told(&log, "create_token", &args.name, made).await?;
            show(&info, &secret, console)?;
        }
        TokenCommand::List => list(&tokens.list()?, console)?,
        TokenCommand::Revoke(args) => {
            let log = AuditLog::new(Store::open(state).await?);
            let revoked = tokens.revoke(&args.name);
            told(&log, "revoke_token", &args.name, revoked).await?;
            console
                .printer
                .note("revoked; what it has open is cut within seconds");
        }
    }
    Ok(ExitStatus::SUCCESS)
}

fn create(args: &TokenCreateArgs, tokens: &TokenFile) -> Result<(TokenInfo, SecretString)> {
    let expires_at = args
        .expires
        .map(|after| {
            Timestamp::now().checked_add(after).map_err(|source| {
                Error::new(ErrorKind::InvalidArgument, OPERATION, "it would expire too late")
                    .with_source(source)
            })
        })
        .transpose()?;
    tokens.create(NewToken {
        name: args.name.clone(),
        scope: args.scope.into(),
        all_sessions: args.all_sessions,
        expires_at,
    })
}

/// Writes what became of it, before the user is told.
async fn told<T>(log: &AuditLog, action: &str, name: &str, outcome: Result<T>) -> Result<T> {
    let (decision, rule) = match &outcome {
        Ok(_) => (AuditDecision::Done, None),
        Err(error) => (AuditDecision::Refused, Some(error.kind().code().to_owned())),
    };
    let entry = AuditEntry {
        actor: format!("local uid {}", rustix::process::geteuid().as_raw()),
        action: action.to_owned(),
        session: None,
        decision,
        rule,
        detail: Some(format!("token {name}")),
    };
    match log.record(entry).await {
        Ok(()) => outcome,
        // What failed is more to know than that it could not be written.
        Err(unwritten) => outcome.and(Err(unwritten)),
    }
}

fn show(info: &TokenInfo, secret: &SecretString, console: &Console) -> Result<()> {
    let printer = &console.printer;
    if printer.json() {
        return printer.object(&Created {
            info,
            token: secret.expose_secret(),
        });
    }
    printer.note("keep it: it is shown this once. Clients send it as `Authorization: Bearer …`");
    printer.line(secret.expose_secret())
}

fn list(tokens: &[TokenInfo], console: &Console) -> Result<()> {
    let printer = &console.printer;
    if printer.json() {
        return tokens.iter().try_for_each(|token| printer.object(token));
    }
    let zone = console.time_zone();
    let day = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string();
    let mut table = Table::new(&["NAME", "SCOPE", "SESSIONS", "CREATED", "EXPIRES"]);
    for token in tokens {
        let scope = match token.scope {
            TokenScope::Read => "read",
            TokenScope::Use => "use",
            TokenScope::Admin => "admin",
        };
        let all = token.all_sessions || token.scope != TokenScope::Use;
        table.row(vec![
            token.name.clone(),
            scope.to_owned(),
            if all { "all" } else { "own" }.to_owned(),
            day(token.created_at),
            token.expires_at.map_or_else(|| "never".to_owned(), day),
        ]);
    }
    printer.line(table.render(printer.paint()))
}
