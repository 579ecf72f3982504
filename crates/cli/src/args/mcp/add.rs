//! The arguments of `cofferdam mcp add`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use session_core::egress::AllowEntry;
use session_core::id::ImageRef;
use session_core::mcp::ServerName;
use session_core::runtime::HostMount;

use super::ProfileArgs;
use crate::parse::{
    SecretPair, Unechoed, parse_allow, parse_bind, parse_environment, parse_header, parse_secret,
    parse_secret_header, parse_secret_variable, parse_server,
};

/// `cofferdam mcp add`.
#[derive(Debug, Clone, Args)]
pub struct AddArgs {
    /// The server's name: its tools are called NAME__tool
    #[arg(value_name = "NAME", value_parser = parse_server)]
    pub name: ServerName,
    /// How it is reached.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// What the program is given.
    #[command(flatten)]
    pub program: ProgramArgs,
    /// What requests carry.
    #[command(flatten)]
    pub http: HttpArgs,
    /// What it is for, one line; the search for tools reads it
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub description: Option<String>,
    /// All sessions of a process share one instance: what one session leaves in it, others see
    #[arg(long)]
    pub shared: bool,
    /// Only these of its tools exist: a name, or a beginning that ends with *
    #[arg(long, value_name = "TOOL", value_parser = NonEmptyStringValueParser::new())]
    pub tool: Vec<String>,
    /// These of its tools do not exist, also when --tool names them
    #[arg(long, value_name = "TOOL", value_parser = NonEmptyStringValueParser::new())]
    pub hide_tool: Vec<String>,
    /// Hold every tool until it was approved, not only what changes later
    #[arg(long)]
    pub approve_each: bool,
    /// Into which profile it goes.
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Replace the declaration of this name
    #[arg(long)]
    pub replace: bool,
    /// The program and its arguments
    #[arg(value_name = "COMMAND", last = true)]
    pub command: Vec<String>,
}

/// How a server is reached; a program on this host when nothing is said.
#[derive(Debug, Clone, Args)]
pub struct PlaceArgs {
    /// A server elsewhere, over streamable HTTP
    #[arg(long, value_name = "URL", value_parser = NonEmptyStringValueParser::new(), conflicts_with_all = ["image", "container", "in_session"])]
    pub url: Option<String>,
    /// The program runs in a sealed container of its own, made from this image
    #[arg(long, value_name = "IMAGE", conflicts_with = "in_session")]
    pub image: Option<ImageRef>,
    /// The program runs in a sealed container of its own, made from the image of sessions
    #[arg(long, conflicts_with = "in_session")]
    pub container: bool,
    /// The program runs in the session's own container, as the session's user
    #[arg(long)]
    pub in_session: bool,
}

/// What a program is given.
#[derive(Debug, Clone, Args)]
pub struct ProgramArgs {
    /// A variable for the program; no secrets
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse_environment)]
    pub env: Vec<(String, String)>,
    /// A variable for a program on this host whose value is a secret, and where that is: NAME=VARIABLE (of this host),
    /// NAME=file:/path or NAME=command:PROGRAM ARGUMENT; NAME alone takes the variable of the same name
    #[arg(long, value_name = "NAME[=PLACE]", value_parser = Unechoed(parse_secret_variable))]
    pub secret_env: Vec<SecretPair>,
    /// Where it runs [default: a directory of its own]
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// A host that a container may reach, or a preset: example.com, *.example.com, example.com:8443, npm, …
    #[arg(long, value_name = "ENTRY", value_parser = parse_allow)]
    pub allow: Vec<AllowEntry>,
    /// A directory or file of this host that a container sees, read-only unless it ends in :rw
    #[arg(long, value_name = "HOST:CONTAINER[:rw]", value_parser = parse_bind)]
    pub bind: Vec<HostMount>,
}

/// What requests to an HTTP server carry.
#[derive(Debug, Clone, Args)]
pub struct HttpArgs {
    /// A header field of each request; no secrets
    #[arg(long, value_name = "NAME=VALUE", requires = "url", value_parser = Unechoed(parse_header))]
    pub header: Vec<(String, String)>,
    /// A header field whose value is a secret, and where that is: 'Authorization=Bearer env:TOKEN', X-Key=file:/path
    #[arg(long, value_name = "NAME=[PREFIX ]PLACE", requires = "url", value_parser = Unechoed(parse_secret_header))]
    pub secret_header: Vec<SecretPair>,
    /// The server may be on this host or in a private network
    #[arg(long, requires = "url")]
    pub private: bool,
    /// It wants a login (OAuth); see cofferdam mcp login
    #[arg(long, requires = "url")]
    pub oauth: bool,
    /// The client's id at the login [default: one is registered]
    #[arg(long, value_name = "ID", requires = "url", value_parser = NonEmptyStringValueParser::new())]
    pub client_id: Option<String>,
    /// Where the client's secret is, when it has one: env:NAME, file:/path or command:PROGRAM ARGUMENT
    #[arg(long, value_name = "PLACE", requires = "client_id", value_parser = Unechoed(parse_secret))]
    pub client_secret: Option<session_core::secret::SecretReference>,
    /// What to ask for at the login [default: what the server says]
    #[arg(long, value_name = "SCOPE", requires = "url", value_parser = NonEmptyStringValueParser::new())]
    pub scope: Vec<String>,
}

impl AddArgs {
    /// What contradicts itself in these flags, when something does.
    pub fn contradiction(&self) -> Option<&'static str> {
        let remote = self.place.url.is_some();
        let container = self.place.image.is_some() || self.place.container;
        let program = &self.program;
        match () {
            () if remote && !self.command.is_empty() => {
                Some("a server has either a --url or a command, not both")
            }
            () if !remote && self.command.is_empty() => Some(
                "what shall be started? write the program behind --, as in `cofferdam mcp add git -- mcp-server-git`, or \
                 name a --url",
            ),
            () if remote
                && (!program.env.is_empty() || !program.secret_env.is_empty() || program.cwd.is_some()) =>
            {
                Some(
                    "--env, --secret-env and --cwd are for programs; a server with a --url has --header and --secret-header",
                )
            }
            () if (container || self.place.in_session) && !program.secret_env.is_empty() => Some(
                "no secret enters a container: the operator's policy can have a credential added to what it asks for \
                 ([[egress.credentials]])",
            ),
            () if !container && (!program.allow.is_empty() || !program.bind.is_empty()) => {
                Some("--allow and --bind are for containers: name an --image, or --container")
            }
            () => None,
        }
    }
}
