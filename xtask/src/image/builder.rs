//! Builds one stage on top of another with the Docker client, unless the image is already what it should be.

use std::cell::{Cell, OnceCell};
use std::fs::{File, Permissions, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use crate::engine::Engine;
use xtask::error::{Context, Error, Result};
use xtask::reporter::{Reporter, Step};
use xtask::workspace;

use super::dockerfile::{self, Dockerfile};
use super::host::HostFiles;
use super::inputs::Inputs;

/// The label with the digest of an image's inputs.
pub(crate) const LABEL: &str = "dev.cofferdam.inputs";

/// An image that is there.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// A name that an engine and its builder resolve locally.
    pub(crate) name: String,
    /// The digest of its content.
    pub(crate) id: String,
}

/// One link of a chain of images.
#[derive(Debug)]
pub(crate) struct Stage {
    name: &'static str,
    tag: &'static str,
    instructions: String,
    files: Vec<ContextFile>,
    fetches: bool,
    /// The instructions are a Dockerfile with stages of its own, which takes its parent as `BASE`.
    whole: bool,
}

#[derive(Debug)]
struct ContextFile {
    name: String,
    content: Vec<u8>,
    mode: u32,
}

impl Stage {
    /// The stage of that name; its image will be called `tag`.
    pub(crate) fn new(dockerfile: &Dockerfile, name: &'static str, tag: &'static str) -> Result<Self> {
        Ok(Self {
            name,
            tag,
            instructions: dockerfile.stage(name)?,
            files: Vec::new(),
            fetches: false,
            whole: false,
        })
    }

    /// A Dockerfile as it stands: its last stage takes only files from those before it. Its argument `BASE` names the parent.
    pub(crate) fn whole(dockerfile: &Dockerfile, name: &'static str, tag: &'static str) -> Self {
        Self {
            name,
            tag,
            instructions: dockerfile.text().to_owned(),
            files: Vec::new(),
            fetches: false,
            whole: true,
        }
    }

    /// Adds a file that the stage copies.
    pub(crate) fn file(mut self, path: &Path) -> Result<Self> {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        self.files.push(ContextFile {
            name,
            content: super::read(path)?,
            mode: 0o644,
        });
        Ok(self)
    }

    /// Adds a program that the stage copies.
    pub(crate) fn program(mut self, name: &str, content: Vec<u8>) -> Self {
        self.files.push(ContextFile {
            name: name.to_owned(),
            content,
            mode: 0o755,
        });
        self
    }

    /// Says that the stage fetches packages, and so needs what this machine knows about reaching them.
    ///
    /// None of that counts as an input: another mirror serves the same packages.
    pub(crate) fn fetches(mut self) -> Self {
        self.fetches = true;
        self
    }

    fn digest(&self, parent: &Image) -> String {
        let mut inputs = Inputs::default();
        inputs.add("parent", &parent.id);
        inputs.add("instructions", &self.instructions);
        for file in &self.files {
            inputs.add(&file.name, &file.content);
        }
        inputs.digest()
    }

    fn write_context(&self, dir: &Path, parent: &Image) -> std::io::Result<()> {
        let text = if self.whole {
            self.instructions.clone()
        } else {
            dockerfile::on_top_of(&parent.name, &self.instructions)
        };
        std::fs::write(dir.join("Dockerfile"), text)?;
        for file in &self.files {
            let path = dir.join(&file.name);
            std::fs::write(&path, &file.content)?;
            // Not left to the umask: the mode goes into the image.
            std::fs::set_permissions(&path, Permissions::from_mode(file.mode))?;
        }
        Ok(())
    }
}

/// Builds stages; there is one at a time per checkout.
#[derive(Debug)]
pub(crate) struct Builder<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) reporter: &'a Reporter,
    pub(crate) force: bool,
    host: OnceCell<HostFiles>,
    built: Cell<bool>,
    _lock: File,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(engine: &'a Engine, reporter: &'a Reporter, force: bool) -> Result<Self> {
        let _lock = lock(reporter)?;
        Ok(Self {
            engine,
            reporter,
            force,
            host: OnceCell::new(),
            built: Cell::new(false),
            _lock,
        })
    }

    /// The image of a stage on top of `parent`.
    pub(crate) fn stage(&self, stage: &Stage, parent: &Image) -> Result<Image> {
        let digest = stage.digest(parent);
        let step = self.reporter.step(format!("image {}", stage.tag));
        if let Some(image) = self.current(stage.tag, &digest)? {
            step.done("up to date");
            return Ok(image);
        }
        self.build(stage, parent, &digest, step)?;
        self.made(stage.tag)
    }

    /// The image of that name, if it was made from these inputs and need not be made again.
    pub(crate) fn current(&self, tag: &str, digest: &str) -> Result<Option<Image>> {
        let found = self
            .inspect(tag)?
            .filter(|(_, inputs)| inputs == digest && !self.force);
        Ok(found.map(|(image, _)| image))
    }

    /// The image that was just made under that name.
    pub(crate) fn made(&self, tag: &str) -> Result<Image> {
        self.built.set(true);
        let image = self.inspect(tag)?.map(|(image, _)| image);
        image.ok_or_else(|| Error::new(format!("the image {tag} was built and is gone again")))
    }

    /// The image of that name and the digest on its label, when it is there.
    pub(crate) fn inspect(&self, name: &str) -> Result<Option<(Image, String)>> {
        let format = format!(
            "{{{{.Id}}}} {{{{with .Config}}}}{{{{with .Labels}}}}{{{{index . \"{LABEL}\"}}}}{{{{end}}}}{{{{end}}}}"
        );
        let inspected = self
            .engine
            .docker()
            .args(["image", "inspect", "--format", &format, name])
            .output();
        let output = match inspected {
            Ok(output) => output.stdout,
            Err(error) if says_absent(&error.report()) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (id, digest) = output
            .trim_end()
            .split_once(' ')
            .unwrap_or((output.trim_end(), ""));
        Ok(Some((
            Image {
                name: name.to_owned(),
                id: id.to_owned(),
            },
            digest.to_owned(),
        )))
    }

    fn build(&self, stage: &Stage, parent: &Image, digest: &str, mut step: Step) -> Result<()> {
        let context = context_dir()?;
        let dir = context.path();
        stage
            .write_context(dir, parent)
            .context(|| format!("cannot write the build context {}", dir.display()))?;
        let mut docker = self.engine.docker().arg("build").args(["--tag", stage.tag]);
        docker = docker.args(["--label", &format!("{LABEL}={digest}")]);
        if self.force {
            docker = docker.arg("--no-cache");
        }
        if stage.whole {
            docker = docker.args(["--build-arg", &format!("BASE={}", parent.name)]);
        }
        if stage.fetches {
            let host = self.host.get_or_init(|| HostFiles::gather(self.reporter));
            host.write(&dir.join("host"))
                .context(|| format!("cannot write into {}", dir.display()))?;
            docker = docker.args(host.build_flags());
        }
        let built = docker.arg(dir).run(|line| step.update(line));
        built.map_err(|error| {
            error.hint(format!(
                "the stage `{}` is in images/; the build needs to reach the package sources that this machine uses; \
                 run the same command again to go on from the last finished stage",
                stage.name
            ))
        })?;
        step.done("built");
        Ok(())
    }

    /// Removes what the new images replaced: our own untagged images that nothing uses.
    pub(crate) fn finish(self) {
        if !self.built.get() {
            return;
        }
        let filter = format!("label={LABEL}");
        let pruned = self
            .engine
            .docker()
            .args(["image", "prune", "--force", "--filter", &filter])
            .output();
        if let Err(error) = pruned {
            self.reporter
                .notice(&format!("replaced images are still there: {error}"));
        }
    }
}

fn says_absent(report: &str) -> bool {
    let report = report.to_lowercase();
    report.contains("no such image") || report.contains("image not known")
}

fn context_dir() -> Result<TempDir> {
    let parent = workspace::state("image")?;
    let made = tempfile::Builder::new().prefix("context-").tempdir_in(&parent);
    made.context(|| format!("cannot create a directory in {}", parent.display()))
}

fn lock(reporter: &Reporter) -> Result<File> {
    let path = workspace::state("image")?.join("lock");
    let cannot = || format!("cannot lock {}", path.display());
    let file = File::create(&path).context(cannot)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            reporter.notice("waiting for another task that builds images");
            file.lock().context(cannot)?;
        }
        Err(TryLockError::Error(error)) => return Err(Error::new(cannot()).source(error)),
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(instructions: &str, files: &[(&str, &str)]) -> Stage {
        let files = files.iter().map(|(name, content)| ContextFile {
            name: (*name).to_owned(),
            content: content.as_bytes().to_vec(),
            mode: 0o755,
        });
        Stage {
            name: "s",
            tag: "t:1",
            instructions: instructions.to_owned(),
            files: files.collect(),
            fetches: false,
            whole: false,
        }
    }

    fn image(id: &str) -> Image {
        Image {
            name: "parent:1".to_owned(),
            id: id.to_owned(),
        }
    }

    #[test]
    fn a_stage_changes_with_its_parent_its_instructions_and_its_files() {
        let one = stage("RUN a\n", &[("f", "1")]).digest(&image("sha256:1"));
        assert_eq!(one, stage("RUN a\n", &[("f", "1")]).digest(&image("sha256:1")));
        assert_ne!(one, stage("RUN a\n", &[("f", "1")]).digest(&image("sha256:2")));
        assert_ne!(one, stage("RUN b\n", &[("f", "1")]).digest(&image("sha256:1")));
        assert_ne!(one, stage("RUN a\n", &[("f", "2")]).digest(&image("sha256:1")));
        assert_eq!(
            one,
            stage("RUN a\n", &[("f", "1")])
                .fetches()
                .digest(&image("sha256:1"))
        );
    }

    #[test]
    fn a_context_is_the_dockerfile_and_the_files_with_their_modes() {
        let dir = tempfile::tempdir().expect("a directory");
        stage("COPY f /f\n", &[("f", "1")])
            .write_context(dir.path(), &image("i"))
            .expect("written");

        let text = std::fs::read_to_string(dir.path().join("Dockerfile")).expect("the Dockerfile");
        assert_eq!(text, "FROM parent:1\nCOPY f /f\n");
        let mode = std::fs::metadata(dir.path().join("f"))
            .expect("the file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o755);
    }

    #[test]
    fn a_dockerfile_with_stages_of_its_own_stays_as_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let text = "ARG BASE=x\nFROM ${BASE} AS a\nFROM scratch\nCOPY --from=a /b /\n";
        let whole = Stage {
            whole: true,
            ..stage(text, &[])
        };
        whole.write_context(dir.path(), &image("i")).expect("written");
        let written = std::fs::read_to_string(dir.path().join("Dockerfile")).expect("the Dockerfile");
        assert_eq!(written, text);
    }

    #[test]
    fn an_absent_image_is_told_apart_from_a_broken_engine() {
        assert!(says_absent(
            "| Error response from daemon: No such image: x:latest"
        ));
        assert!(says_absent("| Error: x: image not known"));
        assert!(!says_absent("| Cannot connect to the Docker daemon"));
    }
}
