//! The API that an agent speaks at its model door, as far as answers must fit it.
//!
//! Claude Code decides by the status, by header fields and by the API it speaks whether it asks again. Seen on 2.1.329:
//! over the Messages API a 401 with `x-should-retry: false` ends the turn at once; over Bedrock's API a 403 is asked again
//! whatever that field says, and over Vertex's a 401, because it expects to get new credentials of its own then. Inside a
//! session it has none to get, so what a retry cannot help is told with the status that it takes as final.

use hyper::StatusCode;
use session_core::gateway::ModelApi;

/// One of the three APIs, without where the provider is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Dialect {
    /// The vendor's Messages API.
    Messages,
    /// AWS Bedrock's.
    Bedrock,
    /// Google Vertex's.
    Vertex,
}

impl Dialect {
    pub(crate) fn of(api: &ModelApi) -> Self {
        match api {
            ModelApi::Messages => Self::Messages,
            ModelApi::Bedrock { .. } => Self::Bedrock,
            ModelApi::Vertex { .. } => Self::Vertex,
        }
    }

    /// The status that says the same to a person and that the agent takes as final.
    pub(crate) fn final_status(self, status: StatusCode) -> StatusCode {
        match (self, status) {
            (Self::Bedrock, StatusCode::FORBIDDEN) => StatusCode::UNAUTHORIZED,
            (Self::Vertex, StatusCode::UNAUTHORIZED) => StatusCode::FORBIDDEN,
            _ => status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_agent_would_ask_again_is_never_final() {
        for (dialect, asked_again) in [
            (Dialect::Bedrock, StatusCode::FORBIDDEN),
            (Dialect::Vertex, StatusCode::UNAUTHORIZED),
        ] {
            for code in 400..600 {
                let status = StatusCode::from_u16(code).unwrap();
                assert_ne!(dialect.final_status(status), asked_again, "{dialect:?} {code}");
            }
        }
        for code in 100..600 {
            let status = StatusCode::from_u16(code).unwrap();
            assert_eq!(Dialect::Messages.final_status(status), status);
        }
    }
}
