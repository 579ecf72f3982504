//! `debian`: the mirrors in this machine's own lists of package sources.

use std::path::Path;

use session_core::error::Result;

use super::{Address, Found};

const LISTS: [&str; 2] = ["/etc/apt/sources.list", "/etc/apt/sources.list.d"];

pub(super) async fn find() -> Result<Found> {
    let texts = tokio::task::spawn_blocking(|| {
        LISTS
            .iter()
            .flat_map(|place| lists(Path::new(place)))
            .collect::<Vec<_>>()
    });
    let texts = texts.await.unwrap_or_default();
    let addresses = texts.iter().flat_map(|text| mirrors(text)).collect();
    Ok(Found {
        addresses,
        ..Found::default()
    })
}

fn lists(place: &Path) -> Vec<String> {
    if place.is_file() {
        return std::fs::read_to_string(place).into_iter().collect();
    }
    let Ok(entries) = std::fs::read_dir(place) else {
        return Vec::new();
    };
    let is_list = |path: &Path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("list" | "sources"))
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_list(path))
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .collect()
}

/// Both forms: `deb URI …` on a line, and `URIs: …` in a paragraph. What is no plain web address is another kind of source.
fn mirrors(text: &str) -> Vec<Address> {
    text.lines()
        .map(str::trim)
        .filter(|line| line.starts_with("deb ") || line.starts_with("deb-src ") || line.starts_with("URIs:"))
        .flat_map(str::split_whitespace)
        .filter_map(|word| Address::parse(word).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_lists_are_read() {
        let text = "# deb http://no.example/ x\ndeb [signed-by=/k] http://a.example/debian stable main\n\
                    Types: deb\nURIs: https://b.example/debian http://c.example/\nSuites: x\n";
        let found: Vec<String> = mirrors(text).iter().map(Address::to_string).collect();
        assert_eq!(
            found,
            [
                "http://a.example/debian",
                "https://b.example/debian",
                "http://c.example/"
            ]
        );
    }
}
