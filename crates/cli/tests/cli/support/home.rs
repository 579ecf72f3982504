//! A person with a home, for what is written there.

use std::fs;
use std::path::{Path, PathBuf};

use super::fake::Fake;
use super::{Outcome, User};

/// Must be found nowhere.
pub(crate) const SECRET: &str = "ghp_canaryCANARYcanaryCANARYcanary012345";

/// A person with a home, a program on the path and a secret in the environment.
pub(crate) struct Home {
    pub(crate) user: User,
    pub(crate) dir: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut user = User::new(Fake::new());
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).unwrap();
        program(&bin.join("mcp-server-git"));
        for (name, value) in [
            ("HOME", dir.path().to_str().unwrap()),
            ("PATH", bin.to_str().unwrap()),
            ("GIT_TOKEN", SECRET),
        ] {
            user.environment.insert(name.to_owned(), value.to_owned());
        }
        user.current_dir = dir.path().to_owned();
        Self { user, dir }
    }

    pub(crate) fn servers(&self) -> PathBuf {
        self.dir.path().join(".config/cofferdam/servers.toml")
    }

    pub(crate) fn written(&self) -> String {
        fs::read_to_string(self.servers()).unwrap_or_default()
    }

    pub(crate) async fn succeeds(&self, args: &[&str]) -> Outcome {
        let outcome = self.user.runs_args(args).await;
        assert_eq!(outcome.code, 0, "{args:?}: {}", outcome.shown());
        outcome
    }
}

pub(crate) fn program(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, "#!/bin/sh\n").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

macro_rules! at_home {
    ($name:literal, $home:expr, $outcome:expr) => {{
        let mut settings = insta::Settings::clone_current();
        settings.add_filter(&crate::support::regex_of($home.dir.path()), "[HOME]");
        settings.add_filter(&crate::support::regex_of(&$home.user.program), "[PROGRAM]");
        settings.add_filter("[0-9a-f]{64}", "[DIGEST]");
        settings.add_filter("ed25519-[0-9a-f]{32}", "[KEY]");
        settings.add_filter(r"\b[0-9a-f]{12}\b", "[SHORT]");
        settings.add_filter(r"backup-\d+T\d+\.\d+Z", "backup-[TIME]");
        settings.bind(|| crate::support::snapshot!($name, $home.user, $outcome));
    }};
}
pub(crate) use at_home;

/// Three servers: a program with a secret, an address with one that is not set, a container.
pub(crate) async fn declare_some(home: &Home) {
    home.succeeds(&[
        "mcp",
        "add",
        "git",
        "--secret-env",
        "TOKEN=GIT_TOKEN",
        "--description",
        "Reads repositories",
        "--",
        "mcp-server-git",
        "--repository",
        "/srv/repo",
    ])
    .await;
    home.succeeds(&[
        "mcp",
        "add",
        "docs",
        "--url",
        "https://docs.example.com/mcp",
        "--secret-header",
        "Authorization=Bearer env:DOCS_TOKEN",
        "--no-profile",
    ])
    .await;
    home.succeeds(&[
        "mcp",
        "add",
        "box",
        "--image",
        "example/mcp:1",
        "--allow",
        "api.example.com",
        "--profile",
        "work",
        "--",
        "serve",
    ])
    .await;
}
