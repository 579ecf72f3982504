//! Credentials as they are needed: found at the first request, kept until shortly before they expire, found anew when the
//! provider refuses them.
//!
//! One search at a time, and each is bounded: whoever comes while one runs waits for its outcome.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::sign::AwsKey;
use super::sources::AwsSources;
use crate::error::{Chain, GatewayError};
use crate::model::refusal::Refusal;

/// How long all sources together may take.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(20);
/// How long before their end credentials are replaced.
const AHEAD: Duration = Duration::from_secs(300);
/// What was found or not found less than this ago is not searched for again: a session can make requests in plenty.
const SETTLED: Duration = Duration::from_secs(1);

/// The credentials of one provider.
pub(crate) struct AwsKeys {
    sources: AwsSources,
    region: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    key: Option<Arc<AwsKey>>,
    failed: Option<(Instant, Refusal)>,
}

impl AwsKeys {
    /// # Errors
    /// `InvalidCredential` when credentials that are given as values cannot be any.
    pub(super) fn new(sources: AwsSources, region: &str) -> Result<Self, GatewayError> {
        sources.check()?;
        Ok(Self {
            sources,
            region: region.to_owned(),
            state: Mutex::default(),
        })
    }

    /// Credentials to sign with now.
    pub(crate) async fn key(&self) -> Result<Arc<AwsKey>, Refusal> {
        let mut state = self.state.lock().await;
        let kept = state.key.clone().filter(|key| left(key) > Duration::ZERO);
        if let Some(key) = &kept
            && left(key) > AHEAD
        {
            return Ok(Arc::clone(key));
        }
        let just_failed = state.failed.filter(|(at, _)| at.elapsed() < SETTLED);
        let found = match just_failed {
            Some((_, refusal)) => Err(refusal),
            None => self.search(&mut state).await,
        };
        // Credentials that end soon are good until they do.
        found.or_else(|refusal| kept.ok_or(refusal))
    }

    /// Other credentials than those that the provider refused, when there are any by now.
    pub(crate) async fn other_than(&self, refused: &AwsKey) -> Option<Arc<AwsKey>> {
        let mut state = self.state.lock().await;
        let is_other = |key: &Arc<AwsKey>| !key.is_same(refused);
        // Somebody else has found others meanwhile.
        if let Some(key) = state.key.clone().filter(is_other) {
            return Some(key);
        }
        let settled = self.sources.are_fixed() || refused.found.elapsed() < SETTLED;
        if settled || state.failed.is_some_and(|(at, _)| at.elapsed() < SETTLED) {
            return None;
        }
        self.search(&mut state).await.ok().filter(is_other)
    }

    async fn search(&self, state: &mut State) -> Result<Arc<AwsKey>, Refusal> {
        let chain = self.sources.chain(&self.region).await;
        let found = tokio::time::timeout(SEARCH_TIMEOUT, chain.provide_credentials()).await;
        let found = match found {
            Ok(Ok(credentials)) => Ok(Arc::new(AwsKey::new(credentials))),
            Ok(Err(error)) => {
                tracing::warn!(error = %Chain(&error), "no AWS credentials were found");
                Err(refusal_of(&error))
            }
            Err(_elapsed) => {
                tracing::warn!("AWS credentials were not found in time");
                Err(Refusal::CredentialTimedOut)
            }
        };
        let found = found.and_then(|key| match left(&key) {
            Duration::ZERO => Err(Refusal::CredentialExpired),
            _ => Ok(key),
        });
        match &found {
            Ok(key) => {
                state.key = Some(Arc::clone(key));
                state.failed = None;
            }
            Err(refusal) => state.failed = Some((Instant::now(), *refusal)),
        }
        found
    }
}

/// How long credentials are good for. `Duration::MAX` for those without an end, zero for those that are past it.
fn left(key: &AwsKey) -> Duration {
    match key.expiry() {
        None => Duration::MAX,
        Some(expiry) => expiry.duration_since(SystemTime::now()).unwrap_or_default(),
    }
}

/// What the agent is told. The error itself goes to the log: it may name files and hosts.
fn refusal_of(error: &CredentialsError) -> Refusal {
    match error {
        CredentialsError::CredentialsNotLoaded(_) => Refusal::NoCredential,
        CredentialsError::ProviderTimedOut(_) => Refusal::CredentialTimedOut,
        _ if is_over(error) => Refusal::CredentialExpired,
        _ => Refusal::CredentialUnusable,
    }
}

/// Whether a login or a token ran out, as far as AWS's crates say: their errors have no kind for it, so it is their words.
/// A wrong guess costs a worse hint.
fn is_over(error: &CredentialsError) -> bool {
    let said = Chain(error).to_string().to_ascii_lowercase();
    // The second is what the SSO portal says of a login that it does not know any more.
    ["expired", "unauthorizedexception"]
        .iter()
        .any(|word| said.contains(word))
}
