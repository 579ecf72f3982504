//! The failures that operations share, each a problem.

use std::collections::BTreeMap;

use http_api::Problem;
use http_api::problem::PROBLEM_JSON;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr};
use utoipa::{IntoResponses, ToSchema};

type Responses = BTreeMap<String, RefOr<Response>>;

fn problem(description: &str) -> ResponseBuilder {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name())));
    ResponseBuilder::new()
        .description(description)
        .content(PROBLEM_JSON, content.build())
}

fn problems<const N: usize>(described: [(u16, &str); N]) -> Responses {
    described
        .into_iter()
        .map(|(status, description)| (status.to_string(), problem(description).build().into()))
        .collect()
}

/// What every operation may answer.
pub(crate) enum Basic {}

impl IntoResponses for Basic {
    fn responses() -> Responses {
        let mut responses = problems([
            (400, "The request cannot be read, or an argument is not valid."),
            (401, "There is no token, or none that is known."),
            (403, "The token, the Host or the Origin does not allow it."),
            (404, "There is nothing of this id, or not for this token."),
            (431, "The header is too long."),
            (500, "A defect of the server, or of the host below it."),
            (503, "The engine does not answer, or the server is about to end."),
        ]);
        let seconds = HeaderBuilder::new()
            .schema(Some(
                ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)),
            ))
            .description(Some(
                "In how many seconds to come back, when it is a matter of time.",
            ));
        let limited = problem("Too many requests, or a limit of the session is reached.")
            .header("Retry-After", seconds.build());
        responses.insert("429".to_owned(), limited.build().into());
        responses
    }
}

/// What operations on a session may answer beside.
pub(crate) enum OfSession {}

impl IntoResponses for OfSession {
    fn responses() -> Responses {
        problems([
            (
                409,
                "The state of the session does not allow it, or something else holds what is needed.",
            ),
            (
                422,
                "What was asked for is well formed and cannot be had as it is.",
            ),
            (501, "The engine lacks what is needed."),
            (502, "The engine, the agent or the container failed."),
        ])
    }
}

/// What operations with a body may answer beside.
pub(crate) enum WithBody {}

impl IntoResponses for WithBody {
    fn responses() -> Responses {
        problems([
            (408, "The body did not arrive in time."),
            (413, "The body is too long."),
            (415, "The body has another media type than is needed."),
        ])
    }
}

/// What operations on tokens may answer beside.
pub(crate) enum Keeping {}

impl IntoResponses for Keeping {
    fn responses() -> Responses {
        problems([(501, "This server keeps no tokens.")])
    }
}

/// What a WebSocket's address answers.
pub(crate) enum Socketed {}

impl IntoResponses for Socketed {
    fn responses() -> Responses {
        let mut responses = problems([(426, "The request is no request for a WebSocket.")]);
        let switched = ResponseBuilder::new().description("The connection is a WebSocket from here on.");
        responses.insert("101".to_owned(), switched.build().into());
        responses
    }
}
