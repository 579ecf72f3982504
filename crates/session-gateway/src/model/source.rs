//! Where a credential comes from: a shared place in which it can be replaced without a restart, and perhaps something that
//! it is read from.
//!
//! A credential is looked up when a request is forwarded and not before, so a rotated key is used at the next request of
//! every session. One that a provider refuses is read anew, once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::credential::Credential;
use crate::error::{Chain, GatewayError};

/// How long reading a credential may take: it may ask a vault.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// What was read less than this ago is not read again: a session can make requests in plenty.
const SETTLED: Duration = Duration::from_secs(1);

/// What a credential can be read from once more, such as a file.
#[async_trait]
pub trait CredentialReader: Send + Sync {
    /// The credential as it is now; `None` when there is none.
    ///
    /// # Errors
    /// Whatever kept it from being read. The credential that is known stays in use then.
    async fn read(&self) -> Result<Option<Credential>, GatewayError>;
}

/// A shared place for a credential that can change: clones see the same one.
#[derive(Clone)]
pub struct CredentialSource {
    current: Arc<watch::Sender<Option<Credential>>>,
    reader: Option<Arc<dyn CredentialReader>>,
    /// When it was read last. Held by whoever reads: others wait for the outcome.
    last_read: Arc<Mutex<Option<Instant>>>,
}

impl CredentialSource {
    /// A source that starts with this credential.
    pub fn new(credential: Option<Credential>) -> Self {
        Self {
            current: Arc::new(watch::Sender::new(credential)),
            reader: None,
            last_read: Arc::default(),
        }
    }

    /// A source that is read when it has no credential, and anew when the provider refuses the one that it has.
    #[must_use]
    pub fn with_reader(mut self, reader: Arc<dyn CredentialReader>) -> Self {
        self.reader = Some(reader);
        self
    }

    /// Replaces the credential, or takes it away. Requests that are under way go on with the old one.
    pub fn rotate(&self, credential: Option<Credential>) {
        self.current.send_replace(credential);
    }

    /// Whether there is a credential now.
    pub fn is_configured(&self) -> bool {
        self.current.borrow().is_some()
    }

    /// Whether there is one now, or a place from which one is read.
    pub fn has_source(&self) -> bool {
        self.reader.is_some() || self.is_configured()
    }

    pub(crate) fn current(&self) -> Option<Credential> {
        self.current.borrow().clone()
    }

    /// The credential, read when there is none yet.
    pub(crate) async fn get(&self) -> Option<Credential> {
        match self.current() {
            Some(current) => Some(current),
            None => self.read_unless(|_| true).await,
        }
    }

    /// Another credential than the refused one, if there is one by now.
    pub(crate) async fn other_than(&self, refused: &Credential) -> Option<Credential> {
        let is_other = |credential: &Credential| !credential.is_same(refused);
        match self.current().filter(is_other) {
            Some(rotated) => Some(rotated),
            None => self.read_unless(is_other).await,
        }
    }

    /// Reads a credential that is `wanted`, unless somebody else has got one meanwhile.
    async fn read_unless(&self, wanted: impl Fn(&Credential) -> bool) -> Option<Credential> {
        let reader = self.reader.as_ref()?;
        let mut last_read = self.last_read.lock().await;
        if let Some(current) = self.current().filter(&wanted) {
            return Some(current);
        }
        if last_read.is_some_and(|at| at.elapsed() < SETTLED) {
            return None;
        }
        *last_read = Some(Instant::now());
        let read = match tokio::time::timeout(READ_TIMEOUT, reader.read()).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => {
                tracing::warn!(error = %Chain(&error), "the provider's credential cannot be read");
                None
            }
            Err(_elapsed) => {
                tracing::warn!("the provider's credential could not be read in time");
                None
            }
        };
        let read = read.filter(wanted)?;
        self.rotate(Some(read.clone()));
        Some(read)
    }
}

impl Default for CredentialSource {
    fn default() -> Self {
        Self::new(None)
    }
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialSource")
            .field("configured", &self.is_configured())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as SyncMutex;

    use super::*;

    const CANARY: &str = "sk-canary-0123456789";

    /// A file that is written while a test runs, and how often it was read.
    #[derive(Default)]
    struct File(SyncMutex<(Option<Credential>, u32)>);

    impl File {
        fn write(&self, text: &str) {
            self.0.lock().unwrap().0 = Some(key(text));
        }

        fn reads(&self) -> u32 {
            self.0.lock().unwrap().1
        }
    }

    #[async_trait]
    impl CredentialReader for File {
        async fn read(&self) -> Result<Option<Credential>, GatewayError> {
            let mut file = self.0.lock().unwrap();
            file.1 += 1;
            Ok(file.0.clone())
        }
    }

    fn key(text: &str) -> Credential {
        Credential::api_key(&text.into()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_credential_is_read_anew_and_a_rotated_one_is_taken() {
        let source = CredentialSource::new(Some(key(CANARY)));
        assert!(source.other_than(&key(CANARY)).await.is_none(), "nothing to read");

        let file = Arc::new(File::default());
        file.write("key-from-file");
        let source = source.with_reader(file.clone());
        let other = source.other_than(&key(CANARY)).await.unwrap();
        assert!(other.is_same(&key("key-from-file")));
        assert!(source.get().await.unwrap().is_same(&other), "and kept");

        tokio::time::advance(SETTLED).await;
        assert!(source.other_than(&other).await.is_none(), "nothing new");
        source.rotate(Some(key("rotated-key")));
        let rotated = source.other_than(&other).await.unwrap();
        assert!(rotated.is_same(&key("rotated-key")));
        assert_eq!(file.reads(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_there_is_looked_for_now_and_then() {
        let file = Arc::new(File::default());
        let source = CredentialSource::default().with_reader(file.clone());
        for _ in 0..5 {
            assert!(source.get().await.is_none());
        }
        assert_eq!(file.reads(), 1, "requests in plenty do not run it in plenty");
        file.write("key-from-file");
        tokio::time::advance(SETTLED).await;
        let all = futures::future::join_all((0..5).map(|_| source.get())).await;
        assert!(all.into_iter().all(|found| found.is_some()));
        assert_eq!(file.reads(), 2, "one reads, the others wait for it");
    }

    #[test]
    fn debug_shows_no_key() {
        let source = CredentialSource::new(Some(key(CANARY)));
        assert!(!format!("{source:?}").contains("canary"));
    }

    #[test]
    fn clones_of_a_source_rotate_together() {
        let source = CredentialSource::default();
        let other = source.clone();
        assert!(!other.is_configured());
        source.rotate(Some(Credential::api_key(&CANARY.into()).unwrap()));
        assert!(other.is_configured());
    }
}
