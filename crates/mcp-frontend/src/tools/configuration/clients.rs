//! `list_clients` and `list_profiles`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::servers::Nothing;
use super::{Hints, Spec, Tool, ask, client};
use crate::call::{Call, Stop};
use crate::clients::ClientKind;

/// See the module.
pub(super) struct ListClients;

/// What `list_clients` gives.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Clients {
    clients: Vec<ClientView>,
}

/// Who can be given a configuration.
#[derive(Debug, Serialize, JsonSchema)]
struct ClientView {
    client_id: String,
    /// Who it is.
    title: &'static str,
    /// Whether deploy_config can write its file.
    deployable: bool,
}

impl Tool for ListClients {
    const SPEC: Spec = Spec {
        name: "list_clients",
        title: "List clients of MCP servers",
        description: "Who can be given a configuration of MCP servers: programs of people, and sessions.",
        hints: Hints::READS,
    };
    type Args = Nothing;
    type Output = Clients;

    async fn run(_: Nothing, call: &Call) -> Result<Clients, Stop> {
        let known = ask(call, |catalog| Ok(catalog.clients())).await?;
        let deploys = call
            .core
            .configuration
            .as_ref()
            .is_some_and(|configuration| configuration.deployer.is_some());
        let view = |id: mcp_catalog::ClientId| {
            let kind = ClientKind::of_name(id.as_str());
            ClientView {
                title: kind.map_or("Sessions of this host", ClientKind::title),
                deployable: deploys && kind.is_some(),
                client_id: id.to_string(),
            }
        };
        Ok(Clients {
            clients: known.into_iter().map(view).collect(),
        })
    }
}

/// See the module.
pub(super) struct ListProfiles;

/// What `list_profiles` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Args {
    /// claude-code, claude-desktop, cursor or sessions.
    client_id: String,
}

/// What `list_profiles` gives.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Profiles {
    client_id: String,
    profiles: Vec<ProfileView>,
    /// What an empty list means.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

/// What there is of a profile.
#[derive(Debug, Serialize, JsonSchema)]
struct ProfileView {
    profile_id: String,
    /// Whether the operator declared it.
    declared: bool,
    /// Whether the client has a draft of its own.
    draft: bool,
    /// What was published last.
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_id: Option<String>,
}

impl Tool for ListProfiles {
    const SPEC: Spec = Spec {
        name: "list_profiles",
        title: "List profiles of a client",
        description: "The profiles that are declared, drafted or published for a client.",
        hints: Hints::READS,
    };
    type Args = Args;
    type Output = Profiles;

    async fn run(args: Args, call: &Call) -> Result<Profiles, Stop> {
        let client = client(&args.client_id)?;
        let client_id = client.to_string();
        let found = ask(call, move |catalog| catalog.list_profiles(&client)).await?;
        let note = found
            .is_empty()
            .then_some("there are none; add_server_to_config begins one");
        let view = |summary: mcp_catalog::ProfileSummary| ProfileView {
            profile_id: summary.profile.to_string(),
            declared: summary.declared,
            draft: summary.draft,
            artifact_id: summary.published.map(|id| id.to_string()),
        };
        Ok(Profiles {
            client_id,
            profiles: found.into_iter().map(view).collect(),
            note,
        })
    }
}
