//! Where logins are kept: a file for each server, for its owner alone, whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use hyper::Uri;
use rmcp::transport::auth::{AuthError, CredentialStore, StoredCredentials};
use rustix::fs::{FlockOperation, OFlags};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use session_core::mcp::ServerName;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

/// A token is renewed so long before it expires: a request takes its time, and clocks differ.
const MARGIN: u64 = 60;
/// Longer than any login.
const MAX_FILE: u64 = 1 << 20;
/// How long another process may renew.
const PATIENCE: Duration = Duration::from_secs(60);

/// The file of one server.
#[derive(Debug, Clone)]
pub(super) struct Store {
    directory: PathBuf,
    name: String,
}

/// A login as it is kept.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    /// For which endpoint, and no other.
    url: String,
    redirect_uri: String,
    /// What the server gave a client that registered itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    credentials: StoredCredentials,
    #[serde(skip)]
    secret: Option<SecretString>,
    #[serde(skip)]
    token: Token,
}

/// What of the token's answer is needed here.
#[derive(Clone, Default)]
struct Token {
    access: SecretString,
    expires_in: Option<u64>,
    renewable: bool,
}

impl Kept {
    pub(super) fn new(
        url: &Uri,
        redirect_uri: &str,
        client_secret: Option<String>,
        credentials: StoredCredentials,
    ) -> Option<Self> {
        Self {
            url: url.to_string(),
            redirect_uri: redirect_uri.to_owned(),
            client_secret,
            credentials,
            secret: None,
            token: Token::default(),
        }
        .read()
    }

    /// Reads the token out of what the protocol library keeps.
    fn read(mut self) -> Option<Self> {
        let answer = serde_json::to_value(self.credentials.token_response.as_ref()?).ok()?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str);
        self.token = Token {
            access: text("access_token")?.into(),
            expires_in: answer.get("expires_in").and_then(Value::as_u64),
            renewable: text("refresh_token").is_some(),
        };
        self.secret = self.client_secret.clone().map(SecretString::from);
        Some(self)
    }

    pub(super) fn is_for(&self, endpoint: &Uri) -> bool {
        self.url == endpoint.to_string()
    }

    pub(super) fn access_token(&self) -> SecretString {
        self.token.access.clone()
    }

    /// Whether it is good for a while, as far as anybody said.
    pub(super) fn is_fresh(&self) -> bool {
        self.expires_at().is_none_or(|at| now() + MARGIN < at)
    }

    /// In seconds since 1970.
    pub(super) fn expires_at(&self) -> Option<u64> {
        Some(
            self.credentials
                .token_received_at?
                .saturating_add(self.token.expires_in?),
        )
    }

    pub(super) fn is_renewable(&self) -> bool {
        self.token.renewable
    }

    pub(super) fn issuer(&self) -> Option<&str> {
        self.credentials.issuer.as_deref()
    }

    pub(super) fn client_id(&self) -> &str {
        &self.credentials.client_id
    }

    pub(super) fn client_secret(&self) -> Option<&SecretString> {
        self.secret.as_ref()
    }

    pub(super) fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    pub(super) fn scopes(&self) -> &[String] {
        &self.credentials.granted_scopes
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

impl Store {
    pub(super) fn new(directory: &Path, server: &ServerName) -> Self {
        Self {
            directory: directory.to_owned(),
            name: server.to_string(),
        }
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.directory.join(format!("{}.{ending}", self.name))
    }

    /// The login, if there is one that can be read.
    pub(super) async fn load(&self) -> io::Result<Option<Kept>> {
        let path = self.path("json");
        blocking(move || {
            let mut options = OpenOptions::new();
            let file = match options.read(true).custom_flags(flags()).open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            check(&file)?;
            let mut bytes = Vec::new();
            file.take(MAX_FILE).read_to_end(&mut bytes)?;
            let kept = serde_json::from_slice::<Kept>(&bytes).map_err(|_| io::ErrorKind::InvalidData)?;
            Ok(kept.read())
        })
        .await
    }

    pub(super) async fn save(&self, kept: &Kept) -> io::Result<()> {
        let bytes = serde_json::to_vec(kept)?;
        let (directory, path) = (self.directory.clone(), self.path("json"));
        let beside = self.path(&format!("{:016x}.new", rand::random::<u64>()));
        blocking(move || {
            make_directory(&directory)?;
            let write = || {
                let mut options = OpenOptions::new();
                options
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .custom_flags(flags());
                let mut file = options.open(&beside)?;
                file.write_all(&bytes)?;
                file.sync_all()?;
                fail::fail_point!("gateway.login.save", |_| session_core::fault::io());
                std::fs::rename(&beside, &path)?;
                File::open(&directory)?.sync_all()
            };
            write().inspect_err(|_| {
                // Nothing is left of what was not finished.
                let _ = std::fs::remove_file(&beside);
            })
        })
        .await
    }

    /// Forgets the login; whether there was one.
    pub(super) async fn remove(&self) -> io::Result<bool> {
        let path = self.path("json");
        blocking(move || match std::fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        })
        .await
    }

    /// Keeps other processes from renewing, until what is given back is dropped.
    pub(super) async fn lock(&self) -> io::Result<File> {
        let (directory, path) = (self.directory.clone(), self.path("lock"));
        let file = blocking(move || {
            make_directory(&directory)?;
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            options.custom_flags(flags()).open(path)
        })
        .await?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What the protocol library writes to, for a login that is kept.
    pub(super) fn writer(&self, kept: Kept) -> Writer {
        Writer {
            store: self.clone(),
            kept: Mutex::new(kept),
        }
    }
}

fn flags() -> i32 {
    (OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK)
        .bits()
        .cast_signed()
}

fn make_directory(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// A file that others may read or that is not ours holds no login.
fn check(file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if ours && metadata.is_file() && metadata.mode() & 0o077 == 0 {
        Ok(())
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(act).await.map_err(io::Error::other)?
}

/// See [`Store::writer`].
pub(super) struct Writer {
    store: Store,
    kept: Mutex<Kept>,
}

#[async_trait]
impl CredentialStore for Writer {
    async fn load(&self) -> Result<Option<StoredCredentials>, AuthError> {
        Ok(Some(self.kept.lock().await.credentials.clone()))
    }

    async fn save(&self, credentials: StoredCredentials) -> Result<(), AuthError> {
        let mut kept = self.kept.lock().await;
        let renewed = Kept {
            credentials,
            ..kept.clone()
        };
        let saved = self.store.save(&renewed).await;
        saved.map_err(|error| AuthError::CredentialStoreError(error.kind().to_string()))?;
        *kept = renewed;
        Ok(())
    }

    async fn clear(&self) -> Result<(), AuthError> {
        let removed = self.store.remove().await;
        removed
            .map(drop)
            .map_err(|error| AuthError::CredentialStoreError(error.kind().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt as _;

    fn kept(received: u64, expires: Option<u64>, refresh: Option<&str>) -> Kept {
        let response = json!({
            "access_token": "canary-access", "token_type": "bearer", "expires_in": expires, "refresh_token": refresh,
        });
        let credentials = serde_json::from_value(json!({
            "client_id": "c", "token_response": response, "token_received_at": received,
        }));
        let url = Uri::from_static("https://docs.example.com/mcp");
        Kept::new(&url, "http://127.0.0.1:1/callback", None, credentials.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_login_is_kept_for_its_owner_and_its_endpoint_alone() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(&directory.path().join("logins"), &"docs".parse().unwrap());
        assert!(store.load().await.unwrap().is_none());
        store.save(&kept(now(), Some(3600), Some("r"))).await.unwrap();
        let loaded = store.load().await.unwrap().unwrap();
        assert!(loaded.is_fresh() && loaded.is_renewable());
        assert!(loaded.is_for(&Uri::from_static("https://docs.example.com/mcp")));
        assert!(!loaded.is_for(&Uri::from_static("https://evil.example.com/mcp")));
        let path = directory.path().join("logins/docs.json");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            std::fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777,
            0o700
        );
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(
            store.load().await.err().unwrap().kind(),
            io::ErrorKind::PermissionDenied
        );
        assert!(store.remove().await.unwrap());
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(store.load().await.is_err());
    }

    #[test]
    fn a_token_is_fresh_until_shortly_before_it_expires() {
        assert!(kept(now(), None, None).is_fresh());
        assert!(kept(now(), Some(MARGIN + 10), None).is_fresh());
        assert!(!kept(now(), Some(MARGIN - 1), None).is_fresh());
        assert!(!kept(now() - 4000, Some(3600), None).is_fresh());
        assert!(kept(now(), Some(u64::MAX), None).is_fresh());
    }

    #[tokio::test]
    async fn one_process_renews_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path(), &"docs".parse().unwrap());
        let locked = store.lock().await.unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(100), store.lock());
        assert!(waiting.await.is_err());
        drop(locked);
        store.lock().await.unwrap();
    }
}
