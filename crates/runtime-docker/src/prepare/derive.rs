//! An image for one user: the source, with the directories of a session in it.
//!
//! An engine makes the root of a fresh volume like the image's directory in its place, owner and mode included, and like
//! nothing else can it be made to belong to somebody but root. So each source image gets, once for each user, a thin
//! layer with `/workspace` and `/home/agent` in it, written into a container that never runs.

use bollard::models::{ContainerConfig, ImageInspect};
use bollard::query_parameters::CommitContainerOptionsBuilder;
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::ImageRef;
use session_core::runtime::{ContainerSpec, Progress, UserIds};

use super::helper::{self, append};
use super::{OPERATION, Preparer, image_id, inspect};
use crate::client::Handles;
use crate::error::{About, failed};
use crate::names::{self, PREPARED, PREPARED_REPOSITORY};

/// Changes with everything that changes what is derived.
const SCHEME: &str = "1";

impl Preparer {
    /// The image derived from `image` for `user`, made when it is not there.
    pub(super) async fn derived(
        &self,
        engine: &Handles,
        image: &ImageRef,
        user: UserIds,
        progress: &dyn Progress,
    ) -> Result<ImageInspect> {
        let source = self.source(engine, image, progress).await?;
        let source_id = image_id(&source)?;
        let tag = tag(&source_id, user);
        if let Some(derived) = inspect(engine, &reference(&tag)).await? {
            return Ok(derived);
        }
        let _turn = self.flights.board(&tag).await;
        if let Some(derived) = inspect(engine, &reference(&tag)).await? {
            return Ok(derived);
        }
        progress.update(&format!("preparing {image} for user {}", user.uid));
        self.derive(engine, &source, &source_id, user, &tag).await?;
        inspect(engine, &reference(&tag)).await?.ok_or_else(|| {
            Error::new(
                ErrorKind::EngineFailed,
                OPERATION,
                "the derived image is gone again",
            )
            .with_context("image", image)
        })
    }

    async fn derive(
        &self,
        engine: &Handles,
        source: &ImageInspect,
        source_id: &str,
        user: UserIds,
        tag: &str,
    ) -> Result<()> {
        let mut body = helper::body(source, source_id);
        body.env = Some(unset_variables(source));
        let labels = body.labels.get_or_insert_default();
        labels.insert(PREPARED.to_owned(), source_id.to_owned());
        // The image inherits the labels, and with them what proves it to be ours.
        let names = ["prepare", &reference(tag)];
        let helper = helper::create(engine, self.signer.as_ref(), names, body).await?;
        let outcome = write_and_commit(engine, &helper, user, tag).await;
        helper::remove(engine, &helper).await;
        outcome
    }
}

/// The name of the image that was derived for this use, whether it is there or not; `None` when its source is not.
pub(crate) async fn derived_name(
    engine: &Handles,
    image: &ImageRef,
    user: UserIds,
) -> Result<Option<String>> {
    let source = inspect(engine, image.as_str()).await?;
    let source_id = source.map(|source| image_id(&source)).transpose()?;
    Ok(source_id.map(|id| reference(&tag(&id, user))))
}

fn reference(tag: &str) -> String {
    format!("{PREPARED_REPOSITORY}:{tag}")
}

/// Follows from everything that the derived image depends on.
fn tag(source_id: &str, user: UserIds) -> String {
    names::digest(&[SCHEME, source_id, &user.uid.to_string(), &user.gid.to_string()])
}

async fn write_and_commit(engine: &Handles, helper: &str, user: UserIds, tag: &str) -> Result<()> {
    helper::upload(engine, helper, "/", layer(user)).await?;
    fail::fail_point!("docker.derive.written", |_| session_core::fault::engine(
        OPERATION
    ));
    let commit = CommitContainerOptionsBuilder::default()
        .container(helper)
        .repo(PREPARED_REPOSITORY)
        .tag(tag)
        .pause(false)
        .build();
    engine
        .slow
        .commit_container(commit, ContainerConfig::default())
        .await
        .map_err(|error| failed(OPERATION, About::Container(helper), error))?;
    Ok(())
}

/// A name without a value takes a variable of the image's out again.
fn unset_variables(source: &ImageInspect) -> Vec<String> {
    let env = source
        .config
        .as_ref()
        .and_then(|config| config.env.as_deref())
        .unwrap_or_default();
    env.iter()
        .filter_map(|pair| pair.split('=').next())
        .filter(|name| !name.is_empty() && !["PATH", "HOME"].contains(name))
        .map(str::to_owned)
        .collect()
}

/// The directories of a session.
fn layer(user: UserIds) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let root = UserIds { uid: 0, gid: 0 };
    // As a file first: it takes the place of whatever the image has there, so that a fresh workspace is empty.
    append(
        &mut tar,
        within_root(ContainerSpec::WORKSPACE_DIR),
        tar::EntryType::Regular,
        0o600,
        root,
        b"",
    )?;
    directory(&mut tar, ContainerSpec::WORKSPACE_DIR, 0o755, user)?;
    directory(&mut tar, "/home", 0o755, root)?;
    directory(&mut tar, ContainerSpec::HOME_DIR, 0o700, user)?;
    directory(&mut tar, "/tmp", 0o1777, root)?;
    directory(&mut tar, "/opt", 0o755, root)?;
    directory(&mut tar, ContainerSpec::TOOLBOX_DIR, 0o755, root)?;
    directory(&mut tar, "/run", 0o755, root)?;
    directory(&mut tar, "/run/cofferdam", 0o755, root)?;
    directory(&mut tar, ContainerSpec::LINK_DIR, 0o755, root)?;
    tar.into_inner()
}

fn directory(tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, owner: UserIds) -> std::io::Result<()> {
    let path = format!("{}/", within_root(path));
    append(tar, &path, tar::EntryType::Directory, mode, owner, b"")
}

fn within_root(path: &str) -> &str {
    path.trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ImageConfig;

    #[test]
    fn a_tag_follows_from_the_image_and_the_user() {
        let user = UserIds::DEFAULT;
        assert_eq!(tag("sha256:a", user), tag("sha256:a", user));
        assert_ne!(tag("sha256:a", user), tag("sha256:b", user));
        assert_ne!(
            tag("sha256:a", user),
            tag("sha256:a", UserIds { uid: 1001, ..user })
        );
        assert_ne!(
            tag("sha256:a", user),
            tag("sha256:a", UserIds { gid: 1001, ..user })
        );
        assert_eq!(tag("sha256:a", user).len(), 12);
    }

    #[test]
    fn the_layer_gives_the_user_a_workspace_and_a_home() {
        let user = UserIds {
            uid: 4_000_000,
            gid: 77,
        };
        let bytes = layer(user).unwrap();
        let mut seen = Vec::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            let owner = (header.uid().unwrap(), header.gid().unwrap());
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            if owner == (4_000_000, 77) {
                seen.push((path, header.mode().unwrap()));
            } else {
                assert_eq!(owner, (0, 0), "{path}");
            }
        }
        assert_eq!(
            seen,
            [
                ("workspace/".to_owned(), 0o755),
                ("home/agent/".to_owned(), 0o700)
            ]
        );
    }

    #[test]
    fn variables_of_the_image_are_unset_by_name() {
        let env = ["PATH=/x", "HOME=/y", "FOO=bar=baz", "EMPTY=", "=odd"]
            .map(str::to_owned)
            .to_vec();
        let config = ImageConfig {
            env: Some(env),
            ..ImageConfig::default()
        };
        let image = ImageInspect {
            config: Some(config),
            ..ImageInspect::default()
        };
        assert_eq!(unset_variables(&image), ["FOO", "EMPTY"]);
        assert!(unset_variables(&ImageInspect::default()).is_empty());
    }
}
