//! The agent's own interface: a person types prompts at a terminal. It says which conversation it has as the real one
//! does, by the hook that it was given.

use serde_json::{Value, json};

use super::Agents;
use crate::memory::program::{Context, Exit};

/// How a person leaves.
const LEAVE: &[u8] = b"/exit";

impl Agents {
    /// The program with a person in front of it; `known` when the conversation was begun before.
    pub(super) async fn converse(self, mut context: Context, conversation: String) -> Exit {
        context.stdout.line("Claude (in memory)").await;
        let transcript = format!("/tmp/{conversation}.jsonl");
        announce(&context, &conversation, &transcript);
        while let Some(line) = context.stdin.line().await {
            if line == LEAVE {
                return Exit::OK;
            }
            let text = String::from_utf8_lossy(&line).into_owned();
            let turn = self.lock().next(&text);
            self.keep(&conversation);
            let _ = context
                .writable(&transcript)
                .and_then(|path| std::fs::write(path, &line));
            context.stdout.line(turn.words()).await;
        }
        Exit::OK
    }
}

/// Does what the hook for the beginning of a conversation is for.
fn announce(context: &Context, conversation: &str, transcript: &str) {
    let args = context.args();
    let settings = args.iter().skip_while(|arg| *arg != "--settings").nth(1);
    let settings: Value = settings
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let command = settings["hooks"]["SessionStart"][0]["hooks"][0]["command"].as_str();
    // `… mv 'NEW' 'NOTE'`
    let path = command.and_then(|command| command.split('\'').rev().nth(1));
    let note = json!({ "session_id": conversation, "transcript_path": transcript });
    if let Some(Ok(path)) = path.map(|path| context.writable(path)) {
        let written = path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, note.to_string()));
        debug_assert!(written.is_ok(), "the home is writable");
    }
}
