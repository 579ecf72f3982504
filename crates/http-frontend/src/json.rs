//! JSON bodies, read within bounds and judged strictly: what is not announced as JSON is not read as JSON.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, OptionalFromRequest, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_api::SurfaceCode;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::depth::is_deeper;
use crate::problem::Failure;
use crate::state::AppState;

/// How deep arrays and objects may be nested.
pub const MAX_DEPTH: usize = 64;

/// A JSON body: of a request, whose failures are problems; or of an answer.
///
/// As `Option<Json<T>>` it may be left out altogether.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Failure> {
        if !is_json(request.headers()) {
            return Err(Failure::new(
                SurfaceCode::UnsupportedMediaType,
                "the body must be JSON, and be announced as `Content-Type: application/json`",
            ));
        }
        let options = state.options();
        let body = read(request.into_body(), options.max_body, options.body_timeout).await?;
        parse(&body).map(Self)
    }
}

impl<T: DeserializeOwned> OptionalFromRequest<AppState> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &AppState) -> Result<Option<Self>, Failure> {
        let headers = request.headers();
        let empty = headers.get(CONTENT_LENGTH).is_none_or(|length| length == "0");
        if empty && !headers.contains_key(TRANSFER_ENCODING) && !headers.contains_key(CONTENT_TYPE) {
            return Ok(None);
        }
        <Self as FromRequest<AppState>>::from_request(request, state)
            .await
            .map(Some)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => (
                [(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
                body,
            )
                .into_response(),
            Err(error) => {
                tracing::error!(%error, "an answer could not be written");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

/// Reads `body` whole: at most `limit` bytes, within `patience`.
///
/// # Errors
/// 400, 408, 413; 429 and 503 when too much is read at once.
pub async fn read(mut body: Body, limit: usize, patience: Duration) -> Result<Bytes, Failure> {
    let too_long = || {
        Failure::new(
            SurfaceCode::PayloadTooLarge,
            format!("the body is longer than the {limit} bytes that this server takes"),
        )
    };
    // What is announced to be too long is not read at all.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_long());
    }
    let reading = async {
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| unreadable(&error))?;
            let Ok(data) = frame.into_data() else { continue };
            if data.len() > limit - read.len() {
                return Err(too_long());
            }
            read.extend_from_slice(&data);
        }
        Ok(read.freeze())
    };
    // Nothing is lost with what was read: the request ends here.
    tokio::time::timeout(patience, reading)
        .await
        .unwrap_or_else(|_| Err(too_slow()))
}

/// Reads JSON as the surface does everywhere.
///
/// # Errors
/// 400.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    let bad = |detail: String| Failure::new(SurfaceCode::BadRequest, detail);
    if is_deeper(body, MAX_DEPTH) {
        return Err(bad(format!("the body is nested deeper than {MAX_DEPTH}")));
    }
    // The library reads a list as the fields of an object in their order, which nobody means. `null` is how a body says that
    // it is not there; where it has to be, reading it fails.
    if body
        .trim_ascii_start()
        .first()
        .is_some_and(|first| !matches!(first, b'{' | b'n'))
    {
        return Err(bad("the body must be a JSON object".to_owned()));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        match path.as_str() {
            "." => bad(format!("the body cannot be read: {}", error.inner())),
            _ => bad(format!("the body cannot be read at `{path}`: {}", error.inner())),
        }
    })?;
    deserializer
        .end()
        .map_err(|error| bad(format!("something follows the body's JSON: {error}")))?;
    Ok(value)
}

fn unreadable(error: &axum::Error) -> Failure {
    if crate::body::is_stall(error) {
        return too_slow();
    }
    if let Some(over) = crate::body::overweight(error) {
        return over.into();
    }
    Failure::new(SurfaceCode::BadRequest, "the body broke off")
}

fn too_slow() -> Failure {
    Failure::new(SurfaceCode::RequestTimeout, "the body did not arrive in time")
}

/// `application/json`, with `charset=utf-8` at most.
fn is_json(headers: &HeaderMap) -> bool {
    let mut given = headers.get_all(CONTENT_TYPE).iter();
    let (Some(kind), None) = (given.next(), given.next()) else {
        return false;
    };
    let Ok(kind) = kind.to_str() else { return false };
    let (media, parameters) = kind.split_once(';').unwrap_or((kind, ""));
    let parameters = parameters.trim();
    media.trim().eq_ignore_ascii_case("application/json")
        && (parameters.is_empty()
            || parameters.eq_ignore_ascii_case("charset=utf-8")
            || parameters.eq_ignore_ascii_case("charset=\"utf-8\""))
}
