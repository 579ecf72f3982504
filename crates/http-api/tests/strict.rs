//! A typing error in a request is refused, never a silent default; and a secret is nowhere but where it belongs.

use http_api::{
    CommandAnswer, CommandBody, CommandClientFrame, CreateSessionBody, DecideEgressBody, Octets,
    OpenTerminalBody, PromptBody, SignalBody, Stdin, TokenBody,
};
use serde::de::DeserializeOwned;
use session_core::command::{CommandExit, CommandOutput, ExitCause};
use session_core::id::CommandId;

fn refused<T: DeserializeOwned + std::fmt::Debug>(text: &str) -> String {
    serde_json::from_str::<T>(text).expect_err(text).to_string()
}

#[test]
fn fields_that_nobody_knows_are_refused_at_every_depth() {
    for body in [
        r#"{"nmae": "x"}"#,
        r#"{"workspace": {"kind": "empty", "path": "/x"}}"#,
        r#"{"workspace": {"kind": "mount", "path": "/x", "read_only": true}}"#,
        r#"{"limits": {"memory": 1}}"#,
        r#"{"mounts": [{"source": "/a", "target": "/b", "ro": true}]}"#,
        r#"{"budget": {"dollars": 1}}"#,
        r#"{"mcp": {"server": "git"}}"#,
        r#"{"account": {"kind": "api_key", "key": "k", "region": "r"}}"#,
        r#"{"account": {"kind": "bedrock", "credentials": {"access_key_id": "A", "secret_access_key": "s", "x": 1}}}"#,
    ] {
        refused::<CreateSessionBody>(body);
    }
    refused::<PromptBody>(r#"{"prompt": "x", "wait": true}"#);
    refused::<CommandBody>(r#"{"argv": ["x"], "shell": true}"#);
    refused::<DecideEgressBody>(r#"{"rule": "a.example", "allow": true, "for": 1}"#);
    refused::<OpenTerminalBody>(r#"{"program": {"kind": "shell", "argv": []}}"#);
    refused::<TokenBody>(r#"{"name": "x", "scope": "use", "expires": 1}"#);
    refused::<SignalBody>(r#"{"signal": 9, "group": true}"#);
    refused::<CommandClientFrame>(r#"{"type": "start", "argv": ["x"], "shell": true}"#);
    refused::<CommandClientFrame>(r#"{"type": "eof", "now": true}"#);
    refused::<CommandClientFrame>(r#"{"type": "ack", "offset": 1, "to": 2}"#);
}

#[test]
fn standard_input_has_three_forms() {
    let stdin = |text: &str| serde_json::from_str::<Stdin>(text).unwrap();
    assert_eq!(stdin("null"), Stdin::Empty);
    assert_eq!(stdin("false"), Stdin::Empty);
    assert_eq!(stdin("true"), Stdin::Open);
    assert_eq!(stdin(r#""x""#), Stdin::Data(Octets(b"x".to_vec())));
    assert_eq!(stdin(r#"{"base64": "/w=="}"#), Stdin::Data(Octets(vec![255])));
    for bad in [
        "1",
        "[]",
        r#"{"base64": "?"}"#,
        r#"{"base64": "/w==", "x": 1}"#,
        "{}",
    ] {
        refused::<Stdin>(bad);
    }
}

#[test]
fn a_secret_is_in_no_debug_output_and_in_no_error() {
    let body = r#"{"account": {"kind": "bedrock", "credentials":
        {"access_key_id": "AKIA", "secret_access_key": "canary-1", "session_token": "canary-2"}}}"#;
    let body: CreateSessionBody = serde_json::from_str(body).unwrap();
    assert!(!format!("{body:?}").contains("canary"), "{body:?}");
    assert!(
        serde_json::to_string(&body).unwrap().contains("canary-1"),
        "a client sends it"
    );
    for bad in [
        r#"{"account": "canary"}"#,
        r#"{"account": ["canary"]}"#,
        r#"{"account": {"kind": "canary"}}"#,
        r#"{"account": {"kind": "api_key", "key": ["canary"]}}"#,
        r#"{"account": {"kind": "api_key", "canary": 1}}"#,
        r#"{"account": {"kind": "bedrock", "credentials": "canary"}}"#,
    ] {
        let said = refused::<CreateSessionBody>(bad);
        assert!(!said.contains("canary"), "{said}");
        assert!(said.contains("api_key"), "it says what an account is: {said}");
    }
}

#[test]
fn output_that_is_no_text_comes_in_base64_beside_what_can_be_read_of_it() {
    let output = CommandOutput {
        stdout: b"ok \xff".to_vec(),
        stderr: b"fine".to_vec(),
        truncated: false,
        exit: CommandExit {
            cause: ExitCause::Exited,
            code: Some(0),
            signal: None,
            duration_ms: 1,
            output_bytes: 8,
        },
    };
    let answer = CommandAnswer::new(CommandId::new(), output.clone());
    let json = serde_json::to_value(&answer).unwrap();
    assert_eq!(json["stdout"], "ok \u{fffd}");
    assert_eq!(json["stdout_base64"], "b2sg/w==");
    assert!(json.get("stderr_base64").is_none());
    assert_eq!(answer.into_output().unwrap(), output);
}

#[test]
fn a_list_is_no_object_and_a_whole_number_is_one_however_it_is_written() {
    for body in [
        "[]",
        r#"{"budget": [null, null]}"#,
        r#"{"limits": [1]}"#,
        r#"{"mcp": []}"#,
        r#"{"workspace": ["empty"]}"#,
        r#"{"mounts": [["/a", "/b", true]]}"#,
        r#"{"account": ["api_key", "k"]}"#,
    ] {
        refused::<CreateSessionBody>(body);
    }
    refused::<SignalBody>("[9]");
    refused::<OpenTerminalBody>(r#"{"size": [24, 80]}"#);
    let written: OpenTerminalBody =
        serde_json::from_str(r#"{"size": {"rows": 24.0, "columns": 80}}"#).unwrap();
    assert_eq!(written.size.rows, 24);
    for size in ["24.5", "-1", "70000", "1e300", "\"24\"", "null"] {
        refused::<OpenTerminalBody>(&format!("{{\"size\": {{\"rows\": {size}, \"columns\": 80}}}}"));
    }
}
