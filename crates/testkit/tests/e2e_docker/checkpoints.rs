//! A session's work outlives its container: real git in a real container, on workspaces that do their best to hide it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use libtest_mimic::Trial;
use session_core::api::SessionApi;
use session_core::checkpoint::{Checkpoint, CheckpointCause, RestoreRequest};
use session_core::id::SessionId;
use session_core::state::StateName;
use session_core::turn::TurnStatus;
use testkit::fixtures;
use testkit::model::Script;

use super::world::World;
use super::{Outcome, outside, test};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Of a repository of 10,000 files, on a machine that has nothing else to do: 150 ms. Tests share theirs.
const SMALL_EDIT: Duration = Duration::from_millis(1500);

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test(
            "work_survives_a_container_that_goes_away_after_the_turn",
            fixtures::fix_calculator_script,
            lost_after_turn,
        ),
        test(
            "a_workspace_that_hides_its_changes_is_kept_all_the_same",
            Script::new,
            hostile,
        ),
        test(
            "a_small_edit_among_ten_thousand_files_is_kept_at_once",
            Script::new,
            many_files,
        ),
    ]
}

async fn asked(world: &World, session: &SessionId) -> Result<Checkpoint> {
    let taken = world.manager.checkpoint(session).await?;
    Ok(taken.ok_or("nothing differs")?)
}

async fn restored(world: &World, session: &SessionId) -> Result<SessionId> {
    let request = RestoreRequest {
        session: *session,
        checkpoint: None,
        owner: None,
        idempotency_key: None,
    };
    Ok(world.manager.restore(request).await?.id)
}

async fn patch(world: &World, checkpoint: &Checkpoint) -> Result<String> {
    let mut pieces = world
        .manager
        .checkpoint_patch(&checkpoint.session, &checkpoint.id)
        .await?;
    let mut patch = Vec::new();
    while let Some(piece) = pieces.next().await {
        patch.extend_from_slice(&piece?);
    }
    Ok(String::from_utf8_lossy(&patch).into_owned())
}

async fn lost_after_turn(world: Arc<World>) -> Outcome {
    let repository = fixtures::buggy_calculator()?;
    let session = world.session_on_copy(repository.path()).await?;
    let outcome = world.prompt(&session, fixtures::FIX_CALCULATOR_PROMPT).await?;
    assert_eq!(outcome.status, TurnStatus::Succeeded, "{outcome:?}");
    let waiting = Instant::now();
    while world.manager.checkpoints(&session).await?.is_empty() {
        assert!(waiting.elapsed() < Duration::from_secs(20), "nothing was kept");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // With its volumes: nothing of it is left on the engine.
    world
        .runtime
        .remove(&session_core::id::ContainerName::of(&session))
        .await?;
    world.wait_state(&session, StateName::Interrupted).await?;
    let kept = world.manager.checkpoints(&session).await?;
    assert_eq!((kept[0].cause, kept[0].files), (CheckpointCause::Turn, 1));
    world.manager.destroy(&session).await?;

    let again = restored(&world, &session).await?;
    assert_ne!(again, session);
    let test = ["python3", "-m", "unittest"];
    assert_eq!(
        world.run(&again, &test).await?.exit.code,
        Some(0),
        "the bug stays mended"
    );
    assert!(
        patch(&world, &kept[0])
            .await?
            .contains("value -= self._product()")
    );
    assert_eq!(outside::traces(&session).await?, Vec::<String>::new());
    Ok(())
}

/// What an agent, or a project, can do to git's idea of the workspace.
const HIDE: &str = r#"
set -e
git init -q .
printf '#!/bin/sh\ntouch /tmp/ran\ncat\n' >/tmp/filter && chmod +x /tmp/filter
git add -A && git -c user.name=a -c user.email=a@b commit -qm begin
git update-index --skip-worktree quiet.txt
git update-index --assume-unchanged quiet.txt
printf '* filter=x diff=x text eol=crlf ident\n' >.gitattributes
printf 'excluded.txt\n' >.git/info/exclude
for key in filter.x.clean filter.x.smudge core.fsmonitor diff.external diff.x.textconv diff.x.command; do
  git config "$key" /tmp/filter
done
git config core.hooksPath /tmp
git config core.worktree /etc
echo changed >quiet.txt
echo kept >excluded.txt
printf 'a\r\n$Id$\r\n' >bytes.txt
mkdir -p other/.git && echo x >other/.git/HEAD && echo inner >other/inner.txt
ln -s /proc/self/environ link
mkfifo pipe
touch "$(printf 'odd\nname')" ./-dash "$(printf '\377')"
head -c 70000000 /dev/zero >huge
rm -f /tmp/ran
"#;

async fn hostile(world: Arc<World>) -> Outcome {
    let project = tempfile::Builder::new().prefix("cofferdam-e2e-").tempdir()?;
    std::fs::write(project.path().join("quiet.txt"), "quiet\n")?;
    let session = world.session_on_copy(project.path()).await?;
    world.read(&session, &["sh", "-c", HIDE]).await?;
    let checkpoint = asked(&world, &session).await?;
    assert_ne!(
        world.run(&session, &["test", "-e", "/tmp/ran"]).await?.exit.code,
        Some(0),
        "a program of the project ran"
    );
    assert!(checkpoint.bytes < 100_000, "the large file is not in it");
    world.manager.destroy(&session).await?;

    let again = restored(&world, &session).await?;
    for (file, content) in [
        ("quiet.txt", "changed"),
        ("excluded.txt", "kept"),
        ("other/inner.txt", "inner"),
    ] {
        assert_eq!(world.read(&again, &["cat", file]).await?, content, "{file}");
    }
    let exact = "test \"$(od -An -tx1 bytes.txt | tr -d ' \\n')\" = 610d0a244964240d0a";
    world.read(&again, &["sh", "-c", exact]).await?;
    assert_eq!(
        world.read(&again, &["readlink", "link"]).await?,
        "/proc/self/environ"
    );
    let names = "ls -A | wc -l; test -e ./-dash && test -e \"$(printf 'odd\\nname')\" && test ! -e .git";
    world.read(&again, &["sh", "-c", names]).await?;
    Ok(())
}

fn fill(dir: &Path) -> std::io::Result<()> {
    for number in 0..10_000 {
        let below = dir.join(format!("src/m{}", number / 100));
        std::fs::create_dir_all(&below)?;
        let text = format!("fn f{number}() {{ g{number}(); }}\n").repeat(20);
        std::fs::write(below.join(format!("f{number}.rs")), text)?;
    }
    Ok(())
}

async fn many_files(world: Arc<World>) -> Outcome {
    let project = tempfile::Builder::new().prefix("cofferdam-e2e-").tempdir()?;
    fill(project.path())?;
    let session = world.session_on_copy(project.path()).await?;
    world.stop_logging();
    let mut fastest = Duration::MAX;
    for number in 0..8 {
        let edit = format!("echo '// {number}' >>src/m7/f70{number}.rs");
        world.read(&session, &["sh", "-c", &edit]).await?;
        let begun = Instant::now();
        let checkpoint = asked(&world, &session).await?;
        fastest = fastest.min(begun.elapsed());
        assert_eq!(checkpoint.files, number + 1);
    }
    assert!(fastest <= SMALL_EDIT, "a small edit was kept after {fastest:?}");
    Ok(())
}
