//! Definitions as people write them.
//!
//! Read into a form in which every key is known and may be left out, then converted: serde's own `flatten` would let
//! unknown keys pass, and the errors of its enums quote what they found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde_json::Value as Json;
use session_core::secret::SecretReference;

use super::{
    Approval, Mount, Names, OAuth, SecretValue, ServerDefinition, Sharing, Times, ToolFilter, Transport,
    Value,
};
use crate::flaw::{self, Flaw, OURS};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    description: Option<String>,
    transport: Option<Kind>,
    command: Option<String>,
    args: Option<Vec<String>>,
    env: Option<BTreeMap<String, Value>>,
    cwd: Option<String>,
    image: Option<String>,
    allow: Option<Vec<String>>,
    mounts: Option<Vec<Json>>,
    url: Option<String>,
    headers: Option<BTreeMap<String, Value>>,
    oauth: Option<Json>,
    private: Option<bool>,
    sharing: Option<Sharing>,
    tools: Option<Json>,
    idempotent: Option<BTreeSet<String>>,
    approval: Option<Approval>,
    names: Option<Names>,
    times: Option<Json>,
    enabled: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Stdio,
    Container,
    Session,
    Http,
}

impl Written {
    fn kind(&self) -> Kind {
        match self.transport {
            Some(kind) => kind,
            None if self.url.is_some() => Kind::Http,
            None if self.image.is_some() => Kind::Container,
            None => Kind::Stdio,
        }
    }

    /// Refuses keys that say something about another transport: they would silently do nothing.
    fn refuse_foreign(&self, kind: Kind) -> Result<(), Flaw> {
        let program = kind != Kind::Http;
        let container = kind == Kind::Container;
        let fields = [
            ("command", self.command.is_some(), program),
            ("args", self.args.is_some(), program),
            ("env", self.env.is_some(), program),
            ("cwd", self.cwd.is_some(), program),
            ("image", self.image.is_some(), container),
            ("allow", self.allow.is_some(), container),
            ("mounts", self.mounts.is_some(), container),
            ("url", self.url.is_some(), !program),
            ("headers", self.headers.is_some(), !program),
            ("oauth", self.oauth.is_some(), !program),
            ("private", self.private.is_some(), !program),
        ];
        match fields.into_iter().find(|(_, there, belongs)| *there && !*belongs) {
            None => Ok(()),
            Some((field, ..)) => Err(Flaw::new(format!(
                "this key means nothing for the transport {}",
                kind.as_str()
            ))
            .within(field)
            .with_hint(
                "leave it out, or write the transport that was meant: stdio, container, session or http",
            )),
        }
    }

    fn into_transport(self, kind: Kind) -> Result<Transport, Flaw> {
        self.refuse_foreign(kind)?;
        if kind == Kind::Http {
            return Ok(Transport::Http {
                url: self
                    .url
                    .ok_or_else(|| Flaw::new("a server over HTTP needs a url"))?,
                headers: self.headers.unwrap_or_default(),
                oauth: table::<OAuth>("oauth", self.oauth)?,
                private: self.private.unwrap_or_default(),
            });
        }
        let command = self.command.ok_or_else(|| {
            Flaw::new("there is neither a command nor a url")
                .with_hint("name the program in `command`, or the endpoint in `url`")
        })?;
        let args = self.args.unwrap_or_default();
        let env = self.env.unwrap_or_default();
        Ok(match kind {
            Kind::Stdio | Kind::Http => Transport::Stdio {
                command,
                args,
                env,
                cwd: self.cwd.map(PathBuf::from),
            },
            Kind::Container => Transport::Container {
                image: self
                    .image
                    .map(|image| image.parse().map_err(|_| no_image()))
                    .transpose()?,
                command,
                args,
                env: plain_env(env)?,
                cwd: self.cwd,
                allow: hosts(self.allow.unwrap_or_default())?,
                mounts: mounts(self.mounts.unwrap_or_default())?,
            },
            Kind::Session => Transport::Session {
                command,
                args,
                env: plain_env(env)?,
                cwd: self.cwd,
            },
        })
    }

    fn into_definition(mut self) -> Result<ServerDefinition, Flaw> {
        let kind = self.kind();
        Ok(ServerDefinition {
            description: self.description.take(),
            sharing: self.sharing.unwrap_or_default(),
            tools: table::<ToolFilter>("tools", self.tools.take())?.unwrap_or_default(),
            idempotent: self.idempotent.take().unwrap_or_default(),
            approval: self.approval.unwrap_or_default(),
            names: self.names.unwrap_or_default(),
            times: table::<Times>("times", self.times.take())?.unwrap_or_default(),
            enabled: self.enabled.unwrap_or(true),
            transport: self.into_transport(kind)?,
        })
    }
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Container => "container",
            Self::Session => "session",
            Self::Http => "http",
        }
    }
}

fn table<T: DeserializeOwned>(field: &str, written: Option<Json>) -> Result<Option<T>, Flaw> {
    written
        .map(|written| flaw::read(&written).map_err(|flaw| flaw.within(field)))
        .transpose()
}

fn mounts(written: Vec<Json>) -> Result<Vec<Mount>, Flaw> {
    let read = |(index, mount): (usize, Json)| {
        flaw::read(&mount).map_err(|flaw| flaw.within(index.to_string()).within("mounts"))
    };
    written.into_iter().enumerate().map(read).collect()
}

fn no_image() -> Flaw {
    Flaw::new("this is no reference to an image").within("image")
}

fn hosts(written: Vec<String>) -> Result<Vec<session_core::egress::AllowEntry>, Flaw> {
    let read = |(index, entry): (usize, String)| {
        entry.parse().map_err(|_| {
            Flaw::new("this names neither a host nor a set of hosts")
                .with_hint("for example api.example.com, *.example.com, example.com:8443 or npm")
                .within(index.to_string())
                .within("allow")
        })
    };
    written.into_iter().enumerate().map(read).collect()
}

/// The environment of a program in a container.
fn plain_env(env: BTreeMap<String, Value>) -> Result<BTreeMap<String, String>, Flaw> {
    env.into_iter()
        .map(|(name, value)| match value {
            Value::Plain(text) => Ok((name, text)),
            Value::Secret(_) => Err(super::secrets::none_inside().within(name).within("env")),
        })
        .collect()
}

impl ServerDefinition {
    /// Reads a definition and says where it does not fit. What it says is not judged yet, see [`Self::check`].
    pub(crate) fn read(written: &Json) -> Result<Self, Flaw> {
        flaw::read::<Written>(written)?.into_definition()
    }
}

impl<'de> Deserialize<'de> for ServerDefinition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(&any(deserializer, "a server is a table of keys")?).map_err(told)
    }
}

impl<'de> Deserialize<'de> for Transport {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = any(deserializer, "a transport is a table of keys")?;
        let definition = ServerDefinition::read(&written).map_err(told)?;
        if definition == ServerDefinition::new(definition.transport.clone()) {
            Ok(definition.transport)
        } else {
            Err(D::Error::custom(format!(
                "{OURS}a key says something else than how a server is reached"
            )))
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const TOLD: &str = "a value is text, or { env = \"NAME\" }, { file = \"/path\" } or { command = [\"program\"] }, each \
                            with an optional prefix";
        let refused = || D::Error::custom(format!("{OURS}{TOLD}"));
        match any(deserializer, TOLD)? {
            Json::String(text) => Ok(Self::Plain(text)),
            Json::Object(mut fields) => {
                let prefix = match fields.remove("prefix") {
                    None => String::new(),
                    Some(Json::String(prefix)) => prefix,
                    Some(_) => return Err(refused()),
                };
                let secret = SecretReference::deserialize(Json::Object(fields)).map_err(|_| refused())?;
                Ok(Self::Secret(SecretValue { prefix, secret }))
            }
            _ => Err(refused()),
        }
    }
}

fn any<'de, D: Deserializer<'de>>(deserializer: D, wanted: &str) -> Result<Json, D::Error> {
    Json::deserialize(deserializer).map_err(|_| D::Error::custom(format!("{OURS}{wanted}")))
}

fn told<E: serde::de::Error>(flaw: Flaw) -> E {
    E::custom(format!("{OURS}{flaw}"))
}
