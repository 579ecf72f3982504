//! One server of another client as a declaration. Reasons for leaving one out never repeat a value.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};
use session_core::mcp::ServerName;
use session_core::policy::limits::looks_secret;
use session_core::secret::SecretReference;
use url::Url;

use super::SecretToMove;
use crate::definition::{
    SecretValue, ServerDefinition, Transport, Value, argument_holds_secret, is_loopback, is_secret_header,
    sounds_secret,
};
use crate::flaw::shown;

/// A declaration and the variables that it needs.
pub(super) struct Converted {
    pub(super) definition: ServerDefinition,
    pub(super) secrets: Vec<SecretToMove>,
}

/// What other clients let be filled in, and what begins it.
const OPEN: &str = "${";

pub(super) fn convert(name: &ServerName, written: &Json) -> Result<Converted, String> {
    let Some(fields) = written.as_object() else {
        return Err("it is not an object".to_owned());
    };
    let mut secrets = Vec::new();
    let transport = if is_http(fields)? {
        http(name, fields, &mut secrets)?
    } else {
        program(name, fields, &mut secrets)?
    };
    let mut definition = ServerDefinition::new(transport);
    definition.enabled =
        !flag(fields, "disabled").unwrap_or(false) && flag(fields, "enabled").unwrap_or(true);
    definition.description = fields
        .get("description")
        .and_then(Json::as_str)
        .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|text| !text.is_empty() && text.len() <= 1024 && !looks_secret(text));
    definition.flaw().map_err(|flaw| flaw.to_string())?;
    Ok(Converted { definition, secrets })
}

fn is_http(fields: &Map<String, Json>) -> Result<bool, String> {
    let kind = fields.get("type").or_else(|| fields.get("transport"));
    match kind.map(|kind| kind.as_str().unwrap_or_default()) {
        None => Ok(!fields.contains_key("command") && address(fields).is_some()),
        Some("stdio") => Ok(false),
        Some("http" | "streamable-http" | "streamableHttp" | "streamable_http") => Ok(true),
        Some("sse") => Err(
            "it speaks the transport that streamable HTTP replaced: ask for its other endpoint".to_owned(),
        ),
        Some(_) => Err("its type is not known here".to_owned()),
    }
}

fn address(fields: &Map<String, Json>) -> Option<&Json> {
    ["url", "serverUrl", "httpUrl"]
        .iter()
        .find_map(|field| fields.get(*field))
}

fn flag(fields: &Map<String, Json>, field: &str) -> Option<bool> {
    fields.get(field).and_then(Json::as_bool)
}

fn program(
    server: &ServerName,
    fields: &Map<String, Json>,
    secrets: &mut Vec<SecretToMove>,
) -> Result<Transport, String> {
    if fields.contains_key("envFile") {
        return Err("it takes its environment from a file: write the variables into `env`".to_owned());
    }
    let command = text(fields, "command")?.ok_or("there is neither a command nor a url")?;
    let args = match fields.get("args") {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::Array(args)) => arguments(args)?,
        Some(_) => return Err("args: this is not a list of texts".to_owned()),
    };
    Ok(Transport::Stdio {
        command,
        args,
        env: values(server, fields, "env", secrets)?,
        cwd: text(fields, "cwd")?.map(Into::into),
    })
}

fn arguments(args: &[Json]) -> Result<Vec<String>, String> {
    let mut read: Vec<String> = Vec::new();
    for (index, argument) in args.iter().enumerate() {
        let Some(argument) = argument.as_str() else {
            return Err(format!("args.{index}: this is not a text"));
        };
        let named = |name: &str, value: &str| sounds_secret(name) && !value.is_empty();
        let after_option = read.last().is_some_and(|option| {
            option.starts_with("--")
                && !option.contains('=')
                && named(option, argument)
                && !argument.starts_with('-')
        });
        let assigned = argument
            .split_once('=')
            .is_some_and(|(name, value)| !name.contains([' ', '/']) && named(name, value));
        if after_option || assigned || argument_holds_secret(argument) {
            return Err(format!(
                "args.{index}: an argument holds a secret; give it to the server in `env` instead, with `cofferdam mcp add`"
            ));
        }
        if argument.contains(OPEN) {
            return Err(format!(
                "args.{index}: a variable is not filled in here; write what it stands for"
            ));
        }
        read.push(argument.to_owned());
    }
    Ok(read)
}

fn http(
    server: &ServerName,
    fields: &Map<String, Json>,
    secrets: &mut Vec<SecretToMove>,
) -> Result<Transport, String> {
    let url = address(fields)
        .and_then(Json::as_str)
        .ok_or("a server over HTTP needs a url")?;
    if url.contains(OPEN) {
        return Err("url: a variable is not filled in here; write what it stands for".to_owned());
    }
    Ok(Transport::Http {
        url: url.to_owned(),
        headers: values(server, fields, "headers", secrets)?,
        oauth: None,
        // It is reached on this host today.
        private: Url::parse(url).is_ok_and(|url| is_loopback(&url)),
    })
}

fn text(fields: &Map<String, Json>, field: &str) -> Result<Option<String>, String> {
    match fields.get(field) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) if text.contains(OPEN) => Err(format!(
            "{field}: a variable is not filled in here; write what it stands for"
        )),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{field}: this is not a text")),
    }
}

/// An environment or header fields.
fn values(
    server: &ServerName,
    fields: &Map<String, Json>,
    field: &'static str,
    secrets: &mut Vec<SecretToMove>,
) -> Result<BTreeMap<String, Value>, String> {
    let members = match fields.get(field) {
        None | Some(Json::Null) => return Ok(BTreeMap::new()),
        Some(Json::Object(members)) => members,
        Some(_) => return Err(format!("{field}: this is not an object of texts")),
    };
    let mut values = BTreeMap::new();
    for (name, written) in members {
        let place = format!("{field}.{}", shown(name));
        let written = match written {
            Json::String(text) => text.clone(),
            Json::Number(number) => number.to_string(),
            Json::Bool(flag) => flag.to_string(),
            _ => return Err(format!("{place}: this is not a text")),
        };
        let (value, variable) =
            value(server, name, &written).map_err(|reason| format!("{place}: {reason}"))?;
        if let Some(suggested) = variable {
            secrets.push(SecretToMove {
                server: server.clone(),
                field: place,
                suggested,
            });
        }
        values.insert(name.clone(), value);
    }
    Ok(values)
}

/// The value of a declaration, and the variable that has to be set for it.
fn value(server: &ServerName, name: &str, written: &str) -> Result<(Value, Option<String>), &'static str> {
    if let Some((before, rest)) = written.split_once(OPEN) {
        let inside = rest
            .strip_suffix('}')
            .filter(|inside| !inside.contains(['{', '}']))
            .ok_or("it is put together of several parts, of which one is a variable")?;
        if argument_holds_secret(before) {
            return Err("it holds a secret beside a variable");
        }
        let variable = variable(server, name, inside)?;
        return Ok((secret(before, &variable), Some(variable)));
    }
    let is_secret = !written.is_empty()
        && (is_secret_header(name) || sounds_secret(name) || argument_holds_secret(written));
    if !is_secret {
        return Ok((Value::Plain(written.to_owned()), None));
    }
    let scheme = ["Bearer ", "Basic ", "Token ", "token "]
        .into_iter()
        .find(|scheme| written.starts_with(scheme))
        .unwrap_or_default();
    let variable = suggested(server, name);
    Ok((secret(scheme, &variable), Some(variable)))
}

fn secret(prefix: &str, variable: &str) -> Value {
    Value::Secret(SecretValue {
        prefix: prefix.to_owned(),
        secret: SecretReference::Env(variable.to_owned()),
    })
}

/// `VAR`, `VAR:-default`, `env:VAR`, `input:id`.
fn variable(server: &ServerName, name: &str, inside: &str) -> Result<String, &'static str> {
    if inside.starts_with("input:") {
        return Ok(suggested(server, name));
    }
    let inside = inside.strip_prefix("env:").unwrap_or(inside);
    let variable = inside.split_once(":-").map_or(inside, |(variable, _)| variable);
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins = variable.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !begins || !variable.chars().all(legal) || matches!(variable, "workspaceFolder" | "userHome") {
        return Err("it refers to something that is not known here");
    }
    Ok(variable.to_owned())
}

fn suggested(server: &ServerName, name: &str) -> String {
    let upper = |text: &str| -> String {
        text.chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_uppercase()
                } else {
                    '_'
                }
            })
            .collect()
    };
    format!("GW_{}_{}", upper(server.as_str()), upper(name))
}
