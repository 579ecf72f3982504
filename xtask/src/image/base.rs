//! The image at the bottom: made with `debootstrap`, without any image registry, or one that the user names.

use std::path::Path;

use crate::apt;
use xtask::error::{Context, Error, Result};
use xtask::process::{Tool, available};
use xtask::reporter::{Reporter, Step};
use xtask::workspace;

use super::builder::{Builder, Image, LABEL};
use super::host::mirror::{self, Mirror};
use super::inputs::Inputs;

const SUITE: &str = "bookworm";
const NAME: &str = "cofferdam-base:bookworm";
/// Counts up whenever the recipe below makes another image.
const RECIPE: &str = "1";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Made again, or of no use, in a container.
const EMPTIED: [&str; 8] = [
    "usr/share/doc",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
];

/// The base image: the named one, pulled when it is not there, or our own.
pub(crate) fn ensure(builder: &Builder<'_>, named: Option<&str>) -> Result<Image> {
    match named {
        Some(name) => named_image(builder, name),
        None => own_image(builder),
    }
}

fn named_image(builder: &Builder<'_>, name: &str) -> Result<Image> {
    let mut step = builder.reporter.step(format!("base {name}"));
    if let Some((image, _)) = builder.inspect(name)? {
        step.done("is there");
        return Ok(image);
    }
    let pulled = builder
        .engine
        .docker()
        .args(["pull", name])
        .run(|line| step.update(line));
    pulled.map_err(|error| error.hint("check the name; without an image registry, leave out --base"))?;
    step.done("pulled");
    builder.made(name)
}

fn own_image(builder: &Builder<'_>) -> Result<Image> {
    let mut inputs = Inputs::default();
    inputs.add("recipe", RECIPE);
    inputs.add("suite", SUITE);
    inputs.add("architecture", std::env::consts::ARCH);
    let digest = inputs.digest();
    if let Some(image) = builder.current(NAME, &digest)? {
        builder.reporter.step(format!("base {NAME}")).done("up to date");
        return Ok(image);
    }
    prepare(builder.reporter)?;
    make(builder, &digest)?;
    builder.made(NAME)
}

/// Makes sure that this user on this machine can run `debootstrap`.
fn prepare(reporter: &Reporter) -> Result<()> {
    let refused = |why: &str| {
        Error::new(format!("cannot make the base image: {why}"))
            .hint("name a Debian or Ubuntu image instead, for example `cargo xtask image --base debian:bookworm-slim`")
    };
    if !rustix::process::geteuid().is_root() {
        return Err(refused("debootstrap needs root"));
    }
    let missing = missing_packages(available, Path::new(KEYRING).exists());
    if missing.is_empty() {
        return Ok(());
    }
    if !apt::debian_like() {
        return Err(refused("debootstrap is not installed"));
    }
    reporter.notice(&format!(
        "The base image is made with debootstrap. This will now install: {}.",
        missing.join(", ")
    ));
    apt::install(&missing, reporter)
}

fn missing_packages(available: impl Fn(&str) -> bool, keyring: bool) -> Vec<&'static str> {
    let debootstrap = (!available("debootstrap")).then_some("debootstrap");
    let keyring = (!keyring).then_some("debian-archive-keyring");
    debootstrap.into_iter().chain(keyring).collect()
}

fn make(builder: &Builder<'_>, digest: &str) -> Result<()> {
    let root = workspace::state("image")?.join("rootfs");
    // A run that was killed may have left one behind.
    remove(&root)?;
    let mut step = builder.reporter.step(format!("base {NAME}, with debootstrap"));
    let host = mirror::of_this_machine();
    debootstrap(&root, host.as_ref(), &mut step)?;
    slim(&root).context(|| format!("cannot tidy {}", root.display()))?;
    write_sources(&root, host)?;
    import(builder, &root, digest, &mut step)?;
    remove(&root)?;
    step.done("made");
    Ok(())
}

/// Runs in a mount namespace of its own: what debootstrap mounts is gone with it, however it ends, and removing the
/// directory can never reach into a mounted `/proc` or `/sys`.
fn debootstrap(root: &Path, host: Option<&Mirror>, step: &mut Step) -> Result<()> {
    let tool = Tool::new("unshare").args([
        "--mount",
        "--propagation",
        "private",
        "debootstrap",
        "--variant=minbase",
    ]);
    let tool = tool
        .arg(format!("--arch={}", debian_architecture()?))
        .arg(format!("--keyring={KEYRING}"));
    let tool = tool.arg(SUITE).arg(root).args(host.map(|mirror| &mirror.main));
    let made = tool.run(|line| step.update(line));
    made.map(drop).map_err(|error| {
        error.hint(
            "check that this machine reaches its Debian mirror and may mount (inside a container that needs a \
             privileged one), or name an image with --base",
        )
    })
}

fn debian_architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => Err(Error::new(format!("there is no session image for {other}"))),
    }
}

fn slim(root: &Path) -> std::io::Result<()> {
    for dir in EMPTIED {
        let Ok(entries) = std::fs::read_dir(root.join(dir)) else {
            continue;
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

/// debootstrap writes the suite alone; an image wants its security updates, too.
fn write_sources(root: &Path, host: Option<Mirror>) -> Result<()> {
    let path = root.join("etc/apt/sources.list");
    let written = std::fs::read_to_string(&path).context(|| format!("cannot read {}", path.display()))?;
    let Some(mirror) = host.or_else(|| mirror::parse([written.as_str()], SUITE)) else {
        return Ok(());
    };
    std::fs::write(&path, mirror.sources(SUITE)).context(|| format!("cannot write {}", path.display()))
}

fn import(builder: &Builder<'_>, root: &Path, digest: &str, step: &mut Step) -> Result<()> {
    step.update("docker import");
    let tar = Tool::new("tar")
        .args(["--create", "--numeric-owner", "--one-file-system", "--directory"])
        .arg(root);
    let excluded = ["./dev/*", "./proc/*", "./sys/*"].map(|path| format!("--exclude={path}"));
    let mut tar = tar.args(excluded).arg(".").spawn_piped()?;
    let archive = tar.stdout.take().ok_or_else(|| Error::new("tar has no output"))?;
    let label = format!("LABEL {LABEL}={digest}");
    let import = [
        "import",
        "--change",
        &label,
        "--change",
        "CMD [\"/bin/sh\"]",
        "-",
        NAME,
    ];
    let imported = builder
        .engine
        .docker()
        .args(import)
        .stdin(archive)
        .run(|line| step.update(line));
    // The engine's error says more than tar's broken pipe; but an archive that is not whole is no image.
    let tarred = tar.wait().context(|| "cannot wait for tar".to_owned())?;
    imported?;
    if !tarred.success() {
        return Err(Error::new(format!(
            "tar could not read all of {} ({tarred})",
            root.display()
        )));
    }
    Ok(())
}

fn remove(root: &Path) -> Result<()> {
    if mounted_below(root) {
        return Err(
            Error::new(format!("something is mounted below {}", root.display()))
                .hint("unmount it (`findmnt`), then run the same command again"),
        );
    }
    match std::fs::remove_dir_all(root) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(format!("cannot remove {}", root.display())).source(error))
        }
        _ => Ok(()),
    }
}

fn mounted_below(root: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .any(|mount| Path::new(mount).starts_with(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installs_only_what_debootstrap_lacks() {
        assert_eq!(
            missing_packages(|_| false, false),
            ["debootstrap", "debian-archive-keyring"]
        );
        assert_eq!(missing_packages(|_| true, false), ["debian-archive-keyring"]);
        assert!(missing_packages(|_| true, true).is_empty());
    }

    #[test]
    fn slimming_empties_directories_and_keeps_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let doc = dir.path().join("usr/share/doc");
        std::fs::create_dir_all(doc.join("a/b")).expect("directories");
        std::fs::write(doc.join("c"), "").expect("a file");
        std::os::unix::fs::symlink("/etc", doc.join("d")).expect("a link");

        slim(dir.path()).expect("slimmed");
        assert_eq!(std::fs::read_dir(&doc).expect("still there").count(), 0);
        assert!(Path::new("/etc/passwd").exists());
    }

    #[test]
    fn sees_what_is_mounted() {
        assert!(mounted_below(Path::new("/proc")));
        assert!(!mounted_below(Path::new("/no/such/place")));
    }
}
