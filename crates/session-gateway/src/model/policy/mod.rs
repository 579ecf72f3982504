//! What a session may ask of the provider: a few methods on a few paths, written in one way only.
//!
//! The target of a request comes from an attacker. Nothing is normalised: what is not written plainly is refused, so no
//! two readers (this proxy, a proxy after it, the provider) can disagree about what was asked for. Pure: no I/O, no state.
//! The one exception is the name of a model in a path, which is read and written anew (see `bedrock` and `vertex`).

mod bedrock;
mod vertex;

use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, Method, Uri};
use session_core::gateway::ModelApi;
use subtle::{Choice, ConstantTimeEq};

use super::credential::X_API_KEY;
use super::refusal::Refusal;

/// Longest path and query that is looked at. Model lists take a few short parameters.
const MAX_TARGET: usize = 2048;

/// What a request that may pass is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// `GET /` or `HEAD /`: a client warms its connection or looks whether someone is there. Answered here.
    Probe,
    /// An answer of a model, in any of the APIs: the one that uses tokens.
    Messages,
    /// How many tokens a request would have.
    CountTokens,
    /// `GET /v1/models` and below.
    Models,
}

/// A request that may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// What it is for.
    pub(crate) route: Route,
    /// Path and query, to be appended to the provider's address.
    pub(crate) path: String,
}

/// Decides about a method and a target, by the API that the session was admitted to.
pub(crate) fn target(api: &ModelApi, method: &Method, uri: &Uri) -> Result<Target, Refusal> {
    let escapes = match api {
        ModelApi::Messages => "",
        ModelApi::Bedrock { .. } => "%",
        ModelApi::Vertex { .. } => "%@",
    };
    let path = plain_path(uri, escapes.as_bytes())?;
    if path == "/" {
        return allowed(method, "GET, HEAD").map(|()| Target {
            route: Route::Probe,
            path: String::new(),
        });
    }
    match api {
        ModelApi::Messages => {
            let route = messages(method, path)?;
            let path = uri.path_and_query().map_or("", |target| target.as_str());
            Ok(Target {
                route,
                path: path.to_owned(),
            })
        }
        ModelApi::Bedrock { .. } => bedrock::target(method, path, uri.query()),
        ModelApi::Vertex { region, project } => vertex::target(method, path, uri.query(), project, region),
    }
}

fn messages(method: &Method, path: &str) -> Result<Route, Refusal> {
    let (route, methods) = match path {
        "/v1/messages" => (Route::Messages, "POST"),
        "/v1/messages/count_tokens" => (Route::CountTokens, "POST"),
        _ if is_models(path) => (Route::Models, "GET"),
        _ => return Err(Refusal::UnknownPath),
    };
    allowed(method, methods).map(|()| route)
}

fn allowed(method: &Method, allowed: &'static str) -> Result<(), Refusal> {
    if allowed.split(", ").any(|allowed| allowed == method.as_str()) {
        Ok(())
    } else {
        Err(Refusal::WrongMethod { allowed })
    }
}

/// The path, when the target is in origin form and its path could not be read in a second way. `escapes` are characters
/// that the API needs in names of models; whoever lets them in takes the names apart.
///
/// A fragment never gets here: the parser of the HTTP library takes it off, so it is not forwarded either.
fn plain_path<'a>(uri: &'a Uri, escapes: &[u8]) -> Result<&'a str, Refusal> {
    if uri.scheme().is_some() || uri.authority().is_some() {
        return Err(Refusal::MalformedTarget);
    }
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    let path = uri.path();
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~:".contains(&byte) || escapes.contains(&byte);
    let segments_are_plain = path == "/"
        || path
            .split('/')
            .skip(1)
            .all(|segment| !matches!(segment, "" | "." | ".."));
    if target.len() > MAX_TARGET
        || !path.starts_with('/')
        || !path.bytes().all(plain)
        || !segments_are_plain
        || !target.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(Refusal::MalformedTarget);
    }
    Ok(path)
}

/// `/v1/models` or `/v1/models/ID`.
fn is_models(path: &str) -> bool {
    match path.strip_prefix("/v1/models") {
        Some("") => true,
        Some(rest) => rest
            .strip_prefix('/')
            .is_some_and(|id| !id.is_empty() && !id.contains('/')),
        None => false,
    }
}

/// Whether one of the places in which clients put a credential holds the session's own token. Every place is compared in
/// full and in constant time; only the token's length can be learnt, and that is the same for all sessions.
pub(crate) fn is_authorised(headers: &HeaderMap, token: &[u8]) -> bool {
    let keys = headers.get_all(X_API_KEY).iter().map(|value| value.as_bytes());
    let bearers = headers
        .get_all(AUTHORIZATION)
        .iter()
        .filter_map(|value| bearer(value.as_bytes()));
    keys.chain(bearers)
        .fold(Choice::from(0), |found, presented| found | presented.ct_eq(token))
        .into()
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    fn ask(method: &str, text: &str) -> Result<Route, Refusal> {
        target(
            &ModelApi::Messages,
            &method.parse().unwrap(),
            &text.parse().unwrap(),
        )
        .map(|target| target.route)
    }

    #[test]
    fn lets_the_agent_work() {
        for (method, target, expected) in [
            ("POST", "/v1/messages?beta=true", Route::Messages),
            ("POST", "/v1/messages", Route::Messages),
            ("POST", "/v1/messages/count_tokens?beta=true", Route::CountTokens),
            ("GET", "/v1/models", Route::Models),
            ("GET", "/v1/models?limit=1000&after_id=a%2Fb", Route::Models),
            ("GET", "/v1/models/claude-sonnet-4-5-20250929", Route::Models),
            ("GET", "/v1/models/..a", Route::Models),
            ("HEAD", "/", Route::Probe),
            ("GET", "/", Route::Probe),
        ] {
            assert_eq!(ask(method, target), Ok(expected), "{method} {target}");
        }
    }

    #[test]
    fn refuses_other_paths_and_methods() {
        for target in [
            "/v1/messages/batches",
            "/v1/files",
            "/v1/models/a/b",
            "/v1/modelsx",
            "/V1/messages",
            "/api/event_logging/batch",
            "/api/hello",
            "/v1/organizations/api_keys",
        ] {
            assert_eq!(ask("POST", target), Err(Refusal::UnknownPath), "{target}");
        }
        assert_eq!(
            ask("GET", "/v1/messages"),
            Err(Refusal::WrongMethod { allowed: "POST" })
        );
        assert_eq!(
            ask("DELETE", "/v1/models/a"),
            Err(Refusal::WrongMethod { allowed: "GET" })
        );
        assert_eq!(
            ask("OPTIONS", "/"),
            Err(Refusal::WrongMethod { allowed: "GET, HEAD" })
        );
        assert_eq!(
            ask("post", "/v1/messages"),
            Err(Refusal::WrongMethod { allowed: "POST" })
        );
    }

    #[test]
    fn refuses_targets_with_two_readings() {
        for text in [
            "http://evil.example/v1/messages",
            "https://api.anthropic.com/v1/messages",
            "evil.example:443",
            "*",
            "//evil.example/v1/messages",
            "/v1//messages",
            "/v1/messages/",
            "/v1/./messages",
            "/v1/models/../files",
            "/v1/models/..",
            "/v1/%6dessages",
            "/v1/models%2f..%2ffiles",
            "/@evil.example/v1/messages",
            "/v1/models/a@b",
            "/v1/messages;x=y",
            "/v1/models/a\\b",
        ] {
            // What the library's parser refuses never gets as far as the policy.
            let Ok(uri) = text.parse::<Uri>() else { continue };
            assert_eq!(
                target(&ModelApi::Messages, &Method::POST, &uri),
                Err(Refusal::MalformedTarget),
                "{text}"
            );
        }
        assert_eq!(
            ask("GET", &format!("/v1/models?{}", "a".repeat(3000))),
            Err(Refusal::MalformedTarget)
        );
    }

    #[test]
    fn a_fragment_is_not_forwarded() {
        let uri: Uri = "/v1/messages?beta=true#@evil.example".parse().unwrap();
        assert_eq!(uri.path_and_query().unwrap(), "/v1/messages?beta=true");
    }

    fn with(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.append(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn the_token_opens_and_nothing_else_does() {
        let token = b"session-token-0001";
        for (name, value) in [
            ("x-api-key", "session-token-0001"),
            ("authorization", "Bearer session-token-0001"),
            ("authorization", "bearer session-token-0001"),
        ] {
            assert!(is_authorised(&with(name, value), token), "{name}: {value}");
        }
        for (name, value) in [
            ("x-api-key", ""),
            ("x-api-key", "session-token-0002"),
            ("x-api-key", "session-token-00011"),
            ("x-api-key", "session-token-000"),
            ("authorization", "session-token-0001"),
            ("authorization", "Basic session-token-0001"),
            ("authorization", "Bearer"),
            ("proxy-authorization", "Bearer session-token-0001"),
            ("cookie", "session-token-0001"),
        ] {
            assert!(!is_authorised(&with(name, value), token), "{name}: {value}");
        }
        assert!(!is_authorised(&HeaderMap::new(), token));
    }

    #[test]
    fn a_token_beside_a_placeholder_opens() {
        let mut headers = with("x-api-key", "placeholder");
        headers.append(
            "authorization",
            HeaderValue::from_static("Bearer session-token-0001"),
        );
        assert!(is_authorised(&headers, b"session-token-0001"));
    }

    proptest! {
        #[test]
        fn what_passes_stays_below_the_base(text in "/[a-z0-9/.%@:?#;=&\\\\~_-]{0,40}|/v1/(messages|models)[a-z/.%@?#]{0,12}") {
            let Ok(uri) = text.parse::<Uri>() else { return Ok(()) };
            for method in [Method::GET, Method::POST] {
                if let Ok(target) = target(&ModelApi::Messages, &method, &uri)
                    && target.route != Route::Probe
                {
                    let base: super::super::base_url::BaseUrl = "https://gate.example.com/p".parse().unwrap();
                    let full = base.join(&target.path).unwrap();
                    prop_assert_eq!(full.authority().unwrap(), "gate.example.com");
                    prop_assert!(full.path().starts_with("/p/v1/m"));
                    let mut segments = full.path().split('/').skip(1);
                    prop_assert!(!segments.any(|segment| matches!(segment, "" | "." | "..")));
                }
            }
        }
    }
}
