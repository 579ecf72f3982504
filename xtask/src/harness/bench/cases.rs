//! The measurements, their baselines and their goals.

use std::time::Duration;

use xtask::error::Result;

use super::stats::Series;
use super::{Lab, commands, copies, doors, durable, gateway, lifecycle, mcp, memory, prompts, served};

/// One line of the table.
#[derive(Debug)]
pub(super) struct Case {
    /// For `--only` and for programs.
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) baseline: &'static str,
    pub(super) goal: Goal,
    kind: Kind,
}

/// What is good enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Goal {
    /// Our median is at most so many times the baseline's.
    Ratio(f64),
    /// Our median is at most so many milliseconds.
    Milliseconds(f64),
    /// Both: times the baseline's, and milliseconds.
    Both(f64, f64),
    /// At most so many megabytes (of 10⁶ bytes).
    Megabytes(f64),
    /// At most so many milliseconds more than the baseline: at the median, and at the 99th percentile where one is set.
    Added(f64, Option<f64>),
    /// So many at once, all of them to their end.
    AtOnce(usize),
    /// At least so many megabytes a second at the median.
    Rate(f64),
    /// At least so many calls a second at the median.
    Calls(f64),
    /// So many times.
    Survived(usize),
    /// At least so many requests a second, 99 of 100 within so many milliseconds.
    Load(f64, f64),
    /// At most so many hundredths of a core.
    Share(f64),
}

/// What a measurement yields.
#[derive(Clone, Debug)]
pub(super) enum Figures {
    Times {
        ours: Series,
        baseline: Series,
    },
    /// Nobody without us does such a thing.
    Alone(Series),
    Bytes(u64),
    /// How many went to their end in the worst round, and how long each round took.
    AtOnce {
        complete: usize,
        ours: Series,
        baseline: Series,
    },
    /// How long so many calls took.
    Calls {
        count: usize,
        ours: Series,
        baseline: Series,
    },
    /// What went on although something was killed so often, and how long it took each time.
    Survived {
        count: usize,
        ours: Series,
    },
    /// Requests a second, and how long all but a hundredth of them took at most.
    Load {
        per_second: f64,
        p99: Duration,
    },
    /// The part of a core that is worked.
    Share(f64),
    /// How long so many bytes took.
    Rate {
        bytes: usize,
        ours: Series,
        baseline: Series,
    },
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Create,
    Command,
    CliCommand,
    Prompt,
    Destroy,
    ManyIn,
    ManyOut,
    BigIn,
    BigOut,
    CreateMany,
    Memory,
    McpStart,
    McpListTen,
    McpListHundred,
    McpCommand,
    McpCreate,
    McpDestroy,
    McpMemory,
    ModelFirstByte,
    ModelStreams,
    ModelAnswer,
    EgressConnect,
    EgressConnections,
    EgressDownload,
    GatewayCall,
    GatewayRate,
    GatewayList,
    GatewayKills,
    GatewayStart,
    ServedList,
    ServedEvent,
    ServedSubscribers,
    ServedMemory,
    ServedSessionMemory,
    DurableRestart,
    DurableAdoption,
    DurableAppend,
    DurableReplay,
    DurableOrphan,
    DurableUnread,
    DurableCheckpoint,
}

impl Case {
    pub(super) async fn run(&self, lab: &mut Lab) -> Result<Figures> {
        match self.kind {
            Kind::Create => lifecycle::create(lab).await,
            Kind::Command => commands::command(lab).await,
            Kind::CliCommand => commands::cli_command(lab).await,
            Kind::Prompt => prompts::prompt(lab).await,
            Kind::Destroy => lifecycle::destroy(lab).await,
            Kind::ManyIn => copies::many_in(lab).await,
            Kind::ManyOut => copies::many_out(lab).await,
            Kind::BigIn => copies::big_in(lab).await,
            Kind::BigOut => copies::big_out(lab).await,
            Kind::CreateMany => lifecycle::create_many(lab).await,
            Kind::Memory => memory::memory(lab).await,
            Kind::McpStart => mcp::start(lab).await,
            Kind::McpListTen => mcp::list_ten(lab).await,
            Kind::McpListHundred => mcp::list_hundred(lab).await,
            Kind::McpCommand => mcp::command(lab).await,
            Kind::McpCreate => mcp::create(lab).await,
            Kind::McpDestroy => mcp::destroy(lab).await,
            Kind::McpMemory => mcp::memory(lab).await,
            Kind::ModelFirstByte => doors::first_byte(lab).await,
            Kind::ModelStreams => doors::streams(lab).await,
            Kind::ModelAnswer => doors::answer(lab).await,
            Kind::EgressConnect => doors::connect(lab).await,
            Kind::EgressConnections => doors::connections(lab).await,
            Kind::EgressDownload => doors::download(lab).await,
            Kind::GatewayCall => gateway::call(lab).await,
            Kind::GatewayRate => gateway::rate(lab).await,
            Kind::GatewayList => gateway::list(lab).await,
            Kind::GatewayKills => gateway::kills(lab).await,
            Kind::GatewayStart => gateway::start(lab).await,
            Kind::ServedList => served::list(lab).await,
            Kind::ServedEvent => served::event(lab).await,
            Kind::ServedSubscribers => served::subscribers(lab).await,
            Kind::ServedMemory => served::memory(lab).await,
            Kind::ServedSessionMemory => served::session_memory(lab).await,
            Kind::DurableRestart => durable::restart(lab).await,
            Kind::DurableAdoption => durable::adoption(lab).await,
            Kind::DurableAppend => durable::append(lab).await,
            Kind::DurableReplay => durable::replay(lab).await,
            Kind::DurableOrphan => durable::orphan(lab).await,
            Kind::DurableUnread => durable::unread(lab).await,
            Kind::DurableCheckpoint => durable::checkpoint(lab).await,
        }
    }
}

/// All of them, in the order of the table.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "create",
        what: "cold create to the first command's result, network none",
        baseline: "engine create + start + exec `true`, raw API",
        goal: Goal::Ratio(1.0),
        kind: Kind::Create,
    },
    Case {
        name: "command",
        what: "a command (`true`)",
        baseline: "engine exec (create, start, inspect), raw API",
        goal: Goal::Ratio(0.1),
        kind: Kind::Command,
    },
    Case {
        name: "cli-exec",
        what: "a command through the daemon, CLI process from start to exit",
        baseline: "`docker exec`",
        goal: Goal::Both(0.2, 10.0),
        kind: Kind::CliCommand,
    },
    Case {
        name: "prompt",
        what: "second and later prompts, scripted model",
        baseline: "engine exec of `claude -p`, raw API",
        goal: Goal::Ratio(0.2),
        kind: Kind::Prompt,
    },
    Case {
        name: "destroy",
        what: "destroy",
        baseline: "forced remove, raw API",
        goal: Goal::Ratio(1.2),
        kind: Kind::Destroy,
    },
    Case {
        name: "copy-in-many",
        what: "copy in 10,000 files of 1 kB, CLI",
        baseline: "`docker cp`",
        goal: Goal::Ratio(0.3),
        kind: Kind::ManyIn,
    },
    Case {
        name: "copy-out-many",
        what: "copy out 10,000 files of 1 kB, CLI",
        baseline: "`docker cp`",
        goal: Goal::Ratio(0.5),
        kind: Kind::ManyOut,
    },
    Case {
        name: "copy-in-big",
        what: "copy in 1 GB, CLI",
        baseline: "`docker cp`",
        goal: Goal::Ratio(1.0),
        kind: Kind::BigIn,
    },
    Case {
        name: "copy-out-big",
        what: "copy out 1 GB, CLI",
        baseline: "`docker cp`",
        goal: Goal::Ratio(0.5),
        kind: Kind::BigOut,
    },
    Case {
        name: "create-16",
        what: "16 creates at once",
        baseline: "engine create + start, raw API, 16 at once",
        goal: Goal::Ratio(1.1),
        kind: Kind::CreateMany,
    },
    Case {
        name: "memory",
        what: "the manager's memory with 10 sessions",
        baseline: "—",
        goal: Goal::Megabytes(30.0),
        kind: Kind::Memory,
    },
    Case {
        name: "mcp-start",
        what: "MCP server, start of the process to the answer to `initialize`",
        baseline: "—",
        goal: Goal::Milliseconds(20.0),
        kind: Kind::McpStart,
    },
    Case {
        name: "mcp-list-10",
        what: "MCP `list_sessions`, 10 sessions, stdio",
        baseline: "—",
        goal: Goal::Milliseconds(0.5),
        kind: Kind::McpListTen,
    },
    Case {
        name: "mcp-list-100",
        what: "MCP `list_sessions`, 100 sessions, stdio",
        baseline: "—",
        goal: Goal::Milliseconds(2.0),
        kind: Kind::McpListHundred,
    },
    Case {
        name: "mcp-command",
        what: "MCP `execute_command` (`true`), stdio",
        baseline: "engine exec (create, start, inspect), raw API",
        goal: Goal::Both(0.1, 5.0),
        kind: Kind::McpCommand,
    },
    Case {
        name: "mcp-create",
        what: "MCP `create_session` to ready, network none",
        baseline: "engine create + start + exec `true`, raw API",
        goal: Goal::Ratio(1.0),
        kind: Kind::McpCreate,
    },
    Case {
        name: "mcp-destroy",
        what: "MCP `destroy_session`",
        baseline: "forced remove, raw API",
        goal: Goal::Ratio(1.2),
        kind: Kind::McpDestroy,
    },
    Case {
        name: "mcp-memory",
        what: "the MCP server's memory, idle",
        baseline: "—",
        goal: Goal::Megabytes(25.0),
        kind: Kind::McpMemory,
    },
    Case {
        name: "model-first-byte",
        what: "model door: request to the first byte of the answer",
        baseline: "the same program, directly",
        goal: Goal::Added(1.0, Some(5.0)),
        kind: Kind::ModelFirstByte,
    },
    Case {
        name: "model-streams",
        what: "model door: 200 streams at once, from 8 sessions",
        baseline: "the same program, directly",
        goal: Goal::AtOnce(200),
        kind: Kind::ModelStreams,
    },
    Case {
        name: "model-rate",
        what: "model door: one answer of 268 MB, in events of 1 kB",
        baseline: "the same program, directly",
        goal: Goal::Rate(300.0),
        kind: Kind::ModelAnswer,
    },
    Case {
        name: "egress-connect",
        what: "egress door: dial to the open tunnel",
        baseline: "the same program, dial only",
        goal: Goal::Added(2.0, None),
        kind: Kind::EgressConnect,
    },
    Case {
        name: "egress-connections",
        what: "egress door: 500 connections of a session at once",
        baseline: "the same program, directly",
        goal: Goal::AtOnce(500),
        kind: Kind::EgressConnections,
    },
    Case {
        name: "egress-rate",
        what: "egress door: 268 MB through one connection",
        baseline: "the same program, directly",
        goal: Goal::Rate(200.0),
        kind: Kind::EgressDownload,
    },
    Case {
        name: "gateway-call",
        what: "MCP gateway: a call of a tool, server over stdio",
        baseline: "the same server, directly with rmcp",
        goal: Goal::Added(0.3, Some(2.0)),
        kind: Kind::GatewayCall,
    },
    Case {
        name: "gateway-rate",
        what: "MCP gateway: calls a second, 64 at once from 4 clients",
        baseline: "a server for each client, directly with rmcp",
        goal: Goal::Calls(5000.0),
        kind: Kind::GatewayRate,
    },
    Case {
        name: "gateway-list",
        what: "MCP gateway: the tools of 50 servers with 20 each, none of them started",
        baseline: "—",
        goal: Goal::Milliseconds(5.0),
        kind: Kind::GatewayList,
    },
    Case {
        name: "gateway-kills",
        what: "MCP gateway: the call after each of 1,000 kills of its server; no process left",
        baseline: "—",
        goal: Goal::Survived(1000),
        kind: Kind::GatewayKills,
    },
    Case {
        name: "gateway-start",
        what: "create to the agent's first answer, 13 MCP servers declared",
        baseline: "none declared",
        goal: Goal::Added(20.0, None),
        kind: Kind::GatewayStart,
    },
    Case {
        name: "daemon-list",
        what: "daemon: `GET /v1/sessions`, 24 sessions, wrk with 32 connections over TCP",
        baseline: "—",
        goal: Goal::Load(10_000.0, 10.0),
        kind: Kind::ServedList,
    },
    Case {
        name: "daemon-event",
        what: "daemon: an event of the agent, from its record to a subscriber",
        baseline: "—",
        goal: Goal::Milliseconds(5.0),
        kind: Kind::ServedEvent,
    },
    Case {
        name: "daemon-subscribers",
        what: "daemon: 200 subscribers of one session that works, of a core",
        baseline: "—",
        goal: Goal::Share(20.0),
        kind: Kind::ServedSubscribers,
    },
    Case {
        name: "daemon-memory",
        what: "the daemon's memory, idle",
        baseline: "—",
        goal: Goal::Megabytes(25.0),
        kind: Kind::ServedMemory,
    },
    Case {
        name: "daemon-session-memory",
        what: "the daemon's memory for each of 24 idle sessions more",
        baseline: "—",
        goal: Goal::Megabytes(1.0),
        kind: Kind::ServedSessionMemory,
    },
    Case {
        name: "durable-restart",
        what: "daemon killed and started again: until all of 24 sessions answer over their links",
        baseline: "—",
        goal: Goal::Milliseconds(2000.0),
        kind: Kind::DurableRestart,
    },
    Case {
        name: "durable-adoption",
        what: "1,000 sessions taken up by the next manager, in-memory engine, links by the bridge",
        baseline: "—",
        goal: Goal::Milliseconds(200.0),
        kind: Kind::DurableAdoption,
    },
    Case {
        name: "durable-append",
        what: "an event's share of 25,600 commits by 256 writers at once",
        baseline: "—",
        goal: Goal::Milliseconds(0.05),
        kind: Kind::DurableAppend,
    },
    Case {
        name: "durable-replay",
        what: "1,000 stored events, read again",
        baseline: "—",
        goal: Goal::Milliseconds(5.0),
        kind: Kind::DurableReplay,
    },
    Case {
        name: "durable-orphan",
        what: "a container of ours without a record, until it is gone",
        baseline: "—",
        goal: Goal::Milliseconds(10_000.0),
        kind: Kind::DurableOrphan,
    },
    Case {
        name: "durable-unread",
        what: "what the daemon grows by while nobody reads 10 GiB of output",
        baseline: "—",
        goal: Goal::Megabytes(8.0),
        kind: Kind::DurableUnread,
    },
    Case {
        name: "durable-checkpoint",
        what: "a checkpoint after a small edit among 10,000 files, through the daemon",
        baseline: "—",
        goal: Goal::Milliseconds(150.0),
        kind: Kind::DurableCheckpoint,
    },
];
