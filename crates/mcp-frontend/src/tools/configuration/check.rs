//! `validate_config` and `diff_config`.

use mcp_catalog::{Catalog, ChangeKind, Digest, DraftKey, Drift, DriftStatus, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use session_core::error::{ErrorKind, Result};

use super::{Hints, Spec, Tool, Whose, ask, digest, in_tools, key};
use crate::args::given;
use crate::call::{Call, Stop};
use crate::clients::ClientKind;

/// See the module.
pub(super) struct Validate;

/// What `validate_config` gives.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Judged {
    client_id: String,
    profile_id: String,
    /// Whether it can be published.
    valid: bool,
    problems: Vec<ProblemView>,
    /// The content address of what would be published.
    configuration: String,
}

/// One thing that is wrong.
#[derive(Debug, Serialize, JsonSchema)]
struct ProblemView {
    /// With which server; with the whole when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    server_id: Option<String>,
    /// unknown_server, disabled_server, no_servers, held_tools, tools_match_nothing or names_may_collide.
    code: &'static str,
    message: String,
    /// What to do about it.
    hint: String,
    /// Whether it stands in the way of publishing.
    blocks: bool,
}

impl ProblemView {
    fn new(problem: Problem) -> Self {
        Self {
            server_id: problem.server.map(|server| server.to_string()),
            code: problem.code,
            message: problem.message,
            hint: in_tools(&problem.hint),
            blocks: problem.blocks,
        }
    }
}

impl Tool for Validate {
    const SPEC: Spec = Spec {
        name: "validate_config",
        title: "Judge a configuration",
        description: "Judges a client's draft, or else the operator's profile: what stands in the way of publish_config, and \
            what else is odd. Starts no server.",
        hints: Hints::READS,
    };
    type Args = Whose;
    type Output = Judged;

    async fn run(args: Whose, call: &Call) -> std::result::Result<Judged, Stop> {
        let key = key(&args.client_id, args.profile_id.as_deref())?;
        let (client_id, profile_id) = (key.client.to_string(), key.profile.to_string());
        let validation = ask(call, move |catalog| catalog.validate(&key)).await?;
        Ok(Judged {
            client_id,
            profile_id,
            valid: validation.is_publishable(),
            configuration: validation.digest.to_string(),
            problems: validation.problems.into_iter().map(ProblemView::new).collect(),
        })
    }
}

/// See the module.
pub(super) struct Diff;

/// What `diff_config` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct DiffArgs {
    /// claude-code, claude-desktop, cursor or sessions.
    client_id: String,
    /// The profile; "default" when absent.
    profile_id: Option<String>,
    /// What is deployed or used: an artifact_id, or the configuration of a session as get_session gives it. What the client's own file has when absent, if that is known.
    deployed: Option<String>,
}

/// What `diff_config` gives.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DriftView {
    client_id: String,
    profile_id: String,
    /// up-to-date, outdated (what would be published now differs), diverged (what is deployed is neither) or unknown (nothing was published, or its signature does not hold).
    status: &'static str,
    /// From what was published to what would be published now.
    changes: Vec<ChangeView>,
    /// Whether other tools of the servers are allowed.
    tools_changed: bool,
    /// What was published last and holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_id: Option<String>,
    /// The content address of what would be published now.
    configuration: String,
    /// What is deployed, when it was named or is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    deployed: Option<String>,
    /// Why what was published does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

/// What became of a server.
#[derive(Debug, Serialize, JsonSchema)]
struct ChangeView {
    server_id: String,
    /// added, removed or changed.
    change: &'static str,
    /// Which keys of its declaration differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<String>,
}

/// The configuration of an artifact that holds, or the address as it is.
fn configuration_of(catalog: &Catalog, address: Digest) -> Result<Digest> {
    match catalog.artifact(&address) {
        Ok(artifact) => Ok(catalog
            .verify(&artifact)
            .map_or(address, |verified| verified.digest)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(address),
        Err(error) => Err(error),
    }
}

/// What stands in the client's own file, for whoever does not say what is deployed.
async fn standing(call: &Call, key: &DraftKey) -> Option<Digest> {
    let client = ClientKind::of_name(key.client.as_str())?;
    let deployer = call.core.configuration.as_ref()?.deployer.as_ref()?;
    deployer
        .deployed(client, &key.profile)
        .await
        .unwrap_or_else(|error| {
            tracing::warn!(%error, client = client.name(), "nobody tells what is deployed");
            None
        })
}

impl DriftView {
    fn new(key: &DraftKey, drift: Drift, deployed: Option<Digest>) -> Self {
        let note = match drift.status {
            DriftStatus::UpToDate => None,
            DriftStatus::Outdated => Some("publish_config publishes what is there now"),
            DriftStatus::Diverged => Some("deploy_config puts what was published last in its place"),
            DriftStatus::Unknown => Some("publish_config publishes and signs it"),
        };
        let changes = drift.changes.into_iter().map(|change| ChangeView {
            server_id: change.server.to_string(),
            change: match change.kind {
                ChangeKind::Added => "added",
                ChangeKind::Removed => "removed",
                ChangeKind::Changed => "changed",
            },
            fields: change.fields,
        });
        Self {
            client_id: key.client.to_string(),
            profile_id: key.profile.to_string(),
            status: drift.status.as_str(),
            changes: changes.collect(),
            tools_changed: drift.tools_changed,
            artifact_id: drift.published.map(|id| id.to_string()),
            configuration: drift.current.to_string(),
            deployed: deployed.map(|deployed| deployed.to_string()),
            reason: drift.reason,
            note,
        }
    }
}

impl Tool for Diff {
    const SPEC: Spec = Spec {
        name: "diff_config",
        title: "Compare configurations",
        description: "Compares what was published last for a client with what would be published now, and with what is \
            deployed when it is named: up-to-date, outdated, diverged or unknown.",
        hints: Hints::READS,
    };
    type Args = DiffArgs;
    type Output = DriftView;

    async fn run(args: DiffArgs, call: &Call) -> std::result::Result<DriftView, Stop> {
        let named = given(args.deployed.as_deref());
        let named = named.map(|text| digest("deployed", text)).transpose()?;
        let key = key(&args.client_id, args.profile_id.as_deref())?;
        let deployed = match named {
            Some(named) => Some(named),
            None => standing(call, &key).await,
        };
        let (wanted, address) = (key.clone(), deployed.clone());
        let drift = ask(call, move |catalog| {
            let address = address
                .map(|address| configuration_of(catalog, address))
                .transpose()?;
            catalog.diff(&wanted, address.as_ref())
        })
        .await?;
        Ok(DriftView::new(&key, drift, deployed))
    }
}
