//! References to secrets: where one is, never the secret itself.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use session_core::error::Result;
use session_core::secret::{SecretReference, SecretSource, Secrets};
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::refuse;
use crate::settings::env::{Environment, SharedEnvironment};

/// Longer than any credential.
const MAX_SECRET: u64 = 64 << 10;
/// How long a program that prints a secret may take: it may ask a vault.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a program printed less than this ago is not asked for again: a session can make requests in plenty.
const SETTLED: Duration = Duration::from_secs(1);

/// A reference that can be followed at any time.
pub struct Followed {
    reference: SecretReference,
    /// The value of the variable, read once: a process cannot be given another one.
    variable: Option<SecretString>,
    /// What a program finds: it may need to know where its own keys are.
    environment: BTreeMap<OsString, OsString>,
    /// When a program was asked last, and what it said. Held by whoever asks: others wait for the outcome.
    printed: Mutex<Option<(Instant, Option<SecretString>)>>,
}

impl Followed {
    /// What a reference leads to, for asking again and again.
    ///
    /// # Errors
    /// `InvalidArgument` for a variable that is not set.
    pub fn new(reference: &SecretReference, environment: &dyn Environment) -> Result<Arc<Self>> {
        let variable = match reference {
            SecretReference::Env(name) => {
                let value = environment
                    .named(name)
                    .and_then(|value| value.into_string().ok())
                    .filter(|value| !value.is_empty());
                let value = value.ok_or_else(|| {
                    refuse(
                        "the variable of a secret is not set",
                        "export it where Cofferdam runs, or take it out of the file that names it",
                    )
                    .with_context("variable", name)
                })?;
                Some(value.into())
            }
            _ => None,
        };
        let passed = [
            "HOME",
            "PATH",
            "USER",
            "XDG_CONFIG_HOME",
            "XDG_RUNTIME_DIR",
            "LANG",
        ];
        let environment = passed
            .iter()
            .filter_map(|name| Some((OsString::from(name), environment.named(name)?)))
            .collect();
        Ok(Arc::new(Self {
            reference: reference.clone(),
            variable,
            environment,
            printed: Mutex::default(),
        }))
    }
}

impl Followed {
    /// The secret as it is now.
    pub async fn read(&self) -> Option<SecretString> {
        let found = match &self.reference {
            SecretReference::Env(_) => return self.variable.clone(),
            SecretReference::File(path) => {
                let path = path.clone();
                tokio::task::spawn_blocking(move || {
                    let mut text = String::new();
                    let file = std::fs::File::open(path).ok()?;
                    file.take(MAX_SECRET).read_to_string(&mut text).ok()?;
                    Some(text)
                })
                .await
                .ok()
                .flatten()
            }
            SecretReference::Command(argv) => self.run(argv).await,
        };
        let secret = found
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty());
        if secret.is_none() {
            tracing::warn!(secret = ?self.reference, "a secret that the operator named cannot be read");
        }
        secret.map(SecretString::from)
    }

    async fn run(&self, argv: &[String]) -> Option<String> {
        let (program, arguments) = argv.split_first()?;
        let running = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(&self.environment)
            .current_dir("/")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, running).await.ok()?.ok()?;
        let bounded = output.stdout.len() as u64 <= MAX_SECRET;
        (output.status.success() && bounded)
            .then(|| String::from_utf8(output.stdout).ok())
            .flatten()
    }
}

#[async_trait]
impl SecretSource for Followed {
    async fn secret(&self) -> Option<SecretString> {
        if !matches!(self.reference, SecretReference::Command(_)) {
            return self.read().await;
        }
        let mut printed = self.printed.lock().await;
        if let Some((at, secret)) = printed.as_ref()
            && at.elapsed() < SETTLED
        {
            return secret.clone();
        }
        let secret = self.read().await;
        *printed = Some((Instant::now(), secret.clone()));
        secret
    }
}

/// Follows references with the environment of whoever started us.
#[derive(Debug, Clone)]
pub struct HostSecrets(pub SharedEnvironment);

impl Secrets for HostSecrets {
    fn follow(&self, reference: &SecretReference) -> Result<Arc<dyn SecretSource>> {
        Ok(Followed::new(reference, &self.0)?)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde::Deserialize;

    use super::*;

    fn reference(text: &str) -> Result<SecretReference, toml::de::Error> {
        #[derive(Deserialize)]
        struct Holder {
            secret: SecretReference,
        }
        toml::from_str::<Holder>(&format!("secret = {text}")).map(|holder| holder.secret)
    }

    async fn secret_of(text: &str, environment: &BTreeMap<String, String>) -> Option<String> {
        let followed = Followed::new(&reference(text).unwrap(), environment).unwrap();
        followed
            .read()
            .await
            .map(|secret| secret.expose_secret().to_owned())
    }

    #[tokio::test]
    async fn each_form_leads_to_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        std::fs::write(&file, "of-a-file\n").unwrap();
        let environment = BTreeMap::from([("KEY".to_owned(), "of-a-variable".to_owned())]);
        let in_file = format!("{{ file = {:?} }}", file.display().to_string());
        assert_eq!(
            secret_of("{ env = \"KEY\" }", &environment).await.unwrap(),
            "of-a-variable"
        );
        assert_eq!(secret_of(&in_file, &environment).await.unwrap(), "of-a-file");
        std::fs::write(&file, "rotated").unwrap();
        assert_eq!(secret_of(&in_file, &environment).await.unwrap(), "rotated");
        let printed = "{ command = [\"/bin/echo\", \"of a command\"] }";
        assert_eq!(secret_of(printed, &environment).await.unwrap(), "of a command");
        assert_eq!(
            secret_of("{ command = [\"/bin/false\"] }", &environment).await,
            None
        );
    }

    /// A session that makes requests in plenty starts no programs in plenty.
    #[tokio::test]
    async fn a_command_runs_once_for_all_who_ask_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("runs");
        let script = format!("echo run >> {}; echo printed", runs.display());
        let text = format!("{{ command = [\"/bin/sh\", \"-c\", {script:?}] }}");
        let followed = Followed::new(&reference(&text).unwrap(), &BTreeMap::<String, String>::new()).unwrap();
        let count = || std::fs::read_to_string(&runs).unwrap().lines().count();
        let asking = futures::future::join_all((0..16).map(|_| followed.secret())).await;
        assert!(asking.iter().all(Option::is_some));
        assert_eq!(count(), 1);
        tokio::time::sleep(SETTLED).await;
        assert!(followed.secret().await.is_some());
        assert_eq!(count(), 2);
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "\"sk-secret\"",
            "{ env = \"\" }",
            "{ file = \"relative\" }",
            "{ command = [] }",
            "{ env = \"A\", file = \"/b\" }",
            "{}",
        ] {
            assert!(reference(text).is_err(), "{text}");
        }
        let unset = reference("{ env = \"ABSENT\" }").unwrap();
        assert!(Followed::new(&unset, &BTreeMap::<String, String>::new()).is_err());
    }
}
