//! What of an engine's containers, volumes and images is ours: pure, from what the engine says of them.
//!
//! A name proves nothing, and neither does a label that is not signed for that name: anybody can give and copy both.

use std::collections::HashMap;

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, ContainerSummaryStateEnum, Volume,
};
use session_core::label::Signer;

use crate::names::{self, HELPER_PREFIXES, PREPARED_REPOSITORY, TOOLBOX};
use crate::prepare::holder;

const TOOLBOX_VOLUMES: &str = "cofferdam-toolbox-";

/// Knows what one owner signed for.
#[derive(Clone, Copy)]
pub(super) struct Ours<'a>(pub(super) &'a Signer);

impl Ours<'_> {
    /// The name of a helper of ours that does not run: never started, or ended after the moment that Podman needs.
    pub(super) fn helper<'c>(&self, container: &'c ContainerSummary) -> Option<&'c str> {
        let idle = matches!(
            container.state,
            Some(ContainerSummaryStateEnum::CREATED | ContainerSummaryStateEnum::EXITED)
        );
        let labels = container.labels.as_ref()?;
        name_of(container).filter(|name| idle && self.is_helper(labels, name))
    }

    /// The same of one that was looked at by its name.
    pub(super) fn inspected_helper(&self, container: &ContainerInspectResponse, name: &str) -> bool {
        let status = container.state.as_ref().and_then(|state| state.status);
        let idle = matches!(
            status,
            Some(ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::EXITED)
        );
        // An engine takes the beginning of an id for a name.
        let named = container.name.as_deref().map(bare) == Some(name);
        let labels = container
            .config
            .as_ref()
            .and_then(|config| config.labels.as_ref());
        idle && named && labels.is_some_and(|labels| self.is_helper(labels, name))
    }

    fn is_helper(&self, labels: &HashMap<String, String>, name: &str) -> bool {
        HELPER_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && self.0.verify_helper(labels, name)
    }

    /// Whether this volume is a toolbox of ours.
    pub(super) fn volume(&self, volume: &Volume) -> bool {
        volume.name.starts_with(TOOLBOX_VOLUMES)
            && volume.labels.contains_key(TOOLBOX)
            && self.0.verify_helper(&volume.labels, &volume.name)
    }

    /// The tag under which an image is one that we derived.
    pub(super) fn image<'t>(&self, labels: &HashMap<String, String>, tags: &'t [String]) -> Option<&'t str> {
        let mut tags = tags.iter().map(String::as_str);
        tags.find(|tag| is_derived_tag(tag) && self.0.verify_helper(labels, local(tag)))
    }
}

pub(super) fn name_of(container: &ContainerSummary) -> Option<&str> {
    Some(bare(container.names.as_ref()?.first()?))
}

fn bare(name: &str) -> &str {
    name.strip_prefix('/').unwrap_or(name)
}

/// In our repository, with a tag as we make them.
fn is_derived_tag(tag: &str) -> bool {
    let digest = local(tag)
        .strip_prefix(PREPARED_REPOSITORY)
        .and_then(|rest| rest.strip_prefix(':'));
    digest.is_some_and(|digest| digest.len() == 12 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Podman puts a registry of its own before names that have none.
pub(super) fn local(tag: &str) -> &str {
    tag.strip_prefix("localhost/").unwrap_or(tag)
}

pub(super) fn filled_from(helper: &ContainerSummary) -> Option<&str> {
    let image = helper.labels.as_ref()?.get(TOOLBOX)?;
    names::is_image_id(image).then_some(image)
}

/// Whether the helper bears the name that it gets when its volume is full.
pub(super) fn holds_a_toolbox(helper: &ContainerSummary) -> bool {
    filled_from(helper).is_some_and(|image| name_of(helper) == Some(&holder(image)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::{ContainerConfig, ContainerState};

    const PREPARE: &str = "cofferdam-prepare-0123456789abcdef";
    const DERIVED: &str = "cofferdam-prepared:0123456789ab";

    fn signer() -> Signer {
        Signer::new([1; 32])
    }

    fn signed(signer: &Signer, names: &[&str]) -> HashMap<String, String> {
        signer.helper_labels(names).into_iter().collect()
    }

    fn container(name: &str, labels: HashMap<String, String>) -> ContainerSummary {
        ContainerSummary {
            names: Some(vec![format!("/{name}")]),
            labels: Some(labels),
            state: Some(ContainerSummaryStateEnum::CREATED),
            ..ContainerSummary::default()
        }
    }

    fn inspected(name: &str, labels: HashMap<String, String>) -> ContainerInspectResponse {
        ContainerInspectResponse {
            name: Some(format!("/{name}")),
            state: Some(ContainerState {
                status: Some(ContainerStateStatusEnum::CREATED),
                ..ContainerState::default()
            }),
            config: Some(ContainerConfig {
                labels: Some(labels),
                ..ContainerConfig::default()
            }),
            ..ContainerInspectResponse::default()
        }
    }

    /// Found, and found again when it is about to be removed.
    fn is_ours(name: &str, labels: &HashMap<String, String>) -> bool {
        let signer = signer();
        let found = Ours(&signer).helper(&container(name, labels.clone())).is_some();
        let again = Ours(&signer).inspected_helper(&inspected(name, labels.clone()), name);
        assert_eq!(found, again, "one judgement: {name}");
        found
    }

    #[test]
    fn i9_a_container_that_is_named_like_a_helper_is_somebody_elses() {
        let unsigned = HashMap::from([(TOOLBOX.to_owned(), format!("sha256:{}", "ab".repeat(32)))]);
        for name in [
            PREPARE,
            "cofferdam-prepare-my-release",
            "cofferdam-toolbox-fill-01",
        ] {
            assert!(!is_ours(name, &HashMap::new()), "{name}");
            assert!(!is_ours(name, &unsigned), "{name}");
            let other = Signer::new([2; 32]);
            assert!(
                !is_ours(name, &signed(&other, &[name])),
                "of another owner: {name}"
            );
        }
    }

    #[test]
    fn i9_copied_labels_prove_nothing_under_another_name() {
        let labels = signed(&signer(), &[PREPARE, DERIVED]);
        assert!(is_ours(PREPARE, &labels));
        assert!(!is_ours("cofferdam-prepare-0123456789abcdee", &labels));
        assert!(
            !is_ours("cofferdam-0f0e0d0c-0b0a-4908-8706-050403020100", &labels),
            "a session of an image that inherited them"
        );
        let mine = signed(&signer(), &["mine"]);
        assert!(!is_ours("mine", &mine), "no name of a helper");
    }

    #[test]
    fn a_helper_at_work_and_one_found_under_its_id_are_let_be() {
        let signer = signer();
        let labels = signed(&signer, &[PREPARE]);
        let running = ContainerSummary {
            state: Some(ContainerSummaryStateEnum::RUNNING),
            ..container(PREPARE, labels.clone())
        };
        assert_eq!(Ours(&signer).helper(&running), None);
        let mut started = inspected(PREPARE, labels.clone());
        started.state = Some(ContainerState {
            status: Some(ContainerStateStatusEnum::RUNNING),
            ..ContainerState::default()
        });
        assert!(!Ours(&signer).inspected_helper(&started, PREPARE));
        assert!(!Ours(&signer).inspected_helper(&inspected("x", labels), PREPARE));
    }

    #[test]
    fn a_holder_is_told_from_a_helper_that_still_fills() {
        let image = format!("sha256:{}", "ab".repeat(32));
        let filling = "cofferdam-toolbox-fill-0123456789abcdef";
        let mut labels = signed(&signer(), &[filling, &holder(&image)]);
        labels.insert(TOOLBOX.to_owned(), image.clone());
        assert!(is_ours(filling, &labels) && is_ours(&holder(&image), &labels));
        assert!(holds_a_toolbox(&container(&holder(&image), labels.clone())));
        assert!(!holds_a_toolbox(&container(filling, labels.clone())));
        labels.insert(TOOLBOX.to_owned(), "../x".to_owned());
        assert!(!holds_a_toolbox(&container(&holder(&image), labels.clone())));
        labels.remove(TOOLBOX);
        assert!(!holds_a_toolbox(&container(&holder(&image), labels)));
    }

    #[test]
    fn i9_a_volume_is_a_toolbox_when_its_own_name_is_signed() {
        let signer = signer();
        let volume = |name: &str, labels: HashMap<String, String>| Volume {
            name: name.to_owned(),
            labels,
            ..Volume::default()
        };
        let with_toolbox = |mut labels: HashMap<String, String>| {
            labels.insert(TOOLBOX.to_owned(), "sha256:x".to_owned());
            labels
        };
        let name = "cofferdam-toolbox-0123456789ab-01234567";
        let own = with_toolbox(signed(&signer, &[name]));
        assert!(Ours(&signer).volume(&volume(name, own.clone())));
        assert!(!Ours(&signer).volume(&volume("cofferdam-toolbox-mine", own)));
        assert!(!Ours(&signer).volume(&volume(name, with_toolbox(HashMap::new()))));
        assert!(!Ours(&signer).volume(&volume(name, signed(&signer, &[name]))));
        let other = Signer::new([2; 32]);
        assert!(!Ours(&signer).volume(&volume(name, with_toolbox(signed(&other, &[name])))));
    }

    #[test]
    fn i9_an_image_is_derived_when_its_tag_is_ours_and_signed() {
        let signer = signer();
        let tags = |all: &[&str]| all.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
        let own = signed(&signer, &[PREPARE, DERIVED]);
        let all = tags(&["mine:1", DERIVED]);
        assert_eq!(Ours(&signer).image(&own, &all), Some(DERIVED));
        let podman = tags(&["localhost/cofferdam-prepared:0123456789ab"]);
        assert_eq!(Ours(&signer).image(&own, &podman), Some(podman[0].as_str()));
        assert_eq!(Ours(&signer).image(&HashMap::new(), &all), None, "unsigned");
        let heir = tags(&["mine:1", "cofferdam-prepared:ba9876543210"]);
        assert_eq!(Ours(&signer).image(&own, &heir), None, "it inherited the labels");
    }

    #[test]
    fn only_tags_as_we_make_them_are_derived_images() {
        assert!(is_derived_tag(DERIVED));
        for foreign in [
            "cofferdam-prepared:latest",
            "cofferdam-prepared:0123456789ab0",
            "cofferdam-prepared-x:0123456789ab",
            "registry.example/cofferdam-prepared:0123456789ab",
            "mine:0123456789ab",
            "<none>:<none>",
        ] {
            assert!(!is_derived_tag(foreign), "{foreign}");
        }
    }
}
