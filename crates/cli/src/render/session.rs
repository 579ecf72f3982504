//! Sessions for people.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use session_core::budget::Spending;
use session_core::id::SessionId;
use session_core::runtime::NetworkMode;
use session_core::session::{Carrier, SessionDetails, SessionInfo, WorkspaceSource};
use session_core::state::SessionState;

use super::{count, doors, duration, servers, thousands, usage};
use crate::parse::format_bytes;
use crate::printer::Paint;
use crate::sanitize;

/// The first part of an id: enough to name a session among the few hundred that a host has.
pub fn short(id: &SessionId) -> String {
    id.to_string().chars().take(8).collect()
}

/// The first part of a session's id.
pub fn short_id(info: &SessionInfo) -> String {
    short(&info.id)
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

/// What a session can reach.
pub fn network(info: &SessionInfo) -> String {
    match info.network {
        NetworkMode::Open => "open".to_owned(),
        NetworkMode::Sealed if info.allow.is_empty() => "sealed".to_owned(),
        NetworkMode::Sealed => format!("allow {}", doors::allowed(&info.allow)),
    }
}

/// A session looked at closely, with what its doors know of it.
#[derive(Debug)]
pub struct Closely<'a> {
    /// What the session says.
    pub details: &'a SessionDetails,
    /// What it used of the model.
    pub used: &'a Spending,
    /// How many hosts wait for a decision.
    pub waiting: usize,
}

/// Everything about a session, a fact a line.
pub fn details(closely: &Closely<'_>, zone: &TimeZone, paint: Paint) -> String {
    let details = closely.details;
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
            NetworkMode::Sealed if info.allow.is_empty() => "sealed (loopback only)".to_owned(),
            NetworkMode::Sealed => "sealed (loopback, and the hosts that are allowed)".to_owned(),
            NetworkMode::Open => "open (unrestricted)".to_owned(),
        },
    ));
    facts.extend(info.allow.iter().map(|entry| ("allow", entry.to_string())));
    if closely.waiting > 0 {
        let hosts = count(closely.waiting as u64, "host");
        facts.push((
            "denied",
            format!("{hosts} to decide about: cofferdam egress pending {}", info.id),
        ));
    }
    if let Some(plan) = &info.mcp {
        facts.extend(servers::facts(plan, details.mcp_status.as_ref()));
    }
    facts.push(("limits", limits(info)));
    facts.extend(lasting(info, clock));
    facts.push(("user", format!("{}:{}", info.user.uid, info.user.gid)));
    facts.push(("agent", agent(info)));
    if let Some(doing) = &details.activity {
        facts.push(("activity", doors::activity(doing)));
    }
    if let Some(cause) = details.stall {
        facts.push(("stalled", format!("{} [{}]", doors::stall(cause), cause.as_str())));
    }
    if let Some(budget) = usage::budget(&info.budget) {
        let percent = usage::used_up(&info.budget, closely.used).unwrap_or_default();
        facts.push(("budget", format!("{budget}; {percent}% used up")));
    }
    if *closely.used != Spending::default() {
        facts.push(("used", usage::spending(closely.used)));
    }
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

/// When it ends by itself, and what becomes of it when its container is lost.
fn lasting(info: &SessionInfo, clock: impl Fn(Timestamp) -> String) -> Vec<(&'static str, String)> {
    let span = |ms: u64| duration(std::time::Duration::from_millis(ms));
    let lifetime = info.lifetime;
    let mut facts = Vec::new();
    if let Some(idle) = lifetime.idle_ms {
        let unless = if lifetime.keep_on_failure {
            ", unless its last turn failed"
        } else {
            ""
        };
        facts.push(("ends", format!("when idle for {}{unless}", span(idle))));
    }
    if let Some(max) = lifetime.max_ms {
        facts.push(("ends", format!("{} after it was made", span(max))));
    }
    if let Some(until) = info.lease_until {
        facts.push(("ends", format!("at {} unless its lease is renewed", clock(until))));
    }
    if !info.on_interrupt.is_stop() {
        facts.push(("on loss", "comes back by itself".to_owned()));
    }
    facts
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
    let models: Vec<_> = [&info.model, &info.small_model]
        .into_iter()
        .flatten()
        .map(|model| sanitize::one_line(model))
        .collect();
    let agent = sanitize::one_line(&info.agent);
    if models.is_empty() {
        return agent.into_owned();
    }
    format!("{agent} ({})", models.join(", "))
}

fn pairs<'a>(
    key: &'static str,
    pairs: &'a std::collections::BTreeMap<String, String>,
) -> impl Iterator<Item = (&'static str, String)> + 'a {
    pairs
        .iter()
        .map(move |(name, value)| (key, sanitize::one_line(&format!("{name}={value}")).into_owned()))
}
