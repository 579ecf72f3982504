//! Tools of the real server, on real sessions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use testkit::fixtures;
use testkit::model::{ApiFailure, Message, Script};

use super::client::Connection;
use super::world::{World, private_dir, text};
use super::{Result, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test(
            "spawn_gives_result_and_diff_and_cleans_up",
            fixtures::fix_calculator_script,
            spawned,
        ),
        test("spawn_cleans_up_after_a_failure", failing, spawn_failed),
        test(
            "spawn_cleans_up_after_its_time",
            || Script::new().hang(),
            spawn_timed_out,
        ),
        test("a_prompt_streams_what_the_agent_does", slowly, progress),
        test("commands_say_how_they_ended", Script::new, commands),
        test("files_go_in_and_come_out", Script::new, files),
        test(
            "a_clone_from_a_host_that_is_not_allowed_says_which",
            Script::new,
            clone_refused,
        ),
    ]
}

async fn spawned(world: Arc<World>) -> Result<()> {
    let project = fixtures::buggy_calculator()?;
    let server = Connection::open(&world).await?;
    let task =
        json!({ "taskDescription": fixtures::FIX_CALCULATOR_PROMPT, "projectPath": text(project.path()) });
    let spawned = server.ok("spawn_claude_container", task).await?;
    assert_eq!(spawned["status"], "succeeded");
    assert_eq!(spawned["result"], fixtures::FIX_CALCULATOR_SUMMARY);
    assert_eq!(
        spawned["diff"]["files"],
        json!([{ "status": "M", "path": "calc.py" }])
    );
    assert_eq!(spawned["cleanedUp"], true);
    assert_eq!(world.belongings().await?, Vec::<String>::new());
    assert_eq!(
        project.git(&["status", "--porcelain"])?,
        "",
        "the project is as it was"
    );
    // The patch is one that the project takes.
    let patch = world.record("patch");
    fs::write(
        &patch,
        spawned["diff"]["patch"].as_str().ok_or("a patch is text")?,
    )?;
    project.git(&["apply", &text(&patch)])?;
    assert!(fs::read_to_string(project.path().join("calc.py"))?.contains("value -= self._product()"));
    server.leave().await
}

fn failing() -> Script {
    Script::new().fail(ApiFailure::forbidden()).forever()
}

async fn spawn_failed(world: Arc<World>) -> Result<()> {
    let server = Connection::open(&world).await?;
    let failure = server
        .refused("spawn_claude_container", json!({ "taskDescription": "Try." }))
        .await?;
    assert!(failure.starts_with("agent_failed: "), "{failure}");
    assert!(failure.contains("\nhint: "), "{failure}");
    assert_eq!(world.belongings().await?, Vec::<String>::new());
    server.leave().await
}

async fn spawn_timed_out(world: Arc<World>) -> Result<()> {
    let server = Connection::open(&world).await?;
    let task = json!({ "taskDescription": "Try.", "timeoutSeconds": 4 });
    let failure = server.refused("spawn_claude_container", task).await?;
    assert!(failure.contains("cause: timed_out"), "{failure}");
    assert_eq!(world.belongings().await?, Vec::<String>::new());
    server.leave().await
}

/// A model that takes longer over each answer than progress waits to be told.
fn slowly() -> Script {
    let pace = Duration::from_millis(500);
    let write = json!({ "file_path": "/workspace/note.txt", "content": "Noted.\n" });
    let read = json!({ "command": "cat note.txt", "description": "Read it" });
    Script::new()
        .reply(Message::new().tool("Write", write).pace(pace))
        .reply(Message::new().tool("Bash", read).pace(pace))
        .say("It is written.")
}

async fn progress(world: Arc<World>) -> Result<()> {
    let server = Connection::open(&world).await?;
    let session = server.session(json!({})).await?;
    let prompt = json!({ "sessionId": session, "prompt": "Write a note." });
    server.ok("execute_in_session", prompt).await?;
    let progress = server.progress();
    for expected in ["Write: note.txt", "Bash: cat note.txt"] {
        assert!(progress.iter().any(|line| line == expected), "{progress:#?}");
    }
    server
        .ok("destroy_session", json!({ "sessionId": session }))
        .await?;
    server.leave().await
}

async fn commands(world: Arc<World>) -> Result<()> {
    let server = Connection::open(&world).await?;
    let session = server.session(json!({})).await?;
    let run = async |mut arguments: Value| {
        arguments["sessionId"] = json!(session);
        server.ok("execute_command", arguments).await
    };

    let both = run(json!({ "command": "echo out; echo err >&2; exit 3" })).await?;
    assert_eq!(
        (&both["status"], &both["cause"], &both["exitCode"]),
        (&json!("exited"), &json!("exited"), &json!(3))
    );
    assert_eq!(both["stdout"], json!({ "text": "out\n", "totalBytes": 4 }));
    assert_eq!(both["stderr"], json!({ "text": "err\n", "totalBytes": 4 }));

    let killed = run(json!({ "command": "kill -SEGV $$" })).await?;
    assert_eq!(
        (&killed["cause"], &killed["signal"], &killed["exitCode"]),
        (&json!("signaled"), &json!(11), &Value::Null)
    );

    let late = run(json!({ "command": "echo begun; sleep 60", "timeoutSeconds": 1 })).await?;
    assert_eq!(
        (&late["cause"], &late["timedOut"]),
        (&json!("timed_out"), &json!(true))
    );
    assert_eq!(late["stdout"]["text"], "begun\n");

    let absent = run(json!({ "argv": ["no-such-program"] })).await?;
    assert_eq!(absent["cause"], "not_found");

    let exact = run(json!({ "argv": ["printf", "%s|", "a b", "$HOME", "'"], "cwd": "/tmp" })).await?;
    assert_eq!(exact["stdout"]["text"], "a b|$HOME|'|");

    let fed = run(
        json!({ "command": "tr a-z A-Z; printf '\\377' >&2", "stdin": "louder", "env": { "LC_ALL": "C" } }),
    )
    .await?;
    assert_eq!(fed["stdout"]["text"], "LOUDER");
    assert_eq!(
        fed["stderr"],
        json!({ "text": "\u{fffd}", "base64": "/w==", "totalBytes": 1 })
    );

    let both_given = json!({ "sessionId": session, "command": "true", "argv": ["true"] });
    let refused = server.refused("execute_command", both_given).await?;
    assert!(
        refused.starts_with("invalid_argument: command and argv are both given"),
        "{refused}"
    );

    expect_pages(&server, &session).await?;
    server
        .ok("destroy_session", json!({ "sessionId": session }))
        .await?;
    server.leave().await
}

/// Output beyond the limit is cut, says how much there is, and can be read to its end.
async fn expect_pages(server: &Connection, session: &str) -> Result<()> {
    let lines = json!({ "sessionId": session, "argv": ["seq", "20000"] });
    let first = server.ok("execute_command", lines).await?;
    let whole: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    assert_eq!(
        (&first["truncated"], &first["stdout"]["totalBytes"]),
        (&json!(true), &json!(whole.len()))
    );
    let mut read = first["stdout"]["text"].as_str().unwrap_or_default().to_owned();
    let mut next = first["nextOffset"].clone();
    while !next.is_null() {
        let page = json!({ "taskId": first["taskId"], "offset": next });
        let page = server.ok("get_task", page).await?;
        read += page["stdout"]["text"].as_str().unwrap_or_default();
        next = page["nextOffset"].clone();
    }
    assert!(read == whole, "{} of {} bytes", read.len(), whole.len());
    Ok(())
}

async fn files(world: Arc<World>) -> Result<()> {
    let dir = private_dir("cofferdam-files-")?;
    let (source, back) = (dir.path().join("source"), dir.path().join("back"));
    fs::create_dir_all(source.join("deep"))?;
    fs::write(source.join("deep/bytes"), [0_u8, 255, 10])?;
    fs::write(source.join("run.sh"), "#!/bin/sh\necho ran\n")?;
    fs::set_permissions(source.join("run.sh"), fs::Permissions::from_mode(0o755))?;
    let server = Connection::open(&world).await?;
    let session = server.session(json!({})).await?;
    let transfer = async |direction: &str, from: &str, to: &str| {
        let arguments = json!({
            "sessionId": session, "direction": direction, "sourcePath": from, "destPath": to,
        });
        server.ok("transfer_files", arguments).await
    };

    let copied = transfer("to_container", &text(&source), "/workspace/tree").await?;
    assert_eq!(copied["bytes"], 3 + 19);
    let ran = server
        .ok(
            "execute_command",
            json!({ "sessionId": session, "argv": ["./tree/run.sh"] }),
        )
        .await?;
    assert_eq!(ran["stdout"]["text"], "ran\n");
    let changed = json!({ "sessionId": session, "command": "echo new > tree/new; mkdir -p tree/.git/hooks; echo bad > tree/.git/hooks/post-checkout" });
    server.ok("execute_command", changed).await?;

    let fetched = transfer("from_container", "tree", &text(&back)).await?;
    assert_eq!(fetched["withheld"], json!([".git/hooks"]), "{fetched}");
    assert_eq!(fs::read(back.join("deep/bytes"))?, [0, 255, 10]);
    assert_eq!(fs::read_to_string(back.join("new"))?, "new\n");
    assert_eq!(
        fs::metadata(back.join("run.sh"))?.permissions().mode() & 0o777,
        0o755
    );
    assert!(
        !back.join(".git").join("hooks").exists(),
        "what could run here stays there"
    );

    let single = dir.path().join("single");
    transfer("from_container", "/workspace/tree/new", &text(&single)).await?;
    assert_eq!(fs::read_to_string(&single)?, "new\n");
    expect_refused_paths(&server, &session, world.state()).await?;
    server
        .ok("destroy_session", json!({ "sessionId": session }))
        .await?;
    server.leave().await
}

/// Neither our own state nor the engine's socket is anybody's file.
async fn expect_refused_paths(server: &Connection, session: &str, state: &Path) -> Result<()> {
    for path in [text(state), "/etc/shadow".to_owned()] {
        let arguments = json!({
            "sessionId": session, "direction": "to_container", "sourcePath": path, "destPath": "/workspace/stolen",
        });
        let refused = server.refused("transfer_files", arguments).await?;
        assert!(refused.contains("refused"), "{path}: {refused}");
    }
    Ok(())
}

/// A sealed session reaches no host that nobody allowed, and says which one it was that the clone wanted.
async fn clone_refused(world: Arc<World>) -> Result<()> {
    let server = Connection::open(&world).await?;
    let url = "https://git.example.com/project.git";
    let spawn = json!({ "repositoryUrl": url, "taskDescription": "Look." });
    for (tool, arguments) in [
        ("create_session", json!({ "repositoryUrl": url })),
        ("spawn_claude_container", spawn),
    ] {
        let refused = server.refused(tool, arguments).await?;
        assert!(refused.starts_with("workspace_refused: "), "{refused}");
        assert!(refused.contains("host: git.example.com"), "{refused}");
        let hint = refused.split_once("\nhint: ").ok_or("a refusal has a hint")?.1;
        assert!(hint.contains("git.example.com"), "{refused}");
        assert_eq!(world.belongings().await?, Vec::<String>::new(), "{tool}");
    }
    let listed = server.ok("list_sessions", json!({})).await?;
    assert_eq!(listed["total"], 0, "nothing is left to be used");
    assert_eq!(world.model.conversation_count(), 0, "no agent was asked anything");
    server.leave().await
}
