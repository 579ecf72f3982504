//! Which model a request is for, however its provider spells it.
//!
//! The same model is `claude-sonnet-4-5-20250929` at the vendor, `us.anthropic.claude-sonnet-4-5-20250929-v1:0` at
//! Bedrock, `claude-sonnet-4-5@20250929` at Vertex and `anthropic/claude-sonnet-4.5` at some gateways. Names come from
//! the session: they are bounded, and only ever compared.

/// Longest name that is looked at. An inference profile's ARN takes about 150 bytes.
const MAX_NAME: usize = 256;

/// A model's name in the vendor's spelling, as far as it can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelName {
    id: String,
    /// Whether the name binds the request to a region, for which cloud providers take more.
    regional: bool,
}

impl ModelName {
    /// A name as it stands in a request's or an answer's body. `None` when it is no name.
    pub(crate) fn parse(raw: &str) -> Option<Self> {
        let raw = raw.trim();
        if raw.is_empty() || raw.len() > MAX_NAME || !raw.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let lower = raw.to_ascii_lowercase();
        // What is before the last slash is an ARN, a resource's path or a gateway's prefix.
        let last = lower.rsplit('/').next().unwrap_or(&lower);
        let (scope, id) = match last.rsplit_once("anthropic.") {
            Some((scope, id)) => (Some(scope), id),
            None => (None, last),
        };
        if id.is_empty() {
            return None;
        }
        let is_profile = lower.starts_with("arn:");
        Some(Self {
            id: id.replace('.', "-"),
            regional: scope.map_or(is_profile, |scope| scope != "global."),
        })
    }

    /// The name in a path of Bedrock (`/model/ID/invoke`) or Vertex (`…/locations/REGION/…/models/ID:METHOD`).
    pub(crate) fn in_path(path: &str) -> Option<Self> {
        if let Some(rest) = path.strip_prefix("/model/") {
            return Self::parse(&unescaped(rest.split_once('/')?.0)?);
        }
        let (before, after) = path.split_once("/publishers/anthropic/models/")?;
        let id = after.split([':', '/']).next()?;
        let region = before
            .split_once("/locations/")
            .and_then(|(_, rest)| rest.split('/').next());
        let mut name = Self::parse(&unescaped(id)?)?;
        name.regional = region != Some("global");
        Some(name)
    }

    /// The name.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn is_regional(&self) -> bool {
        self.regional
    }
}

/// Undoes `%XX`. `None` for a broken escape or bytes that are no text.
fn unescaped(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        bytes.push(is_hex.then(|| u8::from_str_radix(digits, 16).ok())??);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(raw: &str) -> (String, bool) {
        let name = ModelName::parse(raw).unwrap();
        (name.id, name.regional)
    }

    #[test]
    fn every_provider_s_spelling_is_the_same_model() {
        for (raw, id, regional) in [
            ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5-20250929", false),
            (" Claude-Opus-5 ", "claude-opus-5", false),
            (
                "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
                "claude-sonnet-4-5-20250929-v1:0",
                true,
            ),
            ("anthropic.claude-opus-4-6-v1", "claude-opus-4-6-v1", true),
            ("global.anthropic.claude-opus-5", "claude-opus-5", false),
            (
                "arn:aws:bedrock:us-east-1:123456789012:inference-profile/eu.anthropic.claude-haiku-4-5-20251001-v1:0",
                "claude-haiku-4-5-20251001-v1:0",
                true,
            ),
            (
                "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2",
                "a1b2",
                true,
            ),
            ("claude-opus-4@20250514", "claude-opus-4@20250514", false),
            ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5", false),
        ] {
            assert_eq!(parsed(raw), (id.to_owned(), regional), "{raw}");
        }
        for raw in ["", "  ", "a b", "anthropic.", "é", &"x".repeat(MAX_NAME + 1)] {
            assert_eq!(ModelName::parse(raw), None, "{raw:?}");
        }
    }

    #[test]
    fn paths_name_models_too() {
        for (path, id, regional) in [
            (
                "/model/us.anthropic.claude-opus-5-v1%3A0/invoke-with-response-stream",
                "claude-opus-5-v1:0",
                true,
            ),
            (
                "/model/arn%3aaws%3abedrock%3aus-east-1%3a1%3ainference-profile%2Fglobal.anthropic.claude-opus-5/invoke",
                "claude-opus-5",
                false,
            ),
            (
                "/v1/projects/p/locations/us-east5/publishers/anthropic/models/claude-opus-4@20250514:streamRawPredict",
                "claude-opus-4@20250514",
                true,
            ),
            (
                "/v1/projects/p/locations/global/publishers/anthropic/models/claude-opus-5:rawPredict",
                "claude-opus-5",
                false,
            ),
        ] {
            let name = ModelName::in_path(path).unwrap();
            assert_eq!((name.id(), name.is_regional()), (id, regional), "{path}");
        }
        for path in [
            "/v1/messages",
            "/model/x",
            "/model/a%zz/invoke",
            "/model/a%+1/invoke",
            "/model/%ff/invoke",
        ] {
            assert_eq!(ModelName::in_path(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_name_or_path_makes_it_panic(raw in ".{0,300}", path in "(/model/|/v1/.*/publishers/anthropic/models/)?[%a-f0-9./:@-]{0,60}") {
            let name = ModelName::parse(&raw);
            prop_assert!(name.is_none_or(|name| !name.id().is_empty() && name.id().len() <= MAX_NAME));
            ModelName::in_path(&path);
        }

        #[test]
        fn a_name_in_a_path_is_the_name_in_a_body(id in "[a-z0-9.:-]{1,40}") {
            let path = format!("/model/{}/invoke", id.replace(':', "%3A"));
            prop_assert_eq!(ModelName::in_path(&path), ModelName::parse(&id));
        }
    }
}
