//! The part of `doctor` that is about MCP servers. Sessions work without them, so nothing here is worse than a warning but a
//! file that cannot be understood: with that, no session can be made.

use mcp_catalog::{Catalog, ClientId, Declared, DraftKey};
use session_core::error::Result;

use super::{McpContext, validate};
use crate::checks::{Check, Report, Verdict};
use crate::render;
use crate::settings::Settings;

const CHECK: &str = "mcp";

/// Looks at the declarations, at each server, and at what was published.
pub(in crate::commands) async fn doctor(settings: &Settings, report: &mut Report<'_>) -> Result<()> {
    // Everything that is relative was made absolute when it was declared.
    let context = McpContext::new(&settings.mcp, std::path::Path::new("/"), None);
    let declared = match context.catalog.declared() {
        Ok(declared) => declared,
        Err(error) => return report.add(Check::failed(CHECK, &error)),
    };
    if declared.servers.is_empty() {
        return report.add(Check::ok(CHECK, "no MCP server is declared"));
    }
    let servers = render::count(declared.servers.len() as u64, "MCP server");
    report.add(Check::ok(CHECK, format!("{servers} declared")))?;
    for (name, definition) in &declared.servers {
        for mut check in validate::checks(name, definition, &context).await {
            if check.status == Verdict::Ok {
                continue;
            }
            check.status = Verdict::Warn;
            check.message = format!("{name}: {}", check.message);
            CHECK.clone_into(&mut check.check);
            report.add(check)?;
        }
    }
    for check in published(&context.catalog, &declared) {
        report.add(check)?;
    }
    Ok(())
}

/// Signatures that do not hold, keys that others can read, and what sessions are refused because it was not published.
fn published(catalog: &Catalog, declared: &Declared) -> Vec<Check> {
    let mut checks = Vec::new();
    for profile in declared.profiles.keys() {
        let key = DraftKey {
            client: ClientId::sessions(),
            profile: profile.clone(),
        };
        let latest = catalog.latest(&key).and_then(|latest| match latest {
            Some(artifact) => catalog.verify(&artifact).map(Some),
            None => Ok(None),
        });
        match latest {
            Err(error) => checks.push(Check::warn(
                CHECK,
                format!("the profile {profile}: {}", error.message()),
                error.hint(),
            )),
            Ok(None) if declared.only_published => checks.push(Check::warn(
                CHECK,
                format!("the profile {profile} was not published, and sessions get only what was"),
                Some(&format!("cofferdam mcp publish --profile {profile}")),
            )),
            Ok(_) => {}
        }
    }
    checks
}
