//! What refusals say, in words for whoever reads the agent's output: what happened, and what a person can do about it. Each
//! API has settings of its own on the host, and these are named as the operator knows them.

use super::Refusal;
use crate::model::dialect::Dialect;

/// What happened, and what to do.
pub(super) fn message(refusal: Refusal, dialect: Dialect) -> String {
    let address = address_setting(dialect);
    match refusal {
        Refusal::Unauthenticated => format!(
            "the request does not carry this session's own token. Send the value of {} as this session has it.",
            token_place(dialect)
        ),
        Refusal::NoCredential => missing(dialect).into(),
        Refusal::CredentialExpired => expired(dialect).into(),
        Refusal::CredentialUnusable => unusable(dialect).into(),
        Refusal::CredentialTimedOut => {
            "the host did not get the provider's credential in time. The operator should \
            look into Cofferdam's log."
                .into()
        }
        Refusal::MalformedTarget => {
            "the request target is not a plain path. Absolute URLs, empty or dotted segments \
            and escaped characters in the path are refused, and parameters where the API has none."
                .into()
        }
        Refusal::UnknownPath => format!(
            "this path is not offered to sessions. Offered are {}.",
            offered(dialect)
        ),
        Refusal::OtherProject => {
            "the path names another project or region than this session was given.".into()
        }
        Refusal::WrongMethod { allowed } => format!("this path is offered with {allowed} only."),
        Refusal::BodyTooLarge { limit } => format!("the request body is longer than {limit} bytes."),
        Refusal::BodyStalled => "the request body stopped arriving.".into(),
        Refusal::BodyBroken => "the request body broke off or is not valid HTTP.".into(),
        Refusal::TooManyRequests { limit } => {
            format!("{limit} requests of this session are under way, which is all it may have. Try again.")
        }
        Refusal::NoMemory => {
            "requests that are under way hold as much memory on the host as they may. Try again.".into()
        }
        Refusal::BudgetSpent(spent) => spent.message(),
        Refusal::AccountsUnavailable => {
            "the host cannot read or write its accounts, and nothing goes out unaccounted. The operator should look \
            into Cofferdam's log."
                .into()
        }
        Refusal::QueueFull { limit } => {
            format!("{limit} requests of this session wait for their turn, which is all it may have. Try again.")
        }
        Refusal::QueueTimeout => {
            "the request waited for its turn at the model provider as long as it may. Try again.".into()
        }
        Refusal::Unreachable { cause } => format!(
            "the model provider cannot be reached from the host: {cause}. The operator should check the host's \
            network and {address}."
        ),
        Refusal::Broken => "the model provider closed the connection before it answered.".into(),
        Refusal::Garbled => format!(
            "what answers at the model provider's address does not speak HTTP. The operator should check {address}."
        ),
        Refusal::TimedOut => "the model provider did not answer in time.".into(),
        Refusal::Redirected => format!(
            "the model provider answered with a redirect, which is not followed so that the key goes nowhere else. \
            The operator should set {address} to the final address."
        ),
        Refusal::Encoded => format!(
            "the model provider compressed its answer although it was asked not to. The operator should switch \
            compression off at what {address} names."
        ),
        Refusal::NoTls => {
            "the host has no usable root certificates. The operator should install the system's CA \
            certificates (the package ca-certificates)."
                .into()
        }
    }
}

/// Where the session has its token, as `launch` sets it up for each API.
fn token_place(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Messages => "ANTHROPIC_API_KEY",
        Dialect::Bedrock => "AWS_BEARER_TOKEN_BEDROCK",
        Dialect::Vertex => "the header field in ANTHROPIC_CUSTOM_HEADERS",
    }
}

/// What names the provider's address on the host.
fn address_setting(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Messages => "ANTHROPIC_BASE_URL",
        Dialect::Bedrock => "AWS_REGION and ANTHROPIC_BEDROCK_BASE_URL",
        Dialect::Vertex => "CLOUD_ML_REGION and ANTHROPIC_VERTEX_BASE_URL",
    }
}

fn offered(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Messages => "/v1/messages, /v1/messages/count_tokens and /v1/models",
        Dialect::Bedrock => {
            "/model/ID/invoke, /model/ID/invoke-with-response-stream and /model/ID/count-tokens"
        }
        Dialect::Vertex => {
            "rawPredict and streamRawPredict of Anthropic's models in this session's project and region"
        }
    }
}

fn missing(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Messages => {
            "no model credential is configured on the host. The operator must set ANTHROPIC_API_KEY for Cofferdam, or \
            give this session its own key; no restart of the session is needed."
        }
        Dialect::Bedrock => {
            "the host has no AWS credentials. The operator must give some: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
            a profile (AWS_PROFILE, `aws configure`), `aws sso login`, or a role of the machine; or give this session \
            its own. No restart of the session is needed."
        }
        Dialect::Vertex => {
            "the host has no Google credentials. The operator must run `gcloud auth application-default login` there, or \
            set GOOGLE_APPLICATION_CREDENTIALS for Cofferdam; no restart of the session is needed."
        }
    }
}

fn expired(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Messages => "the model credential of the host has expired. The operator must replace it.",
        Dialect::Bedrock => {
            "the host's AWS credentials have expired. The operator must renew them (`aws sso login`, or new temporary \
            ones); no restart of the session is needed."
        }
        Dialect::Vertex => {
            "the host's Google credentials have expired or were revoked. The operator must run `gcloud auth \
            application-default login` again; no restart of the session is needed."
        }
    }
}

fn unusable(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Messages => {
            "the host's model credential cannot be read. The operator should look into Cofferdam's log."
        }
        Dialect::Bedrock => {
            "the host's AWS credentials cannot be had: a profile is wrong, or a service that gives them out refused. The \
            operator should try `aws sts get-caller-identity` on the host and look into Cofferdam's log."
        }
        Dialect::Vertex => {
            "the host's Google credentials cannot be had: a file is wrong, or the service that gives out tokens refused. \
            The operator should try `gcloud auth application-default print-access-token` on the host and look into \
            Cofferdam's log."
        }
    }
}
