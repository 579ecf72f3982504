//! `mcp serve`: the servers of a profile for a person's own client, on standard input and output.
//!
//! The same gateway as sessions have: secrets stay here, what changed is held, what crashes is started again. It ends with
//! its client, and its servers with it.

use std::sync::Arc;

use futures::StreamExt as _;
use mcp_catalog::Digest;
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::SessionId;
use session_core::mcp::{McpPlan, McpSelection};
use session_gateway::mcp::{ClientGrant, McpGateway, Unrecorded};
use tokio_util::sync::CancellationToken;

use super::McpContext;
use crate::args::mcp::ServeArgs;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::interrupts::Interrupts;

const OPERATION: &str = "serve MCP servers";

/// Serves until the client leaves or a signal says so. A second signal ends the process at once.
pub(super) async fn serve(
    args: &ServeArgs,
    context: &McpContext<'_>,
    servers: &McpGateway,
    console: &mut Console,
) -> Result<ExitStatus> {
    let mut interrupts = (console.catch_signals)()?;
    let grant = ClientGrant {
        id: SessionId::new(),
        plan: plan(args, context, servers)?,
        published: args.artifact.is_some(),
        ledger: Arc::new(Unrecorded),
    };
    let stop = CancellationToken::new();
    let stdin = std::mem::replace(&mut console.stdin, Box::new(tokio::io::empty()));
    let stdout = std::mem::replace(&mut console.raw_stdout, Box::new(tokio::io::sink()));
    let serving = servers.serve_client(grant, stdin, stdout, &stop);
    tokio::pin!(serving);
    loop {
        // The service is kept outside of the loop, and a signal that came is told by its stream once.
        tokio::select! {
            served = &mut serving => return served.map(|()| ExitStatus::SUCCESS),
            Some(signal) = next(&mut interrupts) => {
                if stop.is_cancelled() {
                    return Ok(ExitStatus::of_signal(signal.number()));
                }
                stop.cancel();
            }
        }
    }
}

async fn next(interrupts: &mut Interrupts) -> Option<crate::interrupts::Interrupt> {
    interrupts.next().await
}

/// What was published under the id, or what the profile says now.
fn plan(args: &ServeArgs, context: &McpContext<'_>, servers: &McpGateway) -> Result<McpPlan> {
    let selection = McpSelection {
        profile: Some(args.profile.clone()),
        ..McpSelection::default()
    };
    let Some(text) = &args.artifact else {
        let plan = servers.plan(&selection, None)?;
        return if plan.is_empty() {
            Err(nothing(args))
        } else {
            Ok(plan)
        };
    };
    let id: Digest = text.parse()?;
    let artifact = context.catalog.artifact(&id)?;
    let verified = context.catalog.verify(&artifact)?;
    if verified.key.profile != args.profile {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "what was published under this id is of another profile",
        )
        .with_context("artifact", &id)
        .with_context("profile", &verified.key.profile)
        .with_hint("deploy it again: cofferdam mcp deploy CLIENT"));
    }
    let configuration = verified.configuration;
    Ok(McpPlan {
        servers: configuration.servers.keys().cloned().collect(),
        profile: Some(args.profile.clone()),
        tools: configuration.tools,
        configuration: verified.digest.to_string(),
        artifact: Some(id.to_string()),
        ..McpPlan::default()
    })
}

fn nothing(args: &ServeArgs) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        OPERATION,
        "the profile has no server that can be used",
    )
    .with_context("profile", &args.profile)
    .with_hint("`cofferdam mcp profiles` lists the profiles, `cofferdam mcp add` declares a server")
}
