//! Names under which the server is addressed.

use axum::http::uri::Authority;

/// A host and its port.
pub(super) type Named = (String, Option<u16>);

/// Reads `host[:port]`; nobody's name before it.
pub(super) fn authority(text: &str) -> Option<Named> {
    let name = Authority::try_from(text).ok()?;
    let rest = name.as_str().strip_prefix(name.host())?;
    // The library takes a port that is none for no port at all.
    let port_is_sound = rest.is_empty() || name.port_u16().is_some();
    (port_is_sound && !name.host().is_empty()).then(|| normal(&name))
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
