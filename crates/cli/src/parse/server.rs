//! MCP servers and their tools.

use mcp_catalog::ClientId;
use session_core::mcp::{SEPARATOR, ServerName};

use super::host::explained;

/// Reads the name of a server or of a profile.
pub fn parse_server(text: &str) -> Result<ServerName, String> {
    explained(text)
}

/// Reads the name of a client for whom something is published.
pub fn parse_client(text: &str) -> Result<ClientId, String> {
    explained(text)
}

/// Reads `server__tool`, or `server__*`.
pub fn parse_tools(text: &str) -> Result<String, String> {
    let legal = |c: char| !(c.is_control() || c.is_whitespace() || c == '*');
    let fine = text.split_once(SEPARATOR).is_some_and(|(server, tool)| {
        let named = !tool.is_empty() && tool.chars().all(legal);
        server.parse::<ServerName>().is_ok() && (named || tool == "*")
    });
    if fine {
        return Ok(text.to_owned());
    }
    Err(
        "write it as SERVER__TOOL, or SERVER__* for all of a server, for example git__log or git__*"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_named_with_their_server() {
        for good in ["git__log", "git__*", "a-b__c__d"] {
            assert!(parse_tools(good).is_ok(), "{good}");
        }
        for bad in ["log", "git__", "__log", "*", "git__lo*", "Git__log", "git__a b"] {
            assert!(parse_tools(bad).is_err(), "{bad}");
        }
        assert!(parse_server("Git").unwrap_err().contains("lower case"));
    }
}
