//! The secrets that a declaration names: where each one is, and whether it can be read. Their values are looked at and
//! dropped; nothing here prints one.

use mcp_catalog::{ServerDefinition, Transport, Value};
use session_core::secret::{SecretReference, Secrets};

/// The secrets that a declaration names, with the place of each: `env.TOKEN`, `headers.Authorization`.
pub(super) fn references(definition: &ServerDefinition) -> Vec<(String, &SecretReference)> {
    let (field, values, login) = match &definition.transport {
        Transport::Stdio { env, .. } => ("env", Some(env), None),
        Transport::Http { headers, oauth, .. } => ("headers", Some(headers), oauth.as_ref()),
        Transport::Container { .. } | Transport::Session { .. } => ("env", None, None),
    };
    let mut found = Vec::new();
    for (name, value) in values.into_iter().flatten() {
        if let Value::Secret(value) = value {
            found.push((format!("{field}.{name}"), &value.secret));
        }
    }
    let client_secret = login.and_then(|login| login.client_secret.as_ref());
    found.extend(client_secret.map(|secret| ("oauth.client_secret".to_owned(), secret)));
    found
}

/// The variables of this host that declarations name, in their order, each once.
pub(super) fn variables<'a>(definitions: impl Iterator<Item = &'a ServerDefinition>) -> Vec<String> {
    let mut names: Vec<String> = definitions
        .flat_map(references)
        .filter_map(|(_, reference)| match reference {
            SecretReference::Env(name) => Some(name.clone()),
            SecretReference::File(_) | SecretReference::Command(_) => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Where a secret is, for people.
pub(super) fn place(reference: &SecretReference) -> String {
    match reference {
        SecretReference::Env(name) => format!("the variable {name}"),
        SecretReference::File(path) => format!("the file {}", path.display()),
        SecretReference::Command(argv) => {
            format!("what {} prints", argv.first().map_or("a program", String::as_str))
        }
    }
}

/// Why a secret cannot be read, and what to do about it; `None` when it can.
pub(super) async fn unreadable(
    reference: &SecretReference,
    secrets: &dyn Secrets,
) -> Option<(String, &'static str)> {
    let source = match secrets.follow(reference) {
        Ok(source) => source,
        Err(_) => {
            return Some((
                format!("{} is not set", place(reference)),
                "export it where Cofferdam runs, or name another place",
            ));
        }
    };
    if source.secret().await.is_some() {
        return None;
    }
    Some((
        format!("{} cannot be read, or is empty", place(reference)),
        "see that the file is there and readable, or that the program prints the secret and ends well",
    ))
}
