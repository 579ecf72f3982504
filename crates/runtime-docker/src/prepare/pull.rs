//! An image that the engine has, or fetches.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use bollard::models::{CreateImageInfo, ImageInspect};
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures::StreamExt;
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::ImageRef;
use session_core::runtime::Progress;

use super::{OPERATION, Preparer, inspect};
use crate::client::Handles;
use crate::error::{self, About, TOOLBOX_HINT, failed};
use crate::names;

/// A registry that says nothing for so long is taken for one that does not answer. The core bounds the whole of a
/// preparation only, and that bound has room for gigabytes.
const SILENCE: Duration = Duration::from_secs(30);

impl Preparer {
    /// The image as it was asked for, fetched when it is not there.
    pub(super) async fn source(
        &self,
        engine: &Handles,
        image: &ImageRef,
        progress: &dyn Progress,
    ) -> Result<ImageInspect> {
        if let Some(found) = inspect(engine, image.as_str()).await? {
            return Ok(found);
        }
        if is_local_only(image) {
            return Err(absent(image));
        }
        let _turn = self.flights.board(&format!("pull {image}")).await;
        if let Some(found) = inspect(engine, image.as_str()).await? {
            return Ok(found);
        }
        pull(engine, image, progress).await?;
        inspect(engine, image.as_str())
            .await?
            .ok_or_else(|| absent(image))
    }
}

/// Ids of images, and the images that we build: no registry has them.
fn is_local_only(image: &ImageRef) -> bool {
    let name = image.as_str();
    names::is_image_id(name)
        || name.starts_with("sha256:")
        || (name.starts_with("cofferdam-") && !name.contains('/'))
}

fn absent(image: &ImageRef) -> Error {
    let hint = if image.as_str().starts_with("cofferdam-") {
        TOOLBOX_HINT
    } else {
        "build or load the image first"
    };
    Error::new(
        ErrorKind::ImageNotFound,
        OPERATION,
        "the image is not on the engine",
    )
    .with_context("image", image)
    .with_hint(hint)
}

fn unfetched(image: &ImageRef, said: &str) -> Error {
    Error::new(
        ErrorKind::ImageNotFound,
        OPERATION,
        "the image is neither on the engine nor could it be fetched",
    )
    .with_context("image", image)
    .with_context("engine", error::line(said))
    .with_hint(
        "check the name and the registry, or load the image first: docker pull, docker load or docker build",
    )
}

async fn pull(engine: &Handles, image: &ImageRef, progress: &dyn Progress) -> Result<()> {
    progress.update(&format!("pulling {image}"));
    // Without a tag an engine fetches every tag there is.
    let tag = if has_tag(image.as_str()) { "" } else { "latest" };
    let options = CreateImageOptionsBuilder::default()
        .from_image(image.as_str())
        .tag(tag)
        .build();
    let mut steps = pin!(engine.slow.create_image(Some(options), None, None));
    let mut layers = Layers::default();
    loop {
        match tokio::time::timeout(SILENCE, steps.next()).await {
            Err(_) => return Err(unfetched(image, "the registry does not answer")),
            Ok(None) => return Ok(()),
            Ok(Some(Ok(step))) => {
                if let Some(message) = layers.message(image, &step) {
                    progress.update(&message);
                }
            }
            Ok(Some(Err(error))) => return Err(not_fetched(image, error)),
        }
    }
}

/// An engine reports an unknown image, a refusal and a registry that it cannot reach alike; it is not there, in any case.
fn not_fetched(image: &ImageRef, error: bollard::errors::Error) -> Error {
    let mapped = failed(OPERATION, About::Image(image.as_str()), error);
    match mapped.kind() {
        ErrorKind::EngineUnavailable | ErrorKind::EngineTimeout => mapped,
        _ => {
            let said = mapped
                .context()
                .iter()
                .find(|(key, _)| *key == "engine")
                .map_or("", |(_, said)| said.as_str());
            unfetched(image, said).with_source(mapped)
        }
    }
}

fn has_tag(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.contains(':') || last.contains('@')
}

/// How far the layers of one image are.
#[derive(Debug, Default)]
struct Layers {
    /// Bytes here and bytes in all, by layer.
    downloads: HashMap<String, (i64, i64)>,
    megabytes: Option<(i64, i64)>,
}

impl Layers {
    /// What to say after `step`, when it differs from what was said before.
    fn message(&mut self, image: &ImageRef, step: &CreateImageInfo) -> Option<String> {
        let (Some(layer), Some(detail)) = (&step.id, &step.progress_detail) else {
            return None;
        };
        let (Some(current), Some(total)) = (detail.current, detail.total) else {
            return None;
        };
        if step.status.as_deref() == Some("Downloading") {
            self.downloads.insert(layer.clone(), (current, total));
        }
        let sum = self.downloads.values().fold((0_i64, 0_i64), |sum, layer| {
            (sum.0.saturating_add(layer.0), sum.1.saturating_add(layer.1))
        });
        let megabytes = Some((sum.0 / 1_000_000, sum.1 / 1_000_000));
        if self.megabytes == megabytes {
            return None;
        }
        self.megabytes = megabytes;
        Some(format!(
            "pulling {image}: {} of {} MB",
            sum.0 / 1_000_000,
            sum.1 / 1_000_000
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ProgressDetail;

    fn image(text: &str) -> ImageRef {
        text.parse().unwrap()
    }

    #[test]
    fn what_no_registry_has_is_not_fetched() {
        for local in ["cofferdam-session:latest", "sha256:abc", &"ab".repeat(32)] {
            assert!(is_local_only(&image(local)), "{local}");
        }
        for remote in [
            "debian:12",
            "ghcr.io/cofferdam-x/y",
            "me/cofferdam-session",
            "abcdef",
        ] {
            assert!(!is_local_only(&image(remote)), "{remote}");
        }
    }

    #[test]
    fn a_tag_is_told_from_a_port() {
        for tagged in ["debian:12", "localhost:5000/x:1", "x@sha256:ab"] {
            assert!(has_tag(tagged), "{tagged}");
        }
        for bare in ["debian", "localhost:5000/x", "a/b/c"] {
            assert!(!has_tag(bare), "{bare}");
        }
    }

    #[test]
    fn layers_add_up_and_repeat_nothing() {
        let step = |id: &str, status: &str, current, total| CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: Some(ProgressDetail {
                current: Some(current),
                total: Some(total),
            }),
            ..CreateImageInfo::default()
        };
        let (mut layers, image) = (Layers::default(), image("debian:12"));
        let said = layers.message(&image, &step("a", "Downloading", 10_000_000, 50_000_000));
        assert_eq!(said.as_deref(), Some("pulling debian:12: 10 of 50 MB"));
        assert_eq!(
            layers.message(&image, &step("a", "Downloading", 10_000_001, 50_000_000)),
            None
        );
        let said = layers.message(&image, &step("b", "Downloading", i64::MAX, i64::MAX));
        assert!(said.is_some());
        assert_eq!(
            layers.message(&image, &step("a", "Extracting", 1, 50_000_000)),
            None
        );
    }
}
