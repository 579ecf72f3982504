//! That the agent uses an MCP server whose secret never enters its session.

use std::path::Path;

use serde_json::json;
use session_core::api::SessionApi;
use session_core::command::CommandRequest;
use session_core::gateway::MCP_PORT;
use session_core::id::SessionId;
use session_core::session::PromptRequest;
use testkit::canary::Canary;
use testkit::mcp::{HttpServer, Options};
use testkit::model::{ModelServer, Script};
use xtask::error::{Context, Result};
use xtask::reporter::Reporter;

use super::claims::Claims;
use super::{run_inside, story};

/// The server's name, and the variable that its declaration names.
const SERVER: &str = "tracker";
const VARIABLE: &str = "TRACKER_TOKEN";
const DECLARED: &str = "servers.toml";
/// A tool that proves that the server was shown its secret, without telling it.
const TOOL: &str = "secret_length";
const PROMPT: &str = "Ask the tracker's MCP server with its tool secret_length how long the token is that it was shown, and repeat its \
                      answer.";

/// A server at a loopback port of this machine, and the token without which it answers nobody.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) token: Canary,
    server: HttpServer,
}

impl Guarded {
    /// Starts the server and declares it, as an operator does in `servers.toml`.
    pub(super) async fn start(state: &Path) -> Result<Self> {
        let token = Canary::new();
        let server = HttpServer::start(Options {
            bearer: Some(token.text().to_owned()),
            ..Options::default()
        });
        let server = server
            .await
            .context(|| "cannot start the MCP server".to_owned())?;
        let declared = format!(
            "[servers.{SERVER}]\nurl = {:?}\nprivate = true\n\
             headers = {{ Authorization = {{ prefix = \"Bearer \", env = \"{VARIABLE}\" }} }}\n\
             [profiles.default]\nservers = [\"{SERVER}\"]\n",
            server.url()
        );
        std::fs::write(state.join(DECLARED), declared)
            .context(|| "cannot declare the MCP server".to_owned())?;
        Ok(Self { token, server })
    }

    /// What tells the daemon of it.
    pub(super) fn variables(&self, state: &Path) -> [(&'static str, String); 2] {
        let declared = state.join(DECLARED).to_string_lossy().into_owned();
        [
            ("COFFERDAM_SERVERS", declared),
            (VARIABLE, self.token.text().to_owned()),
        ]
    }

    /// The agent uses it.
    pub(super) async fn check(
        &self,
        api: &dyn SessionApi,
        session: &SessionId,
        model: Option<&ModelServer>,
        reporter: &Reporter,
        claims: &mut Claims<'_>,
    ) -> Result<()> {
        self.expect_one_door(api, session, claims).await?;
        let length = self.token.text().len().to_string();
        if let Some(model) = model {
            let script = Script::new().tool(format!("mcp__gw__{SERVER}__{TOOL}"), json!({}));
            model.set_script(script.say(format!("It has {length} characters.")));
        }
        reporter.notice(&format!("  The prompt: {PROMPT}"));
        let request = PromptRequest {
            prompt: PROMPT.to_owned(),
            ..PromptRequest::default()
        };
        let outcome = story::follow(api, session, request, reporter).await?;
        claims.check("the turn succeeds", outcome.failure.is_none(), "");
        claims.check(
            "the agent was told",
            outcome.text.contains(&length),
            &outcome.text,
        );
        let shown = self.server.authorizations();
        let right = format!("Bearer {}", self.token.text());
        let holds = !shown.is_empty() && shown.iter().all(|authorization| *authorization == right);
        claims.check(
            "the server was shown its token",
            holds,
            &format!("{}×", shown.len()),
        );
        self.expect_status(api, session, claims).await
    }

    /// What the session has of the server is a port of its own loopback, where it must show who it is.
    async fn expect_one_door(
        &self,
        api: &dyn SessionApi,
        session: &SessionId,
        claims: &mut Claims<'_>,
    ) -> Result<()> {
        let ask = |url: &str| {
            let curl = ["curl", "--silent", "--noproxy", "*", "--output", "/dev/null"];
            CommandRequest::new(curl.into_iter().chain(["--write-out", "%{http_code}", url]))
        };
        let direct = run_inside(api, session, ask(&self.server.url())).await?;
        let seen = format!("curl ends with {}", direct.exit.code.unwrap_or_default());
        let holds = direct.exit.code != Some(0);
        claims.check("the session cannot reach the server itself", holds, &seen);
        let door = format!("http://127.0.0.1:{MCP_PORT}/mcp");
        let stranger = run_inside(api, session, ask(&door)).await?;
        let seen = String::from_utf8_lossy(&stranger.stdout).into_owned();
        claims.check("its door asks for the session's own token", seen == "401", &seen);
        Ok(())
    }

    async fn expect_status(
        &self,
        api: &dyn SessionApi,
        session: &SessionId,
        claims: &mut Claims<'_>,
    ) -> Result<()> {
        let details = api.inspect(session).await;
        let details = details.context(|| "cannot inspect the session".to_owned())?;
        let servers = details
            .mcp_status
            .map(|status| status.servers)
            .unwrap_or_default();
        let seen: Vec<_> = servers
            .iter()
            .map(|server| {
                format!(
                    "{} {:?}, {} tools",
                    server.name,
                    server.state,
                    server.tools.unwrap_or(0)
                )
                .to_lowercase()
            })
            .collect();
        claims.check("its state is shown", servers.len() == 1, &seen.join("; "));
        Ok(())
    }
}
