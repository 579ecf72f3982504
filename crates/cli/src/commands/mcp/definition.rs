//! Flags of `mcp add` as a declaration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mcp_catalog::{
    Approval, Mount, OAuth, SecretValue, ServerDefinition, Sharing, ToolFilter, Transport, Value,
};
use session_core::error::{Error, ErrorKind, Result};
use session_core::secret::SecretReference;

use crate::args::mcp::AddArgs;
use crate::parse::SecretPair;

const OPERATION: &str = "declare an MCP server";

/// The declaration that the flags mean. What is relative is relative to where the user is: a declaration holds for
/// whoever starts us, from anywhere.
///
/// # Errors
/// `InvalidArgument` for a name that was given twice, and for a command that is missing.
pub(super) fn definition(args: &AddArgs, current_dir: &Path) -> Result<ServerDefinition> {
    let mut definition = ServerDefinition::new(transport(args, current_dir)?);
    definition.description.clone_from(&args.description);
    definition.tools = ToolFilter {
        allow: args.tool.clone(),
        deny: args.hide_tool.clone(),
    };
    if args.shared {
        definition.sharing = Sharing::Shared;
    }
    if args.approve_each {
        definition.approval = Approval::Each;
    }
    Ok(definition)
}

fn transport(args: &AddArgs, current_dir: &Path) -> Result<Transport> {
    if let Some(url) = &args.place.url {
        return http(args, url, current_dir);
    }
    let program = &args.program;
    let (command, arguments) = args
        .command
        .split_first()
        .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, OPERATION, "there is no command"))?;
    let (command, arguments) = (command.clone(), arguments.to_vec());
    let inner_cwd = || {
        let cwd = program.cwd.as_ref()?;
        Some(cwd.to_string_lossy().into_owned())
    };
    Ok(if args.place.image.is_some() || args.place.container {
        Transport::Container {
            image: args.place.image.clone(),
            command,
            args: arguments,
            env: unique(program.env.iter().cloned())?,
            cwd: inner_cwd(),
            allow: program.allow.clone(),
            mounts: program
                .bind
                .iter()
                .map(|bind| Mount {
                    source: from_here(&bind.source, current_dir),
                    target: bind.target.clone(),
                    writable: !bind.read_only,
                })
                .collect(),
        }
    } else if args.place.in_session {
        Transport::Session {
            command,
            args: arguments,
            env: unique(program.env.iter().cloned())?,
            cwd: inner_cwd(),
        }
    } else {
        let plain = program
            .env
            .iter()
            .map(|(name, value)| (name.clone(), Value::Plain(value.clone())));
        let secret = program
            .secret_env
            .iter()
            .map(|pair| (pair.name.clone(), secret(pair, current_dir)));
        Transport::Stdio {
            command: program_path(&command, current_dir),
            args: arguments,
            env: unique(plain.chain(secret))?,
            cwd: program.cwd.as_ref().map(|cwd| from_here(cwd, current_dir)),
        }
    })
}

fn http(args: &AddArgs, url: &str, current_dir: &Path) -> Result<Transport> {
    let http = &args.http;
    let plain = http
        .header
        .iter()
        .map(|(name, value)| (name.clone(), Value::Plain(value.clone())));
    let secret = http
        .secret_header
        .iter()
        .map(|pair| (pair.name.clone(), secret(pair, current_dir)));
    let wants_login = http.oauth || http.client_id.is_some() || !http.scope.is_empty();
    Ok(Transport::Http {
        url: url.to_owned(),
        headers: unique(plain.chain(secret))?,
        oauth: wants_login.then(|| OAuth {
            client_id: http.client_id.clone(),
            client_secret: http
                .client_secret
                .clone()
                .map(|reference| absolute(reference, current_dir)),
            scopes: http.scope.clone(),
        }),
        private: http.private,
    })
}

fn secret(pair: &SecretPair, current_dir: &Path) -> Value {
    Value::Secret(SecretValue {
        prefix: pair.prefix.clone(),
        secret: absolute(pair.secret.clone(), current_dir),
    })
}

fn absolute(reference: SecretReference, current_dir: &Path) -> SecretReference {
    match reference {
        SecretReference::File(path) => SecretReference::File(from_here(&path, current_dir)),
        SecretReference::Command(mut argv) => {
            if let Some(program) = argv.first_mut() {
                *program = program_path(program, current_dir);
            }
            SecretReference::Command(argv)
        }
        variable @ SecretReference::Env(_) => variable,
    }
}

/// A path to a program is meant from here; a bare name is looked up when it is started.
fn program_path(program: &str, current_dir: &Path) -> String {
    if program.contains('/') {
        let path = from_here(Path::new(program), current_dir);
        path.to_string_lossy().into_owned()
    } else {
        program.to_owned()
    }
}

/// Without `.`, which would only be in the way of whoever reads it.
fn from_here(path: &Path, current_dir: &Path) -> PathBuf {
    let joined = current_dir.join(path);
    std::path::absolute(&joined).unwrap_or(joined)
}

/// A map, unless a name was given twice: nobody can know which of the two was meant.
fn unique<V>(pairs: impl Iterator<Item = (String, V)>) -> Result<BTreeMap<String, V>> {
    let mut map = BTreeMap::new();
    for (name, value) in pairs {
        if map.contains_key(&name) {
            return Err(
                Error::new(ErrorKind::InvalidArgument, OPERATION, "a name was given twice")
                    .with_context("name", name),
            );
        }
        map.insert(name, value);
    }
    Ok(map)
}
