//! Names of other clients made into ours.

use std::collections::BTreeSet;

use session_core::mcp::ServerName;

const MAX: usize = 24;

/// A legal name that is as close as can be and is not taken yet.
pub(super) fn legal(original: &str, taken: &BTreeSet<ServerName>) -> ServerName {
    let base = plain(original);
    let numbered = (2..).map(|number| {
        let ending = format!("-{number}");
        let mut name = base.clone();
        name.truncate(MAX - ending.len());
        format!("{}{ending}", name.trim_end_matches(['-', '_']))
    });
    std::iter::once(base.clone())
        .chain(numbered)
        .filter_map(|name| name.parse().ok())
        .find(|name| !taken.contains(name))
        .unwrap_or_else(|| unreachable!("there are more numbers than names are taken"))
}

fn plain(original: &str) -> String {
    let mut name = String::new();
    for c in original.chars() {
        let c = match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' => c,
            _ => '-',
        };
        let doubled = matches!(c, '-' | '_') && name.ends_with(['-', '_']);
        if !doubled && name.len() < MAX {
            name.push(c);
        }
    }
    let name = name.trim_matches(['-', '_']);
    if name.is_empty() {
        "server".to_owned()
    } else {
        name.to_owned()
    }
}

/// A name from a file as it may be shown.
pub(super) fn one_line(text: &str) -> String {
    text.chars()
        .take(80)
        .collect::<String>()
        .escape_debug()
        .to_string()
}
