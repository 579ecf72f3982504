//! The command lines of the tasks that `xtask` hands on to `harness`: read by the one, written for and read by the other.

/// Shows the whole of it: a real agent fixes a real bug in a sealed container.
///
/// Finds or starts an engine, builds the session image, makes a small repository with a failing test, and lets the real agent
/// repair it, with a scripted model behind the model proxy. Every claim is checked: nothing but loopback inside, no way out, the
/// key nowhere, the test passing, a host denied until it is approved, an MCP server used whose token is nowhere inside, nothing
/// left. Exits 1 when one does not hold.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DemoArgs {
    /// Let the real model do it, with the key in ANTHROPIC_API_KEY (this costs money)
    #[arg(long)]
    pub live: bool,
}

impl DemoArgs {
    /// The same as an argument vector.
    pub fn to_args(&self) -> Vec<String> {
        let live = self.live.then(|| "--live".to_owned());
        live.into_iter().collect()
    }
}

/// Measures ours against the engine's own, in the same run, on the same engine.
///
/// Pairs alternate, so that what disturbs the machine disturbs both. The table shows medians and 99th percentiles, the ratio of
/// the medians and the goal.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct BenchArgs {
    /// Print one JSON document instead of the table
    #[arg(long)]
    pub json: bool,

    /// Only the measurements whose name contains this; may be repeated
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,

    /// Multiply the number of rounds, for steadier figures (or, below 1, for a quick look)
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub rounds: f64,

    /// Write the table to docs/benchmarks.md
    #[arg(long, conflicts_with = "only")]
    pub write: bool,
}

impl BenchArgs {
    /// The same as an argument vector.
    pub fn to_args(&self) -> Vec<String> {
        let mut args = vec!["--rounds".to_owned(), self.rounds.to_string()];
        args.extend(self.json.then(|| "--json".to_owned()));
        args.extend(self.write.then(|| "--write".to_owned()));
        args.extend(
            self.only
                .iter()
                .flat_map(|name| ["--only".to_owned(), name.clone()]),
        );
        args
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Bench {
        #[command(flatten)]
        args: BenchArgs,
    }

    #[test]
    fn what_is_written_is_read_again() {
        let args = BenchArgs {
            json: true,
            only: vec!["copy".to_owned(), "create".to_owned()],
            rounds: 0.5,
            write: false,
        };
        let vector = std::iter::once("bench".to_owned()).chain(args.to_args());
        let read = Bench::try_parse_from(vector).expect("it is a command line").args;
        assert_eq!(read.to_args(), args.to_args());
        assert_eq!(DemoArgs { live: true }.to_args(), ["--live"]);
    }
}
