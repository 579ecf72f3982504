//! What could become another version tomorrow.

use crate::manifests::{Declared, Ecosystem, Manifest, Scope, Source};

/// Why a dependency is not held, if it is not. A lock holds what comes from a registry, so there only a missing bound is
/// told: the next update may bring anything.
pub(super) fn unpinned(manifest: &Manifest, declared: &Declared, has_lock: bool) -> Option<&'static str> {
    match declared.source {
        Source::Path(_) | Source::Inherited => return None,
        Source::Git { fixed } => {
            return (!fixed && !has_lock).then_some("follows a branch of a repository");
        }
        Source::Url => return (!has_lock).then_some("comes from an address whose content can change"),
        Source::Registry => {}
    }
    if matches!(declared.scope, Scope::Peer | Scope::Indirect) {
        return None;
    }
    let requirement = declared.requirement.as_deref().unwrap_or_default().trim();
    if manifest.is_pin_list {
        return (!is_exact(requirement)).then_some("not pinned to one version, and no lock holds it");
    }
    if manifest.ecosystem == Ecosystem::Go {
        return None;
    }
    if matches!(manifest.ecosystem, Ecosystem::Maven | Ecosystem::Gradle) {
        return jvm(requirement);
    }
    // A Gemfile without versions is the custom: its lock holds them.
    if requirement.is_empty() && has_lock {
        return None;
    }
    if is_anything(requirement) {
        return Some("any version would do");
    }
    let open = requirement.starts_with('>') && !requirement.contains('<') && !requirement.contains("||");
    (open && !has_lock).then_some("has no upper bound, and no lock holds it")
}

fn is_exact(requirement: &str) -> bool {
    let bare = requirement.trim_start_matches('=').trim();
    requirement.starts_with("==") && !bare.contains('*') && !bare.contains(',')
}

fn is_anything(requirement: &str) -> bool {
    matches!(
        requirement,
        "" | "*" | "x" | "latest" | "next" | ">=0" | ">= 0" | "@dev"
    )
}

fn jvm(requirement: &str) -> Option<&'static str> {
    let moving = ["LATEST", "RELEASE", "latest.release", "latest.integration"].contains(&requirement)
        || requirement.ends_with("SNAPSHOT")
        || requirement.ends_with('+')
        || requirement.starts_with(['[', '(']);
    moving.then_some("a version that moves by itself")
}
