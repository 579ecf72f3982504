//! `Prefer` (RFC 7240): how long a client would rather wait than be told that work has begun.

use std::time::Duration;

use axum::http::HeaderMap;
use http_api::headers;
use http_api::query::MAX_WAIT_MS;

/// What a client prefers, as far as it is known here. What is not understood is ignored, as the RFC wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Preference {
    /// To be answered at once.
    pub(crate) respond_async: bool,
    /// To wait for so many seconds.
    pub(crate) wait: Option<u64>,
}

impl Preference {
    /// Reads the header.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut preference = Self::default();
        let given = headers.get_all(headers::PREFER).iter();
        let tokens = given
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split([',', ';']));
        for token in tokens {
            let (name, value) = token.split_once('=').unwrap_or((token, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "respond-async" => preference.respond_async = true,
                // The first one counts.
                "wait" => preference.wait = preference.wait.or_else(|| value.parse().ok()),
                _ => {}
            }
        }
        preference
    }

    /// How long to wait, and what to say of it in `Preference-Applied`: what the query asks for goes before.
    pub(crate) fn patience(self, wait_ms: Option<u64>) -> (Duration, Option<String>) {
        if let Some(wait_ms) = wait_ms {
            return (Duration::from_millis(wait_ms), None);
        }
        match self.wait {
            Some(seconds) => {
                let seconds = seconds.min(MAX_WAIT_MS / 1000);
                (Duration::from_secs(seconds), Some(format!("wait={seconds}")))
            }
            None if self.respond_async => (Duration::ZERO, Some("respond-async".to_owned())),
            None => (Duration::ZERO, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Preference {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(headers::PREFER, value.parse().unwrap());
        }
        Preference::of(&headers)
    }

    #[test]
    fn preferences_are_read_as_the_rfc_writes_them() {
        assert_eq!(of(&["respond-async, wait=10"]).wait, Some(10));
        assert!(of(&["respond-async, wait=10"]).respond_async);
        assert_eq!(of(&["Wait=\"7\"", "wait=9"]).wait, Some(7));
        assert_eq!(
            of(&["return=minimal; foo=\"some parameter\""]),
            Preference::default()
        );
        assert_eq!(of(&["wait=-1", "wait=x", "wait", "=", ""]), Preference::default());
        assert_eq!(of(&["wait=99999999999999999999999"]), Preference::default());
    }

    #[test]
    fn nobody_waits_for_longer_than_the_bound() {
        let (patience, applied) = of(&["wait=18446744073709551615"]).patience(None);
        assert_eq!(patience, Duration::from_millis(MAX_WAIT_MS));
        assert_eq!(applied.as_deref(), Some("wait=3600"));
        assert_eq!(
            of(&["wait=5"]).patience(Some(20)),
            (Duration::from_millis(20), None)
        );
    }
}
