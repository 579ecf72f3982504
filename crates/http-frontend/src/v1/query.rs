//! What stands behind the `?`, read as strictly as a body: a field that nobody knows is refused, and so is a value out of
//! its bounds.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use http_api::SurfaceCode;
use http_api::query::{
    AfterQuery, AuditLinesQuery, EventsQuery, MAX_AUDIT_LINES, MAX_EVENTS, MAX_SAFE, MAX_WAIT_MS,
    OfSessionQuery, OffsetQuery, PathQuery, ScreenQuery, StdinQuery, WaitQuery,
};
use serde::de::DeserializeOwned;

use crate::problem::Failure;

/// A query.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

/// A query that knows its bounds.
pub(crate) trait Bounded {
    /// What is out of bounds, if anything is.
    fn flaw(&self) -> Option<String> {
        None
    }
}

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned + Bounded,
    S: Send + Sync,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let query: T = axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(query)| query)
            .map_err(|rejection| bad(source(&rejection)))?;
        match query.flaw() {
            None => Ok(Self(query)),
            Some(flaw) => Err(bad(flaw)),
        }
    }
}

/// What the reader of the query says, without axum's words around it.
fn source(rejection: &axum::extract::rejection::QueryRejection) -> String {
    std::error::Error::source(rejection).map_or_else(|| rejection.to_string(), ToString::to_string)
}

pub(crate) fn bad(flaw: impl std::fmt::Display) -> Failure {
    Failure::new(
        SurfaceCode::BadRequest,
        format!("the query cannot be read: {flaw}"),
    )
}

fn beyond(name: &str, value: u64, low: u64, high: u64) -> Option<String> {
    (!(low..=high).contains(&value)).then(|| format!("{name} is not between {low} and {high}"))
}

impl Bounded for EventsQuery {
    fn flaw(&self) -> Option<String> {
        beyond("after", self.after, 0, MAX_SAFE).or_else(|| beyond("limit", self.limit, 1, MAX_EVENTS as u64))
    }
}

impl Bounded for AuditLinesQuery {
    fn flaw(&self) -> Option<String> {
        beyond("after", self.after, 0, MAX_SAFE)
            .or_else(|| beyond("limit", self.limit, 1, MAX_AUDIT_LINES as u64))
    }
}

impl Bounded for AfterQuery {
    fn flaw(&self) -> Option<String> {
        beyond("after", self.after, 0, MAX_SAFE)
    }
}

impl Bounded for OffsetQuery {
    fn flaw(&self) -> Option<String> {
        beyond("offset", self.offset, 0, MAX_SAFE)
    }
}

impl Bounded for WaitQuery {
    fn flaw(&self) -> Option<String> {
        beyond("wait_ms", self.wait_ms.unwrap_or_default(), 0, MAX_WAIT_MS)
    }
}

impl Bounded for ScreenQuery {
    fn flaw(&self) -> Option<String> {
        beyond("rows", self.rows.into(), 1, 1000).or_else(|| beyond("columns", self.columns.into(), 1, 1000))
    }
}

impl Bounded for PathQuery {
    /// A name that no file system takes would be a failure of the session's.
    fn flaw(&self) -> Option<String> {
        const MAX_NAME: usize = 255;
        let too_long = self.path.split('/').any(|name| name.len() > MAX_NAME);
        too_long.then(|| format!("a name in path is longer than {MAX_NAME} bytes"))
    }
}

impl Bounded for OfSessionQuery {}
impl Bounded for StdinQuery {}
