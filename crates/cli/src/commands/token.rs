//! `token`: who may talk to the daemon over TCP. Works on the state directory's file, with or without a daemon.

use http_api::{TokenInfo, TokenScope};
use http_frontend::tokens::{NewToken, TokenFile};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use session_core::error::{Error, ErrorKind, Result};
use session_core::state_dir::StateDir;

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
/// those of the state directory.
pub fn token(command: &TokenCommand, state: &StateDir, console: &Console) -> Result<ExitStatus> {
    let tokens = TokenFile::of(state);
    match command {
        TokenCommand::Create(args) => create(args, &tokens, console)?,
        TokenCommand::List => list(&tokens.list()?, console)?,
        TokenCommand::Revoke(args) => {
            tokens.revoke(&args.name)?;
            console
                .printer
                .note("revoked; what it has open is cut within seconds");
        }
    }
    Ok(ExitStatus::SUCCESS)
}

fn create(args: &TokenCreateArgs, tokens: &TokenFile, console: &Console) -> Result<()> {
    let expires_at = args
        .expires
        .map(|after| {
            Timestamp::now().checked_add(after).map_err(|source| {
                Error::new(ErrorKind::InvalidArgument, OPERATION, "it would expire too late")
                    .with_source(source)
            })
        })
        .transpose()?;
    let (info, secret) = tokens.create(NewToken {
        name: args.name.clone(),
        scope: args.scope.into(),
        all_sessions: args.all_sessions,
        expires_at,
    })?;
    let printer = &console.printer;
    if printer.json() {
        return printer.object(&Created {
            info: &info,
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
