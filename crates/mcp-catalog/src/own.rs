//! MCP servers that a session brings itself, in the form of Claude Code's `.mcp.json`.
//!
//! Whoever makes a session writes this, or a project does: so nothing of it runs on the host, nothing of it holds a
//! secret or asks for one, and nothing of it reaches into a private network.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Deserialize;
use serde_json::Value as Json;
use session_core::error::Result;
use session_core::mcp::ServerName;
use url::{Host, Url};

use crate::definition::{ServerDefinition, Times, Transport, Value, is_loopback, is_secret_header};
use crate::flaw::{self, Flaw};

#[cfg(test)]
mod tests;

const OPERATION: &str = "use the MCP servers of a session";
const MAX_SERVERS: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "mcpServers")]
    servers: BTreeMap<String, Json>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    r#type: Option<String>,
    command: Option<String>,
    args: Option<Vec<String>>,
    env: Option<BTreeMap<String, String>>,
    cwd: Option<String>,
    image: Option<String>,
    url: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    /// Milliseconds that a call may take.
    timeout: Option<u64>,
}

/// Reads and judges the servers of a session.
///
/// # Errors
/// `InvalidArgument` with the field, and never with what stands there.
pub fn parse(config: &Json) -> Result<BTreeMap<ServerName, ServerDefinition>> {
    read(config).map_err(|flaw| flaw.into_error(OPERATION))
}

fn read(config: &Json) -> Result<BTreeMap<ServerName, ServerDefinition>, Flaw> {
    let written: Written = flaw::read(config)?;
    if written.servers.len() > MAX_SERVERS {
        return Err(
            Flaw::new(format!("a session brings at most {MAX_SERVERS} servers")).within("mcpServers"),
        );
    }
    let server = |(name, server): (String, Json)| {
        read_server(&name, &server).map_err(|flaw| flaw.within(name).within("mcpServers"))
    };
    written.servers.into_iter().map(server).collect()
}

fn read_server(name: &str, written: &Json) -> Result<(ServerName, ServerDefinition), Flaw> {
    let name = name.parse().map_err(|_| {
        Flaw::new("this is no name of a server").with_hint(
            "use at most 24 lower case letters, digits, - and single _, beginning with a letter or digit",
        )
    })?;
    let server: Server = flaw::read(written)?;
    let timeout = server.timeout;
    let mut definition = ServerDefinition::new(server.into_transport()?);
    if let Some(timeout) = timeout {
        let times = Times::default();
        definition.times = Times {
            call_ms: times.call_ms.min(timeout),
            call_max_ms: timeout,
            ..times
        };
    }
    definition.flaw()?;
    Ok((name, definition))
}

impl Server {
    fn into_transport(self) -> Result<Transport, Flaw> {
        let http = match self.r#type.as_deref() {
            None => self.url.is_some(),
            Some("stdio") => false,
            Some("http" | "streamable-http") => true,
            Some("sse") => {
                return Err(Flaw::new("this transport is not spoken any more")
                    .within("type")
                    .with_hint("ask for the server's endpoint for streamable HTTP, and write type http"));
            }
            Some(_) => return Err(Flaw::new("a server is stdio or http").within("type")),
        };
        self.refuse_foreign(http)?;
        if http {
            self.into_http()
        } else {
            self.into_program()
        }
    }

    fn refuse_foreign(&self, http: bool) -> Result<(), Flaw> {
        let fields = [
            ("command", self.command.is_some(), !http),
            ("args", self.args.is_some(), !http),
            ("env", self.env.is_some(), !http),
            ("cwd", self.cwd.is_some(), !http),
            ("image", self.image.is_some(), !http),
            ("url", self.url.is_some(), http),
            ("headers", self.headers.is_some(), http),
        ];
        match fields.into_iter().find(|(_, there, belongs)| *there && !*belongs) {
            None => Ok(()),
            Some((field, ..)) => {
                Err(Flaw::new("this key means nothing for a server of this type").within(field))
            }
        }
    }

    fn into_program(self) -> Result<Transport, Flaw> {
        let command = self
            .command
            .ok_or_else(|| Flaw::new("there is neither a command nor a url"))?;
        let args = self.args.unwrap_or_default();
        let env = self.env.unwrap_or_default();
        for (name, value) in &env {
            refuse_reference(value).map_err(|flaw| flaw.within(name.as_str()).within("env"))?;
        }
        let Some(image) = self.image else {
            return Ok(Transport::Session {
                command,
                args,
                env,
                cwd: self.cwd,
            });
        };
        let image = image
            .parse()
            .map_err(|_| Flaw::new("this is no reference to an image").within("image"))?;
        Ok(Transport::Container {
            image: Some(image),
            command,
            args,
            env,
            cwd: self.cwd,
            allow: Vec::new(),
            mounts: Vec::new(),
        })
    }

    fn into_http(self) -> Result<Transport, Flaw> {
        let url = self
            .url
            .ok_or_else(|| Flaw::new("a server over HTTP needs a url"))?;
        refuse_reference(&url).map_err(|flaw| flaw.within("url"))?;
        check_public(&url).map_err(|flaw| flaw.within("url"))?;
        let mut headers = BTreeMap::new();
        for (name, value) in self.headers.unwrap_or_default() {
            let within = |flaw: Flaw| flaw.within(name.as_str()).within("headers");
            refuse_reference(&value).map_err(within)?;
            if is_secret_header(&name) {
                return Err(within(
                    Flaw::new("a session holds no secret, and this field carries one").with_hint(
                        "a server that needs one is declared by the operator: `cofferdam mcp add`",
                    ),
                ));
            }
            headers.insert(name, Value::Plain(value));
        }
        Ok(Transport::Http {
            url,
            headers,
            oauth: None,
            private: false,
        })
    }
}

/// Claude Code fills such places from its environment; here there is nothing that may be filled in.
fn refuse_reference(value: &str) -> Result<(), Flaw> {
    if value.contains("${") {
        return Err(Flaw::new("a reference to a variable is not filled in here").with_hint(
            "write the value; a server that needs a secret is declared by the operator: `cofferdam mcp add`",
        ));
    }
    Ok(())
}

/// What an address says by itself; where a name leads is judged when it is dialled.
fn check_public(url: &str) -> Result<(), Flaw> {
    let refused = || {
        Flaw::new("a session brings servers on public addresses alone")
            .with_hint("a server in a private network is declared by the operator: `cofferdam mcp add`")
    };
    let Ok(url) = Url::parse(url) else {
        return Ok(());
    };
    let private = match url.host() {
        Some(Host::Domain(name)) => !name.trim_end_matches('.').contains('.'),
        Some(Host::Ipv4(address)) => is_private(address.into()),
        Some(Host::Ipv6(address)) => is_private(address.into()),
        None => false,
    };
    if private || is_loopback(&url) {
        return Err(refused());
    }
    Ok(())
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => is_private_v4(address),
            None => is_private_v6(address),
        },
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || first == 0
        || first >= 240
        || (first == 100 && (64..128).contains(&second))
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local()
}
