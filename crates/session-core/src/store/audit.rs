//! The audit log in the store: each line is chained to the one before it by its hash.
//!
//! A line that tells of a change of the store is appended in the transaction of that change: there is neither one
//! without the other. Texts are stored escaped and cut, so that whatever somebody put into them stays part of one line.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use sha2::{Digest as _, Sha256};

use super::error::{Failure, decode, encode};
use super::events::{MAX_PAGE, int, stamp, uint};
use super::writer::Write;
use super::{Store, anchor};
use crate::audit::{AuditEntry, AuditLine, AuditQuery, AuditVerdict};
use crate::error::{Error, ErrorKind, Result};

const APPENDING: &str = "write to the audit log";
const READING: &str = "read the audit log";
const VERIFYING: &str = "verify the audit log";

/// What the first line is chained to.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// The most that is kept of each text of a line, in bytes.
const MAX_NAME: usize = 256;
const MAX_DETAIL: usize = 2048;

const COLUMNS: &str = "seq, at, actor, action, session, decision, rule, detail, hash";

/// Where the chain ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChainHead {
    pub(super) seq: u64,
    pub(super) hash: String,
}

impl Default for ChainHead {
    fn default() -> Self {
        Self {
            seq: 0,
            hash: GENESIS.to_owned(),
        }
    }
}

impl Store {
    /// Appends a line to the audit log. Answers with it as it is stored.
    ///
    /// # Errors
    /// As of every method.
    pub async fn audit(&self, entry: AuditEntry) -> Result<AuditLine> {
        self.inner
            .write(APPENDING, move |write| append(write, &entry))
            .await
    }

    /// Lines of the audit log, in ascending order. A limit of 0 asks for as many as there may be, which is 10,000.
    ///
    /// # Errors
    /// As of every method.
    pub async fn audit_lines(&self, query: AuditQuery) -> Result<Vec<AuditLine>> {
        self.inner
            .read(READING, move |connection| page(connection, query))
            .await
    }

    /// Reads the whole audit log and says whether it is as it was written.
    ///
    /// # Errors
    /// As of every method.
    pub async fn verify_audit(&self) -> Result<AuditVerdict> {
        // Before the lines: it never names one that is not there yet.
        let anchored = self.inner.anchor.read().map_err(|source| {
            Error::new(ErrorKind::HostIo, VERIFYING, "where it ended last cannot be read").with_source(source)
        })?;
        let mut head = ChainHead::default();
        loop {
            let from = head.clone();
            // In parts, so that nobody else who reads waits for the whole.
            let part = self
                .inner
                .read(VERIFYING, move |connection| verify_part(connection, from))
                .await?;
            match part {
                Part::Whole(next) if next.seq == head.seq => break,
                Part::Whole(next) => head = next,
                Part::Broken { at, lines } => {
                    return Ok(AuditVerdict {
                        lines,
                        broken_at: Some(at),
                    });
                }
            }
        }
        let lines = head.seq;
        let broken_at = self
            .inner
            .read(VERIFYING, move |connection| {
                Ok(anchor::judge(connection, &anchored, lines)?)
            })
            .await?;
        Ok(AuditVerdict { lines, broken_at })
    }
}

/// Appends a line in the transaction that is being made.
pub(super) fn append(write: &mut Write<'_>, entry: &AuditEntry) -> Result<AuditLine, Failure> {
    const SQL: &str = "INSERT INTO audit (seq, at, actor, action, session, decision, rule, detail, hash)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let before = head(write.connection)?;
    let mut line = AuditLine {
        seq: before.seq + 1,
        at: write.now,
        actor: tame(&entry.actor, MAX_NAME),
        action: tame(&entry.action, MAX_NAME),
        session: entry.session,
        decision: entry.decision,
        rule: entry.rule.as_deref().map(|rule| tame(rule, MAX_NAME)),
        detail: entry.detail.as_deref().map(|detail| tame(detail, MAX_DETAIL)),
        hash: String::new(),
    };
    line.hash = chained(&before.hash, &line)?;
    write.connection.prepare_cached(SQL)?.execute(params![
        int(line.seq),
        line.at.as_microsecond(),
        line.actor,
        line.action,
        line.session.map(|id| id.to_string()),
        encode(&line.decision)?,
        line.rule,
        line.detail,
        line.hash,
    ])?;
    write.audited = true;
    Ok(line)
}

/// The last line's number and hash.
pub(super) fn head(connection: &Connection) -> rusqlite::Result<ChainHead> {
    const SQL: &str = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1";
    let last = connection
        .prepare_cached(SQL)?
        .query_row([], |row| {
            Ok(ChainHead {
                seq: uint(row.get(0)?),
                hash: row.get(1)?,
            })
        })
        .optional()?;
    Ok(last.unwrap_or_default())
}

/// The hash of a line that comes after the one with the hash `before`.
fn chained(before: &str, line: &AuditLine) -> Result<String, Failure> {
    // A JSON list: no content of one field can pass for the content of two.
    let canonical = encode(&(
        "cofferdam audit 1",
        before,
        line.seq,
        line.at.as_microsecond(),
        &line.actor,
        &line.action,
        &line.session,
        &line.decision,
        &line.rule,
        &line.detail,
    ))?;
    Ok(hex(&Sha256::digest(canonical)))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Text as it is kept: on one line whoever shows it, and bounded.
fn tame(text: &str, limit: usize) -> String {
    const CUT: &str = "…";
    let mut tamed = String::new();
    for character in text.chars() {
        let before = tamed.len();
        if needs_escape(character) {
            tamed.extend(character.escape_unicode());
        } else if character == '\\' {
            tamed.push_str("\\\\");
        } else {
            tamed.push(character);
        }
        if tamed.len() > limit - CUT.len() {
            tamed.truncate(before);
            tamed.push_str(CUT);
            break;
        }
    }
    tamed
}

/// Ends a line somewhere, steers a terminal, or changes how what stands around it is shown.
fn needs_escape(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn page(connection: &Connection, query: AuditQuery) -> Result<Vec<AuditLine>, Failure> {
    let order = if query.tail { "DESC" } else { "ASC" };
    let limit = match query.limit {
        0 => MAX_PAGE,
        limit => limit.min(MAX_PAGE),
    };
    // Two statements: the index of the sessions' lines is used only when one is asked for.
    let which = if query.session.is_some() {
        "session = ?3"
    } else {
        "?3 IS NULL"
    };
    let sql = format!("SELECT {COLUMNS} FROM audit WHERE seq > ?1 AND {which} ORDER BY seq {order} LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let session = query.session.map(|id| id.to_string());
    let mut rows = statement.query(params![int(query.after), int(limit as u64), session])?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        lines.push(read(row)?);
    }
    if query.tail {
        lines.reverse();
    }
    Ok(lines)
}

fn read(row: &Row<'_>) -> Result<AuditLine, Failure> {
    let session: Option<String> = row.get(4)?;
    let decision: String = row.get(5)?;
    Ok(AuditLine {
        seq: uint(row.get(0)?),
        at: stamp(row.get(1)?),
        actor: row.get(2)?,
        action: row.get(3)?,
        session: session.map(|id| id.parse()).transpose()?,
        decision: decode("decision", &decision)?,
        rule: row.get(6)?,
        detail: row.get(7)?,
        hash: row.get(8)?,
    })
}

/// What a part of the chain was found to be.
enum Part {
    /// Whole up to here; nothing comes after when this is where it began.
    Whole(ChainHead),
    Broken {
        at: u64,
        lines: u64,
    },
}

fn verify_part(connection: &Connection, mut known: ChainHead) -> Result<Part, Failure> {
    let sql = format!("SELECT {COLUMNS} FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![int(known.seq), int(MAX_PAGE as u64)])?;
    while let Some(row) = rows.next()? {
        let expected = known.seq + 1;
        let intact = match read(row) {
            Ok(line) => line.seq == expected && chained(&known.hash, &line)? == line.hash,
            Err(Failure::Refused(_)) => false,
            Err(failure) => return Err(failure),
        };
        if !intact {
            return Ok(Part::Broken {
                at: expected,
                lines: head(connection)?.seq,
            });
        }
        known = ChainHead {
            seq: expected,
            hash: row.get(8)?,
        };
    }
    Ok(Part::Whole(known))
}
