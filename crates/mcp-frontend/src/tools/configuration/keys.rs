//! `initialize_keys`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CHANGES, Hints, Spec, Tool, ask};
use crate::call::{Call, Stop};

/// See the module.
pub(super) struct InitializeKeys;

/// What `initialize_keys` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Args {
    /// true: another key signs from now on. What the former one signed still holds. false (default): a key that is there stays.
    overwrite: Option<bool>,
}

/// What `initialize_keys` gives. The private key stays on the host.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Output {
    /// The key that signs now.
    signing_key_id: String,
    /// Ed25519, base64.
    public_key: String,
    /// When it was made, RFC 3339.
    created_at: String,
    /// Whether it was made by this call.
    is_new: bool,
    /// What becomes of signatures.
    message: &'static str,
}

impl Tool for InitializeKeys {
    const SPEC: Spec = Spec {
        name: "initialize_keys",
        title: "Make the signing key",
        description: "Makes the Ed25519 key that signs published configurations, when there is none; publish_config does it \
            too. With overwrite: true another key takes its place.",
        hints: Hints {
            destructive: true,
            idempotent: false,
            ..CHANGES
        },
    };
    type Args = Args;
    type Output = Output;

    async fn run(args: Args, call: &Call) -> Result<Output, Stop> {
        let overwrite = args.overwrite == Some(true);
        let key = ask(call, move |catalog| catalog.initialize_keys(overwrite)).await?;
        let message = match (key.is_new, overwrite) {
            (false, _) => "There was a key, and it stays. overwrite: true would make another.",
            (true, false) => "The key was made.",
            (true, true) => {
                "This key signs from now on. What a former key signed still holds; only a person who takes that key's \
                 public half away on the host takes its signatures back."
            }
        };
        Ok(Output {
            signing_key_id: key.key_id,
            public_key: key.public_key,
            created_at: key.created.to_string(),
            is_new: key.is_new,
            message,
        })
    }
}
