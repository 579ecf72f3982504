//! The shape of an error in each API, and the names that each has for classes of errors.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::model::dialect::Dialect;

/// An error as the API has it.
pub(super) fn error_body(dialect: Dialect, status: StatusCode, message: &str) -> Value {
    match dialect {
        Dialect::Messages => json!({
            "type": "error",
            "error": { "type": vendor_error(status), "message": message },
        }),
        Dialect::Bedrock => json!({ "message": message }),
        Dialect::Vertex => json!({
            "error": { "code": status.as_u16(), "message": message, "status": google_error(status) },
        }),
    }
}

fn vendor_error(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

pub(super) fn bedrock_error(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401..=403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        408 | 504 => "ModelTimeoutException",
        429 => "ThrottlingException",
        503 => "ServiceUnavailableException",
        500.. => "InternalServerException",
        _ => "ValidationException",
    }
}

fn google_error(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "UNAUTHENTICATED",
        402 | 403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        408 | 504 => "DEADLINE_EXCEEDED",
        429 => "RESOURCE_EXHAUSTED",
        500 => "INTERNAL",
        501.. => "UNAVAILABLE",
        _ => "INVALID_ARGUMENT",
    }
}
