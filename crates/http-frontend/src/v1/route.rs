//! What stands in the path: ids, judged before anything is asked.

use axum::extract::FromRequestParts;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::http::request::Parts;
use http_api::SurfaceCode;
use serde::de::DeserializeOwned;

use crate::problem::Failure;

/// The ids in the path.
#[derive(Debug)]
pub(crate) struct Route<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for Route<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(ids)| Self(ids))
            .map_err(|rejection| refused(&rejection))
    }
}

/// The text in the path is the caller's own; it is not repeated.
fn refused(rejection: &PathRejection) -> Failure {
    if let PathRejection::FailedToDeserializePathParams(failed) = rejection
        && matches!(failed.kind(), ErrorKind::InvalidUtf8InPathParam { .. })
    {
        return Failure::new(SurfaceCode::BadRequest, "the path is not UTF-8");
    }
    Failure::new(
        SurfaceCode::BadRequest,
        "the path has something else where an id belongs",
    )
    .with_hint("ids are UUIDs, for example 7d9f0a4e-6a0f-4c7e-9d53-1f2a3b4c5d6e")
}
