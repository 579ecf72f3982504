//! Sessions for people.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use session_core::runtime::NetworkMode;
use session_core::session::{Carrier, SessionDetails, SessionInfo, WorkspaceSource};
use session_core::state::SessionState;

use super::{count, duration, thousands};
use crate::parse::format_bytes;
use crate::printer::Paint;
use crate::sanitize;

/// The first part of an id: enough to name a session among the few hundred that a host has.
pub fn short_id(info: &SessionInfo) -> String {
    info.id.to_string().chars().take(8).collect()
}

/// The state with its cause.
pub fn state(state: &SessionState) -> String {
    match state {
        SessionState::Interrupted { cause } => format!("interrupted ({})", cause.as_str().replace('_', " ")),
        other => other.name().as_str().to_owned(),
    }
}

/// How long ago something was, in one unit.
pub fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).max(SignedDuration::ZERO).as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Where a workspace comes from.
pub fn workspace(source: &WorkspaceSource) -> String {
    match source {
        WorkspaceSource::Empty => "empty".to_owned(),
        WorkspaceSource::Mount { path } => format!("mount {}", sanitize::one_line(&path.to_string_lossy())),
        WorkspaceSource::Copy { path } => format!("copy {}", sanitize::one_line(&path.to_string_lossy())),
        WorkspaceSource::Clone { url, reference } => match reference {
            Some(reference) => sanitize::one_line(&format!("clone {url} at {reference}")).into_owned(),
            None => format!("clone {}", sanitize::one_line(url)),
        },
    }
}

/// Everything about a session, a fact a line.
pub fn details(details: &SessionDetails, zone: &TimeZone, paint: Paint) -> String {
    let info = &details.info;
    let clock = |at: Timestamp| {
        at.to_zoned(zone.clone())
            .strftime("%Y-%m-%d %H:%M:%S %Z")
            .to_string()
    };
    let mut facts: Vec<(&str, String)> = vec![("id", info.id.to_string())];
    if let Some(name) = &info.name {
        facts.push(("name", sanitize::one_line(name).into_owned()));
    }
    facts.push(("state", state(&info.state)));
    if let SessionState::Failed { cause } = &info.state {
        facts.push(("cause", sanitize::one_line(cause).into_owned()));
    }
    facts.push(("created", clock(info.created_at)));
    facts.push(("updated", clock(info.updated_at)));
    facts.push(("workspace", workspace(&info.workspace)));
    for mount in &info.mounts {
        let mode = if mount.read_only { "ro" } else { "rw" };
        let source = mount.source.to_string_lossy();
        facts.push((
            "bind",
            sanitize::one_line(&format!("{source} → {} ({mode})", mount.target)).into_owned(),
        ));
    }
    facts.push(("image", info.image.to_string()));
    facts.push((
        "network",
        match info.network {
            NetworkMode::Sealed => "sealed (loopback only)".to_owned(),
            NetworkMode::Open => "open (unrestricted)".to_owned(),
        },
    ));
    facts.push(("limits", limits(info)));
    facts.push(("user", format!("{}:{}", info.user.uid, info.user.gid)));
    facts.push(("agent", agent(info)));
    facts.extend(pairs("env", &info.env));
    facts.extend(pairs("label", &info.labels));
    facts.push(("container", sanitize::one_line(&details.container).into_owned()));
    if let Some(carrier) = details.carrier {
        let carrier = match carrier {
            Carrier::Socket => "socket",
            Carrier::Bridge => "bridge",
        };
        facts.push(("link", carrier.to_owned()));
    }
    facts.push((
        "turns",
        format!("{}, ${:.4}", count(info.turns, "turn"), info.cost_usd),
    ));
    facts.push(("events", thousands(info.last_event)));
    if let Some(used) = details.resources {
        facts.push((
            "in use",
            format!(
                "{} of memory, {} of CPU time, {}, up {}, out of memory {}",
                format_bytes(used.memory_bytes),
                duration(std::time::Duration::from_millis(used.cpu_ms)),
                count(used.pids, "process").replace("processs", "processes"),
                duration(std::time::Duration::from_millis(used.uptime_ms)),
                count(used.oom_kills, "time"),
            ),
        ));
    }
    let width = facts.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let lines = facts
        .iter()
        .map(|(key, value)| format!("{}{}  {value}", paint.bold(key), " ".repeat(width - key.len())));
    lines.collect::<Vec<_>>().join("\n")
}

fn limits(info: &SessionInfo) -> String {
    let limits = info.limits;
    let cpus = format!("{}.{:03}", limits.milli_cpus / 1000, limits.milli_cpus % 1000);
    let cpus = cpus.trim_end_matches('0').trim_end_matches('.');
    format!(
        "{} memory, {cpus} CPUs, {} processes",
        format_bytes(limits.memory_bytes),
        limits.pids
    )
}

fn agent(info: &SessionInfo) -> String {
    match &info.model {
        Some(model) => format!(
            "{} ({})",
            sanitize::one_line(&info.agent),
            sanitize::one_line(model)
        ),
        None => sanitize::one_line(&info.agent).into_owned(),
    }
}

fn pairs<'a>(
    key: &'static str,
    pairs: &'a std::collections::BTreeMap<String, String>,
) -> impl Iterator<Item = (&'static str, String)> + 'a {
    pairs
        .iter()
        .map(move |(name, value)| (key, sanitize::one_line(&format!("{name}={value}")).into_owned()))
}
