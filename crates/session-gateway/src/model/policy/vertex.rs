//! What a session may ask of Vertex: predictions of the vendor's models in the configured project and region.

use hyper::Method;

use super::{Route, Target};
use crate::model::refusal::Refusal;

/// Longest name of a model.
const MAX_NAME: usize = 128;

pub(super) fn target(
    method: &Method,
    path: &str,
    query: Option<&str>,
    project: &str,
    region: &str,
) -> Result<Target, Refusal> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let &[
        "v1",
        "projects",
        asked_project,
        "locations",
        asked_region,
        "publishers",
        "anthropic",
        "models",
        model,
    ] = segments.as_slice()
    else {
        return Err(Refusal::UnknownPath);
    };
    let (model, verb) = model.split_once(':').ok_or(Refusal::UnknownPath)?;
    if !matches!(verb, "rawPredict" | "streamRawPredict") {
        return Err(Refusal::UnknownPath);
    }
    if asked_project != project || asked_region != region {
        return Err(Refusal::OtherProject);
    }
    // Versions follow an `@`, which some clients escape.
    let model = model.replace("%40", "@");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
    let is_name = model.len() <= MAX_NAME
        && model.bytes().all(plain)
        && model.bytes().any(|byte| byte.is_ascii_alphanumeric())
        && !model.contains("..");
    // `key`, `access_token` and `alt` are parameters of this service; a prediction needs none.
    if !is_name || query.is_some() {
        return Err(Refusal::MalformedTarget);
    }
    if method != Method::POST {
        return Err(Refusal::WrongMethod { allowed: "POST" });
    }
    let counts = model == "count-tokens";
    Ok(Target {
        route: if counts {
            Route::CountTokens
        } else {
            Route::Messages
        },
        path: format!("/v1/projects/{project}/locations/{region}/publishers/anthropic/models/{model}:{verb}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use session_core::gateway::ModelApi;

    fn ask(target: &str) -> Result<Target, Refusal> {
        let api = ModelApi::Vertex {
            region: "europe-west1".to_owned(),
            project: "proj-1".to_owned(),
        };
        super::super::target(&api, &Method::POST, &target.parse().unwrap())
    }

    const BASE: &str = "/v1/projects/proj-1/locations/europe-west1/publishers/anthropic/models";

    #[test]
    fn lets_the_agent_work() {
        for (model, verb) in [
            ("claude-opus-5-5", "streamRawPredict"),
            ("claude-sonnet-4@20250514", "rawPredict"),
            ("claude-sonnet-4%4020250514", "rawPredict"),
        ] {
            let target = ask(&format!("{BASE}/{model}:{verb}")).unwrap();
            let model = model.replace("%40", "@");
            assert_eq!(target.path, format!("{BASE}/{model}:{verb}"));
            assert_eq!(target.route, Route::Messages);
        }
        let target = ask(&format!("{BASE}/count-tokens:rawPredict")).unwrap();
        assert_eq!(target.route, Route::CountTokens);
    }

    #[test]
    fn another_project_region_publisher_or_verb_is_refused() {
        for (target, refusal) in [
            (
                format!("{}/m:rawPredict", BASE.replace("proj-1", "other")),
                Refusal::OtherProject,
            ),
            (
                format!("{}/m:rawPredict", BASE.replace("europe-west1", "us-east5")),
                Refusal::OtherProject,
            ),
            (
                format!("{}/m:rawPredict", BASE.replace("anthropic", "google")),
                Refusal::UnknownPath,
            ),
            (format!("{BASE}/m:predict"), Refusal::UnknownPath),
            (format!("{BASE}/m"), Refusal::UnknownPath),
            (format!("{BASE}/m:rawPredict/x"), Refusal::UnknownPath),
            (format!("{BASE}/m:rawPredict?key=x"), Refusal::MalformedTarget),
            (format!("{BASE}/m%2F..:rawPredict"), Refusal::MalformedTarget),
            (format!("{BASE}/..:rawPredict"), Refusal::MalformedTarget),
            (format!("{BASE}/../m:rawPredict"), Refusal::MalformedTarget),
            (
                format!("https://evil.example{BASE}/m:rawPredict"),
                Refusal::MalformedTarget,
            ),
            (
                "/v1/projects/proj-1/locations/europe-west1/endpoints/1:predict".to_owned(),
                Refusal::UnknownPath,
            ),
            ("/v1/messages".to_owned(), Refusal::UnknownPath),
        ] {
            assert_eq!(ask(&target), Err(refusal), "{target}");
        }
    }
}
