//! Both implementations of the lifecycle API are held to the same promises: the suite that managers pass in this process
//! (`testkit/tests/memory_conformance`, `docker_conformance`) passes through a server and a client, by the Unix socket, by
//! TCP and by TLS.
//!
//! What a client cannot have: nothing of the suite. An account that comes with a session stays in the memory of the
//! server's process instead of the caller's, and paths of the host that are no UTF-8 are refused, for JSON has no words
//! for them.

#[cfg(feature = "engine-tests")]
mod docker;
#[path = "../../../testkit/tests/memory_conformance/lab.rs"]
mod lab;
mod over_http;

use std::process::ExitCode;
use std::sync::Arc;

use lab::{MemorySessions, POOR};
use libtest_mimic::{Arguments, Trial};
use over_http::{OverHttp, Way};
use session_core::runtime::Capability;
use testkit::conformance;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let memory = |way, capability: Option<Capability>| {
        let inner = MemorySessions {
            capability,
            dials: true,
        };
        Arc::new(OverHttp::new(inner, way))
    };
    let mut tests = Vec::new();
    tests.extend(conformance::sessions::tests("socket", memory(Way::Socket, None)));
    tests.extend(conformance::sessions::tests(
        "socket_poor",
        memory(Way::Socket, Some(POOR)),
    ));
    tests.extend(conformance::sessions::tests("tcp", memory(Way::Tcp, None)));
    let encrypted = conformance::sessions::tests("tls", memory(Way::Tls, None));
    tests.extend(encrypted.into_iter().filter(streams));
    #[cfg(feature = "engine-tests")]
    {
        let lab = Arc::new(OverHttp::new(docker::DockerSessions, Way::Socket));
        tests.extend(conformance::sessions::tests("docker", lab));
    }
    libtest_mimic::run(&arguments, tests).exit_code()
}

/// Encryption is below all that differs between operations; those that stream are enough to show that it carries them.
fn streams(test: &Trial) -> bool {
    ["commands", "events", "files", "terminals"]
        .iter()
        .any(|topic| test.name().starts_with(&format!("tls::{topic}::")))
}
