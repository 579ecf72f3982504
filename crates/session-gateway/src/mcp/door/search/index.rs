//! Ranks tools by the words of a query: BM25 over the names, descriptions and servers of a session's tools.
//!
//! Small and deterministic on purpose: the same query finds the same tools in the same order, on every machine.

use std::collections::HashMap;

/// How much a repeated word counts, and how much a long text is held against it: the usual values.
const SATURATION: f32 = 1.2;
const LENGTH: f32 = 0.75;
/// Of one text: descriptions are cut by then, and queries are an agent's.
const MAX_WORDS: usize = 1_000;

/// One tool as it is searched. A word counts as often as the weight of where it stands.
#[derive(Debug, Clone, Copy)]
pub(in crate::mcp::door) struct Document<'a> {
    pub(in crate::mcp::door) name: &'a str,
    pub(in crate::mcp::door) title: &'a str,
    pub(in crate::mcp::door) description: &'a str,
    /// The names of its arguments.
    pub(in crate::mcp::door) arguments: &'a [&'a str],
    /// The server's description; its name is part of the tool's.
    pub(in crate::mcp::door) server: &'a str,
}

/// See the module.
#[derive(Debug)]
pub(in crate::mcp::door) struct Index {
    /// Of each word: in which documents, and how much it counts there.
    postings: HashMap<String, Vec<(u32, f32)>>,
    lengths: Vec<f32>,
    average: f32,
}

impl Index {
    pub(in crate::mcp::door) fn new<'a>(documents: impl Iterator<Item = Document<'a>>) -> Self {
        let mut postings: HashMap<String, Vec<(u32, f32)>> = HashMap::new();
        let mut lengths = Vec::new();
        for document in documents {
            let counted = count(document);
            let at = u32::try_from(lengths.len()).unwrap_or(u32::MAX);
            lengths.push(counted.values().sum());
            for (word, weight) in counted {
                postings.entry(word).or_default().push((at, weight));
            }
        }
        let documents = lengths.len().max(1) as f32;
        let average = (lengths.iter().sum::<f32>() / documents).max(1.0);
        Self {
            postings,
            lengths,
            average,
        }
    }

    /// The best documents, best first; of two that fit as well, the one that came first. None that has no word of the
    /// query.
    pub(in crate::mcp::door) fn search(&self, query: &str, admitted: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut scores: HashMap<u32, f32> = HashMap::new();
        let mut asked = words(query);
        asked.sort_unstable();
        asked.dedup();
        for word in &asked {
            for (at, weight) in self.postings.get(word).into_iter().flatten() {
                *scores.entry(*at).or_default() += self.score(word, *at, *weight);
            }
        }
        let mut found: Vec<(u32, f32)> = scores
            .into_iter()
            .filter(|(at, _)| admitted(*at as usize))
            .collect();
        found.sort_by(|(a, left), (b, right)| right.total_cmp(left).then(a.cmp(b)));
        found.into_iter().map(|(at, _)| at as usize).collect()
    }

    fn score(&self, word: &str, at: u32, weight: f32) -> f32 {
        let all = self.lengths.len() as f32;
        let having = self.postings.get(word).map_or(0, Vec::len) as f32;
        let rarity = (1.0 + (all - having + 0.5) / (having + 0.5)).ln();
        let length = self.lengths.get(at as usize).copied().unwrap_or(self.average) / self.average;
        rarity * weight * (SATURATION + 1.0) / (weight + SATURATION * (1.0 - LENGTH + LENGTH * length))
    }
}

fn count(document: Document<'_>) -> HashMap<String, f32> {
    let mut counted: HashMap<String, f32> = HashMap::new();
    let mut add = |text: &str, weight: f32| {
        for word in words(text) {
            *counted.entry(word).or_default() += weight;
        }
    };
    add(document.name, 4.0);
    add(document.title, 3.0);
    add(document.description, 1.0);
    for argument in document.arguments {
        add(argument, 0.5);
    }
    add(document.server, 0.5);
    counted
}

/// The words of a text: lower case, cut at `camelCase` and whatever is no letter or digit, without endings of the plural.
fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut word = String::new();
    let mut before_is_lower = false;
    for c in text.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && before_is_lower) {
            take(&mut word, &mut found);
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        before_is_lower = c.is_lowercase();
        if found.len() >= MAX_WORDS {
            return found;
        }
    }
    take(&mut word, &mut found);
    found
}

fn take(word: &mut String, found: &mut Vec<String>) {
    if word.is_empty() {
        return;
    }
    let plural = word.len() > 3 && word.ends_with('s') && !word.ends_with("ss");
    if plural {
        word.pop();
    }
    found.push(std::mem::take(word));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document<'a>(name: &'a str, description: &'a str) -> Document<'a> {
        Document {
            name,
            title: "",
            description,
            arguments: &[],
            server: "",
        }
    }

    fn index() -> Index {
        Index::new(
            [
                document("git__log", "Shows the commits of a repository"),
                document("git__commit", "Records changes to the repository"),
                document("mail__sendMessage", "Sends a message to an address"),
                document("docs__search", "Finds pages by their words; mentions commits"),
            ]
            .into_iter(),
        )
    }

    #[test]
    fn names_count_more_than_descriptions() {
        assert_eq!(index().search("commit", |_| true), [1, 0, 3]);
        assert_eq!(index().search("Send Messages!", |_| true), [2]);
        assert_eq!(index().search("repository log", |_| true)[0], 0);
        assert_eq!(index().search("commit", |at| at != 1), [0, 3]);
    }

    #[test]
    fn what_has_no_word_of_the_query_is_not_found() {
        assert!(index().search("weather", |_| true).is_empty());
        assert!(index().search("", |_| true).is_empty());
        assert!(Index::new(std::iter::empty()).search("x", |_| true).is_empty());
    }

    #[test]
    fn words_are_cut_where_people_see_them() {
        assert_eq!(
            words("readFile2 snake_case, Dashes-too"),
            ["read", "file2", "snake", "case", "dashe", "too"]
        );
        assert_eq!(words("class addresses"), ["class", "addresse"]);
    }

    proptest! {
        #[test]
        fn any_text_is_survived_and_found_by_its_own_words(name in "[a-z]{1,12}", text in any::<String>(), query in any::<String>()) {
            let index = Index::new([document(&name, &text)].into_iter());
            let _ = index.search(&query, |_| true);
            prop_assert_eq!(index.search(&name, |_| true), vec![0]);
        }
    }
}
