//! Bad input: each a typed error with a code and a hint, the session in a truthful state, nothing left behind.

use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use libtest_mimic::Failed;
use session_core::command::CommandRequest;
use session_core::error::{Error, ErrorKind};
use session_core::id::{CommandId, SessionId, TurnId};
use session_core::session::{CreateSession, SessionFilter, WorkspaceSource};
use session_core::state::StateName;
use tar::EntryType;

use super::stage::{Stage, prompt};
use crate::conformance::archives::{Tar, read, stream};
use crate::conformance::{Case, Outcome, cases, refused, refused_with_hint};

pub(super) fn cases() -> Vec<Case<Stage>> {
    cases!["bad_input":
        a_missing_workspace,
        a_refused_workspace,
        an_image_that_does_not_exist,
        an_unknown_id,
        argument_vectors_that_no_system_takes,
        prompts_that_are_empty_or_too_long,
        paths_that_lead_out,
        archives_that_lead_out,
        archives_with_devices,
        archives_that_are_cut_or_lie,
        an_archive_that_breaks_off,
    ]
}

impl Stage {
    /// Runs a command, keeping the error apart from a failure of the test.
    pub(super) async fn run_raw(&self, session: &SessionId, argv: &[&str]) -> Result<(), Error> {
        self.api
            .command(session, CommandRequest::new(argv.iter().copied()))
            .await
            .map(drop)
    }

    /// No session was recorded, or it says that it failed.
    async fn nothing_was_made(&self) -> Outcome {
        for info in self
            .api
            .list(SessionFilter {
                all: true,
                ..SessionFilter::default()
            })
            .await?
        {
            ensure_eq!(info.state.name(), StateName::Failed, "the state");
            self.expect_gone(&info.id).await?;
        }
        Ok(())
    }
}

/// Asks for a workspace in both ways that name a directory of the host.
async fn ask(stage: &Stage, path: PathBuf, kind: ErrorKind) -> Outcome {
    for workspace in [
        WorkspaceSource::Copy { path: path.clone() },
        WorkspaceSource::Mount { path: path.clone() },
    ] {
        let mount = matches!(workspace, WorkspaceSource::Mount { .. });
        let created = stage
            .api
            .create(CreateSession {
                workspace,
                ..stage.site.request()
            })
            .await;
        let unsupported = mount && !stage.site.capability().host_mounts;
        let kind = if unsupported { ErrorKind::Unsupported } else { kind };
        refused_with_hint(created, kind)
            .map_err(|failed| format!("{}: {}", path.display(), failed.message().unwrap_or_default()))?;
    }
    Ok(())
}

async fn a_missing_workspace(stage: Arc<Stage>) -> Outcome {
    ask(
        &stage,
        "/nonexistent/workspace".into(),
        ErrorKind::WorkspaceMissing,
    )
    .await?;
    ask(&stage, "relative/path".into(), ErrorKind::InvalidArgument).await?;
    stage.nothing_was_made().await
}

async fn a_refused_workspace(stage: Arc<Stage>) -> Outcome {
    for path in [
        "/",
        "/etc",
        "/proc",
        "/sys",
        "/dev",
        "/root",
        "/var/run",
        "/usr/../etc",
    ] {
        ask(&stage, path.into(), ErrorKind::WorkspaceRefused).await?;
    }
    ask(&stage, stage.site.state_dir(), ErrorKind::WorkspaceRefused).await?;
    let link = stage.site.workspace()?.join("link");
    std::os::unix::fs::symlink("/etc", &link)?;
    ask(&stage, link, ErrorKind::WorkspaceRefused).await?;
    stage.nothing_was_made().await
}

async fn an_image_that_does_not_exist(stage: Arc<Stage>) -> Outcome {
    let request = CreateSession {
        image: Some(stage.site.missing_image()),
        idempotency_key: Some("once-and-again".to_owned()),
        ..stage.site.request()
    };
    refused_with_hint(stage.api.create(request.clone()).await, ErrorKind::ImageNotFound)?;
    // Whoever repeats it is told the same, and nothing is tried again.
    refused_with_hint(stage.api.create(request).await, ErrorKind::ImageNotFound)?;
    let all = stage
        .api
        .list(SessionFilter {
            all: true,
            ..SessionFilter::default()
        })
        .await?;
    ensure_eq!(all.len(), 1, "the recorded sessions");
    let id = all[0].id;
    refused_with_hint(stage.run_raw(&id, &["true"]).await, ErrorKind::StateConflict)?;
    stage.nothing_was_made().await?;
    stage.api.destroy(&id).await?;
    ensure_eq!(
        stage.state(&id).await?,
        StateName::Destroyed,
        "the state once it is destroyed"
    );
    Ok(())
}

async fn an_unknown_id(stage: Arc<Stage>) -> Outcome {
    let (nobody, kind) = (SessionId::new(), ErrorKind::NotFound);
    refused_with_hint(stage.api.inspect(&nobody).await, kind)?;
    refused_with_hint(stage.api.prompt(&nobody, prompt("x")).await, kind)?;
    refused_with_hint(stage.api.turns(&nobody).await, kind)?;
    refused(stage.api.turn(&nobody, &TurnId::new()).await, kind)?;
    refused_with_hint(stage.api.interrupt(&nobody).await, kind)?;
    refused_with_hint(stage.api.events(&nobody, 0).await.map(drop), kind)?;
    refused_with_hint(stage.run_raw(&nobody, &["true"]).await, kind)?;
    refused_with_hint(
        stage.api.attach_command(&nobody, &CommandId::new(), 0).await,
        kind,
    )?;
    refused_with_hint(stage.api.copy_in(&nobody, ".", Tar::new().stream()).await, kind)?;
    refused_with_hint(stage.api.copy_out(&nobody, ".").await.map(drop), kind)?;
    refused_with_hint(stage.api.diff(&nobody).await, kind)?;
    refused_with_hint(stage.api.pause(&nobody).await, kind)?;
    refused_with_hint(stage.api.resume(&nobody).await, kind)?;
    refused_with_hint(stage.api.destroy(&nobody).await, kind)?;
    let id = stage.session().await?.id;
    refused(stage.api.turn(&id, &TurnId::new()).await, kind)?;
    refused_with_hint(stage.api.attach_command(&id, &CommandId::new(), 0).await, kind)?;
    Ok(())
}

async fn argument_vectors_that_no_system_takes(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let vectors: [Vec<Vec<u8>>; 6] = [
        vec![],
        vec![vec![]],
        vec![b"echo".to_vec(), b"a\0b".to_vec()],
        vec![b"ec\0ho".to_vec()],
        vec![b"echo".to_vec(), vec![b'x'; 128 << 10]],
        vec![vec![b'x'; 100]; 200_000],
    ];
    for argv in vectors {
        refused_with_hint(
            stage.api.command(&id, CommandRequest::new(argv)).await,
            ErrorKind::InvalidArgument,
        )?;
    }
    let cwd = CommandRequest {
        cwd: Some("/proc/self/fd/7".to_owned()),
        ..CommandRequest::new(["pwd"])
    };
    refused_with_hint(stage.api.command(&id, cwd).await, ErrorKind::InvalidArgument)?;
    let env = CommandRequest {
        env: [("A=B".to_owned(), "x".to_owned())].into(),
        ..CommandRequest::new(["env"])
    };
    refused_with_hint(stage.api.command(&id, env).await, ErrorKind::InvalidArgument)?;
    ensure_eq!(
        stage.run(&id, &["true"]).await?.exit.code,
        Some(0),
        "a command afterwards"
    );
    ensure_eq!(stage.state(&id).await?, StateName::Ready, "the state");
    Ok(())
}

async fn prompts_that_are_empty_or_too_long(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    for text in [String::new(), " \n\t".to_owned(), "x".repeat((4 << 20) + 1)] {
        refused_with_hint(
            stage.api.prompt(&id, prompt(&text)).await,
            ErrorKind::InvalidArgument,
        )?;
    }
    ensure!(
        stage.api.turns(&id).await?.is_empty(),
        "a refused prompt left a turn"
    );
    Ok(())
}

async fn paths_that_lead_out(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    for path in [
        "..",
        "../x",
        "a/../../b",
        "/workspace/../etc",
        "/proc/1/environ",
        "/sys",
        "",
        "a\0b",
    ] {
        refused_with_hint(
            stage.api.copy_out(&id, path).await.map(drop),
            ErrorKind::InvalidArgument,
        )?;
        let archive = Tar::new().file("x", b"x").stream();
        refused_with_hint(
            stage.api.copy_in(&id, path, archive).await,
            ErrorKind::InvalidArgument,
        )?;
    }
    // Outside of the user's places nothing can be written, whatever the path looks like.
    let archive = Tar::new().file("x", b"x").stream();
    refused(
        stage.api.copy_in(&id, "/etc", archive).await,
        ErrorKind::InvalidArgument,
    )?;
    Ok(())
}

/// Sends an archive that must be refused as a whole or in its bad part; nothing of it may lie outside its destination.
async fn refuse_archive(stage: &Stage, id: &SessionId, archive: Tar) -> Outcome {
    let copied = stage.api.copy_in(id, "in", archive.stream()).await;
    refused_with_hint(copied, ErrorKind::ArchiveRefused)?;
    let out = read(stage.api.copy_out(id, ".").await?).await?;
    let outside: Vec<_> = out
        .iter()
        .filter(|found| found.name != "in" && !found.name.starts_with("in/"))
        .collect();
    ensure!(outside.is_empty(), "outside of the destination: {outside:?}");
    Ok(())
}

async fn archives_that_lead_out(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let archives = [
        Tar::new().file("../escaped", b"x"),
        Tar::new().file("a/../../escaped", b"x"),
        Tar::new().file("/workspace/escaped", b"x"),
        Tar::new()
            .link("out", "/workspace", EntryType::Symlink)
            .file("out/escaped", b"x"),
        Tar::new()
            .link("up", "..", EntryType::Symlink)
            .file("up/escaped", b"x"),
        Tar::new().link("hard", "../../etc/passwd", EntryType::Link),
        Tar::new().link("hard", "/etc/passwd", EntryType::Link),
    ];
    for archive in archives {
        refuse_archive(&stage, &id, archive).await?;
    }
    // A link itself is welcome, and so is a file that takes its place.
    let archive = Tar::new()
        .link("l", "/etc/passwd", EntryType::Symlink)
        .file("l", b"a file now");
    stage.api.copy_in(&id, "ok", archive.stream()).await?;
    ensure_eq!(
        stage.run(&id, &["cat", "ok/l"]).await?.stdout,
        b"a file now",
        "what stands there"
    );
    Ok(())
}

async fn archives_with_devices(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    for kind in [EntryType::Block, EntryType::Char, EntryType::Fifo] {
        refuse_archive(&stage, &id, Tar::new().special("device", kind)).await?;
    }
    Ok(())
}

async fn archives_that_are_cut_or_lie(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let whole = Tar::new().file("file", &[b'x'; 5000]).bytes();
    let mut garbled = whole.clone();
    garbled[150] ^= 0xff;
    let bomb = Tar::new().claiming("file", 1 << 40, b"a few bytes").bytes();
    for bytes in [
        whole[..3000].to_vec(),
        garbled,
        bomb,
        b"not a tar archive at all".repeat(100),
    ] {
        refused(
            stage.api.copy_in(&id, "in", stream(bytes)).await,
            ErrorKind::ArchiveRefused,
        )?;
    }
    ensure_eq!(stage.state(&id).await?, StateName::Ready, "the state");
    ensure_eq!(
        stage.run(&id, &["true"]).await?.exit.code,
        Some(0),
        "a command afterwards"
    );
    Ok(())
}

async fn an_archive_that_breaks_off(stage: Arc<Stage>) -> Outcome {
    let id = stage.session().await?.id;
    let bytes = Tar::new().file("file", &[b'x'; 5000]).bytes();
    let broken = || Error::new(ErrorKind::HostIo, "read an archive", "the source broke off");
    let source = stream(bytes[..2048].to_vec()).chain(futures::stream::once(async move { Err(broken()) }));
    let error = refused(
        stage.api.copy_in(&id, "in", source.boxed()).await,
        ErrorKind::HostIo,
    )?;
    ensure_eq!(error.operation(), "read an archive", "whose failure it was");
    let left: Result<_, Failed> = stage.run(&id, &["true"]).await;
    ensure_eq!(left?.exit.code, Some(0), "a command afterwards");
    Ok(())
}
