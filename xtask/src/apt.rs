//! Installing Debian packages, on the machines where a task may do that.

use xtask::error::{Context, Error, Result};
use xtask::process::{Tool, available};
use xtask::reporter::Reporter;

/// Installs Debian packages, showing progress.
pub(crate) fn install(packages: &[&str], reporter: &Reporter) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let mut step = reporter.step(format!("install {}", packages.join(", ")));
    apt_get(&["update"])
        .run(|line| step.update(line))
        .map_err(offline)?;
    let install = ["install", "--yes", "--no-install-recommends"];
    apt_get(&install)
        .args(packages)
        .run(|line| step.update(line))
        .map_err(offline)?;
    step.done("");
    Ok(())
}

fn apt_get(args: &[&str]) -> Tool {
    Tool::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .arg("--quiet")
        .args(args)
}

fn offline(error: Error) -> Error {
    error
        .hint("check the network and the package sources (`apt-get update`), then run the same command again")
}

/// Whether packages come from Debian's tools here.
pub(crate) fn debian_like() -> bool {
    let release =
        std::fs::read_to_string("/etc/os-release").context(|| "cannot read /etc/os-release".to_owned());
    release.is_ok_and(|release| is_debian_like(&release)) && available("apt-get")
}

fn is_debian_like(os_release: &str) -> bool {
    let values = os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE=")));
    values
        .flat_map(|value| value.trim_matches(['"', '\'']).split(' '))
        .any(|id| matches!(id, "debian" | "ubuntu"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_debian_and_its_family() {
        assert!(is_debian_like("NAME=x\nID=debian\n"));
        assert!(is_debian_like("ID=ubuntu\nID_LIKE=debian\n"));
        assert!(is_debian_like("ID=pop\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian_like("ID=fedora\nVERSION_ID=42\n"));
        assert!(!is_debian_like(
            "ID=\"rhel\"\nID_LIKE=\"fedora\"\nREDHAT_DEBIAN=debian\n"
        ));
    }
}
