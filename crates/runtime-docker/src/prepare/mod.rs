//! From an image's name to something that can be launched: found or fetched, derived for a user, with a toolbox beside it.
//!
//! The engine is the only memory of what was prepared: each step looks for its result by a name that follows from its
//! input alone, and makes it when it is not there. So a second preparation costs four looks, two at a time, and what
//! another process made, or a user removed, is seen. A mutex per result keeps this process from making one twice.

mod derive;
mod flight;
mod helper;
mod pull;
mod toolbox;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bollard::models::ImageInspect;
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::ImageRef;
use session_core::label::Signer;
use session_core::runtime::{NoProgress, PreparedImage, Progress, UserIds};

pub(crate) use self::derive::derived_name;
use self::flight::Flights;
pub(crate) use self::toolbox::{Toolbox, holder};
use crate::client::Handles;
use crate::error::{About, failed, is_absent};
use crate::hardening::refuse_root;
use crate::names;

const OPERATION: &str = "prepare the image";

/// What a launch needs to know of a prepared image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ready {
    /// The volumes that it declares.
    pub(crate) volumes: Vec<String>,
    /// The toolbox that belongs beside it.
    pub(crate) toolbox: Toolbox,
}

/// Prepares images, once each.
#[derive(Debug)]
pub(crate) struct Preparer {
    toolbox_image: ImageRef,
    signer: Option<Signer>,
    flights: Flights,
    ready: Mutex<HashMap<String, Ready>>,
}

impl Preparer {
    /// `signer` signs for everything that is made here.
    pub(crate) fn new(toolbox_image: ImageRef, signer: Option<Signer>) -> Self {
        Self {
            toolbox_image,
            signer,
            flights: Flights::default(),
            ready: Mutex::default(),
        }
    }

    /// An image of which containers for `user` can be launched now.
    pub(crate) async fn prepare(
        &self,
        engine: &Handles,
        image: &ImageRef,
        user: UserIds,
        progress: &dyn Progress,
    ) -> Result<PreparedImage> {
        refuse_root(OPERATION, user)?;
        // Both are seen to their ends: what is cancelled half way leaves a helper on the engine.
        let (derived, toolbox) = futures::join!(
            self.derived(engine, image, user, progress),
            self.toolbox(engine, progress),
        );
        let (toolbox, derived) = (toolbox?, derived?);
        let id = image_id(&derived)?;
        self.remember(
            &id,
            Ready {
                volumes: volumes(&derived),
                toolbox,
            },
        );
        Ok(PreparedImage {
            requested: image.clone(),
            id,
        })
    }

    /// What is known of a prepared image, asked for again when another process prepared it.
    pub(crate) async fn ready(&self, engine: &Handles, image: &PreparedImage) -> Result<Ready> {
        if let Some(ready) = self
            .ready
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&image.id)
        {
            return Ok(ready.clone());
        }
        if !names::is_image_id(&image.id) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "launch the container",
                "this is no image's id",
            )
            .with_context("image", &image.requested));
        }
        let (inspected, toolbox) = futures::try_join!(
            async {
                inspect(engine, &image.id)
                    .await?
                    .ok_or_else(|| gone(&image.requested))
            },
            self.toolbox(engine, &NoProgress),
        )?;
        let ready = Ready {
            volumes: volumes(&inspected),
            toolbox,
        };
        self.remember(&image.id, ready.clone());
        Ok(ready)
    }

    fn remember(&self, id: &str, ready: Ready) {
        self.ready
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.to_owned(), ready);
    }
}

fn gone(image: &ImageRef) -> Error {
    Error::new(
        ErrorKind::ImageNotFound,
        "launch the container",
        "the prepared image was removed",
    )
    .with_context("image", image)
    .with_hint("prepare the session again")
}

/// The image, or `None` when the engine has none of this name.
async fn inspect(engine: &Handles, name: &str) -> Result<Option<ImageInspect>> {
    match engine.quick.inspect_image(name).await {
        Ok(image) => Ok(Some(image)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(failed(OPERATION, About::Image(name), error)),
    }
}

fn image_id(image: &ImageInspect) -> Result<String> {
    image
        .id
        .clone()
        .filter(|id| names::is_image_id(id))
        .ok_or_else(|| {
            Error::new(
                ErrorKind::EngineFailed,
                OPERATION,
                "the engine gave an image without an id",
            )
        })
}

fn volumes(image: &ImageInspect) -> Vec<String> {
    image
        .config
        .as_ref()
        .and_then(|config| config.volumes.clone())
        .unwrap_or_default()
}
