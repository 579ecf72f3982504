//! How the program's own interface is started, and what is believed of what it leaves.

use serde_json::{Value, json};

use super::super::{interface, launch as started};
use super::launch::context;

#[test]
fn it_is_the_same_agent_without_the_lines() {
    let mut context = context();
    context.resume = Some("0b5c5a1e-6b1a-4a51-9e33-3a3d4b1d7f10".to_owned());
    context.mcp_url = Some("http://127.0.0.1:9103/mcp".to_owned());
    let lines = started::argv(&context);
    let argv = interface::argv(&context, "/home/agent/.claude/note.json");
    assert!(
        !argv
            .iter()
            .any(|argument| argument == "-p" || argument.contains("stream-json"))
    );
    let behind = lines
        .iter()
        .position(|argument| argument == "--strict-mcp-config")
        .unwrap();
    assert_eq!(argv[1..argv.len() - 2], lines[behind..], "another agent");
}

#[test]
fn it_asks_nothing_and_says_which_conversation_it_has() {
    let argv = interface::argv(&context(), "/n.json");
    let [.., option, settings] = &argv[..] else {
        panic!("{argv:?}")
    };
    assert_eq!(option, "--settings");
    let settings: Value = serde_json::from_str(settings).unwrap();
    assert_eq!(settings["skipDangerousModePermissionPrompt"], true);
    let command = &settings["hooks"]["SessionStart"][0]["hooks"][0]["command"];
    assert_eq!(command, "cat > '/n.json.new' && mv '/n.json.new' '/n.json'");
    let env = interface::env(&context());
    assert_eq!(env["CLAUDE_CODE_SANDBOXED"], "1");
    assert!(!env.contains_key("ANTHROPIC_API_KEY"), "a key is asked about");
    assert_eq!(
        env["ANTHROPIC_AUTH_TOKEN"],
        started::env(&context())["ANTHROPIC_API_KEY"]
    );
}

#[test]
fn what_stands_in_the_note_is_judged() {
    let note = |id: &str, path: &str| json!({ "session_id": id, "transcript_path": path }).to_string();
    let id = "0b5c5a1e-6b1a-4a51-9e33-3a3d4b1d7f10";
    let read = interface::left(note(id, "/home/agent/x.jsonl").as_bytes()).unwrap();
    assert_eq!(
        (read.conversation.as_str(), read.transcript.as_str()),
        (id, "/home/agent/x.jsonl")
    );
    for bad in [
        note("--help", "/x"),
        note(id, "relative"),
        note(id, "/nul\0"),
        note(id, &format!("/{}", "x".repeat(4096))),
        "{".to_owned(),
        "[]".to_owned(),
        String::new(),
    ] {
        assert_eq!(interface::left(bad.as_bytes()), None, "{bad:?}");
    }
}
