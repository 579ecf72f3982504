//! Figures as a table for people and as JSON for programs.

use std::time::Duration;

use serde_json::{Value, json};

use super::cases::{Case, Figures, Goal};
use super::facts::Facts;
use super::stats::{Series, milliseconds};

/// A measured line.
#[derive(Debug)]
pub(super) struct Row {
    name: &'static str,
    what: &'static str,
    baseline: &'static str,
    goal: Goal,
    figures: Figures,
}

impl Row {
    pub(super) fn new(case: &Case, figures: Figures) -> Self {
        Self {
            name: case.name,
            what: case.what,
            baseline: case.baseline,
            goal: case.goal,
            figures,
        }
    }

    /// Our median by the baseline's; of rates, ours by the baseline's.
    fn ratio(&self) -> Option<f64> {
        match &self.figures {
            Figures::Times { ours, baseline } | Figures::AtOnce { ours, baseline, .. } => {
                Some(ours.median().as_secs_f64() / baseline.median().as_secs_f64())
            }
            Figures::Rate { ours, baseline, .. } => {
                Some(baseline.median().as_secs_f64() / ours.median().as_secs_f64())
            }
            Figures::Calls { ours, baseline, .. } => {
                Some(baseline.median().as_secs_f64() / ours.median().as_secs_f64())
            }
            Figures::Alone(_)
            | Figures::Bytes(_)
            | Figures::Load { .. }
            | Figures::Share(_)
            | Figures::Survived { .. } => None,
        }
    }

    /// Our median in milliseconds.
    fn median(&self) -> Option<f64> {
        match &self.figures {
            Figures::Times { ours, .. } | Figures::Alone(ours) => Some(milliseconds(ours.median())),
            Figures::Survived { ours, .. } => Some(milliseconds(ours.median())),
            _ => None,
        }
    }

    /// What ours adds to the baseline, in milliseconds: at the median and at the 99th percentile.
    fn added(&self) -> Option<(f64, f64)> {
        let Figures::Times { ours, baseline } = &self.figures else {
            return None;
        };
        let more = |ours, baseline| milliseconds(ours) - milliseconds(baseline);
        Some((
            more(ours.median(), baseline.median()),
            more(ours.p99(), baseline.p99()),
        ))
    }

    /// Our megabytes a second, at the median.
    fn rate(&self) -> Option<f64> {
        match &self.figures {
            Figures::Rate { bytes, ours, .. } => Some(rate(*bytes, ours.median())),
            _ => None,
        }
    }

    /// Our calls a second, at the median.
    fn calls(&self) -> Option<f64> {
        match &self.figures {
            Figures::Calls { count, ours, .. } => Some(per_second(*count, ours.median())),
            _ => None,
        }
    }

    fn megabytes(&self) -> Option<f64> {
        match self.figures {
            Figures::Bytes(bytes) => Some(megabytes(bytes)),
            _ => None,
        }
    }

    /// What was not measured meets no goal.
    pub(super) fn met(&self) -> bool {
        let within = |figure: Option<f64>, most: f64| figure.is_some_and(|figure| figure <= most);
        match self.goal {
            Goal::Ratio(most) => within(self.ratio(), most),
            Goal::Milliseconds(most) => within(self.median(), most),
            Goal::Both(ratio, most) => within(self.ratio(), ratio) && within(self.median(), most),
            Goal::Megabytes(most) => within(self.megabytes(), most),
            Goal::Added(median, p99) => self.added().is_some_and(|(at_median, at_p99)| {
                at_median <= median && p99.is_none_or(|most| at_p99 <= most)
            }),
            Goal::AtOnce(count) => {
                matches!(self.figures, Figures::AtOnce { complete, .. } if complete >= count)
            }
            Goal::Rate(least) => self.rate().is_some_and(|rate| rate >= least),
            Goal::Calls(least) => self.calls().is_some_and(|calls| calls >= least),
            Goal::Survived(least) => {
                matches!(self.figures, Figures::Survived { count, .. } if count >= least)
            }
            Goal::Load(least, most) => matches!(
                self.figures,
                Figures::Load { per_second, p99 } if per_second >= least && milliseconds(p99) <= most
            ),
            Goal::Share(most) => matches!(self.figures, Figures::Share(part) if part * 100.0 <= most),
        }
    }

    /// One line while it goes on.
    pub(super) fn summary(&self) -> String {
        let [_, ours, baseline, ratio, goal, met] = self.cells();
        format!("{ours} : {baseline}, ratio {ratio}, goal {goal}: {met}")
    }

    fn cells(&self) -> [String; 6] {
        let met = if self.met() { "met" } else { "not met" };
        let (ours, baseline) = match &self.figures {
            Figures::Times { ours, baseline } => (times(ours), times(baseline)),
            Figures::Alone(ours) => (times(ours), "—".to_owned()),
            Figures::Bytes(bytes) => (format!("{:.1} MB", megabytes(*bytes)), "—".to_owned()),
            Figures::AtOnce {
                complete,
                ours,
                baseline,
            } => (format!("all {complete}: {}", times(ours)), times(baseline)),
            Figures::Rate {
                bytes,
                ours,
                baseline,
            } => (rates(*bytes, ours), rates(*bytes, baseline)),
            Figures::Calls {
                count,
                ours,
                baseline,
            } => (calls(*count, ours), calls(*count, baseline)),
            Figures::Survived { count, ours } => (format!("all {count}: {}", times(ours)), "—".to_owned()),
            Figures::Load { per_second, p99 } => {
                (format!("{per_second:.0}/s ({})", shown(*p99)), "—".to_owned())
            }
            Figures::Share(part) => (format!("{:.1} %", part * 100.0), "—".to_owned()),
        };
        let ratio = match (self.goal, self.added(), self.ratio()) {
            (Goal::Added(..), Some((median, p99)), _) => format!("{median:+.2} ms ({p99:+.2} ms)"),
            (_, _, Some(ratio)) => format!("{ratio:.2}×"),
            _ => "—".to_owned(),
        };
        let goal = match self.goal {
            Goal::Ratio(most) => format!("≤ {most:.1}×"),
            Goal::Milliseconds(most) => format!("≤ {most} ms"),
            Goal::Both(ratio, most) => format!("≤ {ratio:.1}×, ≤ {most} ms"),
            Goal::Megabytes(most) => format!("≤ {most:.0} MB"),
            Goal::Added(median, None) => format!("≤ +{median} ms"),
            Goal::Added(median, Some(p99)) => format!("≤ +{median} ms (+{p99} ms)"),
            Goal::AtOnce(count) => format!("all {count}"),
            Goal::Rate(least) => format!("≥ {least:.0} MB/s"),
            Goal::Calls(least) => format!("≥ {least:.0}/s"),
            Goal::Survived(count) => format!("all {count}"),
            Goal::Load(least, most) => format!("≥ {least:.0}/s (≤ {most} ms)"),
            Goal::Share(most) => format!("≤ {most} %"),
        };
        [self.what.to_owned(), ours, baseline, ratio, goal, met.to_owned()]
    }

    fn to_json(&self) -> Value {
        let (ours, baseline) = match &self.figures {
            Figures::Times { ours, baseline } => (ours.to_json(), baseline.to_json()),
            Figures::Alone(ours) | Figures::Survived { ours, .. } => (ours.to_json(), Value::Null),
            Figures::Bytes(bytes) => (json!({ "bytes": bytes }), Value::Null),
            Figures::Load { per_second, p99 } => (
                json!({ "requests_per_second": per_second, "p99_ms": milliseconds(*p99) }),
                Value::Null,
            ),
            Figures::Share(part) => (json!({ "core": part }), Value::Null),
            Figures::AtOnce { ours, baseline, .. }
            | Figures::Rate { ours, baseline, .. }
            | Figures::Calls { ours, baseline, .. } => (ours.to_json(), baseline.to_json()),
        };
        let goal = match self.goal {
            Goal::Ratio(most) => json!({ "ratio": most }),
            Goal::Milliseconds(most) => json!({ "milliseconds": most }),
            Goal::Both(ratio, most) => json!({ "ratio": ratio, "milliseconds": most }),
            Goal::Megabytes(most) => json!({ "megabytes": most }),
            Goal::Added(median, p99) => json!({ "added_median_ms": median, "added_p99_ms": p99 }),
            Goal::AtOnce(count) => json!({ "complete": count }),
            Goal::Rate(least) => json!({ "megabytes_per_second": least }),
            Goal::Calls(least) => json!({ "calls_per_second": least }),
            Goal::Survived(count) => json!({ "survived": count }),
            Goal::Load(least, most) => json!({ "requests_per_second": least, "p99_ms": most }),
            Goal::Share(most) => json!({ "core": most / 100.0 }),
        };
        let added = self.added();
        let complete = match self.figures {
            Figures::AtOnce { complete, .. } => Some(complete),
            Figures::Survived { count, .. } => Some(count),
            _ => None,
        };
        json!({
            "added_median_ms": added.map(|(median, _)| median), "added_p99_ms": added.map(|(_, p99)| p99),
            "complete": complete, "megabytes_per_second": self.rate(),
            "calls_per_second": self.calls(),
            "name": self.name, "what": self.what, "baseline_is": self.baseline,
            "ours": ours, "baseline": baseline, "ratio": self.ratio(), "goal": goal, "met": self.met(),
        })
    }
}

fn megabytes(bytes: u64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "the memory of a process, or what a measurement sends, is far below 2⁵²"
    )]
    let bytes = bytes as f64;
    bytes / 1e6
}

fn rate(bytes: usize, time: Duration) -> f64 {
    megabytes(bytes as u64) / time.as_secs_f64()
}

/// The median and the slowest.
fn rates(bytes: usize, series: &Series) -> String {
    let [median, slowest] = [series.median(), series.p99()].map(|time| rate(bytes, time));
    format!("{median:.0} MB/s ({slowest:.0} MB/s)")
}

fn per_second(count: usize, time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "calls that were counted one by one")]
    let count = count as f64;
    count / time.as_secs_f64()
}

/// The median and the slowest.
fn calls(count: usize, series: &Series) -> String {
    let [median, slowest] = [series.median(), series.p99()].map(|time| per_second(count, time));
    format!("{median:.0}/s ({slowest:.0}/s)")
}

fn times(series: &Series) -> String {
    format!("{} ({})", shown(series.median()), shown(series.p99()))
}

/// Three digits that count.
fn shown(time: Duration) -> String {
    let ms = milliseconds(time);
    match ms {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 100.0 => format!("{ms:.1} ms"),
        ms if ms < 10_000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1e3),
    }
}

const HEADINGS: [&str; 6] = [
    "measured",
    "ours: median (p99)",
    "baseline: median (p99)",
    "ratio",
    "goal",
    "",
];

pub(super) fn to_json(facts: &Facts, rows: &[Row]) -> Value {
    json!({ "facts": facts.to_json(), "rows": rows.iter().map(Row::to_json).collect::<Vec<_>>() })
}

/// Columns under their headings, for a terminal.
pub(super) fn to_text(rows: &[Row]) -> String {
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max();
    let widths: Vec<usize> = (0..HEADINGS.len())
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let line = |cells: &[String; 6]| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The same as a table of a document, with what each baseline is.
pub(super) fn to_markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "| measured | baseline | ours: median (p99) | baseline: median (p99) | ratio | goal | |\n|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let [what, ours, baseline, ratio, goal, met] = row.cells();
        let met = if row.met() { met } else { format!("**{met}**") };
        text.push_str(&format!(
            "| {what} | {} | {ours} | {baseline} | {ratio} | {goal} | {met} |\n",
            row.baseline
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::cases::CASES;
    use super::*;

    fn series(ms: u64) -> Series {
        let mut series = Series::default();
        series.push(Duration::from_millis(ms));
        series
    }

    fn row(ours: u64, baseline: u64) -> Row {
        let figures = Figures::Times {
            ours: series(ours),
            baseline: series(baseline),
        };
        Row::new(&CASES[0], figures)
    }

    #[test]
    fn a_goal_is_met_or_not() {
        assert!(row(100, 100).met());
        assert!(!row(101, 100).met());
        assert!(row(100, 101).summary().ends_with("ratio 0.99×, goal ≤ 1.0×: met"));
        let memory = case("memory");
        assert!(Row::new(memory, Figures::Bytes(29_000_000)).met());
        assert!(!Row::new(memory, Figures::Bytes(31_000_000)).met());
    }

    fn case(name: &str) -> &'static Case {
        CASES
            .iter()
            .find(|case| case.name == name)
            .expect("it is measured")
    }

    #[test]
    fn a_goal_in_milliseconds_needs_no_baseline() {
        let start = |ms| Row::new(case("mcp-start"), Figures::Alone(series(ms)));
        assert!(start(20).met());
        assert!(!start(21).met());
        assert!(
            start(5)
                .summary()
                .ends_with("5.00 ms (5.00 ms) : —, ratio —, goal ≤ 20 ms: met")
        );
    }

    #[test]
    fn of_two_goals_both_must_be_met() {
        let command = |ours, baseline| {
            let figures = Figures::Times {
                ours: series(ours),
                baseline: series(baseline),
            };
            Row::new(case("mcp-command"), figures)
        };
        assert!(command(5, 50).met());
        assert!(!command(6, 60).met(), "too long");
        assert!(!command(5, 49).met(), "too long for this engine");
        assert!(command(5, 50).summary().contains("goal ≤ 0.1×, ≤ 5 ms"));
    }

    #[test]
    fn what_is_added_is_judged_at_the_median_and_at_the_end() {
        let added = |name, ours, baseline| {
            let figures = Figures::Times {
                ours: series(ours),
                baseline: series(baseline),
            };
            Row::new(case(name), figures)
        };
        assert!(added("model-first-byte", 3, 2).met());
        assert!(!added("model-first-byte", 4, 2).met(), "the median");
        let mut late = series(2);
        late.push(Duration::from_millis(9));
        let late = Figures::Times {
            ours: late,
            baseline: series(2),
        };
        assert!(!Row::new(case("model-first-byte"), late.clone()).met(), "the end");
        let free = Row::new(case("egress-connect"), late);
        assert!(free.met(), "nobody asked about the end");
        assert!(
            free.summary()
                .ends_with("ratio +0.00 ms (+7.00 ms), goal ≤ +2 ms: met")
        );
    }

    #[test]
    fn one_that_did_not_end_is_one_too_few() {
        let streams = |complete| {
            let figures = Figures::AtOnce {
                complete,
                ours: series(1),
                baseline: series(1),
            };
            Row::new(case("model-streams"), figures)
        };
        assert!(streams(200).met());
        assert!(!streams(199).met());
    }

    #[test]
    fn a_rate_is_bytes_by_time() {
        let row = |ms| {
            let figures = Figures::Rate {
                bytes: 200_000_000,
                ours: series(ms),
                baseline: series(100),
            };
            Row::new(case("egress-rate"), figures)
        };
        assert!(row(1000).met());
        assert!(!row(1001).met());
        assert!(
            row(1000)
                .summary()
                .starts_with("200 MB/s (200 MB/s) : 2000 MB/s (2000 MB/s), ratio 0.10×")
        );
    }

    #[test]
    fn calls_are_counted_by_time_and_survivors_one_by_one() {
        let calls = |ms| {
            let figures = Figures::Calls {
                count: 5000,
                ours: series(ms),
                baseline: series(500),
            };
            Row::new(case("gateway-rate"), figures)
        };
        assert!(calls(1000).met());
        assert!(!calls(1001).met());
        assert!(
            calls(1000)
                .summary()
                .starts_with("5000/s (5000/s) : 10000/s (10000/s), ratio 0.50×")
        );
        let survived = |count| {
            let ours = series(3);
            Row::new(case("gateway-kills"), Figures::Survived { count, ours })
        };
        assert!(survived(1000).met());
        assert!(!survived(999).met());
    }

    #[test]
    fn names_are_unique_and_every_table_has_them_all() {
        let mut names: Vec<_> = CASES.iter().map(|case| case.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CASES.len());

        let rows = [row(1, 2), row(4, 2)];
        assert_eq!(to_text(&rows).lines().count(), 3);
        assert_eq!(to_markdown(&rows).lines().count(), 4);
        assert!(to_markdown(&rows).contains("**not met**"));
    }

    #[test]
    fn times_have_three_digits_that_count() {
        let ms = |ms: f64| shown(Duration::from_secs_f64(ms / 1e3));
        assert_eq!(ms(0.123), "0.12 ms");
        assert_eq!(ms(12.34), "12.3 ms");
        assert_eq!(ms(1234.5), "1234 ms");
        assert_eq!(ms(61_000.0), "61.0 s");
    }
}
