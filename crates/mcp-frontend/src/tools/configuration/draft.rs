//! `add_server_to_config`, `remove_server_from_config`, `view_draft_config` and `clear_draft_config`.
//!
//! A draft holds names of declared servers and nothing else, so whatever a client was talked into, it chooses among what
//! the operator trusts.

use mcp_catalog::{Catalog, Declared, Draft, DraftKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use session_core::error::{Error, ErrorKind, Result};
use session_core::mcp::ServerName;

use super::{CHANGES, Hints, Spec, Tool, Whose, ask, key, line, name, there_are};
use crate::call::{Call, Stop};
use crate::failure::Failure;

/// See the module.
pub(super) struct AddServer;
/// See the module.
pub(super) struct RemoveServer;
/// See the module.
pub(super) struct ViewDraft;
/// See the module.
pub(super) struct ClearDraft;

/// What changing a draft takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Change {
    /// claude-code, claude-desktop, cursor or sessions.
    client_id: String,
    /// The profile; "default" when absent.
    profile_id: Option<String>,
    /// The name of a declared server, as list_available_servers gives it.
    server_id: String,
}

impl Change {
    fn read(&self) -> std::result::Result<(DraftKey, ServerName), Failure> {
        let server = name("server_id", &self.server_id)?;
        Ok((key(&self.client_id, self.profile_id.as_deref())?, server))
    }
}

/// A client's choice of servers, as it is by now.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DraftView {
    client_id: String,
    profile_id: String,
    /// Whether the client has a draft of its own; without, the servers are those of the operator's profile.
    draft: bool,
    /// The servers, in the order in which they were added.
    servers: Vec<Chosen>,
    /// When the draft was changed last, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<String>,
    /// What to know, or to do next.
    note: &'static str,
}

/// One of them.
#[derive(Debug, Serialize, JsonSchema)]
struct Chosen {
    server_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// false: it is switched off or not declared any more, see validate_config.
    usable: bool,
}

impl DraftView {
    fn new(key: &DraftKey, declared: &Declared, draft: Option<Draft>, note: &'static str) -> Self {
        let of_profile = || {
            let profile = declared.profiles.get(&key.profile);
            profile.map(|profile| profile.servers.clone()).unwrap_or_default()
        };
        let chosen = |server: ServerName| {
            let definition = declared.servers.get(&server);
            Chosen {
                description: definition
                    .and_then(|found| found.description.as_deref())
                    .map(line),
                usable: definition.is_some_and(|found| found.enabled),
                server_id: server.to_string(),
            }
        };
        Self {
            client_id: key.client.to_string(),
            profile_id: key.profile.to_string(),
            draft: draft.is_some(),
            updated_at: draft.as_ref().map(|draft| draft.updated_at.to_string()),
            servers: draft
                .map_or_else(of_profile, |draft| draft.servers)
                .into_iter()
                .map(chosen)
                .collect(),
            note,
        }
    }

    fn look(catalog: &Catalog, key: &DraftKey) -> Result<Self> {
        let declared = catalog.declared()?;
        let draft = catalog.draft(key)?;
        let note = match &draft {
            Some(_) => "publish_config publishes it, clear_draft_config goes back to the operator's profile",
            None if declared.profiles.contains_key(&key.profile) => {
                "there is no draft: this is the operator's profile, and a draft begins with it"
            }
            None => {
                "there is neither a draft nor a profile of this name; add_server_to_config begins a draft"
            }
        };
        Ok(Self::new(key, &declared, draft, note))
    }
}

impl Tool for AddServer {
    const SPEC: Spec = Spec {
        name: "add_server_to_config",
        title: "Add an MCP server to a draft",
        description: "Adds a server that the operator declared to a client's draft. A new draft begins with the servers of \
            the operator's profile. Nothing changes for anybody before publish_config.",
        hints: CHANGES,
    };
    type Args = Change;
    type Output = DraftView;

    async fn run(args: Change, call: &Call) -> std::result::Result<DraftView, Stop> {
        let (key, server) = args.read()?;
        ask(call, move |catalog| {
            let declared = catalog.declared()?;
            if !declared.servers.contains_key(&server) {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    "draft a configuration of MCP servers",
                    "the operator has declared no such server",
                )
                .with_context("server", &server)
                .with_hint(there_are(declared.servers.keys())));
            }
            let draft = catalog.draft_add(&key, &server)?;
            let note = "validate_config says whether it can be used, publish_config publishes it";
            Ok(DraftView::new(&key, &declared, Some(draft), note))
        })
        .await
    }
}

impl Tool for RemoveServer {
    const SPEC: Spec = Spec {
        name: "remove_server_from_config",
        title: "Take an MCP server out of a draft",
        description: "Takes a server out of a client's draft. A new draft begins with the servers of the operator's \
            profile. Nothing changes for anybody before publish_config.",
        hints: CHANGES,
    };
    type Args = Change;
    type Output = DraftView;

    async fn run(args: Change, call: &Call) -> std::result::Result<DraftView, Stop> {
        let (key, server) = args.read()?;
        let (view, was_there) = ask(call, move |catalog| {
            let declared = catalog.declared()?;
            let before = DraftView::look(catalog, &key)?;
            let was_there = before
                .servers
                .iter()
                .any(|chosen| chosen.server_id == server.as_str());
            let draft = catalog.draft_remove(&key, &server)?;
            let note = "validate_config says whether it can be used, publish_config publishes it";
            Ok((DraftView::new(&key, &declared, Some(draft), note), was_there))
        })
        .await?;
        if !was_there {
            call.warn("the server was not in it");
        }
        Ok(view)
    }
}

impl Tool for ViewDraft {
    const SPEC: Spec = Spec {
        name: "view_draft_config",
        title: "View a draft",
        description: "The servers of a client's draft, or those of the operator's profile when there is no draft.",
        hints: Hints::READS,
    };
    type Args = Whose;
    type Output = DraftView;

    async fn run(args: Whose, call: &Call) -> std::result::Result<DraftView, Stop> {
        let key = key(&args.client_id, args.profile_id.as_deref())?;
        ask(call, move |catalog| DraftView::look(catalog, &key)).await
    }
}

/// What `clear_draft_config` gives.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Cleared {
    /// Whether there was a draft.
    cleared: bool,
    #[serde(flatten)]
    draft: DraftView,
}

impl Tool for ClearDraft {
    const SPEC: Spec = Spec {
        name: "clear_draft_config",
        title: "Clear a draft",
        description: "Forgets a client's draft, so that the operator's profile is its choice again. What was published \
            stays.",
        hints: Hints {
            destructive: true,
            ..CHANGES
        },
    };
    type Args = Whose;
    type Output = Cleared;

    async fn run(args: Whose, call: &Call) -> std::result::Result<Cleared, Stop> {
        let key = key(&args.client_id, args.profile_id.as_deref())?;
        ask(call, move |catalog| {
            Ok(Cleared {
                cleared: catalog.draft_clear(&key)?,
                draft: DraftView::look(catalog, &key)?,
            })
        })
        .await
    }
}
