//! One connection to one MCP server, with real processes and sockets: what hostile servers say and do, what is left of
//! them, and where secrets go.
//!
//! This program is also what the tests start: a supervisor, an owner that is killed, servers that speak other revisions
//! than the testkit's.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests, of a program of their own: a test that cannot go on fails"
)]

mod addresses;
mod http;
mod leftovers;
mod login;
mod roles;
mod scripted;
mod stdio;
mod support;

use std::process::ExitCode;
use std::sync::{PoisonError, RwLock};

use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if let Some(code) = arguments.next().and_then(|role| roles::run(&role, arguments)) {
        return code;
    }
    // The owner of servers installs it, as every `main` does.
    drop(rustls::crypto::ring::default_provider().install_default());
    let tests = [
        stdio::tests(),
        leftovers::tests(),
        http::tests(),
        addresses::tests(),
        login::tests(),
    ];
    let trials = tests.into_iter().flatten().collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Tests that count processes have this one for themselves.
static CROWD: RwLock<()> = RwLock::new(());

/// A test on a runtime of its own.
fn trial<F>(name: &str, alone: bool, test: fn() -> F) -> Trial
where
    F: Future<Output = ()> + 'static,
{
    Trial::test(name, move || {
        let (_alone, _among);
        if alone {
            _alone = CROWD.write().unwrap_or_else(PoisonError::into_inner);
        } else {
            _among = CROWD.read().unwrap_or_else(PoisonError::into_inner);
        }
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(Failed::from)?;
        runtime.block_on(test());
        Ok(())
    })
}

/// Names tests after their functions.
macro_rules! trials {
    ($alone:expr; $($name:ident),* $(,)?) => {
        pub(crate) fn tests() -> Vec<libtest_mimic::Trial> {
            let module = module_path!().rsplit("::").next().unwrap_or_default();
            vec![$(crate::trial(&format!("{module}::{}", stringify!($name)), $alone, $name)),*]
        }
    };
}
use trials;
