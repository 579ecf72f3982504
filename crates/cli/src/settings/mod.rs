//! Everything that is decided before a command runs: flags, environment and defaults, resolved once.
//!
//! Commands take these values and never look at the environment or at what the user typed.

pub mod env;
mod mcp;
mod output;
pub(crate) mod server;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

use secrecy::SecretString;
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::ImageRef;
use session_core::policy::limits::validate_env;
use session_core::runtime::ResourceLimits;

use self::env::{EnvVar, Environment};
pub use self::mcp::McpPlaces;
pub use self::output::{ColorChoice, OutputSettings, Terminals};
use crate::compose::GatewaySettings;
use crate::operator;

/// What every command that reaches sessions needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where sessions are recorded.
    pub state_dir: PathBuf,
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// The engine's address; its default when `None`.
    pub docker_host: Option<String>,
    /// The socket of an engine of tests, which takes the place of the real one.
    #[cfg(feature = "faults")]
    pub test_engine: Option<PathBuf>,
    /// Whether the engine has the same files as this process.
    pub host_mounts: bool,
    /// Where an engine without root has its socket.
    pub runtime_dir: Option<PathBuf>,
    /// What sessions may reach and use: the operator's policy and the environment.
    pub gateway: GatewaySettings,
    /// Where MCP servers are declared.
    pub mcp: McpPlaces,
    /// The provider's credential.
    pub credential: Option<Credential>,
    /// The image of new sessions; the manager's default when `None`.
    pub image: Option<ImageRef>,
    /// The model of new sessions; the agent's own choice when `None`.
    pub model: Option<String>,
    /// The agent's model for small tasks; its own choice when `None`.
    pub small_model: Option<String>,
    /// Limits of sessions that name none; the usual ones when `None`.
    pub limits: Option<ResourceLimits>,
    /// Watch the engine and remove orphans for as long as the process lives: for servers.
    pub supervise: bool,
    /// The variables to which the policy refers as secrets.
    pub variables: BTreeSet<String>,
}

/// The provider's credential and where it was found.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The variable's name.
    pub variable: String,
    /// How it is presented to the provider.
    pub kind: CredentialKind,
    /// The credential.
    pub secret: SecretString,
}

/// How a credential is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// As an API key.
    ApiKey,
    /// As a bearer token.
    Bearer,
    /// As the token of a subscription.
    Subscription,
}

/// Flags that take part in the settings of every command.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// `--api-key-env`.
    pub api_key_env: Option<String>,
}

impl Settings {
    /// Resolves flags before environment before defaults.
    ///
    /// # Errors
    /// `InvalidArgument` for a value that cannot be used, `StateDirRefused` when there is no place for the state directory.
    pub fn resolve(overrides: &Overrides, environment: &dyn Environment) -> Result<Self> {
        let home = environment.get(env::HOME).map(PathBuf::from);
        let credential = credential(overrides.api_key_env.as_deref(), environment)?;
        let policy = operator::load(home.as_deref(), environment)?;
        let gateway = GatewaySettings::resolve(
            &policy,
            overrides,
            credential.as_ref(),
            home.as_ref(),
            environment,
        )?;
        let state_dir = state_dir(overrides.state_dir.clone(), home.as_ref(), environment)?;
        Ok(Self {
            mcp: McpPlaces::resolve(&state_dir, home.as_deref(), environment),
            state_dir,
            home,
            docker_host: environment.text(env::DOCKER_HOST)?,
            #[cfg(feature = "faults")]
            test_engine: environment.named(env::TEST_ENGINE).map(PathBuf::from),
            runtime_dir: environment.get(env::XDG_RUNTIME_DIR).map(PathBuf::from),
            gateway,
            credential,
            image: image(env::COFFERDAM_IMAGE, environment)?,
            model: environment.text(env::ANTHROPIC_MODEL)?,
            small_model: small_model(environment)?,
            limits: None,
            host_mounts: server::switch(env::COFFERDAM_HOST_MOUNTS, environment)?.unwrap_or(true),
            supervise: false,
            variables: policy.variables().map(str::to_owned).collect(),
        })
    }

    /// Where sessions are recorded, for what needs nothing else: no file is read.
    ///
    /// # Errors
    /// `StateDirRefused` when there is no place for the state directory.
    pub fn state_dir(overrides: &Overrides, environment: &dyn Environment) -> Result<PathBuf> {
        let home = environment.get(env::HOME).map(PathBuf::from);
        state_dir(overrides.state_dir.clone(), home.as_ref(), environment)
    }

    /// Where MCP servers are declared, for what needs nothing else.
    ///
    /// # Errors
    /// `StateDirRefused` when there is no place for the state directory.
    pub fn places(overrides: &Overrides, environment: &dyn Environment) -> Result<McpPlaces> {
        let home = environment.get(env::HOME).map(PathBuf::from);
        let state_dir = Self::state_dir(overrides, environment)?;
        Ok(McpPlaces::resolve(&state_dir, home.as_deref(), environment))
    }

    /// Whether there is a credential for the model.
    pub fn reaches_model(&self) -> bool {
        self.credential.is_some() || self.gateway.brings_credentials()
    }

    /// Refuses a prompt that the model proxy would refuse anyway, before anything is made for it.
    ///
    /// # Errors
    /// `InvalidArgument` when there is no credential.
    pub fn require_model(&self) -> Result<()> {
        if self.reaches_model() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidArgument,
            "reach the model provider",
            "there is no credential",
        )
        .with_hint("export ANTHROPIC_API_KEY=…, or name another variable with --api-key-env; the key stays on this host"))
    }
}

fn state_dir(
    flag: Option<PathBuf>,
    home: Option<&PathBuf>,
    environment: &dyn Environment,
) -> Result<PathBuf> {
    let chosen = flag
        .or_else(|| environment.get(env::COFFERDAM_STATE_DIR).map(PathBuf::from))
        .or_else(|| {
            // The XDG specification has relative paths ignored.
            let folder = environment.get(env::XDG_STATE_HOME).map(PathBuf::from);
            folder
                .filter(|folder| folder.is_absolute())
                .map(|folder| folder.join("cofferdam"))
        })
        .or_else(|| home.map(|home| home.join(".local/state/cofferdam")));
    let chosen = chosen.ok_or_else(|| {
        Error::new(
            ErrorKind::StateDirRefused,
            "find the state directory",
            "neither COFFERDAM_STATE_DIR nor HOME is set",
        )
        .with_hint("name a directory with --state-dir or COFFERDAM_STATE_DIR")
    })?;
    std::path::absolute(&chosen).map_err(|source| {
        Error::new(
            ErrorKind::StateDirRefused,
            "find the state directory",
            "its path cannot be made absolute",
        )
        .with_context("path", chosen.display())
        .with_source(source)
    })
}

/// An image that a variable names.
pub(crate) fn image(variable: EnvVar, environment: &dyn Environment) -> Result<Option<ImageRef>> {
    let named = environment.text(variable)?;
    named
        .map(|text| ImageRef::from_str(&text).map_err(|error| error.with_context("variable", variable.name)))
        .transpose()
}

/// It becomes a variable of the agent inside, so it is judged as one.
fn small_model(environment: &dyn Environment) -> Result<Option<String>> {
    let variable = env::ANTHROPIC_SMALL_FAST_MODEL;
    let Some(model) = environment.text(variable)? else {
        return Ok(None);
    };
    validate_env(&[(variable.name.to_owned(), model.clone())].into())?;
    Ok(Some(model))
}

/// The key in a variable that was named for one session.
///
/// # Errors
/// `InvalidArgument` when it is not set or no text.
pub(crate) fn named_key(name: &str, environment: &dyn Environment) -> Result<SecretString> {
    match credential(Some(name), environment)? {
        Some(found) => Ok(found.secret),
        None => Err(not_set(name)),
    }
}

fn not_set(name: &str) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        "read the provider's credential",
        "the variable named with --api-key-env is not set",
    )
    .with_context("variable", name)
}

fn credential(named: Option<&str>, environment: &dyn Environment) -> Result<Option<Credential>> {
    let candidates: &[(&str, CredentialKind)] = match named {
        Some(name) => &[(name, CredentialKind::ApiKey)],
        None => &[
            (env::ANTHROPIC_API_KEY.name, CredentialKind::ApiKey),
            (env::ANTHROPIC_AUTH_TOKEN.name, CredentialKind::Bearer),
            (env::CLAUDE_CODE_OAUTH_TOKEN.name, CredentialKind::Subscription),
        ],
    };
    for (name, kind) in candidates {
        let Some(value) = environment.named(name).filter(|value| !value.is_empty()) else {
            continue;
        };
        let secret = value.into_string().map_err(|_| env::not_text(name))?;
        return Ok(Some(Credential {
            variable: (*name).to_owned(),
            kind: *kind,
            secret: secret.into(),
        }));
    }
    match named {
        None => Ok(None),
        Some(name) => Err(not_set(name)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn resolve(overrides: &Overrides, pairs: &[(&str, &str)]) -> Result<Settings> {
        let environment: BTreeMap<String, String> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Settings::resolve(overrides, &environment)
    }

    #[test]
    fn the_state_directory_has_an_order_of_places() {
        let flag = Overrides {
            state_dir: Some("/flag".into()),
            ..Overrides::default()
        };
        let all = [
            ("COFFERDAM_STATE_DIR", "/own"),
            ("XDG_STATE_HOME", "/xdg"),
            ("HOME", "/home/x"),
        ];
        let place =
            |overrides: &Overrides, pairs: &[(&str, &str)]| resolve(overrides, pairs).unwrap().state_dir;
        let none = Overrides::default();
        assert_eq!(place(&flag, &all), PathBuf::from("/flag"));
        assert_eq!(place(&none, &all), PathBuf::from("/own"));
        assert_eq!(place(&none, &all[1..]), PathBuf::from("/xdg/cofferdam"));
        assert_eq!(
            place(&none, &all[2..]),
            PathBuf::from("/home/x/.local/state/cofferdam")
        );
        assert_eq!(
            place(&none, &[("XDG_STATE_HOME", "relative"), all[2]]),
            PathBuf::from("/home/x/.local/state/cofferdam")
        );
        assert_eq!(
            resolve(&none, &[]).unwrap_err().kind(),
            ErrorKind::StateDirRefused
        );
    }

    #[test]
    fn the_key_goes_before_the_token_and_a_named_variable_before_both() {
        let pairs = [
            ("HOME", "/h"),
            ("ANTHROPIC_AUTH_TOKEN", "a-token-of-mine"),
            ("ANTHROPIC_API_KEY", "a-key-of-mine"),
            ("WORK_KEY", "a-key-of-work"),
        ];
        let variable = |name: Option<&str>, pairs: &[(&str, &str)]| {
            let overrides = Overrides {
                api_key_env: name.map(str::to_owned),
                ..Overrides::default()
            };
            resolve(&overrides, pairs).map(|settings| settings.credential.map(|found| found.variable))
        };
        assert_eq!(variable(None, &pairs).unwrap().unwrap(), "ANTHROPIC_API_KEY");
        assert_eq!(
            variable(None, &pairs[..2]).unwrap().unwrap(),
            "ANTHROPIC_AUTH_TOKEN"
        );
        assert_eq!(variable(None, &pairs[..1]).unwrap(), None);
        assert_eq!(variable(Some("WORK_KEY"), &pairs).unwrap().unwrap(), "WORK_KEY");
        assert_eq!(
            variable(Some("ABSENT"), &pairs).unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
    }

    #[test]
    fn settings_never_show_the_credential() {
        let settings = resolve(
            &Overrides::default(),
            &[("HOME", "/h"), ("ANTHROPIC_API_KEY", "canary-key")],
        )
        .unwrap();
        assert!(!format!("{settings:?}").contains("canary"));
    }
}
