//! `deploy_config`.
//!
//! There is no argument for a file on purpose: which file a client has is the program's knowledge, and a path from whoever
//! drives an MCP client could lead, by a link that a session made, to any file of this host.

use mcp_catalog::DriftStatus;
use schemars::JsonSchema;
use serde::Serialize;
use session_core::error::{Error, ErrorKind};

use super::{CHANGES, Hints, Spec, Tool, Whose, ask, key, told};
use crate::call::{Call, Stop};
use crate::clients::ClientKind;
use crate::configuration::Deployment;
use crate::failure::Failure;

/// See the module.
pub(super) struct Deploy;

/// What `deploy_config` gives.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Output {
    client_id: String,
    profile_id: String,
    /// What was deployed.
    artifact_id: String,
    /// The client's file.
    path: String,
    /// The name of the entry in it.
    entry: String,
    /// false: it was there already.
    changed: bool,
    /// What the file was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<String>,
    /// What to do next.
    message: &'static str,
}

impl Tool for Deploy {
    const SPEC: Spec = Spec {
        name: "deploy_config",
        title: "Deploy a configuration",
        description: "Gives a client what was published last for it, if its signature holds: writes one entry without any \
            secret into the client's own file, keeps a backup, and leaves everything else in it alone.",
        hints: Hints {
            destructive: true,
            ..CHANGES
        },
    };
    type Args = Whose;
    type Output = Output;

    async fn run(args: Whose, call: &Call) -> Result<Output, Stop> {
        let key = key(&args.client_id, args.profile_id.as_deref())?;
        let Some(client) = ClientKind::of_name(key.client.as_str()) else {
            return Err(Failure::invalid(
                "client_id: sessions have no file to deploy to",
                "nothing needs to be done: new sessions run under what was published last",
            )
            .into());
        };
        let deployer = call
            .core
            .configuration
            .as_ref()
            .and_then(|configuration| configuration.deployer.clone());
        let deployer = deployer.ok_or_else(|| {
            Failure::of(
                ErrorKind::Unsupported,
                "this server writes no files of clients",
                "ask the operator",
            )
        })?;
        let wanted = key.clone();
        let (artifact, status) = ask(call, move |catalog| {
            let artifact = catalog.latest(&wanted)?.ok_or_else(|| {
                Error::new(
                    ErrorKind::NotFound,
                    "deploy the configuration",
                    "nothing of it was published",
                )
                .with_context("client", &wanted.client)
                .with_context("profile", &wanted.profile)
                .with_hint("publish_config publishes it")
            })?;
            catalog.verify(&artifact)?;
            // One whose profile is gone can be deployed all the same: it was published whole.
            let status = catalog
                .diff(&wanted, None)
                .map_or(DriftStatus::Unknown, |drift| drift.status);
            Ok((artifact.artifact_id.to_string(), status))
        })
        .await?;
        let deployed = deployer
            .deploy(Deployment {
                client,
                profile: &key.profile,
                artifact: &artifact,
            })
            .await
            .map_err(|error| Stop::from(told(error)))?;
        if status == DriftStatus::Outdated {
            call.warn("the declarations or the draft changed since it was published; diff_config shows how");
        }
        Ok(Output {
            client_id: key.client.to_string(),
            profile_id: key.profile.to_string(),
            artifact_id: artifact,
            path: deployed.path.display().to_string(),
            entry: deployed.entry,
            changed: deployed.changed,
            backup: deployed.backup.map(|path| path.display().to_string()),
            message: "The client sees it when it starts its servers again.",
        })
    }
}
