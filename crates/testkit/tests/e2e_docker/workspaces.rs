//! Workspaces: the owner's own uid on a mount, refusals that say what to do, files that go in and out unchanged.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::json;
use session_core::api::SessionApi;
use session_core::error::ErrorKind;
use session_core::session::{CreateSession, WorkspaceSource};
use session_core::transfer::{PackOptions, UnpackOptions, pack, unpack};
use session_core::turn::TurnStatus;
use testkit::fixtures;
use testkit::model::Script;

use super::world::World;
use super::{Outcome, test};

/// Nobody's on a usual machine.
const OWNER: u32 = 23_456;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("a_mounted_workspace_is_its_owners", edits, mounted),
        test(
            "a_mount_that_cannot_be_written_offers_a_copy",
            Script::new,
            not_writable,
        ),
        test("places_that_are_never_mounted", Script::new, refused),
        test("a_copy_leaves_out_what_git_ignores", Script::new, ignored),
        test("files_go_in_and_out_unchanged", Script::new, round_trip),
    ]
}

fn edits() -> Script {
    Script::new()
        .tool(
            "Write",
            json!({ "file_path": "/workspace/made.txt", "content": "made\n" }),
        )
        .say("Made.")
}

fn mount(path: &Path) -> CreateSession {
    CreateSession {
        workspace: WorkspaceSource::Mount {
            path: path.to_owned(),
        },
        ..CreateSession::default()
    }
}

/// A directory where projects may be: not below a place that is protected.
fn project() -> Result<tempfile::TempDir, Box<dyn std::error::Error + Send + Sync>> {
    Ok(tempfile::Builder::new().prefix("cofferdam-e2e-").tempdir()?)
}

async fn mounted(world: Arc<World>) -> Outcome {
    let dir = project()?;
    std::fs::write(dir.path().join("there.txt"), "there\n")?;
    for path in [dir.path().to_owned(), dir.path().join("there.txt")] {
        chown(path, Some(OWNER), Some(OWNER))?;
    }
    let session = world.create(mount(dir.path())).await?;
    assert_eq!((session.user.uid, session.user.gid), (OWNER, OWNER));
    assert_eq!(world.read(&session.id, &["id", "-u"]).await?, OWNER.to_string());
    assert_eq!(world.read(&session.id, &["cat", "there.txt"]).await?, "there");
    let outcome = world.prompt(&session.id, "Make a file.").await?;
    assert_eq!(outcome.status, TurnStatus::Succeeded, "{outcome:?}");
    let made = std::fs::metadata(dir.path().join("made.txt"))?;
    assert_eq!(
        (made.uid(), made.gid()),
        (OWNER, OWNER),
        "what the agent makes is the owner's"
    );
    world.manager.destroy(&session.id).await?;
    assert!(
        dir.path().join("made.txt").exists(),
        "the workspace is the host's and stays"
    );
    Ok(())
}

async fn not_writable(world: Arc<World>) -> Outcome {
    let dir = project()?;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
    let error = world
        .manager
        .create(mount(dir.path()))
        .await
        .err()
        .ok_or("root's directory was mounted")?;
    assert_eq!(error.kind(), ErrorKind::WorkspaceNotWritable, "{error:?}");
    assert!(
        error.hint().is_some_and(|hint| hint.contains("copy")),
        "{error:?}"
    );
    assert!(world.manager.list(Default::default()).await?.is_empty());
    Ok(())
}

async fn refused(world: Arc<World>) -> Outcome {
    let dir = project()?;
    let disguised = dir.path().join("innocent");
    std::os::unix::fs::symlink("/etc", &disguised)?;
    for path in [
        Path::new("/"),
        Path::new("/etc"),
        Path::new("/var/run"),
        world.state(),
        &disguised,
    ] {
        let error = world
            .manager
            .create(mount(path))
            .await
            .err()
            .ok_or(format!("{} was mounted", path.display()))?;
        assert_eq!(
            error.kind(),
            ErrorKind::WorkspaceRefused,
            "{}: {error:?}",
            path.display()
        );
    }
    let missing = world
        .manager
        .create(mount(&dir.path().join("missing")))
        .await
        .err()
        .map(|error| error.kind());
    assert_eq!(missing, Some(ErrorKind::WorkspaceMissing));
    Ok(())
}

async fn ignored(world: Arc<World>) -> Outcome {
    let dir = project()?;
    for (path, text) in [
        (".gitignore", "target/\n*.log\n"),
        ("src.rs", "x"),
        ("a.log", "x"),
        (".env", "x"),
    ] {
        std::fs::write(dir.path().join(path), text)?;
    }
    std::fs::create_dir(dir.path().join("target"))?;
    std::fs::write(dir.path().join("target/big"), "x")?;
    let session = world.session_on_copy(dir.path()).await?;
    let listed = world
        .read(
            &session,
            &["find", ".", "-type", "f", "-not", "-path", "./.git/*"],
        )
        .await?;
    let mut listed: Vec<_> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(listed, ["./.env", "./.gitignore", "./src.rs"]);
    Ok(())
}

async fn round_trip(world: Arc<World>) -> Outcome {
    let source = fixtures::many_files(50, 1000)?;
    std::fs::write(source.path().join("empty"), "")?;
    std::fs::write(source.path().join("odd \u{fc} name\n"), "odd")?;
    std::fs::write(source.path().join("tool"), "#!/bin/sh\n")?;
    std::fs::set_permissions(source.path().join("tool"), std::fs::Permissions::from_mode(0o755))?;
    std::os::unix::fs::symlink("tool", source.path().join("link"))?;
    let session = world.session().await?;
    let options = PackOptions {
        as_contents: true,
        ..PackOptions::default()
    };
    world
        .manager
        .copy_in(&session, "tree", pack(source.path(), options))
        .await?;

    let dest = project()?;
    let archive = world.manager.copy_out(&session, "tree").await?;
    unpack(archive, &dest.path().join("back"), UnpackOptions::default()).await?;
    let back = find_dir(dest.path())?;
    assert_eq!(tree(source.path())?, tree(&back)?);
    Ok(())
}

/// Where the copied tree is: at the destination itself, or below its own name.
fn find_dir(dest: &Path) -> Result<std::path::PathBuf, Box<dyn std::error::Error + Send + Sync>> {
    let back = dest.join("back");
    Ok(if back.join("tree").is_dir() {
        back.join("tree")
    } else {
        back
    })
}

/// Each path below with what it is, its mode, its time and its content.
fn tree(root: &Path) -> Result<Vec<String>, Box<dyn std::error::Error + Send + Sync>> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let meta = std::fs::symlink_metadata(&path)?;
            let name = path.strip_prefix(root)?.display().to_string();
            if meta.is_symlink() {
                found.push(format!("{name:?} -> {:?}", std::fs::read_link(&path)?));
            } else if meta.is_dir() {
                waiting.push(path);
            } else {
                let content = std::fs::read(&path)?;
                found.push(format!("{name:?} {:o} {} {content:?}", meta.mode(), meta.mtime()));
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}
