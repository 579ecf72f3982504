//! The program's own interface. It is the same program in the same conversation, with a screen instead of lines.
//!
//! Before its first prompt it would ask whether to trust the directory, which theme to use, whether to use the key that it
//! finds, and whether it may do without permissions. All of that is answered by how it is started. And it says at every
//! beginning of a conversation which one that is (`/clear` begins another, `/resume` goes back to an older one), by a hook.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::super::{AgentContext, InterfaceLeft};
use super::fields::lenient;
use super::signals::is_conversation;
use super::{PROGRAM, launch};
use crate::gateway::ModelApi;

/// The longest path of a transcript that is believed.
const MAX_PATH: usize = 4096;

/// What nothing overrides.
const FIXED: &[(&str, &str)] = &[
    // The directory is the session's own, and nothing of the host is in reach.
    ("CLAUDE_CODE_SANDBOXED", "1"),
    // Leaves the questions of a first start away, and shows no account: there is none.
    ("IS_DEMO", "1"),
];

/// An API key in the environment is asked about, a token is not. The gateway takes both.
const KEY: &str = "ANTHROPIC_API_KEY";
const TOKEN: &str = "ANTHROPIC_AUTH_TOKEN";

pub(super) fn env(context: &AgentContext) -> BTreeMap<String, String> {
    let mut env = launch::env(context);
    if context.model_api == ModelApi::Messages
        && let Some(token) = env.remove(KEY)
    {
        env.insert(TOKEN.to_owned(), token);
    }
    let fixed = FIXED.iter();
    env.extend(fixed.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    env
}

pub(super) fn argv(context: &AgentContext, note: &str) -> Vec<String> {
    let mut argv = vec![PROGRAM.to_owned()];
    launch::add_options(context, &mut argv);
    argv.extend(["--settings".to_owned(), settings(note)]);
    argv
}

/// Replaced as a whole, so that half a note is never read.
fn settings(note: &str) -> String {
    let command = format!("cat > '{note}.new' && mv '{note}.new' '{note}'");
    let hook = json!({ "hooks": [{ "type": "command", "command": command }] });
    json!({
        "skipDangerousModePermissionPrompt": true,
        "hooks": { "SessionStart": [hook] },
    })
    .to_string()
}

#[derive(Deserialize)]
struct Note {
    #[serde(default, deserialize_with = "lenient")]
    session_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    transcript_path: Option<String>,
}

/// What the hook was told, or whatever somebody inside put in its place.
pub(super) fn left(note: &[u8]) -> Option<InterfaceLeft> {
    let Note {
        session_id,
        transcript_path,
    } = serde_json::from_slice(note).ok()?;
    Some(InterfaceLeft {
        conversation: session_id.filter(|id| is_conversation(id))?,
        transcript: transcript_path
            .filter(|path| path.starts_with('/') && path.len() <= MAX_PATH && !path.contains('\0'))?,
    })
}
