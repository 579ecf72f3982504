//! I1 and I2: which crate may depend on which, and which outside library has one home.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Finding;
use xtask::error::{Context, Error, Result};
use xtask::process::Tool;
use xtask::workspace;

/// The picture in docs/architecture.md: each of our crates and those of ours that it may depend on. Tests may know more.
const ALLOWED: &[(&str, &[&str])] = &[
    ("session-link", &[]),
    ("session-init", &["session-link"]),
    ("session-core", &["session-link"]),
    ("mcp-catalog", &["session-core"]),
    ("session-gateway", &["session-core", "mcp-catalog"]),
    ("runtime-docker", &["session-core"]),
    ("mcp-frontend", &["session-core", "mcp-catalog"]),
    ("http-api", &["session-core"]),
    ("http-client", &["session-core", "http-api"]),
    ("http-frontend", &["session-core", "http-api"]),
    ("project-analysis", &[]),
    // The runtime trait between two processes, for tests of what survives; `cli` has it with the feature `faults` alone.
    ("engine-rpc", &["session-core"]),
    // A program of tests alone.
    (
        "chaos",
        &[
            "session-core",
            "runtime-docker",
            "http-client",
            "engine-rpc",
            "testkit",
        ],
    ),
    (
        "cli",
        &[
            "session-core",
            "mcp-catalog",
            "session-gateway",
            "runtime-docker",
            "mcp-frontend",
            "http-api",
            "http-frontend",
            "http-client",
            "engine-rpc",
        ],
    ),
    ("testkit", &["session-core", "session-link", "project-analysis"]),
    (
        "xtask",
        &[
            "session-core",
            "mcp-catalog",
            "session-gateway",
            "runtime-docker",
            "http-client",
            "testkit",
        ],
    ),
];

/// Libraries that only some crates may name (I2).
const HOMES: &[(&str, &[&str])] = &[
    ("bollard", &["runtime-docker"]),
    ("rmcp", &["mcp-frontend", "session-gateway"]),
    ("axum", &["http-frontend", "session-gateway"]),
    // `testkit` is a provider, `xtask` speaks the engine's API raw as the baseline of its measurements, and
    // `mcp-frontend` serves its streamable HTTP itself until `http-frontend` exists and does it for all.
    (
        "hyper",
        &[
            "http-client",
            "http-frontend",
            "mcp-frontend",
            "session-gateway",
            "testkit",
            "xtask",
        ],
    ),
    ("tracing-subscriber", &["cli"]),
    ("rusqlite", &["session-core"]),
    ("yamux", &["session-link"]),
];

/// A dependency of one of our packages.
struct Edge {
    from: String,
    to: String,
    /// Only its tests need it.
    dev: bool,
}

pub(super) fn check() -> Result<Vec<Finding>> {
    let output = Tool::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1", "--locked"])
        .dir(workspace::root())
        .output()?;
    let metadata: Value = serde_json::from_str(&output.stdout)
        .context(|| "cannot read what `cargo metadata` said".to_owned())?;
    let edges =
        edges(&metadata).ok_or_else(|| Error::new("`cargo metadata` has another form than expected"))?;
    Ok(judge(&edges))
}

fn edges(metadata: &Value) -> Option<Vec<Edge>> {
    let mut edges = Vec::new();
    for package in metadata["packages"].as_array()? {
        let from = package["name"].as_str()?;
        for dependency in package["dependencies"].as_array()? {
            edges.push(Edge {
                from: from.to_owned(),
                to: dependency["name"].as_str()?.to_owned(),
                dev: dependency["kind"].as_str() == Some("dev"),
            });
        }
    }
    Some(edges)
}

fn judge(edges: &[Edge]) -> Vec<Finding> {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let homes: BTreeMap<_, _> = HOMES.iter().copied().collect();
    let mut findings = Vec::new();
    for edge in edges.iter().filter(|edge| !edge.dev) {
        let ours = allowed.contains_key(edge.to.as_str());
        match allowed.get(edge.from.as_str()) {
            None => findings.push(Finding::new(
                &edge.from,
                "a crate that xtask/src/tidy/dependencies.rs does not know",
            )),
            Some(may) if ours && !may.contains(&edge.to.as_str()) => findings.push(Finding::new(
                &edge.from,
                format!("must not depend on {} (I1, see docs/architecture.md)", edge.to),
            )),
            Some(_) => {}
        }
        if let Some(home) = homes.get(edge.to.as_str())
            && !home.contains(&edge.from.as_str())
        {
            findings.push(Finding::new(
                &edge.from,
                format!(
                    "must not name {}: its home is {} (I2)",
                    edge.to,
                    home.join(" and ")
                ),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: &str) -> Edge {
        Edge {
            from: from.to_owned(),
            to: to.to_owned(),
            dev: false,
        }
    }

    #[test]
    fn i1_a_front_end_that_knows_a_runtime_is_found() {
        assert_eq!(judge(&[edge("mcp-frontend", "runtime-docker")]).len(), 1);
        assert_eq!(judge(&[edge("session-core", "runtime-docker")]).len(), 1);
        assert!(judge(&[edge("cli", "runtime-docker")]).is_empty());
    }

    #[test]
    fn i2_a_library_away_from_home_is_found() {
        assert_eq!(judge(&[edge("session-core", "bollard")]).len(), 1);
        assert!(judge(&[edge("runtime-docker", "bollard")]).is_empty());
    }

    #[test]
    fn what_only_tests_need_is_not_judged() {
        let dev = Edge {
            dev: true,
            ..edge("runtime-docker", "testkit")
        };
        assert!(judge(&[dev]).is_empty());
    }

    #[test]
    fn the_workspace_as_it_is_keeps_the_rules() {
        let findings: Vec<String> = check().unwrap().iter().map(Finding::to_string).collect();
        assert_eq!(findings, Vec::<String>::new());
    }
}
