//! Containers that do no work: a way into an image's file system, or a hold on a volume.
//!
//! Nothing of an agent's has ever been in them, and that is why the engine's archive call, which reads and writes what it
//! finds as root of the host, is used on them and on nothing else.

use std::io;

use bollard::body_full;
use bollard::models::{ContainerCreateBody, HostConfig, ImageInspect};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, RemoveContainerOptionsBuilder,
    StartContainerOptions, UploadToContainerOptionsBuilder,
};
use session_core::error::{Error, ErrorKind, Result};
use session_core::label::Signer;
use session_core::runtime::{ContainerSpec, UserIds};

use super::{OPERATION, volumes};
use crate::client::Handles;
use crate::error::{About, failed, lacks_session_init, status};
use crate::hardening::{cleaned, empty_in_memory, no_health_check};
use crate::names::nonce;

/// A helper of `image`: without a network, without anonymous volumes, and with nothing of the image's configuration.
pub(super) fn body(image: &ImageInspect, id: &str) -> Box<ContainerCreateBody> {
    let mounts = volumes(image)
        .iter()
        .map(|path| empty_in_memory(cleaned(path), 1 << 20))
        .collect();
    Box::new(ContainerCreateBody {
        image: Some(id.to_owned()),
        entrypoint: Some(vec![format!("{}/bin/session-init", ContainerSpec::TOOLBOX_DIR)]),
        cmd: Some(Vec::new()),
        user: Some("65534:65534".to_owned()),
        working_dir: Some("/".to_owned()),
        network_disabled: Some(true),
        healthcheck: Some(no_health_check()),
        stop_signal: Some("SIGTERM".to_owned()),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            cap_drop: Some(vec!["ALL".to_owned()]),
            mounts: Some(mounts),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    })
}

/// Makes a helper container under a name that no other has. It is signed for that name and for the one that it, or the
/// image that it becomes, will bear: without a signature nobody removes it but its maker.
pub(super) async fn create(
    engine: &Handles,
    signer: Option<&Signer>,
    [what, becomes]: [&str; 2],
    mut body: Box<ContainerCreateBody>,
) -> Result<String> {
    let name = format!("cofferdam-{what}-{}{}", nonce(), nonce());
    if let Some(signer) = signer {
        let labels = body.labels.get_or_insert_default();
        labels.extend(signer.helper_labels(&[&name, becomes]));
    }
    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    fail::fail_point!("docker.helper.before", |_| session_core::fault::engine(OPERATION));
    engine
        .slow
        .create_container(Some(options), *body)
        .await
        .map_err(|error| failed(OPERATION, About::Container(&name), error))?;
    Ok(name)
}

/// Starts a helper and ends it at once. What runs for that moment is `session-init` of the session image, without a network,
/// a capability or a link, as nobody. An image that holds none is not started, which its caller sees.
pub(super) async fn start_for_a_moment(engine: &Handles, name: &str) -> Result<()> {
    let started = engine
        .slow
        .start_container(name, None::<StartContainerOptions>)
        .await;
    match started {
        Ok(()) => {}
        Err(error) if lacks_session_init(&error) => return Ok(()),
        Err(error) => return Err(failed(OPERATION, About::Container(name), error)),
    }
    let options = KillContainerOptionsBuilder::default().signal("KILL").build();
    match engine.slow.kill_container(name, Some(options)).await {
        Ok(()) => Ok(()),
        // It had ended by itself.
        Err(error) if status(&error) == Some(409) => Ok(()),
        Err(error) => Err(failed(OPERATION, About::Container(name), error)),
    }
}

/// Removes a helper container. A failure is left to [`crate::stale`]: it must not hide what the helper was made for.
pub(super) async fn remove(engine: &Handles, name: &str) {
    let options = RemoveContainerOptionsBuilder::default()
        .force(true)
        .v(true)
        .build();
    let _ = engine.slow.remove_container(name, Some(options)).await;
}

/// One entry of an archive for a helper.
pub(super) fn append(
    tar: &mut tar::Builder<Vec<u8>>,
    path: &str,
    kind: tar::EntryType,
    mode: u32,
    owner: UserIds,
    content: &[u8],
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner.uid.into());
    header.set_gid(owner.gid.into());
    header.set_size(content.len() as u64);
    header.set_mtime(0);
    tar.append_data(&mut header, path, content)
}

/// Unpacks an archive at `path` of a helper.
pub(super) async fn upload(
    engine: &Handles,
    helper: &str,
    path: &str,
    archive: io::Result<Vec<u8>>,
) -> Result<()> {
    let archive = archive.map_err(|error| {
        Error::new(ErrorKind::Internal, OPERATION, "an archive could not be written").with_source(error)
    })?;
    let options = UploadToContainerOptionsBuilder::default().path(path).build();
    engine
        .slow
        .upload_to_container(helper, Some(options), body_full(archive.into()))
        .await
        .map_err(|error| failed(OPERATION, About::Container(helper), error))
}
