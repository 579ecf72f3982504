//! Credentials of hosts such as git servers and registries: named by the operator's rules, added here, never inside.
//!
//! A program inside asks for `http://HOST/…` through the door; the door makes the TLS connection and puts the credential
//! into requests below the rule's path. The session holds nothing that it could take elsewhere.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use secrecy::{ExposeSecret, SecretString};
use session_core::error::{Error, ErrorKind, Result};
use session_core::secret::SecretSource;
use tokio::sync::watch;

use super::target::Host;
use crate::model::redact::Needle;

/// Shorter texts occur in answers by chance, and masking those would damage them.
const MIN_SECRET: usize = 8;
const OPERATION: &str = "read a rule about credentials";

/// A secret in memory that can be replaced; clones see the same one.
#[derive(Clone)]
pub struct SecretCell(Arc<watch::Sender<Option<SecretString>>>);

impl SecretCell {
    /// A cell that starts with this secret.
    pub fn new(secret: Option<SecretString>) -> Self {
        Self(Arc::new(watch::Sender::new(secret)))
    }

    /// Replaces the secret, or takes it away.
    pub fn replace(&self, secret: Option<SecretString>) {
        self.0.send_replace(secret);
    }
}

#[async_trait]
impl SecretSource for SecretCell {
    async fn secret(&self) -> Option<SecretString> {
        self.0.borrow().clone()
    }
}

impl fmt::Debug for SecretCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretCell").finish_non_exhaustive()
    }
}

/// How a secret travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialScheme {
    /// `authorization: Basic …`, with this user; the secret is the password. What git hosts take.
    Basic {
        /// The user.
        user: String,
    },
    /// `authorization: Bearer …`.
    Bearer,
    /// The secret alone in a header field of this name.
    Header {
        /// The name.
        name: HeaderName,
    },
}

/// One rule: requests for this host below this path get this credential.
#[derive(Clone)]
pub struct CredentialRule {
    host: Host,
    port: u16,
    path_prefix: String,
    scheme: CredentialScheme,
    source: Arc<dyn SecretSource>,
}

impl CredentialRule {
    /// A rule for `https://{host}{path_prefix}`. The prefix starts with `/` and ends at a border of segments: `/org` means
    /// `/org` and `/org/…`, not `/organisation`.
    ///
    /// # Errors
    /// `InvalidArgument` when the host is no plain name, the prefix no plain path, or the user cannot be sent.
    pub fn new(
        host: &str,
        path_prefix: &str,
        scheme: CredentialScheme,
        source: Arc<dyn SecretSource>,
    ) -> Result<Self> {
        let refuse = |message: &'static str, hint: &'static str| {
            Error::new(ErrorKind::InvalidArgument, OPERATION, message)
                .with_context("host", host.escape_debug())
                .with_hint(hint)
        };
        let known = Host::read(host).map_err(|_| {
            refuse(
                "this is no host name",
                "credentials are for one exact name, such as git.example.com",
            )
        })?;
        if !path_prefix.starts_with('/')
            || PathAndQuery::try_from(path_prefix).is_err()
            || !is_plain(path_prefix)
        {
            return Err(refuse(
                "the path is no plain path",
                "write a path such as / or /team",
            ));
        }
        if let CredentialScheme::Basic { user } = &scheme
            && !user.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
        {
            return Err(refuse(
                "the user cannot be sent",
                "visible ASCII characters without a colon",
            ));
        }
        Ok(Self {
            host: known,
            port: 443,
            path_prefix: path_prefix.trim_end_matches('/').to_owned(),
            scheme,
            source,
        })
    }

    /// The rule for another port than 443.
    #[must_use]
    pub fn at_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// What a program inside writes instead of `https://…`: the host, with its port when that is not 443.
    pub(crate) fn authority(&self) -> String {
        match self.port {
            443 => self.host.as_str().to_owned(),
            port => format!("{}:{port}", self.host.as_str()),
        }
    }

    fn covers(&self, path: &str) -> bool {
        let below = path.strip_prefix(self.path_prefix.as_str());
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) && is_plain(path)
    }

    /// The credential as it is now; `None` when there is none, or none that can be sent.
    async fn current(&self) -> Option<Credential> {
        let secret = self.source.secret().await?;
        let credential = Credential::new(&self.scheme, &secret);
        if credential.is_none() {
            tracing::warn!(
                host = self.host.as_str(),
                "a credential is too short or not visible ASCII, and is not used"
            );
        }
        credential
    }
}

impl fmt::Debug for CredentialRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialRule")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("path_prefix", &self.path_prefix)
            .finish_non_exhaustive()
    }
}

/// Whether every reader sees the same segments: none of them leads up, also after decoding, and nothing but `/` parts them.
fn is_plain(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let decoded = lower.replace("%2e", ".").replace("%2f", "/").replace("%5c", "\\");
    // An escaped escape would be decoded by whoever decodes twice.
    !lower.contains("%25")
        && !decoded
            .split(['/', '\\'])
            // Some servers cut parameters off a segment.
            .any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
}

/// All rules.
#[derive(Debug, Default)]
pub(crate) struct Credentials(Vec<CredentialRule>);

/// A request that the door makes itself, over TLS.
pub(crate) struct Stand<'a> {
    /// Where TLS is spoken.
    pub(crate) port: u16,
    rule: Option<&'a CredentialRule>,
}

impl Credentials {
    /// Rules with a longer path come first, so that the first that fits is the narrowest.
    pub(crate) fn new(mut rules: Vec<CredentialRule>) -> Self {
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.path_prefix.len()));
        Self(rules)
    }

    /// The hosts, each once, as programs inside write them.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<_> = self.0.iter().map(CredentialRule::authority).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }

    /// Whether the door makes this request itself. It is asked for at port 80, or at the port where TLS is spoken.
    pub(crate) fn stand(&self, host: &Host, port: u16, path: &str) -> Option<Stand<'_>> {
        let fits = |rule: &&CredentialRule| {
            rule.host == *host && (port == rule.port || (port == 80 && rule.port == 443))
        };
        let port = self.0.iter().find(fits)?.port;
        let rule = self.0.iter().filter(fits).find(|rule| rule.covers(path));
        Some(Stand { port, rule })
    }
}

impl Stand<'_> {
    /// The credential for the request: `None` where no rule covers it.
    ///
    /// # Errors
    /// `Err` when a rule covers it and has none.
    pub(crate) async fn credential(&self) -> std::result::Result<Option<Credential>, NoCredential> {
        match self.rule {
            None => Ok(None),
            Some(rule) => rule.current().await.map(Some).ok_or(NoCredential),
        }
    }
}

/// A rule wants a credential and there is none.
#[derive(Debug)]
pub(crate) struct NoCredential;

/// What is put into a request, and what its answer is searched for.
pub(crate) struct Credential {
    name: HeaderName,
    value: HeaderValue,
    needles: Vec<Arc<Needle>>,
}

impl Credential {
    fn new(scheme: &CredentialScheme, secret: &SecretString) -> Option<Self> {
        let secret = secret.expose_secret().trim();
        if secret.len() < MIN_SECRET || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let mut needles = vec![Arc::new(Needle::new(secret.as_bytes()))];
        let (name, value) = match scheme {
            CredentialScheme::Basic { user } => {
                let encoded = BASE64_STANDARD.encode(format!("{user}:{secret}"));
                needles.push(Arc::new(Needle::new(encoded.as_bytes())));
                (AUTHORIZATION, format!("Basic {encoded}"))
            }
            CredentialScheme::Bearer => (AUTHORIZATION, format!("Bearer {secret}")),
            CredentialScheme::Header { name } => (name.clone(), secret.to_owned()),
        };
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        Some(Self { name, value, needles })
    }

    /// Puts the credential in, in the place of whatever was there.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        headers.insert(self.name.clone(), self.value.clone());
    }

    /// Masks the credential in header fields.
    pub(crate) fn mask(&self, headers: &mut HeaderMap) {
        for value in headers.values_mut() {
            for needle in &self.needles {
                if let Some(masked) = needle.masked(value.as_bytes()) {
                    *value =
                        HeaderValue::from_bytes(&masked).unwrap_or_else(|_| HeaderValue::from_static(""));
                }
            }
        }
    }

    pub(crate) fn needles(&self) -> &[Arc<Needle>] {
        &self.needles
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(host: &str, prefix: &str) -> CredentialRule {
        let source = Arc::new(SecretCell::new(Some("canary-secret".into())));
        CredentialRule::new(host, prefix, CredentialScheme::Bearer, source).unwrap()
    }

    #[test]
    fn a_prefix_ends_at_a_border_and_has_one_reading() {
        let team = rule("git.example", "/team/");
        for (path, covered) in [
            ("/team", true),
            ("/team/", true),
            ("/team/a.git/info/refs", true),
            ("/team/@scope%2fname", true),
            ("/teams/a", false),
            ("/", false),
            ("/Team/a", false),
            ("/team/../other", false),
            ("/team/./a", false),
            ("/team/%2e%2e/other", false),
            ("/team/%2E./other", false),
            ("/team%2f..%2fother", false),
            ("/team/..%2fother", false),
            ("/team/..\\other", false),
            ("/team/..%5Cother", false),
            ("/team/%252e%252e/other", false),
            ("/team/..;x/other", false),
        ] {
            assert_eq!(team.covers(path), covered, "{path}");
        }
        assert!(rule("git.example", "/").covers("/anything"));
    }

    #[test]
    fn the_narrowest_rule_of_the_very_host_is_taken() {
        let credentials = Credentials::new(vec![
            rule("git.example", "/"),
            rule("git.example", "/team"),
            rule("other.example", "/").at_port(8443),
        ]);
        assert_eq!(credentials.hosts(), ["git.example", "other.example:8443"]);
        let stand = |host: &str, port, path| credentials.stand(&Host::read(host).unwrap(), port, path);
        let found = stand("git.example", 80, "/team/a").unwrap();
        assert_eq!(
            (found.port, found.rule.unwrap().path_prefix.as_str()),
            (443, "/team")
        );
        let found = stand("git.example", 443, "/else").unwrap();
        assert_eq!(found.rule.unwrap().path_prefix, "");
        assert!(stand("git.example", 8080, "/team/a").is_none());
        assert!(stand("a.git.example", 80, "/team/a").is_none());
        assert!(stand("other.example", 80, "/").is_none());
        assert_eq!(stand("other.example", 8443, "/").unwrap().port, 8443);
    }

    #[test]
    fn a_rule_that_cannot_be_meant_is_refused() {
        let source = || Arc::new(SecretCell::new(None));
        for (host, prefix) in [
            ("*.example.com", "/"),
            ("10.0.0.1", "/"),
            ("git.example", "team"),
            ("git.example", "/a/../b"),
            ("git.example", "/a b"),
        ] {
            let refused = CredentialRule::new(host, prefix, CredentialScheme::Bearer, source());
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.hint().is_some());
        }
        let user = CredentialScheme::Basic {
            user: "a:b".to_owned(),
        };
        assert!(CredentialRule::new("git.example", "/", user, source()).is_err());
    }

    #[tokio::test]
    async fn a_rotated_secret_is_the_next_one_and_an_unusable_one_is_none() {
        let cell = SecretCell::new(Some("first-secret".into()));
        let user = CredentialScheme::Basic {
            user: "git".to_owned(),
        };
        let rule = CredentialRule::new("git.example", "/", user, Arc::new(cell.clone())).unwrap();
        let credentials = Credentials::new(vec![rule]);
        let stand = credentials
            .stand(&Host::read("git.example").unwrap(), 80, "/")
            .unwrap();
        let sent = async || {
            let credential = stand.credential().await.ok()??;
            let mut headers = HeaderMap::new();
            credential.apply(&mut headers);
            Some(headers[AUTHORIZATION].to_str().unwrap().to_owned())
        };
        assert_eq!(
            sent().await.unwrap(),
            format!("Basic {}", BASE64_STANDARD.encode("git:first-secret"))
        );
        cell.replace(Some("second-secret\n".into()));
        assert_eq!(
            sent().await.unwrap(),
            format!("Basic {}", BASE64_STANDARD.encode("git:second-secret"))
        );
        for unusable in [None, Some("short"), Some("with\nline-end")] {
            cell.replace(unusable.map(SecretString::from));
            assert!(stand.credential().await.is_err());
        }
    }

    #[test]
    fn debug_output_shows_no_secret() {
        assert!(!format!("{:?}", rule("git.example", "/")).contains("canary"));
    }

    proptest! {
        /// A path that is covered stays below the prefix for a server that decodes, and for one that folds dots away.
        #[test]
        fn what_is_covered_stays_below(path in "/team(/|%2[fF]|\\\\|%5[cC]|\\.|%2[eE]|%25|;|[a-z]){0,12}") {
            let rule = rule("git.example", "/team");
            if !rule.covers(&path) {
                return Ok(());
            }
            let mut folded: Vec<String> = Vec::new();
            let decoded = path.to_ascii_lowercase().replace("%25", "%").replace("%2e", ".").replace("%2f", "/");
            for segment in decoded.replace("%5c", "/").split(['/', '\\']) {
                match segment.split(';').next().unwrap() {
                    ".." => drop(folded.pop()),
                    "" | "." => {}
                    plain => folded.push(plain.to_owned()),
                }
            }
            prop_assert_eq!(folded.first().map(String::as_str), Some("team"));
        }
    }
}
