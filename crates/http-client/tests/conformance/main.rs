//! Both implementations of the lifecycle API are held to the same promises: the suite that managers pass in this process
//! (`testkit/tests/memory_conformance`, `docker_conformance`) passes through a server and a client, by the Unix socket, by
//! TCP and by TLS. On an engine it is a target of its own, `docker_over_http`.
//!
//! What cannot be equal:
//! - An account that comes with a session stays in the memory of the server's process instead of the caller's.
//! - Paths of the host that are no UTF-8 are refused: JSON has no words for them.
//! - A port's connection holds megabytes in the kernels of both hosts. A viewer of a terminal who takes nothing is behind
//!   only once those are full, so the two tests that wait for that run over the socket alone ([`waits_for_full_buffers`]).

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

/// The half of the lab that tests runtimes has no use here.
const _: fn(testkit::memory::MemoryRuntime) -> lab::MemoryLab = lab::MemoryLab;

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
    let port = conformance::sessions::tests("tcp", memory(Way::Tcp, None));
    let encrypted = conformance::sessions::tests("tls", memory(Way::Tls, None));
    let ports = port.into_iter().chain(encrypted.into_iter().filter(streams));
    tests.extend(ports.filter(|test| !waits_for_full_buffers(test)));
    libtest_mimic::run(&arguments, tests).exit_code()
}

/// Encryption is below all that differs between operations; those that stream are enough to show that it carries them.
fn streams(test: &Trial) -> bool {
    ["commands", "events", "files", "terminals"]
        .iter()
        .any(|topic| test.name().starts_with(&format!("tls::{topic}::")))
}

/// See the module.
fn waits_for_full_buffers(test: &Trial) -> bool {
    ["a_slow_viewer_is_skipped_and_harms_nobody", "a_flood_is_bounded"]
        .iter()
        .any(|promise| test.name().ends_with(&format!("::terminals::{promise}")))
}
