//! What servers ask of the agent, in each pair of revisions.
#![expect(deprecated, reason = "sampling and roots are for servers that use them")]

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    ClientRequest, ClientResult, CreateMessageRequest, CreateMessageRequestParams, ElicitRequest, ErrorCode,
    InputRequest, InputRequiredResult, ListRootsRequest, SamplingMessage, ServerRequest, ServerResult,
};
use serde_json::{Value, json};

use super::support::{Agent, Era, Fake, Raw, Site, helpful, options, text, text_of, view};
use crate::mcp::call::{CallError, Caller};

fn elicitation(message: &str) -> ElicitRequest {
    let params = json!({ "mode": "form", "message": message, "requestedSchema": { "type": "object", "properties": {} } });
    ElicitRequest::new(serde_json::from_value(params).unwrap())
}

fn sampling() -> CreateMessageRequest {
    CreateMessageRequest::new(CreateMessageRequestParams::new(
        vec![SamplingMessage::user_text("hi")],
        16,
    ))
}

/// What was answered, in one line.
fn brief(answer: Result<ClientResult, rmcp::ErrorData>) -> String {
    match answer {
        Ok(ClientResult::ElicitResult(result)) => {
            format!("{:?} {}", result.action, result.content.unwrap_or_default())
        }
        Ok(ClientResult::CreateMessageResult(result)) => format!("from {}", result.model),
        Ok(ClientResult::ListRootsResult(result)) => format!("{} root", result.roots.len()),
        Ok(other) => format!("{other:?}"),
        Err(error) => format!("error {}: {}", error.code.0, error.message),
    }
}

async fn ask_all(caller: &Arc<dyn Caller>) -> Vec<String> {
    let (first, second, third) = tokio::join!(
        caller.ask(ServerRequest::ElicitRequest(elicitation("one"))),
        caller.ask(ServerRequest::CreateMessageRequest(sampling())),
        caller.ask(ServerRequest::ListRootsRequest(ListRootsRequest::default())),
    );
    let last = caller.ask(ServerRequest::ElicitRequest(elicitation("two"))).await;
    [first, second, third, last].into_iter().map(brief).collect()
}

/// A server of an earlier revision: it asks while its call runs.
fn legacy_server() -> Arc<Fake> {
    let server = Fake::new("git", &["asks"]);
    server.on("asks", |_, caller| async move {
        text(ask_all(&caller).await.join(", "))
    });
    server
}

/// A server of the newest revision: it answers what it wants, twice.
fn modern_server() -> Arc<Fake> {
    let server = Fake::new("git", &["asks"]);
    server.on("asks", |request, _| async move {
        let ClientRequest::CallToolRequest(call) = request else {
            panic!("a call")
        };
        let said = call.params.input_responses.unwrap_or_default();
        let wants = |inputs: Vec<(&str, InputRequest)>, state: &str| {
            let inputs = inputs
                .into_iter()
                .map(|(key, input)| (key.to_owned(), input))
                .collect();
            Ok(ServerResult::InputRequiredResult(InputRequiredResult::new(
                Some(inputs),
                Some(state.to_owned()),
            )))
        };
        match call.params.request_state.as_deref() {
            None => wants(
                vec![
                    ("a", InputRequest::Elicitation(elicitation("one"))),
                    ("b", InputRequest::CreateMessage(sampling())),
                    ("c", InputRequest::ListRoots(ListRootsRequest::default())),
                ],
                "first state",
            ),
            Some("first state") => {
                let brief = format!(
                    "{} {}, from {}, {} root",
                    said["a"]["action"].as_str().unwrap(),
                    said["a"]["content"],
                    said["b"]["model"].as_str().unwrap(),
                    said["c"]["roots"].as_array().unwrap().len()
                );
                wants(vec![("d", InputRequest::Elicitation(elicitation("two")))], &brief)
            }
            Some(brief) => text(format!(
                "{brief}, {} {}",
                said["d"]["action"].as_str().unwrap(),
                said["d"]["content"]
            )),
        }
    });
    server
}

#[tokio::test]
async fn questions_reach_the_agent_in_each_pair_of_revisions() {
    for (server, revision) in [(legacy_server(), "legacy"), (modern_server(), "modern")] {
        let site = Site::new(&[server]).await;
        for era in Era::BOTH {
            for agent in [
                Agent::over_http(&site, era, helpful()).await,
                Agent::over_lines(&site, era, helpful()).await,
            ] {
                let said = agent.text("git__asks", json!({})).await;
                let expected = r#"accept {"answer":"one"}, from model, 1 root, accept {"answer":"two"}"#;
                assert_eq!(said.to_lowercase(), expected, "{revision} server, {era:?} agent");
                let mut asked = agent.heard.lock().unwrap().asked.clone();
                asked.sort();
                assert_eq!(
                    asked,
                    ["one", "roots", "sampling 16", "two"],
                    "{revision} server, {era:?} agent"
                );
            }
        }
    }
}

#[tokio::test]
async fn only_what_the_agent_declared_is_asked_of_it() {
    let site = Site::new(&[legacy_server()]).await;
    for era in Era::BOTH {
        let agent = Agent::over_http(
            &site,
            era,
            serde_json::from_value(json!({ "roots": {} })).unwrap(),
        )
        .await;
        let said = agent.text("git__asks", json!({})).await;
        let refused = |what: &str| format!("error -32601: the client does not do this: {what}");
        let expected = [
            refused("elicitation"),
            refused("sampling"),
            "1 root".to_owned(),
            refused("elicitation"),
        ];
        assert_eq!(said, expected.join(", "), "{era:?}");
        assert_eq!(agent.heard.lock().unwrap().asked, ["roots"]);
    }
    // A server that has to have an answer fails with what it was told.
    let site = Site::new(&[modern_server()]).await;
    let agent = Agent::over_http(&site, Era::Legacy, rmcp::model::ClientCapabilities::default()).await;
    let error = agent.call("git__asks", json!({})).await.unwrap_err();
    let rmcp::ServiceError::McpError(error) = error else {
        panic!("{error}")
    };
    assert_eq!(error.code, ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY);
    let needed = &error.data.unwrap()["requiredCapabilities"];
    assert!(needed["elicitation"].is_object(), "{needed}");
}

#[tokio::test]
async fn modes_and_tools_of_questions_are_looked_at() {
    use crate::mcp::door::asks::judge;
    let able = |capabilities: Value| serde_json::from_value(capabilities).unwrap();
    let form = ServerRequest::ElicitRequest(elicitation("x"));
    let params = json!({ "mode": "url", "message": "x", "url": "https://x", "elicitationId": "1" });
    let url = ServerRequest::ElicitRequest(ElicitRequest::new(serde_json::from_value(params).unwrap()));
    assert!(judge(&form, &able(json!({ "elicitation": {} }))).is_ok());
    assert!(judge(&form, &able(json!({ "elicitation": { "url": {} } }))).is_err());
    assert!(judge(&url, &able(json!({ "elicitation": {} }))).is_err());
    assert!(judge(&url, &able(json!({ "elicitation": { "url": {} } }))).is_ok());
    let mut with_tools = sampling();
    with_tools.params.tools = Some(Vec::new());
    let with_tools = ServerRequest::CreateMessageRequest(with_tools);
    assert!(judge(&with_tools, &able(json!({ "sampling": {} }))).is_err());
    assert!(judge(&with_tools, &able(json!({ "sampling": { "tools": {} } }))).is_ok());
    let custom = ServerRequest::CustomRequest(rmcp::model::CustomRequest::new("x/y", None));
    assert_eq!(
        judge(&custom, &helpful()).unwrap_err().to_server().code,
        ErrorCode::METHOD_NOT_FOUND
    );
}

/// A call of the newest revision on the wire, up to what it wants.
async fn wanted(raw: &mut Raw, able: &Value) -> (String, Vec<String>) {
    let answer = raw
        .modern(
            "tools/call",
            json!({ "name": "git__asks", "arguments": {} }),
            able,
        )
        .await;
    let result = &answer["result"];
    assert_eq!(result["resultType"], "input_required", "{answer}");
    let keys = result["inputRequests"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    (result["requestState"].as_str().unwrap().to_owned(), keys)
}

fn one_question() -> Arc<Fake> {
    let server = Fake::new("git", &["asks", "other"]);
    server.on("asks", |_, caller| async move {
        let (one, two) = tokio::join!(
            caller.ask(ServerRequest::ElicitRequest(elicitation("one"))),
            caller.ask(ServerRequest::ElicitRequest(elicitation("two"))),
        );
        text(format!("{}, {}", brief(one), brief(two)))
    });
    server
}

fn answered(state: &str, responses: Value) -> Value {
    json!({ "name": "git__asks", "arguments": {}, "requestState": state, "inputResponses": responses })
}

#[tokio::test]
async fn an_answer_that_is_wrong_or_missing_is_asked_for_again() {
    let site = Site::new(&[one_question()]).await;
    let mut raw = Raw::connect(&site).await;
    let able = json!({ "elicitation": {} });
    let (state, keys) = wanted(&mut raw, &able).await;
    assert_eq!(keys, ["ask-1", "ask-2"]);
    let yes = json!({ "action": "accept", "content": { "a": 1 } });

    let wrong = answered(&state, json!({ "ask-1": { "action": "perhaps" }, "ask-2": yes }));
    let error = raw.modern("tools/call", wrong, &able).await;
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("inputResponses.ask-1"),
        "{error}"
    );

    let half = raw
        .modern(
            "tools/call",
            answered(&state, json!({ "ask-2": yes, "ask-7": yes })),
            &able,
        )
        .await;
    let left = half["result"]["inputRequests"].as_object().unwrap();
    assert_eq!(left.keys().collect::<Vec<_>>(), ["ask-1"]);
    let next = half["result"]["requestState"].as_str().unwrap().to_owned();
    assert_ne!(next, state, "a key is used once");

    let rest = answered(&next, json!({ "ask-1": { "action": "decline" } }));
    let done = raw.modern("tools/call", rest, &able).await;
    assert_eq!(
        done["result"]["content"][0]["text"], r#"Decline null, Accept {"a":1}"#,
        "{done}"
    );
}

#[tokio::test]
async fn a_state_opens_its_own_request_in_its_own_session_once() {
    let servers = [one_question()];
    let (site, other) = (Site::new(&servers).await, Site::new(&servers).await);
    let able = json!({ "elicitation": {} });
    let (mut raw, mut elsewhere) = (Raw::connect(&site).await, Raw::connect(&other).await);
    let (state, _) = wanted(&mut raw, &able).await;
    assert!(
        state.len() >= 32 && !state.contains("git"),
        "it says nothing: {state}"
    );
    let yes = json!({ "ask-1": { "action": "accept" }, "ask-2": { "action": "accept" } });
    let refused = |answer: &Value| {
        let error = &answer["error"];
        let text = error["message"].as_str().unwrap_or_default();
        assert!(
            error["code"] == -32602 && text.contains("unknown_request_state"),
            "{answer}"
        );
    };
    refused(
        &elsewhere
            .modern("tools/call", answered(&state, yes.clone()), &able)
            .await,
    );
    let mut another_tool = answered(&state, yes.clone());
    another_tool["name"] = json!("git__other");
    refused(&raw.modern("tools/call", another_tool, &able).await);
    refused(
        &raw.modern(
            "tools/call",
            answered("00000000000000000000000000000000", yes.clone()),
            &able,
        )
        .await,
    );
    let done = raw
        .modern("tools/call", answered(&state, yes.clone()), &able)
        .await;
    assert_eq!(done["result"]["isError"], false, "{done}");
    refused(&raw.modern("tools/call", answered(&state, yes), &able).await);
}

#[tokio::test]
async fn what_nobody_comes_back_for_is_taken_back() {
    let ended = Arc::new(tokio::sync::Notify::new());
    let ends = ended.clone();
    let server = Fake::new("git", &["asks"]);
    server.on("asks", move |_, caller| {
        let ends = ends.clone();
        async move {
            let answer = caller.ask(ServerRequest::ElicitRequest(elicitation("one"))).await;
            assert!(answer.is_err());
            caller.cancelled().cancelled().await;
            ends.notify_one();
            Err(CallError::Cancelled)
        }
    });
    let mut options = options();
    options.hold = Duration::from_millis(300);
    let site = Site::with(view(&[server]), options).await;
    let mut raw = Raw::connect(&site).await;
    let able = json!({ "elicitation": {} });
    wanted(&mut raw, &able).await;
    tokio::time::timeout(Duration::from_secs(5), ended.notified())
        .await
        .unwrap();
}

#[tokio::test]
async fn calls_that_wait_for_an_agent_are_counted() {
    let mut options = options();
    options.max_calls = 3;
    let site = Site::with(view(&[one_question()]), options).await;
    let mut raw = Raw::connect(&site).await;
    let able = json!({ "elicitation": {} });
    for _ in 0..3 {
        wanted(&mut raw, &able).await;
    }
    let refused = raw
        .modern("tools/call", json!({ "name": "git__other" }), &able)
        .await;
    assert!(
        refused["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("too_many_calls"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_question_whose_call_is_over_is_taken_back_from_the_agent() {
    let server = Fake::new("git", &["impatient"]);
    server.on("impatient", |_, caller| async move {
        let asking = caller.ask(ServerRequest::ElicitRequest(elicitation("slow")));
        assert!(
            tokio::time::timeout(Duration::from_millis(100), asking)
                .await
                .is_err()
        );
        text("went on without")
    });
    let site = Site::new(&[server]).await;
    let mut raw = Raw::connect(&site).await;
    raw.initialize(json!({ "elicitation": {} })).await;
    let call =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "git__impatient" } });
    let (_, _, body) = raw.post(&[], call.to_string()).await;
    assert!(
        body.contains("elicitation/create") && body.contains("went on without"),
        "{body}"
    );
}

#[tokio::test]
async fn a_server_is_given_what_an_agent_can_answer() {
    let server = Fake::new("git", &["asks"]);
    server.on("asks", |request, _| async move {
        let ClientRequest::CallToolRequest(call) = request else {
            panic!("a call")
        };
        if let Some(given) = call.params.input_responses {
            return text(format!("{:?}", given.keys().collect::<Vec<_>>()));
        }
        let inputs = [
            ("a".to_owned(), InputRequest::CreateMessage(sampling())),
            (
                "b".to_owned(),
                InputRequest::ListRoots(ListRootsRequest::default()),
            ),
        ];
        Ok(ServerResult::InputRequiredResult(
            InputRequiredResult::from_input_requests(inputs.into()),
        ))
    });
    let site = Site::new(std::slice::from_ref(&server)).await;
    let able = serde_json::from_value(json!({ "roots": {} })).unwrap();
    let agent = Agent::over_http(&site, Era::Legacy, able).await;
    assert_eq!(agent.text("git__asks", json!({})).await, r#"["b"]"#);
    // Keys are the server's own, and what nothing of ours waits for is passed on.
    let mut raw = Raw::connect(&site).await;
    let able = json!({ "roots": {}, "sampling": {} });
    let (_, keys) = wanted(&mut raw, &able).await;
    assert_eq!(keys, ["a", "b"]);
    let knowing = json!({ "name": "git__asks", "inputResponses": { "x": {} } });
    let said = raw.modern("tools/call", knowing, &able).await;
    assert_eq!(said["result"]["content"][0]["text"], r#"["x"]"#, "{said}");
    assert_eq!(said["result"]["resultType"], "complete");
}

#[tokio::test]
async fn a_server_that_asks_without_end_is_broken() {
    let server = Fake::new("git", &["greedy"]);
    server.on("greedy", |_, _| async {
        let inputs = [(
            "a".to_owned(),
            InputRequest::ListRoots(ListRootsRequest::default()),
        )];
        Ok(ServerResult::InputRequiredResult(
            InputRequiredResult::from_input_requests(inputs.into()),
        ))
    });
    let site = Site::new(&[server]).await;
    let agent = Agent::over_http(&site, Era::Legacy, helpful()).await;
    let failed = agent.call("git__greedy", json!({})).await.unwrap();
    assert!(
        text_of(&failed).contains("more input again and again"),
        "{failed:?}"
    );
    assert_eq!(agent.heard.lock().unwrap().asked.len(), 16);
}
