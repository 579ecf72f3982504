//! Named points: which there are, and how a daemon is brought to each.

/// How a daemon, or the program beside it, comes to a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By its work.
    Work,
    /// By work on an engine that restarts.
    Loss,
    /// By an orderly end.
    Stop,
    /// By its start, which comes there once.
    Start,
    /// By its first start, on a state directory that is not there yet.
    FirstStart,
    /// It is `cofferdam token create` that comes there.
    Token,
}

/// Points to which a daemon comes when it goes down as it should.
const STOP: [&str; 3] = ["cli.serve.stopping", "cli.serve.stopped", "store.close.before"];
/// Points of a first start.
const FIRST_START: [&str; 6] = [
    "state.draft.before",
    "state.publish.after",
    "state.publish.before",
    "store.create.built",
    "store.migrate.before",
    "store.migrate.commit",
];
/// Points of a container that is lost, and comes back.
const LOSS: [&str; 3] = [
    "driver.inspect.before",
    "driver.lost.before",
    "driver.lost.turns_ended",
];
/// What a daemon comes to once in its life.
const ONCE: [&str; 2] = ["cli.serve.", "store.open."];
/// What needs an engine, and an agent that asks a model.
const REAL: [&str; 3] = ["docker.", "gateway.model.", "store.spending."];
/// What no campaign comes to: it needs MCP servers, connections that are allowed, an agent that ends by itself, an engine whose
/// sessions cannot mount a socket, a store that fails, a container of ours that nobody knows, or a front end that unpacks for its
/// caller.
const ELSEWHERE: [&str; 12] = [
    "docker.undo.",
    "driver.agent.ended",
    "driver.agent.exited",
    "driver.bridge.",
    "gateway.egress.",
    "gateway.login.",
    "gateway.mcp.",
    "manager.orphan.",
    "state.replace.",
    "store.rollback.",
    "transfer.stage.",
    "transfer.unpack.",
];

impl Way {
    pub(crate) fn to(point: &str) -> Self {
        if STOP.contains(&point) {
            Self::Stop
        } else if FIRST_START.contains(&point) {
            Self::FirstStart
        } else if LOSS.contains(&point) {
            Self::Loss
        } else if point.starts_with("http.tokens.") {
            Self::Token
        } else if ONCE.iter().any(|once| point.starts_with(once)) {
            Self::Start
        } else {
            Self::Work
        }
    }
}

/// What clients do more often than chance has it, so that a point is come to in its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Favour {
    #[default]
    Nothing,
    Commands,
    Copies,
    Failures,
    Files,
    Interruptions,
    Rests,
    Terminals,
}

impl Favour {
    pub(crate) fn of(point: &str) -> Self {
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| point.starts_with(prefix));
        if begins(&["driver.interrupt."]) {
            Self::Interruptions
        } else if begins(&["driver.cleanup."]) {
            Self::Failures
        } else if begins(&["driver.archive.", "manager.create.launched", "transfer.pack."]) {
            Self::Copies
        } else if begins(&["manager.copy_in.", "manager.copy_out.", "manager.note."]) {
            Self::Files
        } else if begins(&["manager.terminal."]) {
            Self::Terminals
        } else if begins(&[
            "driver.pause.",
            "driver.resume.",
            "docker.pause.",
            "docker.resume.",
        ]) {
            Self::Rests
        } else if begins(&["manager.command."]) {
            Self::Commands
        } else {
            Self::Nothing
        }
    }
}

/// The points of a table at which a daemon can be killed: what stands between backticks in the first cell of each row, where the
/// second one says so. Either those of a `real` engine, or those of the in-memory one.
pub(crate) fn listed(page: &str, real: bool) -> Vec<String> {
    let begins = |name: &str, all: &[&str]| all.iter().any(|one| name.starts_with(one));
    let point = |line: &str| {
        let (name, rest) = line.strip_prefix("| `")?.split_once('`')?;
        let here = begins(name, &REAL) == real && !begins(name, &ELSEWHERE);
        let kills = rest.split('|').nth(1)?.contains("kill");
        (here && kills).then(|| name.to_owned())
    };
    page.lines().filter_map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/reliability/fault-points.md");

    #[test]
    fn points_are_read_from_the_rows_of_a_table() {
        let page = "| point | faults |\n|---|---|\n| `a.b` | kill, delay | x |\n| `c.d` | error | kill |\n\
                    | `docker.e` | kill | y |\n| `f` | kill |\n| `gateway.mcp.g` | kill |\n";
        assert_eq!(listed(page, false), ["a.b", "f"]);
        assert_eq!(listed(page, true), ["docker.e"]);
    }

    #[test]
    fn what_needs_a_way_of_its_own_is_in_the_list() {
        let all = listed(PAGE, false);
        for name in STOP.iter().chain(&FIRST_START).chain(&LOSS) {
            assert!(all.iter().any(|known| known == name), "{name}");
        }
        for part in REAL.iter().chain(&ELSEWHERE) {
            assert!(PAGE.contains(&format!("| `{part}")), "{part}");
        }
    }
}
