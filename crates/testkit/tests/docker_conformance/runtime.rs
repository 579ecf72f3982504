//! The runtime under test.

use std::path::PathBuf;
use std::sync::Arc;

use runtime_docker::{DockerOptions, DockerRuntime};
use session_core::id::ImageRef;
use session_core::runtime::ContainerRuntime;
use testkit::conformance::runtime::{BackDoor, Lab};

use super::back_door::DockerBackDoor;
use super::engine::Engine;
use super::{FOREIGN_IMAGE, IMAGE, MISSING_IMAGE};

pub(crate) fn image(reference: &str) -> ImageRef {
    reference
        .parse()
        .unwrap_or_else(|_| unreachable!("this is a reference"))
}

pub(crate) struct DockerLab {
    runtime: Arc<DockerRuntime>,
    /// Nobody listens there.
    unreachable: Arc<DockerRuntime>,
    socket: Option<PathBuf>,
}

impl DockerLab {
    pub(crate) fn new(engine: &Engine) -> session_core::error::Result<Self> {
        let host = Some("unix:///nonexistent/engine.sock".to_owned());
        Ok(Self {
            runtime: Arc::new(DockerRuntime::connect(engine.options())?),
            unreachable: Arc::new(DockerRuntime::connect(DockerOptions {
                host,
                ..DockerOptions::default()
            })?),
            socket: engine.socket(),
        })
    }
}

impl Lab for DockerLab {
    fn runtime(&self) -> Arc<dyn ContainerRuntime> {
        self.runtime.clone()
    }

    fn unreachable(&self) -> Arc<dyn ContainerRuntime> {
        self.unreachable.clone()
    }

    fn image(&self) -> ImageRef {
        image(IMAGE)
    }

    fn foreign_image(&self) -> ImageRef {
        image(FOREIGN_IMAGE)
    }

    fn missing_image(&self) -> ImageRef {
        image(MISSING_IMAGE)
    }

    fn back_door(&self) -> Option<Arc<dyn BackDoor>> {
        Some(Arc::new(DockerBackDoor {
            socket: self.socket.clone()?,
            runtime: self.runtime.clone(),
        }))
    }
}
