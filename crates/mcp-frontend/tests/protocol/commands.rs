//! Commands.

use std::time::Duration;

use base64::Engine as _;
use serde_json::json;
use session_core::command::{ExitCause, OnDisconnect, OutputStream};

use crate::support::script::{Step, ended, err, exit, out};
use crate::support::{World, options, until};

#[tokio::test]
async fn code_and_both_streams_come_apart() {
    let (mut world, id) = World::with_session().await;
    world
        .fake
        .next_command([out("one\n"), err("oh\n"), out("two\n"), exit(3)]);
    let done = world
        .client
        .ok(
            "execute_command",
            json!({ "sessionId": id, "command": "make | tee log", "cwd": "sub", "env": { "A": "b" } }),
        )
        .await;
    assert_eq!(done["status"], "exited");
    assert_eq!(done["exitCode"], 3);
    assert_eq!(done["cause"], "exited");
    assert_eq!(done["stdout"]["text"], "one\ntwo\n");
    assert_eq!(done["stderr"]["text"], "oh\n");
    assert_eq!(done["outputBytes"], 11);
    assert_eq!(
        (&done["truncated"], &done["timedOut"]),
        (&json!(false), &json!(false))
    );
    let request = world.fake.commands().pop().unwrap();
    assert_eq!(
        request.argv,
        [b"sh".to_vec(), b"-c".to_vec(), b"make | tee log".to_vec()]
    );
    assert_eq!(request.cwd.as_deref(), Some("sub"));
    assert_eq!(request.env["A"], "b");
    assert_eq!(request.time_limit, Some(Duration::from_secs(300)));
    assert_eq!(request.on_disconnect, OnDisconnect::Cancel);
    assert!(!request.stdin);
    world.end().await;
}

#[tokio::test]
async fn an_argument_vector_is_passed_on_as_it_is() {
    let (mut world, id) = World::with_session().await;
    world
        .client
        .ok(
            "execute_command",
            json!({ "sessionId": id, "argv": ["printf", "%s", "a b;$(c)"] }),
        )
        .await;
    assert_eq!(world.fake.commands()[0].argv[2], b"a b;$(c)");
    for (wrong, said) in [
        (json!({ "argv": ["a"], "command": "b" }), "both given"),
        (json!({}), "nothing to run"),
        (json!({ "argv": [] }), "no program"),
        (json!({ "argv": ["a\u{0}b"] }), "NUL"),
        (json!({ "argv": "ls" }), "argv"),
        (json!({ "command": ["ls"] }), "command"),
        (json!({ "command": "x", "timeoutSeconds": -1 }), "timeoutSeconds"),
        (
            json!({ "command": "x", "timeoutSeconds": 1e15 }),
            "timeoutSeconds",
        ),
        (json!({ "command": "x", "cwd": "/proc/self" }), "kernel"),
    ] {
        let mut arguments = wrong;
        arguments["sessionId"] = json!(id);
        let text = world.client.err("execute_command", arguments.clone()).await;
        assert!(
            text.starts_with("invalid_argument") && text.contains(said),
            "{arguments}: {text}"
        );
    }
    assert_eq!(world.fake.commands().len(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_command_reads_what_it_is_given() {
    let (mut world, id) = World::with_session().await;
    world.fake.next_command([Step::Echo, exit(0)]);
    let done = world
        .client
        .ok(
            "execute_command",
            json!({ "sessionId": id, "argv": ["cat"], "stdin": "größer\n" }),
        )
        .await;
    assert_eq!(done["stdout"]["text"], "größer\n");
    assert!(world.fake.commands()[0].stdin);
    world.end().await;
}

#[tokio::test]
async fn every_end_is_told_apart() {
    let (mut world, id) = World::with_session().await;
    for (cause, code, signal, name, advised) in [
        (ExitCause::Signaled, None, Some(11), "signaled", false),
        (ExitCause::TimedOut, None, Some(9), "timed_out", true),
        (ExitCause::OutOfMemory, None, Some(9), "out_of_memory", true),
        (ExitCause::OutputLimit, None, Some(9), "output_limit", true),
        (ExitCause::NotFound, Some(127), None, "not_found", true),
        (ExitCause::NotExecutable, Some(126), None, "not_executable", true),
        (
            ExitCause::BadWorkingDirectory,
            None,
            None,
            "bad_working_directory",
            true,
        ),
    ] {
        world.fake.next_command([Step::Exit(ended(cause, code, signal))]);
        let done = world.client.run(&id, "x").await;
        assert_eq!(done["cause"], name);
        assert_eq!(done["exitCode"], json!(code));
        assert_eq!(done["signal"], json!(signal));
        assert_eq!(done["timedOut"], cause == ExitCause::TimedOut);
        assert_eq!(done["note"].is_string(), advised, "{done}");
    }
    world.end().await;
}

#[tokio::test]
async fn bytes_that_are_no_text_survive() {
    let (mut world, id) = World::with_session().await;
    let bytes = b"ok \xff\xfe\x00 end".to_vec();
    world.fake.next_command([
        Step::Out(OutputStream::Stdout, bytes.clone()),
        err("plain"),
        exit(0),
    ]);
    let done = world.client.run(&id, "x").await;
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(done["stdout"]["base64"].as_str().unwrap())
        .unwrap();
    assert_eq!(decoded, bytes);
    assert!(done["stdout"]["text"].as_str().unwrap().contains('\u{fffd}'));
    assert!(done["stderr"]["base64"].is_null());
    world.end().await;
}

#[tokio::test]
async fn long_output_says_its_size_and_can_be_paged_through() {
    let mut options = options();
    options.output_limit = 1000;
    let (mut world, id) = World::with(options).await.and_session().await;
    let lines: String = (0..1000).map(|number| format!("line {number}\n")).collect();
    world
        .fake
        .next_command([out(&lines), err("the end is near\n"), exit(1)]);
    let done = world.client.run(&id, "x").await;
    assert_eq!(done["truncated"], true);
    assert_eq!(done["outputBytes"], lines.len() + 16);
    assert_eq!(done["stdout"]["totalBytes"], lines.len());
    assert_eq!(done["stderr"]["totalBytes"], 16);
    assert!(done["tail"].as_str().unwrap().ends_with("the end is near\n"));
    let (mut stdout, mut stderr) = (done["stdout"]["text"].as_str().unwrap().to_owned(), String::new());
    for part in world.client.rest(&done).await {
        stdout += part["stdout"]["text"].as_str().unwrap();
        stderr += part["stderr"]["text"].as_str().unwrap();
    }
    assert_eq!((stdout, stderr.as_str()), (lines, "the end is near\n"));
    world.end().await;
}

#[tokio::test]
async fn a_flood_is_told_with_what_is_lost() {
    let mut options = options();
    options.output_limit = 1000;
    options.kept_output = 64 << 10;
    let (mut world, id) = World::with(options).await.and_session().await;
    let flood: Vec<_> = (0..500)
        .map(|_| out(&"x".repeat(4096)))
        .chain([out("last words"), exit(0)])
        .collect();
    world.fake.next_command(flood);
    let done = world.client.run(&id, "yes").await;
    assert_eq!(done["outputBytes"], 500 * 4096 + 10);
    assert!(done["tail"].as_str().unwrap().ends_with("last words"));
    let rest = world.client.rest(&done).await;
    assert!(
        rest.iter().any(|part| part["lostBytes"].as_u64() > Some(0)),
        "{rest:?}"
    );
    world.end().await;
}

#[tokio::test]
async fn cancelling_the_call_ends_the_command() {
    let (mut world, id) = World::with_session().await;
    world.fake.next_command([out("begun"), Step::Hang]);
    let call = world
        .client
        .begin(
            "execute_command",
            json!({ "sessionId": id, "command": "sleep 9" }),
        )
        .await;
    until(|| world.fake.commands().len() == 1).await;
    world.client.take_back(call).await;
    let log = loop {
        let log = world
            .client
            .ok(
                "get_session_logs",
                json!({ "sessionId": id, "kind": "command_finished" }),
            )
            .await;
        if !log["events"].as_array().unwrap().is_empty() {
            break log;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(log["events"][0]["text"], "ended by signal 9");
    world.end().await;
}

#[tokio::test]
async fn the_same_key_runs_a_command_once_also_when_nobody_waited_for_it() {
    let (mut world, id) = World::with_session().await;
    world
        .fake
        .next_command([out("begun\n"), Step::Sleep(Duration::from_millis(300)), exit(0)]);
    let arguments = json!({ "sessionId": id, "command": "make", "idempotencyKey": "k1" });
    let call = world.client.begin("execute_command", arguments.clone()).await;
    until(|| world.fake.commands().len() == 1).await;
    world.client.take_back(call).await;
    let request = world.fake.commands().pop().unwrap();
    assert_eq!(request.on_disconnect, OnDisconnect::Detach);
    assert_eq!(request.idempotency_key.as_deref(), Some("k1"));
    let first = world.client.ok("execute_command", arguments.clone()).await;
    assert_eq!(
        (&first["exitCode"], &first["stdout"]["text"]),
        (&json!(0), &json!("begun\n"))
    );
    let mut again = arguments;
    again
        .as_object_mut()
        .unwrap()
        .insert("background".to_owned(), json!(true));
    let task = world.client.ok("execute_command", again).await;
    let started = json!({ "sessionId": id, "command": "make", "idempotencyKey": "k1" });
    let started = world.client.ok("start_task", started).await;
    assert_eq!(
        (&task["taskId"], &started["taskId"]),
        (&first["taskId"], &first["taskId"])
    );
    assert_eq!(world.fake.commands().len(), 1, "run once");
    let fed = json!({ "sessionId": id, "command": "cat", "stdin": "x", "idempotencyKey": "k2" });
    let text = world.client.err("execute_command", fed).await;
    assert!(
        text.starts_with("invalid_argument") && text.contains("stdin"),
        "{text}"
    );
    world.end().await;
}

#[tokio::test]
async fn a_link_that_breaks_gives_what_had_come() {
    let (mut world, id) = World::with_session().await;
    world.fake.next_command([out("so far"), Step::Break]);
    let text = world
        .client
        .err("execute_command", json!({ "sessionId": id, "command": "x" }))
        .await;
    assert!(text.starts_with("link_lost") && text.contains("so far"), "{text}");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_long_command_tells_how_far_it_is() {
    let (mut world, id) = World::with_session().await;
    world
        .fake
        .next_command([out("1234"), Step::Sleep(Duration::from_secs(40)), exit(0)]);
    let arguments = json!({ "sessionId": id, "command": "make" });
    let call = world.client.begin_told("execute_command", arguments).await;
    world.client.answer(call).await;
    let told = world
        .client
        .notifications
        .iter()
        .filter(|message| message["method"] == "notifications/progress")
        .count();
    assert!(told >= 4, "{told}");
    let last = world.client.notifications.last().unwrap()["params"]["message"]
        .as_str()
        .unwrap();
    assert!(
        last.contains("sh -c make") && last.contains("4 B of output"),
        "{last}"
    );
    world.end().await;
}

#[tokio::test]
async fn a_background_command_outlives_its_client() {
    let (mut world, id) = World::with_session().await;
    world.fake.next_command([
        out("a"),
        Step::Sleep(Duration::from_millis(200)),
        out("b"),
        exit(0),
    ]);
    let begun = world
        .client
        .ok(
            "execute_command",
            json!({ "sessionId": id, "command": "x", "background": true }),
        )
        .await;
    assert_eq!(begun["status"], "running");
    assert_eq!(world.fake.commands()[0].on_disconnect, OnDisconnect::Detach);
    assert_eq!(world.fake.commands()[0].time_limit, None);
    let fake = world.end().await;
    // Another server finds it by its id alone.
    let mut next = World::over(fake, options());
    next.client.initialize().await;
    let done = next.client.wait(&begun["taskId"]).await;
    assert_eq!(
        (&done["status"], &done["stdout"]["text"]),
        (&json!("exited"), &json!("ab"))
    );
    next.end().await;
}
