//! Takes the machine out of a recording, so that recordings of two machines differ only where the agent does.

use std::collections::HashMap;
use std::path::Path;

const UUID_LENGTH: usize = 36;

/// Replaces paths, the port and identifiers, the same way in all lines of a scenario.
pub(crate) struct Scrubber {
    replacements: Vec<(String, String)>,
    uuids: HashMap<String, String>,
}

impl Scrubber {
    pub(crate) fn new(workspace: &Path, home: &Path, program: &Path, port: u16, pid: u32) -> Self {
        let mut replacements = Vec::new();
        for (path, name) in [
            (workspace, "/workspace"),
            (home, "/home/agent"),
            (program, "/usr/local/bin/claude"),
        ] {
            let path = path.display().to_string();
            // The agent names directories of its own after the workspace, with every odd character as a dash.
            replacements.push((dashed(&path), dashed(name)));
            replacements.push((path, name.to_owned()));
        }
        replacements.push((format!("127.0.0.1:{port}"), "127.0.0.1:8080".to_owned()));
        replacements.push((format!("/{pid}.sock"), "/1.sock".to_owned()));
        replacements.push((format!("\"pid\":{pid}"), "\"pid\":1".to_owned()));
        Self {
            replacements,
            uuids: HashMap::new(),
        }
    }

    pub(crate) fn lines(&mut self, lines: &[String]) -> String {
        lines.iter().map(|line| self.line(line) + "\n").collect()
    }

    fn line(&mut self, line: &str) -> String {
        let mut line = line.to_owned();
        for (from, to) in &self.replacements {
            line = line.replace(from, to);
        }
        self.number_uuids(&line)
    }

    fn number_uuids(&mut self, line: &str) -> String {
        let mut out = String::with_capacity(line.len());
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let length = match rest.get(..UUID_LENGTH) {
                Some(candidate) if is_uuid(candidate) => {
                    let next = self.uuids.len() + 1;
                    let number = self
                        .uuids
                        .entry(candidate.to_owned())
                        .or_insert_with(|| format!("00000000-0000-4000-8000-{next:012}"));
                    out.push_str(number);
                    UUID_LENGTH
                }
                _ => {
                    out.push(first);
                    first.len_utf8()
                }
            };
            rest = &rest[length..];
        }
        out
    }
}

fn dashed(path: &str) -> String {
    path.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect()
}

fn is_uuid(text: &str) -> bool {
    text.bytes().enumerate().all(|(index, byte)| match index {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}
