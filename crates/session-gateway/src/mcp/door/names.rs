//! How tools and prompts are called, and which of them a session has.

use mcp_catalog::{Names, ServerDefinition, admits};
use session_core::mcp::{SEPARATOR, ServerName};

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
    pub(super) fn admits(&self, server: &ServerName, definition: &ServerDefinition, tool: &str) -> bool {
        definition.tools.admits(tool) && admits(&self.0, server, tool)
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
        assert!(all.admits(&git, &definition, "log"));
        assert!(!all.admits(&git, &definition, "push_force"));
        let some = Scope::new(vec!["git__l*".into(), "docs__search".into(), "git__push".into()]);
        assert!(some.admits(&git, &definition, "log"));
        assert!(!some.admits(&git, &definition, "status"));
        assert!(!some.admits(&git, &definition, "push"));
        assert!(some.admits(&server("docs"), &definition, "search"));
        assert!(!some.admits(&server("docs"), &definition, "searches"));
        assert!(!some.admits(&server("other"), &definition, "log"));
    }

    #[test]
    fn bare_names_are_filtered_by_their_full_ones() {
        let mut definition = definition();
        definition.names = Names::Bare;
        assert_eq!(shown(&server("git"), &definition, "log"), "log");
        assert!(Scope::new(vec!["git__*".into()]).admits(&server("git"), &definition, "log"));
        assert!(!Scope::new(vec!["log".into()]).admits(&server("git"), &definition, "log"));
    }

    #[test]
    fn the_separator_of_a_tool_is_its_own() {
        assert_eq!(split("git__log__all"), Some(("git", "log__all")));
        assert_eq!(split("log"), None);
    }
}
