//! What is known of a server without asking it, and what of that may be used.
//!
//! What the operator's servers say is kept in the catalog, for every session and process, and judged by the approvals
//! there. A server inside a session says what the session wants it to say: that is kept for this session alone, and pins
//! nothing for others.

use std::sync::{Arc, Mutex, PoisonError};

use mcp_catalog::{Approval, Catalog, Judgement, Manifest, ServerDefinition, Transport};
use serde_json::Value;
use session_core::error::Result;
use session_core::mcp::ServerName;

use super::manifest::Listing;
use super::offer::Offer;

/// See the module. Its methods that read files are for threads that may wait.
#[derive(Debug)]
pub(crate) struct Shelf {
    server: ServerName,
    catalog: Arc<Catalog>,
    /// Whether the session brought it.
    own: bool,
    known: Mutex<Option<Known>>,
}

/// How approvals are looked up.
type Judge = fn(&Catalog, &ServerName, Approval, &[Value]) -> Result<Judgement>;

#[derive(Debug, Clone)]
struct Known {
    manifest: Arc<Manifest>,
    warning: Option<String>,
}

impl Shelf {
    pub(crate) fn new(server: ServerName, catalog: Arc<Catalog>, own: bool) -> Self {
        Self {
            server,
            catalog,
            own,
            known: Mutex::default(),
        }
    }

    /// Whether it speaks for the operator, to all sessions.
    fn is_shared_knowledge(&self, definition: &ServerDefinition) -> bool {
        !self.own && !matches!(definition.transport, Transport::Session { .. })
    }

    /// What is known, as definition and approvals are now; nothing when it was never asked under this definition. Reads
    /// files.
    pub(crate) fn offer(&self, definition: &ServerDefinition) -> Option<Offer> {
        let known = self.known(definition)?;
        Some(self.judge(&known, definition, Catalog::judge))
    }

    /// The same for somebody who only looks: approves and keeps nothing.
    pub(crate) fn look(&self, definition: &ServerDefinition) -> Option<Offer> {
        let known = self.known(definition)?;
        Some(self.judge(&known, definition, Catalog::judge_only))
    }

    /// Keeps what it said now. Reads and writes files.
    pub(crate) fn keep(&self, listing: Listing, definition: &ServerDefinition) -> Offer {
        let known = Known {
            manifest: Arc::new(listing.manifest),
            warning: listing.warning,
        };
        self.set(known.clone());
        let offer = self.judge(&known, definition, Catalog::judge);
        if self.is_shared_knowledge(definition)
            && !self.is_kept(&known.manifest)
            && let Err(error) = self.catalog.keep_manifest(&known.manifest)
        {
            tracing::warn!(server = %self.server, %error, "what an MCP server has could not be kept");
        }
        offer
    }

    /// It is declared in another way, but reached in the same: what is known of it holds.
    pub(crate) fn redefined(&self, definition: &ServerDefinition) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &mut *known {
            let manifest = Manifest {
                definition: definition.digest(),
                ..(*known.manifest).clone()
            };
            known.manifest = Arc::new(manifest);
        }
    }

    /// The manifest, for asking a part of it anew.
    pub(crate) fn manifest(&self) -> Option<Arc<Manifest>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().map(|known| Arc::clone(&known.manifest))
    }

    fn set(&self, known: Known) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }

    fn known(&self, definition: &ServerDefinition) -> Option<Known> {
        let digest = definition.digest();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| known.manifest.definition == digest) {
            return Some(known);
        }
        if !self.is_shared_knowledge(definition) {
            return None;
        }
        match self.catalog.manifest(&self.server, &digest) {
            Ok(Some(manifest)) => {
                let known = Known {
                    manifest,
                    warning: None,
                };
                self.set(known.clone());
                Some(known)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(server = %self.server, %error, "what is known of an MCP server could not be read");
                None
            }
        }
    }

    /// Whether the catalog has the same, but for the time.
    fn is_kept(&self, manifest: &Manifest) -> bool {
        match self.catalog.manifest(&self.server, &manifest.definition) {
            Ok(Some(kept)) => {
                Manifest {
                    at: kept.at,
                    ..manifest.clone()
                } == *kept
            }
            _ => false,
        }
    }

    fn judge(&self, known: &Known, definition: &ServerDefinition, judge: Judge) -> Offer {
        let tools = &known.manifest.tools;
        let judged =
            self.is_shared_knowledge(definition) || !self.own && definition.approval == Approval::Each;
        let judgement = if judged {
            judge(&self.catalog, &self.server, definition.approval, tools)
        } else {
            Ok(Judgement {
                approved: (0..tools.len()).collect(),
                held: Vec::new(),
            })
        };
        let mut offer = match &judgement {
            Ok(judgement) => Offer::of(&known.manifest, judgement, definition),
            // Who cannot look up what was approved approves nothing.
            Err(error) => {
                tracing::warn!(server = %self.server, %error, "approvals of an MCP server cannot be read");
                let mut offer = Offer::of(&known.manifest, &Judgement::default(), definition);
                let name = |tool: &Value| Some(tool.get("name")?.as_str()?.to_owned());
                offer.held = tools.iter().filter_map(name).collect();
                offer.warning = Some("its approvals cannot be read, so its tools are held".to_owned());
                offer
            }
        };
        offer.warning = offer.warning.or_else(|| known.warning.clone());
        offer
    }
}
