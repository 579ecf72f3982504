//! Getting Docker onto a Debian or Ubuntu machine that has none.

use crate::apt;
use xtask::error::{Error, Result};
use xtask::process::available;

use super::endpoint::Endpoint;
use super::own::Own;

/// What an engine needs here: a program, and the package that brings it.
const NEEDED: [(&str, &str); 3] = [
    ("dockerd", "docker.io"),
    ("docker", "docker.io"),
    ("iptables", "iptables"),
];

/// Whether an engine may be installed and started here at all; the error explains what else the user can do.
pub(crate) fn permitted() -> Result<()> {
    let refused = |why: &str| {
        Error::new(format!("no container engine answers, and {why}")).hint(
            "install and start Docker (https://docs.docker.com/engine/install), \
             or set DOCKER_HOST to an engine that runs elsewhere",
        )
    };
    if !cfg!(target_os = "linux") {
        return Err(refused("one can be started only on Linux"));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(refused("only root can start one; this is another user"));
    }
    if missing_packages().is_empty() || apt::debian_like() {
        return Ok(());
    }
    Err(refused("one can be installed only on Debian and Ubuntu"))
}

/// The packages to install, each once.
pub(crate) fn missing_packages() -> Vec<&'static str> {
    packages_for(available)
}

fn packages_for(available: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let missing = NEEDED.iter().filter(|(program, _)| !available(program));
    let mut packages: Vec<_> = missing.map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

/// What is about to happen to this machine.
pub(crate) fn announcement(endpoint: &Endpoint, missing: &[&str], own: &Own) -> String {
    let mut text = format!(
        "No container engine answers at {}. This will now:\n",
        endpoint.address()
    );
    if !missing.is_empty() {
        text.push_str(&format!("  - install {} with apt-get\n", missing.join(" and ")));
    }
    text.push_str(&format!(
        "  - start dockerd in the background (log: {})\n\
         It keeps running until `cargo xtask engine down`.",
        own.log().display()
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_installed() {
        assert_eq!(packages_for(|_| false), ["docker.io", "iptables"]);
        assert_eq!(
            packages_for(|program| program == "docker"),
            ["docker.io", "iptables"]
        );
        assert_eq!(packages_for(|program| program != "iptables"), ["iptables"]);
        assert!(packages_for(|_| true).is_empty());
    }
}
