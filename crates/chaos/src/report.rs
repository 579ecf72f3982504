//! The tables of docs/reliability.md: what was run, from the lines that campaigns left, and nothing else.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use serde::Deserialize;

const BEGIN: &str = "<!-- what was run: written by `cargo xtask chaos --write` -->";
const END: &str = "<!-- end of what was run -->";

/// One world.
#[derive(Debug, Deserialize)]
struct Line {
    kind: String,
    campaign: u64,
    kills: u64,
    hits: Vec<(String, bool)>,
    storms: u64,
    sessions: u64,
    prompts: u64,
    commands: u64,
    events: u64,
    seconds: f64,
    wrong: Vec<String>,
}

/// What was run of one kind with one seed.
#[derive(Debug, Default)]
struct Row {
    worlds: u64,
    kills: u64,
    storms: u64,
    sessions: u64,
    prompts: u64,
    commands: u64,
    events: u64,
    minutes: f64,
    wrong: u64,
}

/// Puts the tables of `results` into `page`.
///
/// # Errors
/// When a file cannot be read or written, or the page has no place for them.
pub(crate) fn write(results: &Path, page: &Path) -> io::Result<()> {
    let lines: Vec<Line> = std::fs::read_to_string(results)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let text = std::fs::read_to_string(page)?;
    let parts = text
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = parts else {
        return Err(io::Error::other("the page has no place for what was run"));
    };
    std::fs::write(
        page,
        format!("{before}{BEGIN}\n\n{}\n{END}{after}", tables(&lines)),
    )
}

fn tables(lines: &[Line]) -> String {
    let mut rows: BTreeMap<(&str, u64), Row> = BTreeMap::new();
    let mut points: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for line in lines {
        let row = rows.entry((&line.kind, line.campaign)).or_default();
        row.add(line);
        for (name, hit) in &line.hits {
            let (died, asked) = points.entry(name).or_default();
            *died += u64::from(*hit);
            *asked += 1;
        }
    }
    let mut text = String::from(
        "| part | seed | worlds | daemons killed | storms | sessions | prompts | commands | events | minutes of worlds | worlds with a fault |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for ((kind, seed), row) in &rows {
        let _ = writeln!(
            text,
            "| {kind} | {seed} | {} | {} | {} | {} | {} | {} | {} | {:.0} | {} |",
            row.worlds,
            row.kills,
            row.storms,
            row.sessions,
            row.prompts,
            row.commands,
            row.events,
            row.minutes,
            row.wrong
        );
    }
    if !points.is_empty() {
        text.push_str("\n| point | daemons that were to die there | that did |\n|---|--:|--:|\n");
        for (name, (died, asked)) in &points {
            let _ = writeln!(text, "| `{name}` | {asked} | {died} |");
        }
    }
    text
}

impl Row {
    fn add(&mut self, line: &Line) {
        self.worlds += 1;
        self.kills += line.kills + line.hits.iter().filter(|(_, hit)| *hit).count() as u64;
        self.storms += line.storms;
        self.sessions += line.sessions;
        self.prompts += line.prompts;
        self.commands += line.commands;
        self.events += line.events;
        self.minutes += line.seconds / 60.0;
        self.wrong += u64::from(!line.wrong.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"kind":"points","campaign":1,"world":5,"kills":0,"early":0,"hits":[["a",true],["b",false]],"storms":0,
        "sessions":2,"broken_creations":0,"prompts":3,"commands":1,"events":9,"retries":1,"seconds":60,"wrong":[]}"#;

    #[test]
    fn what_was_run_is_summed_up_and_what_was_not_reached_is_told() {
        let line = || serde_json::from_str(LINE).unwrap();
        let text = tables(&[line(), line()]);
        assert!(
            text.contains("| points | 1 | 2 | 2 | 0 | 4 | 6 | 2 | 18 | 2 | 0 |"),
            "{text}"
        );
        assert!(text.contains("| `a` | 2 | 2 |\n| `b` | 2 | 0 |"), "{text}");
    }

    #[test]
    fn only_the_place_of_the_tables_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (results, page) = (dir.path().join("r"), dir.path().join("p"));
        std::fs::write(&results, LINE.replace('\n', "")).unwrap();
        std::fs::write(&page, format!("before\n{BEGIN}\nold\n{END}\nafter\n")).unwrap();
        write(&results, &page).unwrap();
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(
            text.starts_with("before\n") && text.ends_with("\nafter\n") && !text.contains("old"),
            "{text}"
        );
        std::fs::write(&page, "no place").unwrap();
        assert!(write(&results, &page).is_err());
    }
}
