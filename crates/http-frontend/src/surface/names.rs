//! Names under which the server is addressed.

use axum::http::uri::Authority;

/// A host and its port.
pub(super) type Named = (String, Option<u16>);

/// Reads `host[:port]`; nobody's name before it.
pub(super) fn authority(text: &str) -> Option<Named> {
    Authority::try_from(text)
        .ok()
        .filter(|name| !name.as_str().contains('@') && !name.host().is_empty())
        // A port that is none would be taken for none at all.
        .filter(|name| !name.as_str().ends_with(':') && (name.port().is_none() || name.port_u16().is_some()))
        .map(|name| normal(&name))
}

pub(super) fn normal(authority: &Authority) -> Named {
    (authority.host().to_ascii_lowercase(), authority.port_u16())
}

/// Whether `named` is one of `known`, where a name without a port stands for all its ports.
pub(super) fn is_known(known: &[Named], named: &Named) -> bool {
    known
        .iter()
        .any(|(name, port)| *name == named.0 && port.is_none_or(|port| named.1 == Some(port)))
}
