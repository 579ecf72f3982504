//! Names and labels of all that this runtime makes on an engine.
//!
//! Storage is named after its container, so that a crash at any moment leaves nothing that cannot be found again. What
//! serves many sessions (helpers, the toolbox, derived images) carries labels of its own and never a session's.

use std::collections::HashMap;

use session_core::id::ContainerName;
use session_core::label;
use sha2::{Digest, Sha256};

/// Marks the volume and the container of a toolbox; the value is the id of the image that filled it.
pub(crate) const TOOLBOX: &str = "dev.cofferdam.toolbox";
/// Marks a derived image; the value is the id of the image that it was derived from.
pub(crate) const PREPARED: &str = "dev.cofferdam.prepared";
/// What the names of containers begin with that exist only while something is prepared, and are never started. Anybody's
/// container may be named so: the signature on its labels says whose it is. Images inherit those labels from the helper
/// that they are made of, and containers from the images; they are signed for the names of the first two alone.
pub(crate) const HELPER_PREFIXES: [&str; 2] = ["cofferdam-prepare-", "cofferdam-toolbox-"];

/// The repository of derived images.
pub(crate) const PREPARED_REPOSITORY: &str = "cofferdam-prepared";

const HOME_SUFFIX: &str = "-home";
const WORKSPACE_SUFFIX: &str = "-workspace";

/// The volume of a container's home directory.
pub(crate) fn home_volume(container: &ContainerName) -> String {
    format!("{container}{HOME_SUFFIX}")
}

/// The volume of a container's workspace, when it is not a directory of the host.
pub(crate) fn workspace_volume(container: &ContainerName) -> String {
    format!("{container}{WORKSPACE_SUFFIX}")
}

/// The container whose storage bears this name.
pub(crate) fn container_of_volume(volume: &str) -> Option<ContainerName> {
    let container = volume
        .strip_suffix(HOME_SUFFIX)
        .or_else(|| volume.strip_suffix(WORKSPACE_SUFFIX))?;
    container_named(container)
}

/// The container's name, if `name` is exactly one of a session.
pub(crate) fn container_named(name: &str) -> Option<ContainerName> {
    let container = ContainerName::of(&ContainerName::session(name)?);
    (container.as_str() == name).then_some(container)
}

/// Whether `labels` say that what bears them belongs to `container`. A claim, not a proof: the proof is the signature,
/// which the core checks before it asks for anything to be removed.
pub(crate) fn claims(labels: &HashMap<String, String>, container: &ContainerName) -> bool {
    labels
        .get(label::SESSION)
        .and_then(|session| session.parse().ok())
        .is_some_and(|session| ContainerName::of(&session) == *container)
}

/// Twelve hexadecimal digits that follow from `parts`.
pub(crate) fn digest(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest
        .finalize()
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Whether `id` is an image id as engines write it, and so safe in a URL.
pub(crate) fn is_image_id(id: &str) -> bool {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Eight random hexadecimal digits, for what must not meet another of its kind.
pub(crate) fn nonce() -> String {
    format!("{:08x}", rand::random::<u32>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use session_core::id::SessionId;
    use session_core::label::Signer;

    #[test]
    fn storage_leads_back_to_its_container() {
        let name = ContainerName::of(&SessionId::new());
        assert_eq!(container_of_volume(&home_volume(&name)), Some(name.clone()));
        assert_eq!(container_of_volume(&workspace_volume(&name)), Some(name.clone()));
        assert_eq!(container_of_volume(name.as_str()), None);
        assert_eq!(
            container_of_volume("cofferdam-toolbox-0123456789ab-01234567"),
            None
        );
        assert_eq!(container_named(&name.as_str().to_uppercase()), None);
    }

    #[test]
    fn labels_claim_their_own_container_only() {
        let (session, other) = (SessionId::new(), SessionId::new());
        let mut labels: HashMap<_, _> = Signer::new([3; 32]).labels(&session).into_iter().collect();
        assert!(claims(&labels, &ContainerName::of(&session)));
        assert!(!claims(&labels, &ContainerName::of(&other)));
        labels.remove(label::SESSION);
        assert!(!claims(&labels, &ContainerName::of(&session)));
        assert!(!claims(&HashMap::new(), &ContainerName::of(&session)));
    }

    #[test]
    fn a_digest_follows_from_its_parts_and_where_they_part() {
        assert_eq!(digest(&["a", "b"]), digest(&["a", "b"]));
        assert_ne!(digest(&["a", "b"]), digest(&["ab"]));
        assert_eq!(digest(&[]).len(), 12);
    }

    #[test]
    fn only_digests_are_image_ids() {
        let id = format!("sha256:{}", "0a".repeat(32));
        assert!(is_image_id(&id));
        for bad in ["", "sha256:", "debian:12", "sha256:zz", "../x"] {
            assert!(!is_image_id(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn foreign_names_never_panic(name in ".*") {
            let _ = container_of_volume(&name);
            let _ = is_image_id(&name);
        }
    }
}
