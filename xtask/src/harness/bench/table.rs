//! Figures as a table for people and as JSON for programs.

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

    /// Our median by the baseline's.
    fn ratio(&self) -> Option<f64> {
        match &self.figures {
            Figures::Times { ours, baseline } => {
                Some(ours.median().as_secs_f64() / baseline.median().as_secs_f64())
            }
            Figures::Alone(_) | Figures::Bytes(_) => None,
        }
    }

    /// Our median in milliseconds.
    fn median(&self) -> Option<f64> {
        match &self.figures {
            Figures::Times { ours, .. } | Figures::Alone(ours) => Some(milliseconds(ours.median())),
            Figures::Bytes(_) => None,
        }
    }

    fn megabytes(&self) -> Option<f64> {
        match self.figures {
            Figures::Bytes(bytes) => Some(megabytes(bytes)),
            Figures::Times { .. } | Figures::Alone(_) => None,
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
        };
        let ratio = self
            .ratio()
            .map_or_else(|| "—".to_owned(), |ratio| format!("{ratio:.2}×"));
        let goal = match self.goal {
            Goal::Ratio(most) => format!("≤ {most:.1}×"),
            Goal::Milliseconds(most) => format!("≤ {most} ms"),
            Goal::Both(ratio, most) => format!("≤ {ratio:.1}×, ≤ {most} ms"),
            Goal::Megabytes(most) => format!("≤ {most:.0} MB"),
        };
        [self.what.to_owned(), ours, baseline, ratio, goal, met.to_owned()]
    }

    fn to_json(&self) -> Value {
        let (ours, baseline) = match &self.figures {
            Figures::Times { ours, baseline } => (ours.to_json(), baseline.to_json()),
            Figures::Alone(ours) => (ours.to_json(), Value::Null),
            Figures::Bytes(bytes) => (json!({ "bytes": bytes }), Value::Null),
        };
        let goal = match self.goal {
            Goal::Ratio(most) => json!({ "ratio": most }),
            Goal::Milliseconds(most) => json!({ "milliseconds": most }),
            Goal::Both(ratio, most) => json!({ "ratio": ratio, "milliseconds": most }),
            Goal::Megabytes(most) => json!({ "megabytes": most }),
        };
        json!({
            "name": self.name, "what": self.what, "baseline_is": self.baseline,
            "ours": ours, "baseline": baseline, "ratio": self.ratio(), "goal": goal, "met": self.met(),
        })
    }
}

fn megabytes(bytes: u64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "the memory of a process is far below 2⁵²"
    )]
    let bytes = bytes as f64;
    bytes / 1e6
}

fn times(series: &Series) -> String {
    format!("{} ({})", shown(series.median()), shown(series.p99()))
}

/// Three digits that count.
fn shown(time: std::time::Duration) -> String {
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
    use std::time::Duration;

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
