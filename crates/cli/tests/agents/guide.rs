//! The first lines of the guide of the HTTP API, as somebody types them: in a shell, with curl, against a daemon that they start.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::json;
use testkit::model::Script;
use tokio::process::Command;

use super::world::{World, inherited};
use super::{Result, test};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_cofferdam");
const GUIDE: &str = include_str!("../../../../docs/guides/http.md");
const SECTION: &str = "\n## From nothing to a session, with curl\n";
const HAIKU: &str = "borrow, do not own";
/// Longer than the reader thinks between two lines.
const IDLE_EXIT: &str = "60s";
/// Nobody reads on after a line that failed.
const BEFORE: &str = "set -eu\n";
/// All of it takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn tests() -> Vec<Trial> {
    vec![test("curl_follows_the_guide", script, followed)]
}

fn script() -> Script {
    let write = json!({ "file_path": "/workspace/haiku.txt", "content": format!("{HAIKU}\n") });
    Script::new().tool("Write", write).say("It is written.")
}

async fn followed(world: Arc<World>) -> Result<()> {
    home(&world)?;
    let typed = typed(&commands()?)?;
    let ran = tokio::time::timeout(PATIENCE, shell(&world, &typed)).await;
    // The daemon that the first line started has nothing to wait for.
    let stopped = shell(&world, "cofferdam serve --stop").await?;
    let ran = ran.map_err(|_| "the guide does not come to its end")??;
    let said = format!(
        "{}\n{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
    assert!(ran.status.success(), "{said}");
    for expected in [
        "Linux ",
        "event: turn_finished",
        "\"status\": \"succeeded\"",
        "\"text\": \"It is written.\"",
        HAIKU,
    ] {
        assert!(
            said.contains(expected),
            "{expected:?} is not in what was shown: {said}"
        );
    }
    assert!(stopped.status.success(), "{stopped:?}");
    Ok(())
}

/// The section's one block.
fn commands() -> Result<Vec<&'static str>> {
    let section = GUIDE.split(SECTION).nth(1).ok_or("the section is gone")?;
    let block = section.split("```sh\n").nth(1).ok_or("it has no commands")?;
    let block = block.split("```").next().unwrap_or_default();
    Ok(block.lines().collect())
}

/// The lines as they are; but a stream that ends with its session is read beside what follows, as in a second terminal,
/// and the reader goes on when it shows that the prompt is done.
fn typed(lines: &[&str]) -> Result<String> {
    let mut text = BEFORE.to_owned();
    for line in lines {
        if line.contains("/events/stream") {
            let command = line.split("  #").next().unwrap_or_default();
            text.push_str(&format!(
                "{command} >\"$HOME/stream.txt\" & stream=$!\n\
                 until grep -qs '^event: turn_finished' \"$HOME/stream.txt\"; do sleep 0.05; done\n"
            ));
        } else {
            text.push_str(&format!("{line}\n"));
        }
    }
    if !text.contains("stream=$!") {
        return Err("the guide follows no stream of events any more".into());
    }
    // It ends by itself, and in order.
    text.push_str("wait $stream\ncat \"$HOME/stream.txt\"\n");
    Ok(text)
}

/// In a home in which the state is where it is without further words.
async fn shell(world: &World, typed: &str) -> Result<Output> {
    let programs = Path::new(PROGRAM).parent().ok_or("it is nowhere")?;
    let path = inherited(&["PATH"]).pop().map(|(_, path)| path);
    let path = format!("{}:{}", programs.display(), path.unwrap_or_default());
    Ok(Command::new("bash")
        .args(["-c", typed])
        .env_clear()
        .envs(world.environment())
        .env("COFFERDAM_IDLE_EXIT", IDLE_EXIT)
        .env("PATH", path)
        .current_dir("/")
        .kill_on_drop(true)
        .output()
        .await?)
}

/// The state directory of this world under the name that it has by default.
fn home(world: &World) -> Result<()> {
    let environment = world.environment();
    let home = environment.iter().find(|(name, _)| *name == "HOME");
    let (_, home) = home.ok_or("there is no home")?;
    let above = Path::new(home).join(".local/state");
    std::fs::create_dir_all(&above)?;
    Ok(std::os::unix::fs::symlink(
        world.state(),
        above.join("cofferdam"),
    )?)
}
