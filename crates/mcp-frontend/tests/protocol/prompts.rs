//! Prompts that somebody waits for.

use std::time::Duration;

use serde_json::json;
use session_core::error::{Error, ErrorKind};
use session_core::state::SessionState;
use session_core::turn::{TurnFailureCause, TurnStatus};

use crate::support::script::{Act, answers, fails, outcome, says, uses};
use crate::support::{World, options, until};

#[tokio::test]
async fn the_answer_comes_with_its_account() {
    let (mut world, id) = World::with_session().await;
    world.fake.next_prompt([says("I look"), answers("Fixed it.")]);
    let done = world
        .client
        .ok(
            "execute_in_session",
            json!({ "sessionId": id, "prompt": "fix it", "tools": ["Bash", "Edit"], "timeoutSeconds": 9 }),
        )
        .await;
    assert_eq!(done["status"], "succeeded");
    assert_eq!(done["result"], "Fixed it.");
    assert_eq!(done["resultBytes"], 9);
    assert_eq!(done["usage"]["outputTokens"], 20);
    assert_eq!(done["costUsd"], 0.25);
    assert!(done["taskId"].as_str().unwrap().starts_with("turn:"));
    let request = world.fake.prompts().pop().unwrap();
    assert_eq!(request.tools, ["Bash", "Edit"]);
    assert_eq!(request.time_limit, Some(Duration::from_secs(9)));
    world.client.prompt(&id, "again").await;
    assert_eq!(world.fake.prompts()[1].time_limit, Some(Duration::from_secs(300)));
    world.end().await;
}

#[tokio::test]
async fn an_agent_without_words_is_no_empty_success() {
    let (mut world, id) = World::with_session().await;
    world.fake.next_prompt([answers("")]);
    let done = world.client.prompt(&id, "x").await;
    assert!(done["note"].as_str().unwrap().contains("get_session_diff"));
    world.end().await;
}

#[tokio::test]
async fn a_long_answer_is_cut_and_can_be_paged_through() {
    let mut options = options();
    options.output_limit = 1000;
    let (mut world, id) = World::with(options).await.and_session().await;
    let words: String = (0..2000).map(|number| format!("日{number} ")).collect();
    world.fake.next_prompt([answers(&words)]);
    let done = world.client.prompt(&id, "x").await;
    assert_eq!(done["resultBytes"], words.len());
    let mut got = done["result"].as_str().unwrap().to_owned();
    for part in world.client.rest(&done).await {
        got += part["result"].as_str().unwrap();
    }
    assert_eq!(got, words);
    world.end().await;
}

#[tokio::test]
async fn a_failed_prompt_names_code_cause_and_hint() {
    let (mut world, id) = World::with_session().await;
    world.fake.next_prompt([
        says("hm"),
        fails(
            TurnFailureCause::ModelUnauthorized,
            "the provider refused the key",
        ),
    ]);
    let text = world.client.failed_prompt(&id, "x").await;
    assert!(
        text.starts_with(
            "agent_failed: the provider refused the key\ncause: model_unauthorized\nhint: look at the key"
        ),
        "{text}"
    );
    assert!(text.contains("task: turn:"), "{text}");
    world
        .fake
        .next_prompt([fails(TurnFailureCause::TimedOut, "too long")]);
    let text = world.client.failed_prompt(&id, "x").await;
    assert!(
        text.contains("cause: timed_out") && text.contains("timeoutSeconds"),
        "{text}"
    );
    world
        .fake
        .next_prompt([Act::End(outcome(TurnStatus::Interrupted, "half"))]);
    let text = world.client.failed_prompt(&id, "x").await;
    assert!(
        text.starts_with("cancelled") && text.contains("cause: interrupted") && text.contains("half"),
        "{text}"
    );
    world.end().await;
}

#[tokio::test]
async fn prompts_that_cannot_be_taken_are_refused() {
    let (mut world, id) = World::with_session().await;
    let text = world.client.failed_prompt(&id, "  ").await;
    assert!(text.starts_with("invalid_argument"), "{text}");
    world.fake.set_state(&id.parse().unwrap(), SessionState::Paused);
    let text = world.client.failed_prompt(&id, "x").await;
    assert!(
        text.starts_with("state_conflict") && text.contains("hint: resume"),
        "{text}"
    );
    world.end().await;
}

#[tokio::test]
async fn the_same_key_runs_once() {
    let (mut world, id) = World::with_session().await;
    let arguments = json!({ "sessionId": id, "prompt": "x", "idempotencyKey": "k1" });
    let first = world.client.ok("execute_in_session", arguments.clone()).await;
    let second = world.client.ok("execute_in_session", arguments).await;
    assert_eq!(first["taskId"], second["taskId"]);
    assert_eq!(second["result"], "done");
    assert_eq!(world.fake.prompts().len(), 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn progress_comes_from_the_first_second_and_at_least_every_fifteen() {
    let (mut world, id) = World::with_session().await;
    world.fake.next_prompt([
        Act::Sleep(Duration::from_secs(2)),
        uses("Bash", json!({ "command": "cargo test" })),
        Act::Sleep(Duration::from_secs(60)),
        says("All\ngreen."),
        answers("ok"),
    ]);
    let begun = tokio::time::Instant::now();
    let arguments = json!({ "sessionId": id, "prompt": "x" });
    let call = world.client.begin_told("execute_in_session", arguments).await;
    let (mut last, mut lines, mut count) = (begun, Vec::new(), 0.0);
    loop {
        let message = world.client.message().await.unwrap();
        if message["id"] == call {
            break;
        }
        assert_eq!(message["method"], "notifications/progress");
        assert_eq!(message["params"]["progressToken"], "p1");
        let progress = message["params"]["progress"].as_f64().unwrap();
        assert!(progress > count, "progress increases");
        count = progress;
        if lines.is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        }
        assert!(
            last.elapsed() <= Duration::from_secs(15),
            "{:?} of silence",
            last.elapsed()
        );
        last = tokio::time::Instant::now();
        lines.push(message["params"]["message"].as_str().unwrap().to_owned());
    }
    assert!(last.elapsed() <= Duration::from_secs(15));
    assert!(
        lines.iter().any(|line| line.starts_with("Bash: cargo test")),
        "{lines:?}"
    );
    assert!(lines.iter().all(|line| !line.contains('\n')));
    world.end().await;
}

#[tokio::test]
async fn nobody_who_did_not_ask_is_told_about_progress() {
    let (mut world, id) = World::with_session().await;
    world.fake.next_prompt([says("a"), says("b"), answers("ok")]);
    world.client.prompt(&id, "x").await;
    assert!(
        world
            .client
            .notifications
            .iter()
            .all(|message| message["method"] != "notifications/progress")
    );
    world.end().await;
}

#[tokio::test]
async fn cancelling_the_call_interrupts_the_agent_and_leaves_the_session_usable() {
    let (mut world, id) = World::with_session().await;
    world.fake.next_prompt([says("working"), Act::Hang]);
    let arguments = json!({ "sessionId": id, "prompt": "x" });
    let call = world.client.begin_told("execute_in_session", arguments).await;
    world.client.notification("notifications/progress").await;
    until(|| world.fake.session_state(&id) == SessionState::Busy).await;
    world
        .client
        .notify(
            "notifications/cancelled",
            json!({ "requestId": call, "reason": "enough" }),
        )
        .await;
    until(|| world.fake.count("interrupt_turn") == 1 && world.fake.session_state(&id) == SessionState::Ready)
        .await;
    let again = world.client.prompt(&id, "again").await;
    assert_eq!(again["result"], "done");
    assert!(
        world.client.answers.is_empty(),
        "a cancelled request is not answered"
    );
    world.end().await;
}

#[tokio::test]
async fn cancelling_a_prompt_that_waits_spares_the_one_that_runs() {
    let (mut world, id) = World::with_session().await;
    world
        .fake
        .next_prompt([Act::Sleep(Duration::from_millis(300)), answers("first")]);
    let first = world.client.start(&id, "first").await;
    until(|| world.fake.session_state(&id) == SessionState::Busy).await;
    world.fake.next_prompt([Act::Hang]);
    let call = world
        .client
        .begin(
            "execute_in_session",
            json!({ "sessionId": id, "prompt": "second" }),
        )
        .await;
    until(|| world.fake.prompts().len() == 2).await;
    world.client.take_back(call).await;
    until(|| world.fake.count("interrupt_turn") == 1).await;
    let done = world.client.wait(&first["taskId"]).await;
    assert_eq!(
        (&done["status"], &done["result"]),
        (&json!("succeeded"), &json!("first"))
    );
    until(|| world.fake.session_state(&id) == SessionState::Ready).await;
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_ends_what_it_waited_for_and_nothing_else() {
    let mut world = World::new().await;
    let (waited, background) = (world.client.session().await, world.client.session().await);
    world.fake.next_prompt([Act::Hang]);
    world
        .client
        .ok(
            "execute_in_session",
            json!({ "sessionId": background, "prompt": "x", "background": true }),
        )
        .await;
    world.fake.next_prompt([Act::Hang]);
    world
        .client
        .begin(
            "execute_in_session",
            json!({ "sessionId": waited, "prompt": "x" }),
        )
        .await;
    until(|| world.fake.prompts().len() == 2).await;
    let fake = world.end().await;
    assert_eq!(
        fake.calls()
            .iter()
            .filter(|call| call.starts_with("interrupt"))
            .count(),
        1
    );
    let interrupted = format!("interrupt_turn {waited} ");
    assert!(fake.calls().iter().any(|call| call.starts_with(&interrupted)));
    assert_eq!(fake.session_state(&background), SessionState::Busy);
}

#[tokio::test]
async fn a_shutdown_interrupts_what_somebody_waits_for() {
    let (mut world, id) = World::with_session().await;
    world.fake.next_prompt([Act::Hang]);
    world
        .client
        .begin("execute_in_session", json!({ "sessionId": id, "prompt": "x" }))
        .await;
    until(|| world.fake.session_state(&id) == SessionState::Busy).await;
    world.shutdown.cancel();
    world.served.await.unwrap().unwrap();
    assert_eq!(world.fake.count("interrupt_turn"), 1);
}

#[tokio::test]
async fn a_session_that_ends_in_the_middle_says_so() {
    let (mut world, id) = World::with_session().await;
    world.fake.next_prompt([Act::Hang]);
    let call = world
        .client
        .begin("execute_in_session", json!({ "sessionId": id, "prompt": "x" }))
        .await;
    until(|| world.fake.session_state(&id) == SessionState::Busy).await;
    world
        .client
        .ok("destroy_session", json!({ "sessionId": id, "force": true }))
        .await;
    let answer = world.client.answer(call).await;
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    world.end().await;
}

#[tokio::test]
async fn a_store_that_fails_does_not_interrupt_the_agent() {
    let (mut world, id) = World::with_session().await;
    world
        .fake
        .next_prompt([Act::Sleep(Duration::from_millis(100)), answers("ok")]);
    world.fake.fail(
        "events",
        Error::new(ErrorKind::StoreFailed, "follow the session", "the disk hiccuped"),
    );
    let text = world.client.failed_prompt(&id, "x").await;
    assert!(
        text.starts_with("store_failed") && text.contains("retry:"),
        "{text}"
    );
    assert_eq!(world.fake.count("interrupt_turn"), 0);
    world.end().await;
}
