//! `publish_config` and `get_config`.

use std::collections::BTreeMap;

use mcp_catalog::{Catalog, DraftKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use session_core::error::{Error, ErrorKind, Result};

use super::artifact::ArtifactView;
use super::{CHANGES, Hints, Spec, Tool, ask, digest, key};
use crate::args::given;
use crate::call::{Call, Stop};
use crate::failure::Failure;

/// The longest note of a publication, in bytes.
const NOTE: usize = 1000;
/// Earlier publications in one result.
const EARLIER: usize = 10;

/// See the module.
pub(super) struct Publish;

/// What `publish_config` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct PublishArgs {
    /// claude-code, claude-desktop, cursor or sessions.
    client_id: String,
    /// The profile; "default" when absent.
    profile_id: Option<String>,
    /// Why, in a sentence for those who look at it later.
    note: Option<String>,
}

/// What `publish_config` gives.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Published {
    /// false: it was what was published already.
    changed: bool,
    #[serde(flatten)]
    artifact: ArtifactView,
    /// What to do next.
    message: &'static str,
}

impl Tool for Publish {
    const SPEC: Spec = Spec {
        name: "publish_config",
        title: "Publish a configuration",
        description: "Signs and stores what a client's draft, or else the operator's profile, says now; its artifact_id is \
            the SHA-256 of its content. Makes the signing key when there is none. The draft stays.",
        hints: CHANGES,
    };
    type Args = PublishArgs;
    type Output = Published;

    async fn run(args: PublishArgs, call: &Call) -> std::result::Result<Published, Stop> {
        let note = given(args.note.as_deref()).map(str::to_owned);
        if note.as_ref().is_some_and(|note| note.len() > NOTE) {
            return Err(Failure::invalid(format!("note: more than {NOTE} bytes"), "say it shorter").into());
        }
        let key = key(&args.client_id, args.profile_id.as_deref())?;
        let limit = call.core.options.output_limit;
        let ours = key.client.as_str() == "sessions";
        let published = ask(call, move |catalog| {
            let before = catalog.latest(&key)?.map(|artifact| artifact.artifact_id);
            let mut metadata = BTreeMap::from([("published_with".to_owned(), json!("mcp"))]);
            metadata.extend(note.map(|note| ("note".to_owned(), json!(note))));
            let artifact = catalog.publish(&key, metadata)?;
            let verified = catalog.verify(&artifact);
            let changed = before.as_ref() != Some(&artifact.artifact_id);
            Ok((changed, ArtifactView::new(&artifact, &verified, limit)))
        })
        .await?;
        let (changed, artifact) = published;
        Ok(Published {
            changed,
            artifact,
            message: if ours {
                "Sessions that are made from now on run under it."
            } else {
                "deploy_config, or a person with `cofferdam mcp deploy`, gives it to the client."
            },
        })
    }
}

/// See the module.
pub(super) struct GetConfig;

/// What `get_config` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct GetArgs {
    /// claude-code, claude-desktop, cursor or sessions.
    client_id: String,
    /// The profile; "default" when absent.
    profile_id: Option<String>,
    /// An earlier publication; the last one when absent.
    artifact_id: Option<String>,
}

/// What `get_config` gives.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Config {
    #[serde(flatten)]
    artifact: ArtifactView,
    /// Other publications of the profile, the newest first; at most 10.
    others: Vec<Other>,
}

/// Another publication.
#[derive(Debug, Serialize, JsonSchema)]
struct Other {
    artifact_id: String,
    created_at: String,
}

fn find(catalog: &Catalog, key: &DraftKey, wanted: Option<&str>, limit: usize) -> Result<Config> {
    let mut all = catalog.artifacts(key)?;
    let at = match wanted {
        None => (!all.is_empty()).then_some(0),
        Some(id) => all
            .iter()
            .position(|artifact| artifact.artifact_id.as_str() == id),
    };
    let Some(at) = at else {
        return Err(Error::new(
            ErrorKind::NotFound,
            "find the published configuration",
            "nothing of it was published",
        )
        .with_context("client", &key.client)
        .with_context("profile", &key.profile)
        .with_hint("list_profiles shows what was published, publish_config publishes"));
    };
    let artifact = all.remove(at);
    let verified = catalog.verify(&artifact);
    let others = all.iter().take(EARLIER).map(|other| Other {
        artifact_id: other.artifact_id.to_string(),
        created_at: other.created_at.to_string(),
    });
    Ok(Config {
        artifact: ArtifactView::new(&artifact, &verified, limit),
        others: others.collect(),
    })
}

impl Tool for GetConfig {
    const SPEC: Spec = Spec {
        name: "get_config",
        title: "Read a published configuration",
        description: "What was published for a client, with its signature and whether it holds. Of secrets it has the kind of \
            reference alone.",
        hints: Hints::READS,
    };
    type Args = GetArgs;
    type Output = Config;

    async fn run(args: GetArgs, call: &Call) -> std::result::Result<Config, Stop> {
        let wanted = given(args.artifact_id.as_deref());
        let wanted = wanted.map(|text| digest("artifact_id", text)).transpose()?;
        let key = key(&args.client_id, args.profile_id.as_deref())?;
        let limit = call.core.options.output_limit;
        ask(call, move |catalog| {
            find(
                catalog,
                &key,
                wanted.as_ref().map(mcp_catalog::Digest::as_str),
                limit,
            )
        })
        .await
    }
}
