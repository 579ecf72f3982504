//! Small repositories and trees of files to work on, made afresh in a temporary directory for each test. They are made, not
//! checked in, because a repository inside a repository is trouble and a gigabyte of bench data is more.

use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::model::{Message, Script};

/// Where a session sees its workspace.
pub const WORKSPACE: &str = "/workspace";

/// A fixture could not be made. The machine is at fault, not the code under test: no `git`, no space.
#[derive(Debug)]
pub struct FixtureError {
    operation: &'static str,
    context: String,
    source: Option<io::Error>,
}

impl FixtureError {
    fn new(operation: &'static str, context: impl Into<String>) -> Self {
        Self {
            operation,
            context: context.into(),
            source: None,
        }
    }

    fn io(operation: &'static str, context: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        let context = context.to_string();
        move |source| Self {
            operation,
            context,
            source: Some(source),
        }
    }
}

impl fmt::Display for FixtureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot make a fixture: {} failed ({})",
            self.operation, self.context
        )
    }
}

impl Error for FixtureError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// A git repository with one commit, in a temporary directory that goes with it.
#[derive(Debug)]
pub struct Repository {
    dir: TempDir,
}

impl Repository {
    /// Makes a repository of these files (path, content) with everything committed.
    ///
    /// # Errors
    /// When the host has no `git`, or no space.
    pub fn new(files: &[(&str, &str)]) -> Result<Self, FixtureError> {
        let repository = Self { dir: temp_dir()? };
        for (path, content) in files {
            write_file(&repository.path().join(path), content.as_bytes())?;
        }
        repository.git(&["init", "--quiet", "--initial-branch=main"])?;
        repository.git(&["add", "--all"])?;
        repository.git(&["commit", "--quiet", "--message=Start"])?;
        Ok(repository)
    }

    /// The root of its work tree.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs the host's `git` in it and returns what it prints. Configuration, hooks and pagers of the machine are off, dates
    /// and names are fixed: the same files make the same commit everywhere.
    ///
    /// # Errors
    /// When `git` is missing or fails; the context carries what it said.
    pub fn git(&self, arguments: &[&str]) -> Result<String, FixtureError> {
        let output = git_command(self.path())
            .args(arguments)
            .output()
            .map_err(FixtureError::io("starting git", "is git installed?"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(FixtureError::new(
                "git",
                format!("{arguments:?}: {}", said.trim()),
            ));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn git_command(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(dir);
    // Set while git runs a hook: without this, tests started from one would write into the developer's repository.
    for name in [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_CONFIG_COUNT",
    ] {
        command.env_remove(name);
    }
    command.envs([
        ("LC_ALL", "C"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_TEMPLATE_DIR", ""),
        ("GIT_PAGER", "cat"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_AUTHOR_NAME", "Fixture"),
        ("GIT_AUTHOR_EMAIL", "fixture@example.com"),
        ("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z"),
        ("GIT_COMMITTER_NAME", "Fixture"),
        ("GIT_COMMITTER_EMAIL", "fixture@example.com"),
        ("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z"),
    ]);
    command.args([
        "-c",
        "core.hooksPath=/dev/null",
        "-c",
        "core.fsmonitor=false",
        "-c",
        "commit.gpgSign=false",
    ]);
    command
}

const CALCULATOR: &str = include_str!("../fixtures/calculator/calc.py");
const CALCULATOR_TESTS: &str = include_str!("../fixtures/calculator/test_calc.py");
const CALCULATOR_README: &str = include_str!("../fixtures/calculator/README.md");

/// The line of the calculator that is wrong, and what it must be.
const BUG: &str = "value -= self._sum()";
const FIX: &str = "value -= self._product()";

/// What to ask of an agent that is to repair [`buggy_calculator`].
pub const FIX_CALCULATOR_PROMPT: &str =
    "A test of this calculator fails. Find the bug, fix it and run the tests.";

/// What the scripted model says when it has repaired it.
pub const FIX_CALCULATOR_SUMMARY: &str = "Subtraction took the whole rest of the expression away: 8 - 3 - 2 was 8 - (3 - 2). It now takes one product; all tests pass.";

/// A calculator in Python, standard library only, that subtracts from the right: one of its tests fails
/// (`python3 -m unittest`).
///
/// # Errors
/// When the host has no `git`, or no space.
pub fn buggy_calculator() -> Result<Repository, FixtureError> {
    Repository::new(&[
        (".gitignore", "__pycache__/\n"),
        ("README.md", CALCULATOR_README),
        ("calc.py", CALCULATOR),
        ("test_calc.py", CALCULATOR_TESTS),
    ])
}

/// The model's side of the repair of [`buggy_calculator`] in a session: looks around, reads, edits, runs the tests, sums up.
pub fn fix_calculator_script() -> Script {
    fix_calculator_script_at(WORKSPACE)
}

/// [`fix_calculator_script`] for a repository elsewhere, where an agent runs without a session.
pub fn fix_calculator_script_at(root: &str) -> Script {
    let calculator = format!("{root}/calc.py");
    Script::new()
        .reply(
            Message::new()
                .thinking("First see which test fails and what the code does.")
                .text("I look at the code and at the failing test.")
                .tool(
                    "Bash",
                    json!({ "command": "python3 -m unittest 2>&1", "description": "Run the tests" }),
                )
                .tool("Read", json!({ "file_path": calculator })),
        )
        .reply(
            Message::new()
                .text("A difference must take away one product, not the rest of the sum.")
                .tool(
                    "Edit",
                    json!({ "file_path": calculator, "old_string": BUG, "new_string": FIX }),
                ),
        )
        .tool(
            "Bash",
            json!({ "command": "python3 -m unittest 2>&1", "description": "Run the tests again" }),
        )
        .say(FIX_CALCULATOR_SUMMARY)
}

/// Files per directory of [`many_files`]: about what a source tree has, and no directory that is slow by itself.
const FILES_PER_DIRECTORY: usize = 100;

/// A tree of `count` files of `size` bytes each, for benches of copying. The content does not compress and is the same each time.
///
/// # Errors
/// When there is no space.
pub fn many_files(count: usize, size: usize) -> Result<TempDir, FixtureError> {
    let dir = temp_dir()?;
    let mut noise = Noise::new();
    let mut content = vec![0; size];
    for index in 0..count {
        noise.fill(&mut content);
        let directory = format!("d{:04}", index / FILES_PER_DIRECTORY);
        write_file(
            &dir.path().join(directory).join(format!("f{index:06}.bin")),
            &content,
        )?;
    }
    Ok(dir)
}

/// A directory with one file of `size` bytes (see [`big_file_path`]) that does not compress and is the same each time.
///
/// # Errors
/// When there is no space.
pub fn big_file(size: u64) -> Result<TempDir, FixtureError> {
    const CHUNK: usize = 1 << 20;
    let dir = temp_dir()?;
    let path = big_file_path(&dir);
    let mut file = BufWriter::new(File::create(&path).map_err(FixtureError::io("creating", path.display()))?);
    let mut noise = Noise::new();
    let mut chunk = vec![0; CHUNK];
    let mut left = size;
    while left > 0 {
        noise.fill(&mut chunk);
        let length = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        file.write_all(&chunk[..length])
            .map_err(FixtureError::io("writing", path.display()))?;
        left -= length as u64;
    }
    file.flush()
        .map_err(FixtureError::io("writing", path.display()))?;
    Ok(dir)
}

/// The file in a directory made by [`big_file`].
pub fn big_file_path(dir: &TempDir) -> PathBuf {
    dir.path().join("big.bin")
}

/// Where the recordings of the real agent are: `NAME.jsonl` is what it wrote, `NAME.in.jsonl` what it was told. What each
/// shows stands in the README beside them.
pub fn claude_recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/claude")
}

/// What the real agent wrote in one recorded scenario, one JSON object a line.
///
/// # Errors
/// When there is no recording of that name.
pub fn claude_recording(name: &str) -> Result<String, FixtureError> {
    let path = claude_recordings().join(format!("{name}.jsonl"));
    fs::read_to_string(&path).map_err(FixtureError::io("reading a recording", path.display()))
}

fn temp_dir() -> Result<TempDir, FixtureError> {
    tempfile::Builder::new()
        .prefix("cofferdam-fixture-")
        .tempdir()
        .map_err(FixtureError::io(
            "creating a temporary directory",
            "is there space?",
        ))
}

fn write_file(path: &Path, content: &[u8]) -> Result<(), FixtureError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(FixtureError::io("creating a directory", parent.display()))?;
    }
    fs::write(path, content).map_err(FixtureError::io("writing", path.display()))
}

/// xorshift64*: a gigabyte a second, no dependency, and no promise but that compressors fail on it.
struct Noise(u64);

impl Noise {
    fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }

    fn fill(&mut self, buffer: &mut [u8]) {
        for piece in buffer.chunks_mut(8) {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let word = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes();
            piece.copy_from_slice(&word[..piece.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calculator_has_exactly_one_bug_to_replace() {
        assert_eq!(CALCULATOR.matches(BUG).count(), 1);
        assert_eq!(CALCULATOR.matches(FIX).count(), 0);
    }

    #[test]
    fn a_repository_is_clean_and_the_same_everywhere() {
        let one = buggy_calculator().unwrap();
        let two = buggy_calculator().unwrap();
        assert_eq!(one.git(&["status", "--porcelain"]).unwrap(), "");
        assert_eq!(
            one.git(&["rev-parse", "HEAD"]).unwrap(),
            two.git(&["rev-parse", "HEAD"]).unwrap()
        );
    }

    #[test]
    fn what_git_says_is_kept_when_it_fails() {
        let error = buggy_calculator()
            .unwrap()
            .git(&["checkout", "no-such-branch"])
            .unwrap_err();
        assert!(error.to_string().contains("no-such-branch"), "{error}");
    }

    #[test]
    fn recordings_are_lines_of_json_without_a_trace_of_the_machine() {
        let mut count = 0;
        for entry in fs::read_dir(claude_recordings()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let Some(name) = name.strip_suffix(".jsonl").filter(|name| !name.ends_with(".in")) else {
                continue;
            };
            let recording = claude_recording(name).unwrap();
            for trace in ["cofferdam-fixture-", "/tmp/.tmp", "/root"] {
                assert!(!recording.contains(trace), "{name} has {trace}");
            }
            for line in recording.lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                assert!(line["type"].is_string(), "{name}: {line}");
            }
            count += 1;
        }
        assert!(count > 30, "only {count} recordings");
    }

    #[test]
    fn trees_have_the_size_that_was_asked_for() {
        let dir = many_files(FILES_PER_DIRECTORY + 1, 10).unwrap();
        let sizes = |sub: &str| -> Vec<u64> {
            let entries = fs::read_dir(dir.path().join(sub)).unwrap();
            entries
                .map(|entry| entry.unwrap().metadata().unwrap().len())
                .collect()
        };
        assert_eq!(sizes("d0000"), vec![10; FILES_PER_DIRECTORY]);
        assert_eq!(sizes("d0001"), vec![10]);
    }

    #[test]
    fn a_big_file_need_not_be_a_multiple_of_the_chunk() {
        let dir = big_file((1 << 20) + 5).unwrap();
        assert_eq!(big_file_path(&dir).metadata().unwrap().len(), (1 << 20) + 5);
    }
}
