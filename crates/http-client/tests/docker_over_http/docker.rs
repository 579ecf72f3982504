//! The site of `testkit/tests/docker_conformance`, for one run through the socket.

#[expect(dead_code, reason = "only the machine's own engine is meant here")]
#[path = "../../../testkit/tests/docker_conformance/engine.rs"]
mod engine;
#[path = "../../../testkit/tests/docker_conformance/sessions.rs"]
mod sessions;

use engine::Engine;
use sessions::DockerSessions;

const IMAGE: &str = runtime_docker::DEFAULT_TOOLBOX_IMAGE;
const FOREIGN_IMAGE: &str = "cofferdam-test-foreign:latest";
const MISSING_IMAGE: &str = "localhost:9/cofferdam-test-missing:latest";

/// The site on the machine's own Docker.
pub(crate) fn sessions() -> DockerSessions {
    DockerSessions(Engine::default())
}

/// What the site expects beside it.
mod runtime {
    use session_core::id::ImageRef;

    pub(crate) fn image(reference: &str) -> ImageRef {
        reference
            .parse()
            .unwrap_or_else(|_| unreachable!("this is a reference"))
    }
}
