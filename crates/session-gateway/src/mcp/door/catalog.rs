//! What all servers of a session offer, as one: built when something changed, looked at by every request.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use mcp_catalog::ServerDefinition;
use rmcp::model::{Prompt, Resource, ResourceTemplate, ServerCapabilities, Tool};
use session_core::mcp::ServerName;

use super::names::{self, Scope};
use super::outcome;
use super::search::{self, Index};
use super::template::Template;
use super::upstream::Upstream;
use crate::mcp::servers::Offer;

/// Prompts and resources of a session, of each kind.
const MAX_ITEMS: usize = 10_000;
/// Templates: each is tried against the URI of a resource that nobody listed.
const MAX_TEMPLATES: usize = 1_000;

/// One server with what is known of its offer.
pub(super) struct Part<'a> {
    pub(super) name: &'a ServerName,
    pub(super) definition: Arc<ServerDefinition>,
    /// Whether the session brought it.
    pub(super) is_own: bool,
    pub(super) offer: Option<Arc<Offer>>,
}

/// To whom a name leads: the place of the server among those of the session, and what the server calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) server: usize,
    pub(super) name: String,
}

/// What a tool's name leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Tool(&'a Target),
    /// Nobody has approved it as it is now.
    Held(usize),
    /// The server has it, the session has not.
    Filtered,
    /// Nobody has it, as far as is known.
    Unknown,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    /// Of each server, to see whether this is still true.
    offers: Vec<Option<Arc<Offer>>>,
    /// As they are shown, by server.
    pub(super) tools: Vec<Tool>,
    pub(super) prompts: Vec<Prompt>,
    pub(super) resources: Vec<Resource>,
    pub(super) templates: Vec<ResourceTemplate>,
    tool_targets: HashMap<String, (usize, Target)>,
    held: HashMap<String, usize>,
    filtered: HashMap<String, usize>,
    prompt_targets: HashMap<String, Target>,
    resource_owners: HashMap<String, usize>,
    template_owners: Vec<(String, Template, usize)>,
    /// Servers of which the session has more than nothing.
    reached: HashSet<usize>,
    index: OnceLock<Index>,
}

impl Catalog {
    /// Whether it was built of these very offers.
    pub(super) fn is_of(&self, servers: &[Arc<dyn Upstream>]) -> bool {
        self.offers.len() == servers.len()
            && self
                .offers
                .iter()
                .zip(servers)
                .all(|(ours, server)| match (ours, server.offer_if_known()) {
                    (Some(ours), Some(now)) => Arc::ptr_eq(ours, &now),
                    (None, None) => true,
                    _ => false,
                })
    }

    /// Puts the offers together. The parts are in the order of the servers' names: of two that show the same name, the
    /// first wins. Names that begin with that of another server belong to it, whether it has them, shows them or is known
    /// yet; whoever shows bare names has none of those.
    pub(super) fn build(parts: &[Part<'_>], scope: &Scope) -> Self {
        let mut catalog = Self {
            offers: parts.iter().map(|part| part.offer.clone()).collect(),
            ..Self::default()
        };
        let bare = |part: &Part<'_>| part.definition.names == mcp_catalog::Names::Bare;
        let names: Vec<&ServerName> = parts.iter().map(|part| part.name).collect();
        for pass_bare in [false, true] {
            for (server, part) in parts.iter().enumerate() {
                if bare(part) == pass_bare
                    && let Some(offer) = &part.offer
                {
                    catalog.add_tools(server, part, offer, scope, &names);
                    if scope.reaches(part.name, &part.definition, part.is_own, offer) {
                        catalog.add_prompts(server, part, offer, &names);
                    }
                }
            }
        }
        for (server, part) in parts.iter().enumerate() {
            if let Some(offer) = &part.offer
                && scope.reaches(part.name, &part.definition, part.is_own, offer)
            {
                catalog.reached.insert(server);
                catalog.add_resources(server, part, offer);
            }
        }
        catalog
    }

    fn add_tools(
        &mut self,
        server: usize,
        part: &Part<'_>,
        offer: &Offer,
        scope: &Scope,
        names: &[&ServerName],
    ) {
        // Ours search all servers; a server that is alone may have its own.
        let is_ours = |shown: &str| names.len() > 1 && (shown == search::SEARCH || shown == search::CALL);
        for tool in &offer.tools {
            let shown = names::shown(part.name, &part.definition, &tool.name);
            if names::is_taken(&shown, part.name, names) || is_ours(&shown) {
                tracing::warn!(server = %part.name, tool = %outcome::line(&shown), "a tool is left out: its name is another's");
                continue;
            }
            if !scope.admits(part.name, &part.definition, part.is_own, &tool.name) {
                self.filtered.entry(shown).or_insert(server);
                continue;
            }
            if offer.held.iter().any(|held| *held == tool.name) {
                continue;
            }
            // A held one of another keeps its name, too.
            if self.tool_targets.contains_key(&shown) || self.held.contains_key(&shown) {
                tracing::warn!(server = %part.name, tool = %outcome::line(&shown), "two servers have a tool of this name; this one's is left out");
                continue;
            }
            let target = Target {
                server,
                name: tool.name.clone().into_owned(),
            };
            self.tool_targets
                .insert(shown.clone(), (self.tools.len(), target));
            let mut tool = tool.clone();
            tool.name = shown.into();
            self.tools.push(tool);
        }
        for held in &offer.held {
            let shown = names::shown(part.name, &part.definition, held);
            if scope.admits(part.name, &part.definition, part.is_own, held)
                && !names::is_taken(&shown, part.name, names)
            {
                self.held.entry(shown).or_insert(server);
            }
        }
    }

    fn add_prompts(&mut self, server: usize, part: &Part<'_>, offer: &Offer, names: &[&ServerName]) {
        for prompt in &offer.prompts {
            let shown = names::shown(part.name, &part.definition, &prompt.name);
            if self.prompts.len() >= MAX_ITEMS
                || self.prompt_targets.contains_key(&shown)
                || names::is_taken(&shown, part.name, names)
            {
                tracing::warn!(server = %part.name, prompt = %outcome::line(&shown), "a prompt is left out: there is one of this name, or too many");
                continue;
            }
            let name = prompt.name.clone();
            self.prompt_targets.insert(shown.clone(), Target { server, name });
            let mut prompt = prompt.clone();
            prompt.name = shown;
            self.prompts.push(prompt);
        }
    }

    fn add_resources(&mut self, server: usize, part: &Part<'_>, offer: &Offer) {
        for resource in &offer.resources {
            if self.resources.len() >= MAX_ITEMS || self.resource_owners.contains_key(&resource.uri) {
                tracing::warn!(server = %part.name, "a resource is left out: another server has it, or there are too many");
                continue;
            }
            self.resource_owners.insert(resource.uri.clone(), server);
            self.resources.push(resource.clone());
        }
        for template in &offer.resource_templates {
            let known = |(text, ..): &(String, Template, usize)| *text == template.uri_template;
            if self.templates.len() >= MAX_TEMPLATES || self.template_owners.iter().any(known) {
                tracing::warn!(server = %part.name, "a resource template is left out: another server has it, or there are too many");
                continue;
            }
            let text = template.uri_template.clone();
            let parsed = Template::parse(&text);
            self.template_owners.push((text, parsed, server));
            self.templates.push(template.clone());
        }
    }

    /// What a tool's name leads to.
    pub(super) fn find(&self, name: &str) -> Found<'_> {
        if let Some((_, target)) = self.tool_targets.get(name) {
            return Found::Tool(target);
        }
        match self.held.get(name) {
            Some(server) => Found::Held(*server),
            None if self.filtered.contains_key(name) => Found::Filtered,
            None => Found::Unknown,
        }
    }

    /// A tool as it is shown.
    pub(super) fn tool(&self, name: &str) -> Option<&Tool> {
        let (at, _) = self.tool_targets.get(name)?;
        self.tools.get(*at)
    }

    /// The server of each tool, in the order of [`Self::tools`].
    pub(super) fn tool_servers(&self) -> Vec<usize> {
        let mut servers = vec![0; self.tools.len()];
        for (at, target) in self.tool_targets.values() {
            servers[*at] = target.server;
        }
        servers
    }

    /// To whom a prompt's name leads.
    pub(super) fn prompt(&self, name: &str) -> Option<&Target> {
        self.prompt_targets.get(name)
    }

    /// Whose a resource is: who listed it, or whose template fits best.
    pub(super) fn owner(&self, uri: &str) -> Option<usize> {
        if let Some(server) = self.resource_owners.get(uri) {
            return Some(*server);
        }
        // Of several that fit as well, the first: `max_by_key` would take the last.
        let fitting = self
            .template_owners
            .iter()
            .filter(|(_, template, _)| template.fits(uri));
        fitting
            .rev()
            .max_by_key(|(_, template, _)| template.weight())
            .map(|(.., server)| *server)
    }

    /// Whose a template is, by its text.
    pub(super) fn template_owner(&self, text: &str) -> Option<usize> {
        let exact = self.template_owners.iter().find(|(known, ..)| known == text);
        exact.map(|(.., server)| *server)
    }

    /// To whom a resource leads: who lists it or has a template for it, else the server that is alone with resources, as
    /// that may have some that it does not list. Of several none is asked: what a URI says is not for all of them.
    pub(super) fn resource(&self, uri: &str) -> Option<usize> {
        self.owner(uri).or_else(|| {
            let claims = |offer: &Offer| offer.capabilities.resources.is_some();
            let reached = self.reached.iter().copied();
            let mut claiming = reached.filter(|at| self.offers[*at].as_deref().is_some_and(claims));
            claiming.next().filter(|_| claiming.next().is_none())
        })
    }

    /// What one server can, as far as is known.
    pub(super) fn capabilities(&self, server: usize) -> Option<&ServerCapabilities> {
        Some(&self.offers.get(server)?.as_deref()?.capabilities)
    }

    /// Whether the offer of each server is known.
    pub(super) fn is_complete(&self) -> bool {
        self.offers.iter().all(Option::is_some)
    }

    /// All offers that are known.
    pub(super) fn known(&self) -> impl Iterator<Item = &Offer> + '_ {
        self.offers.iter().flatten().map(Arc::as_ref)
    }

    /// For the search, made when it is first asked for.
    pub(super) fn index(&self, make: impl FnOnce(&Self) -> Index) -> &Index {
        self.index.get_or_init(|| make(self))
    }
}
