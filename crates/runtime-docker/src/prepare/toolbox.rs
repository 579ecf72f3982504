//! The toolbox volume: `session-init` and the agent, for containers of any image.
//!
//! An engine copies the content of an image's directory into an empty volume that a container mounts there, when the
//! container is made. So a container of the toolbox image, never started, fills a fresh volume. It is made under a name
//! of its own and **renamed when the volume is full**: the rename is the moment from which the toolbox exists. A kill
//! before it leaves a helper and a volume that nobody uses ([`crate::stale`] takes them); after it, the container holds
//! the volume, so that no `volume prune` takes it away. Whoever finds the container under its name has the volume.

use std::collections::HashMap;

use bollard::models::{ContainerInspectResponse, ImageInspect, Mount, MountType, VolumeCreateRequest};
use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, InspectContainerOptions, RemoveVolumeOptions,
    RenameContainerOptionsBuilder,
};
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::ImageRef;
use session_core::runtime::{ContainerSpec, Progress, UserIds};

use super::helper::{self, append};
use super::{OPERATION, Preparer, image_id, inspect};
use crate::client::Handles;
use crate::error::{About, TOOLBOX_HINT, failed, is_absent, status};
use crate::names::{self, TOOLBOX, nonce};

/// Changes with everything that changes what is in a toolbox besides the image's content.
const SCHEME: &str = "1";

/// Within the toolbox: names of the machine for a container whose network the engine does not manage.
const HOSTS_FILE: &str = "etc/hosts";
const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// A filled toolbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Toolbox {
    /// The volume's name.
    pub(crate) volume: String,
    /// Where the engine's machine has the volume's `hosts` file.
    pub(crate) hosts: Option<String>,
}

impl Preparer {
    /// The toolbox, filled when it is not there.
    pub(super) async fn toolbox(&self, engine: &Handles, progress: &dyn Progress) -> Result<Toolbox> {
        let image = inspect(engine, self.toolbox_image.as_str())
            .await?
            .ok_or_else(|| no_toolbox(&self.toolbox_image))?;
        let id = image_id(&image)?;
        let holder = holder(&id);
        if let Some(toolbox) = held(engine, &holder, &id).await? {
            return Ok(toolbox);
        }
        let _turn = self.flights.board(&holder).await;
        if let Some(toolbox) = held(engine, &holder, &id).await? {
            return Ok(toolbox);
        }
        progress.update("filling the toolbox");
        let volume = format!("{holder}-{}", nonce());
        let outcome = self.fill(engine, &image, &id, &volume).await;
        if !matches!(&outcome, Ok(toolbox) if toolbox.volume == volume) {
            let _ = engine
                .slow
                .remove_volume(&volume, None::<RemoveVolumeOptions>)
                .await;
        }
        outcome
    }

    async fn fill(&self, engine: &Handles, image: &ImageInspect, id: &str, volume: &str) -> Result<Toolbox> {
        self.create_volume(engine, volume, id).await?;
        let mut body = helper::body(image, id);
        body.labels
            .get_or_insert_default()
            .insert(TOOLBOX.to_owned(), id.to_owned());
        body.host_config
            .get_or_insert_default()
            .mounts
            .get_or_insert_default()
            .push(mount(volume));
        let names = ["toolbox-fill", &holder(id)];
        let helper = helper::create(engine, self.signer.as_ref(), names, body).await?;
        fail::fail_point!("docker.toolbox.filled", |_| session_core::fault::engine(
            OPERATION
        ));
        let renamed = match self.complete(engine, &helper).await {
            Ok(()) => rename(engine, &helper, &holder(id)).await,
            Err(error) => Err(error),
        };
        if !matches!(renamed, Ok(true)) {
            helper::remove(engine, &helper).await;
        }
        renamed?;
        // Ours, or that of another process that was faster.
        held(engine, &holder(id), id).await?.ok_or_else(|| {
            Error::new(
                ErrorKind::EngineFailed,
                OPERATION,
                "a container in the toolbox's place holds no toolbox",
            )
            .with_context("container", holder(id))
            .with_hint("remove this container and try again")
        })
    }

    async fn create_volume(&self, engine: &Handles, name: &str, id: &str) -> Result<()> {
        let mut labels = HashMap::from([(TOOLBOX.to_owned(), id.to_owned())]);
        if let Some(signer) = &self.signer {
            labels.extend(signer.helper_labels(&[name]));
        }
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(labels),
            ..VolumeCreateRequest::default()
        };
        let created = engine.slow.create_volume(request).await;
        created
            .map(drop)
            .map_err(|error| failed(OPERATION, About::Volume(name), error))
    }

    /// Adds what the image does not hold, and looks whether it holds what it must.
    async fn complete(&self, engine: &Handles, helper: &str) -> Result<()> {
        if !holds_session_init(engine, helper).await? {
            // Podman fills a volume when a container that mounts it is started for the first time.
            helper::start_for_a_moment(engine, helper).await?;
            if !holds_session_init(engine, helper).await? {
                return Err(no_session_init(&self.toolbox_image));
            }
        }
        helper::upload(engine, helper, ContainerSpec::TOOLBOX_DIR, additions()).await
    }
}

fn additions() -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let root = UserIds { uid: 0, gid: 0 };
    append(&mut tar, "etc/", tar::EntryType::Directory, 0o755, root, b"")?;
    append(
        &mut tar,
        HOSTS_FILE,
        tar::EntryType::Regular,
        0o644,
        root,
        HOSTS.as_bytes(),
    )?;
    tar.into_inner()
}

/// The container that holds the toolbox of an image.
pub(crate) fn holder(image_id: &str) -> String {
    format!("cofferdam-toolbox-{}", names::digest(&[SCHEME, image_id]))
}

async fn held(engine: &Handles, holder: &str, id: &str) -> Result<Option<Toolbox>> {
    match engine
        .quick
        .inspect_container(holder, None::<InspectContainerOptions>)
        .await
    {
        Ok(container) => Ok(toolbox_of(container, id)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(failed(OPERATION, About::Container(holder), error)),
    }
}

/// The toolbox that a container holds, when it was filled from this image.
fn toolbox_of(container: ContainerInspectResponse, id: &str) -> Option<Toolbox> {
    let labels = container.config?.labels?;
    labels.get(TOOLBOX).filter(|filled_from| *filled_from == id)?;
    let mounts = container.mounts?;
    let mount = mounts
        .into_iter()
        .find(|mount| mount.destination.as_deref() == Some(ContainerSpec::TOOLBOX_DIR))?;
    let root = mount.source.filter(|path| path.starts_with('/'));
    Some(Toolbox {
        volume: mount.name?,
        hosts: root.map(|root| format!("{root}/{HOSTS_FILE}")),
    })
}

fn mount(volume: &str) -> Mount {
    Mount {
        source: Some(volume.to_owned()),
        target: Some(ContainerSpec::TOOLBOX_DIR.to_owned()),
        typ: Some(MountType::VOLUME),
        ..Mount::default()
    }
}

/// Looks into the volume, through the container that mounts it: an engine may copy nothing, an image may hold nothing.
async fn holds_session_init(engine: &Handles, helper: &str) -> Result<bool> {
    let path = format!("{}/bin/session-init", ContainerSpec::TOOLBOX_DIR);
    let options = ContainerArchiveInfoOptionsBuilder::default().path(&path).build();
    match engine
        .slow
        .get_container_archive_info(helper, Some(options))
        .await
    {
        Ok(_) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(failed(OPERATION, About::Container(helper), error)),
    }
}

fn no_session_init(image: &ImageRef) -> Error {
    Error::new(
        ErrorKind::ImageNotFound,
        OPERATION,
        "the session image holds no session-init",
    )
    .with_context("image", image)
    .with_hint(TOOLBOX_HINT)
}

/// Whether the helper got the name; `false` when it is taken.
async fn rename(engine: &Handles, helper: &str, holder: &str) -> Result<bool> {
    let options = RenameContainerOptionsBuilder::default().name(holder).build();
    match engine.slow.rename_container(helper, options).await {
        Ok(()) => Ok(true),
        Err(error) if status(&error) == Some(409) => Ok(false),
        Err(error) => Err(failed(OPERATION, About::Container(helper), error)),
    }
}

fn no_toolbox(image: &ImageRef) -> Error {
    Error::new(
        ErrorKind::ImageNotFound,
        OPERATION,
        "the session image, which holds session-init, is not on the engine",
    )
    .with_context("image", image)
    .with_hint(TOOLBOX_HINT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::{ContainerConfig, MountPoint};

    fn container(filled_from: &str, destination: &str) -> ContainerInspectResponse {
        ContainerInspectResponse {
            config: Some(ContainerConfig {
                labels: Some(HashMap::from([(TOOLBOX.to_owned(), filled_from.to_owned())])),
                ..ContainerConfig::default()
            }),
            mounts: Some(vec![MountPoint {
                name: Some("v".to_owned()),
                source: Some("/volumes/v/_data".to_owned()),
                destination: Some(destination.to_owned()),
                ..MountPoint::default()
            }]),
            ..ContainerInspectResponse::default()
        }
    }

    #[test]
    fn a_toolbox_is_what_its_holder_says() {
        let toolbox = toolbox_of(container("sha256:a", "/opt/cofferdam"), "sha256:a").unwrap();
        assert_eq!(toolbox.volume, "v");
        assert_eq!(toolbox.hosts.as_deref(), Some("/volumes/v/_data/etc/hosts"));
        assert_eq!(
            toolbox_of(container("sha256:b", "/opt/cofferdam"), "sha256:a"),
            None
        );
        assert_eq!(toolbox_of(container("sha256:a", "/data"), "sha256:a"), None);
        assert_eq!(toolbox_of(ContainerInspectResponse::default(), "sha256:a"), None);
    }
}
