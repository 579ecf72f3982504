//! What a session may ask of Bedrock's runtime: to invoke a model, and to count tokens.
//!
//! A model's id stands in the path and is escaped by clients in different ways (`:` or `%3A`). It is unescaped once, held
//! against what ids are made of, and escaped again in the one way in which it is then signed and sent.

use hyper::Method;

use super::{Route, Target};
use crate::model::refusal::Refusal;

/// Longest id, that of a resource included. The service takes 2048; real ones have about a hundred.
const MAX_ID: usize = 512;

pub(super) fn target(method: &Method, path: &str, query: Option<&str>) -> Result<Target, Refusal> {
    let Some((id, operation)) = path.strip_prefix("/model/").and_then(|rest| rest.split_once('/')) else {
        return Err(Refusal::UnknownPath);
    };
    let route = match operation {
        "invoke" | "invoke-with-response-stream" => Route::Messages,
        "count-tokens" => Route::CountTokens,
        _ => return Err(Refusal::UnknownPath),
    };
    let model = model_id(id).ok_or(Refusal::MalformedTarget)?;
    // None of these operations has parameters, and a signature could travel in them.
    if query.is_some() {
        return Err(Refusal::MalformedTarget);
    }
    if method != Method::POST {
        return Err(Refusal::WrongMethod { allowed: "POST" });
    }
    let escaped = model.replace(':', "%3A").replace('/', "%2F");
    Ok(Target {
        route,
        path: format!("/model/{escaped}/{operation}"),
    })
}

/// The id behind one segment of a path: a name, or the name of a resource (`arn:…/…`).
fn model_id(segment: &str) -> Option<String> {
    let id = unescaped(segment)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/-".contains(&byte);
    let parts: Vec<&str> = id.split('/').collect();
    let parts_are_names = parts
        .iter()
        .all(|part| part.bytes().any(|byte| byte.is_ascii_alphanumeric()) && !part.contains(".."));
    let few_enough = parts.len() == 1 || (parts.len() == 2 && id.starts_with("arn:"));
    (id.len() <= MAX_ID && id.bytes().all(plain) && parts_are_names && few_enough).then_some(id)
}

/// Takes one layer of escapes off.
fn unescaped(segment: &str) -> Option<String> {
    let mut plain = String::with_capacity(segment.len());
    let mut rest = segment;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let byte = u8::from_str_radix(after.get(..2)?, 16).ok()?;
        plain.push(char::from(byte));
        rest = &after[2..];
    }
    plain.push_str(rest);
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ask(target: &str) -> Result<Target, Refusal> {
        let uri: hyper::Uri = target.parse().unwrap();
        super::super::target(
            &session_core::gateway::ModelApi::Bedrock {
                region: "eu-west-1".to_owned(),
            },
            &Method::POST,
            &uri,
        )
    }

    #[test]
    fn an_id_is_escaped_once_whatever_the_client_did() {
        const ARN: &str = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc";
        for (sent, id) in [
            ("eu.anthropic.claude-opus-5-5", "eu.anthropic.claude-opus-5-5"),
            ("us.anthropic.claude-v1:0", "us.anthropic.claude-v1:0"),
            ("us.anthropic.claude-v1%3A0", "us.anthropic.claude-v1:0"),
            ("us.anthropic.claude-v1%3a0", "us.anthropic.claude-v1:0"),
            (&ARN.replace('/', "%2F"), ARN),
            (&ARN.replace(':', "%3A").replace('/', "%2f"), ARN),
        ] {
            let target = ask(&format!("/model/{sent}/invoke-with-response-stream")).unwrap();
            assert_eq!(target.route, Route::Messages);
            let escaped = id.replace(':', "%3A").replace('/', "%2F");
            assert_eq!(
                target.path,
                format!("/model/{escaped}/invoke-with-response-stream")
            );
        }
        assert_eq!(ask("/model/a/count-tokens").unwrap().route, Route::CountTokens);
    }

    #[test]
    fn other_operations_and_places_are_refused() {
        for (target, refusal) in [
            ("/model/a/invoke?X-Amz-Signature=x", Refusal::MalformedTarget),
            ("/model/a%252Fb/invoke", Refusal::MalformedTarget),
            ("/model/a%00/invoke", Refusal::MalformedTarget),
            ("/model/a%2/invoke", Refusal::MalformedTarget),
            ("/model/a%2F..%2Fb/invoke", Refusal::MalformedTarget),
            ("/model/..%2Fguardrail/invoke", Refusal::MalformedTarget),
            ("/model/%2E%2E/invoke", Refusal::MalformedTarget),
            ("/model/a%2Fb/invoke", Refusal::MalformedTarget),
            ("/model/a@b/invoke", Refusal::MalformedTarget),
            ("/model/a/../b/invoke", Refusal::MalformedTarget),
            ("/model//invoke", Refusal::MalformedTarget),
            ("/model/a/converse", Refusal::UnknownPath),
            ("/model/a/invoke/b", Refusal::UnknownPath),
            ("/model/a", Refusal::UnknownPath),
            ("/async-invoke", Refusal::UnknownPath),
            ("/inference-profiles?type=SYSTEM_DEFINED", Refusal::UnknownPath),
            ("/guardrail/x/version/1/apply", Refusal::UnknownPath),
            ("/v1/messages", Refusal::UnknownPath),
            ("http://169.254.169.254/model/a/invoke", Refusal::MalformedTarget),
        ] {
            assert_eq!(ask(target), Err(refusal), "{target}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_names_one_model_in_one_way(segment in "[a-z.:%0-9A-F/-]{0,24}|arn:aws:[a-z:]{0,9}(%2F|/)[a-z.%]{0,9}") {
            let Ok(uri) = format!("/model/{segment}/invoke").parse::<hyper::Uri>() else { return Ok(()) };
            let api = session_core::gateway::ModelApi::Bedrock { region: "eu-west-1".to_owned() };
            if let Ok(target) = super::super::target(&api, &Method::POST, &uri)
                && target.route == Route::Messages
            {
                let segments: Vec<&str> = target.path.split('/').collect();
                prop_assert_eq!(segments.len(), 4);
                prop_assert!(!segments[2].contains("..") && !segments[2].contains("%25"));
                // Read again it is the same.
                prop_assert_eq!(super::super::target(&api, &Method::POST, &target.path.parse().unwrap()), Ok(target));
            }
        }
    }
}
