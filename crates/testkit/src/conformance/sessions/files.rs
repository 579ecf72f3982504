//! Files go in and come out, and workspaces are compared.

use std::sync::Arc;

use libtest_mimic::Failed;
use session_core::error::ErrorKind;
use session_core::session::{CreateSession, WorkspaceSource};
use tar::EntryType;

use super::Act;
use super::stage::Stage;
use crate::conformance::archives::{Found, Tar, read};
use crate::conformance::{Case, Outcome, cases, refused};

pub(super) fn cases() -> Vec<Case<Stage>> {
    cases!["files":
        what_goes_in_comes_out_the_same,
        one_file_comes_out_alone,
        a_large_file_survives_the_way,
        a_copied_workspace_is_there_and_the_original_untouched,
        a_mounted_workspace_is_the_directory_itself,
        the_diff_shows_what_changed_or_is_refused,
    ]
}

fn found(name: &str, kind: char, mode: u32, content: &[u8]) -> Found {
    Found {
        name: name.to_owned(),
        kind,
        mode,
        content: content.to_vec(),
    }
}

async fn what_goes_in_comes_out_the_same(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let archive = Tar::new()
        .directory("tree")
        .file("tree/empty", b"")
        .file("tree/täxt with spaces\n", b"content \xff\x00")
        .executable("tree/run.sh", b"#!/bin/sh\n")
        .directory("tree/sub")
        .file("tree/sub/deep", b"deep")
        .link("tree/link", "sub/deep", EntryType::Symlink)
        .link("tree/dangling", "/nonexistent", EntryType::Symlink);
    let report = stage.api.copy_in(&id, "in", archive.stream()).await?;
    ensure_eq!(report.entries, 8, "the entries that went in");
    ensure_eq!(report.bytes, 24, "the bytes that went in");
    let mut out = read(stage.api.copy_out(&id, "/workspace/in/tree").await?).await?;
    for entry in &mut out {
        // The mode of a link means nothing.
        if entry.kind == 'l' {
            entry.mode = 0o777;
        }
    }
    let expected = vec![
        found("dangling", 'l', 0o777, b"/nonexistent"),
        found("empty", 'f', 0o644, b""),
        found("link", 'l', 0o777, b"sub/deep"),
        found("run.sh", 'f', 0o755, b"#!/bin/sh\n"),
        found("sub", 'd', 0o755, b""),
        found("sub/deep", 'f', 0o644, b"deep"),
        found("täxt with spaces\n", 'f', 0o644, b"content \xff\x00"),
    ];
    ensure_eq!(out, expected, "what came out");
    Ok(())
}

async fn one_file_comes_out_alone(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    stage
        .api
        .copy_in(&id, ".", Tar::new().file("one", b"1").file("two", b"22").stream())
        .await?;
    let out = read(stage.api.copy_out(&id, "two").await?).await?;
    ensure_eq!(out, vec![found("two", 'f', 0o644, b"22")], "what came out");
    refused(
        stage.api.copy_out(&id, "three").await.map(drop),
        ErrorKind::PathNotFound,
    )?;
    Ok(())
}

async fn a_large_file_survives_the_way(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    stage
        .api
        .copy_in(&id, ".", Tar::new().file("large", &content).stream())
        .await?;
    let out = read(stage.api.copy_out(&id, "large").await?).await?;
    ensure!(
        out.len() == 1 && out[0].content == content,
        "12 MB came back as something else"
    );
    Ok(())
}

fn fill(path: &std::path::Path) -> Result<(), Failed> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path.join("kept.txt"), "original\n")?;
    std::fs::set_permissions(path.join("kept.txt"), std::fs::Permissions::from_mode(0o666))?;
    std::fs::write(path.join(".gitignore"), "ignored/\n")?;
    std::fs::create_dir(path.join("ignored"))?;
    std::fs::write(path.join("ignored/large"), "x")?;
    Ok(())
}

async fn a_copied_workspace_is_there_and_the_original_untouched(stage: Arc<Stage>) -> Outcome {
    let path = stage.site.workspace()?;
    fill(&path)?;
    let workspace = WorkspaceSource::Copy { path: path.clone() };
    let id = stage
        .create(CreateSession {
            workspace,
            ..stage.site.request()
        })
        .await?
        .id;
    ensure_eq!(
        stage.run(&id, &["cat", "kept.txt"]).await?.stdout,
        b"original\n",
        "the copied file"
    );
    ensure_eq!(
        stage.run(&id, &["cat", "ignored/large"]).await?.exit.code,
        Some(1),
        "reading what git ignores"
    );
    stage.run(&id, &["sh", "-c", "echo changed > kept.txt"]).await?;
    ensure_eq!(
        stage.run(&id, &["cat", "kept.txt"]).await?.stdout,
        b"changed\n",
        "the changed copy"
    );
    ensure_eq!(
        std::fs::read_to_string(path.join("kept.txt"))?,
        "original\n",
        "the original"
    );
    Ok(())
}

async fn a_mounted_workspace_is_the_directory_itself(stage: Arc<Stage>) -> Outcome {
    let path = stage.site.workspace()?;
    fill(&path)?;
    let workspace = WorkspaceSource::Mount { path: path.clone() };
    let created = stage
        .api
        .create(CreateSession {
            workspace,
            ..stage.site.request()
        })
        .await;
    if !stage.site.capability().host_mounts {
        refused(created, ErrorKind::Unsupported)?;
        return Ok(());
    }
    let id = created?.id;
    ensure_eq!(
        stage.run(&id, &["cat", "ignored/large"]).await?.stdout,
        b"x",
        "a file of the host"
    );
    stage.run(&id, &["sh", "-c", "echo changed > kept.txt"]).await?;
    ensure_eq!(
        std::fs::read_to_string(path.join("kept.txt"))?,
        "changed\n",
        "the host's file"
    );
    stage.api.destroy(&id).await?;
    ensure!(
        path.join("kept.txt").exists(),
        "the workspace went with the session"
    );
    Ok(())
}

async fn the_diff_shows_what_changed_or_is_refused(stage: Arc<Stage>) -> Outcome {
    let path = stage.site.workspace()?;
    fill(&path)?;
    let workspace = WorkspaceSource::Copy { path };
    let id = stage
        .create(CreateSession {
            workspace,
            ..stage.site.request()
        })
        .await?
        .id;
    if !stage.site.has_git() {
        refused(stage.api.diff(&id).await, ErrorKind::Unsupported)?;
        return Ok(());
    }
    let act = Act::Write {
        path: "new.txt".to_owned(),
        content: "new\n".to_owned(),
        say: "Done.".to_owned(),
    };
    stage.prompt(&id, act).await?;
    stage.run(&id, &["sh", "-c", "echo changed > kept.txt"]).await?;
    let diff = stage.api.diff(&id).await?;
    let mut files: Vec<_> = diff
        .files
        .iter()
        .map(|file| (file.status, file.path.as_str()))
        .collect();
    files.sort_unstable();
    ensure_eq!(
        files,
        vec![('A', "new.txt"), ('M', "kept.txt")],
        "the changed files"
    );
    ensure!(
        diff.patch.contains("+changed") && diff.patch.contains("-original"),
        "the patch: {}",
        diff.patch
    );
    ensure!(!diff.truncated, "it was cut");
    Ok(())
}
