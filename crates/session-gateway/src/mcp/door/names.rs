//! How tools and prompts are called, and which of them a session has.

use mcp_catalog::{Names, ServerDefinition, admits};
use session_core::mcp::{SEPARATOR, ServerName};

use crate::mcp::servers::Offer;

/// The full name: unique over all servers, because no server's name has a separator in it.
pub(super) fn full(server: &ServerName, item: &str) -> String {
    format!("{server}{SEPARATOR}{item}")
}

/// The name under which it is shown.
pub(super) fn shown(server: &ServerName, definition: &ServerDefinition, item: &str) -> String {
    match definition.names {
        Names::Prefixed => full(server, item),
        Names::Bare => item.to_owned(),
    }
}

/// The server and what it calls the item, of a full name.
pub(super) fn split(name: &str) -> Option<(&str, &str)> {
    name.split_once(SEPARATOR)
}

/// Whether a name that a server shows is another's: it begins with the name of one of the others.
pub(super) fn is_taken(shown: &str, server: &ServerName, servers: &[&ServerName]) -> bool {
    split(shown).is_some_and(|(beginning, _)| {
        beginning != server.as_str() && servers.iter().any(|other| other.as_str() == beginning)
    })
}

/// Which tools a session may use, beside what the operator says of each server. Patterns are full names, also for
/// servers whose tools are shown without the server's.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope(Vec<String>);

impl Scope {
    /// All tools when there is no pattern.
    pub(super) fn new(patterns: Vec<String>) -> Self {
        Self(patterns)
    }

    /// Whether a tool is there for the session, as far as its name decides.
    ///
    /// What the session brought is its own to limit: a profile knows nothing of it.
    pub(super) fn admits(
        &self,
        server: &ServerName,
        definition: &ServerDefinition,
        is_own: bool,
        tool: &str,
    ) -> bool {
        definition.tools.admits(tool) && (is_own || admits(&self.0, server, tool))
    }

    /// Whether the session has anything of a server beside its tools: all of it, or nothing when the patterns name none of
    /// its tools. A pattern that ends behind the server's name names those of a server without tools, too.
    pub(super) fn reaches(
        &self,
        server: &ServerName,
        definition: &ServerDefinition,
        is_own: bool,
        offer: &Offer,
    ) -> bool {
        if is_own || admits(&self.0, server, "") {
            return true;
        }
        let tools = offer.tools.iter().map(|tool| tool.name.as_ref());
        tools
            .chain(offer.held.iter().map(String::as_str))
            .any(|tool| self.admits(server, definition, is_own, tool))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::door::tests::support::definition;

    fn server(name: &str) -> ServerName {
        name.parse().unwrap()
    }

    #[test]
    fn both_filters_have_to_admit_a_tool() {
        let git = server("git");
        let mut definition = definition();
        definition.tools.deny = vec!["push*".into()];
        let all = Scope::default();
        assert!(all.admits(&git, &definition, false, "log"));
        assert!(!all.admits(&git, &definition, false, "push_force"));
        let some = Scope::new(vec!["git__l*".into(), "docs__search".into(), "git__push".into()]);
        assert!(some.admits(&git, &definition, false, "log"));
        assert!(!some.admits(&git, &definition, false, "status"));
        assert!(!some.admits(&git, &definition, false, "push"));
        assert!(some.admits(&server("docs"), &definition, false, "search"));
        assert!(!some.admits(&server("docs"), &definition, false, "searches"));
        assert!(!some.admits(&server("other"), &definition, false, "log"));
        assert!(
            some.admits(&server("other"), &definition, true, "log"),
            "the session's own"
        );
        assert!(!some.admits(&server("other"), &definition, true, "push"));
    }

    #[test]
    fn bare_names_are_filtered_by_their_full_ones() {
        let mut definition = definition();
        definition.names = Names::Bare;
        assert_eq!(shown(&server("git"), &definition, "log"), "log");
        assert!(Scope::new(vec!["git__*".into()]).admits(&server("git"), &definition, false, "log"));
        assert!(!Scope::new(vec!["log".into()]).admits(&server("git"), &definition, false, "log"));
    }

    #[test]
    fn the_separator_of_a_tool_is_its_own() {
        assert_eq!(split("git__log__all"), Some(("git", "log__all")));
        assert_eq!(split("log"), None);
    }
}
