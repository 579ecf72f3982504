//! How well a project is kept: checks with reasons, and a score of what they found.

pub mod checks;
pub mod churn;
mod files;

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

pub use self::checks::{Category, Check};
pub use self::churn::Churn;
use crate::manifests;
use crate::project::Project;
use crate::structure::languages;

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Health {
    /// From 0 to 100: the checks that passed, by their weights.
    pub score: u32,
    /// The same for each category.
    pub categories: Vec<CategoryScore>,
    /// Every check, passed or not, with its reason.
    pub checks: Vec<Check>,
    /// Tests against the rest.
    pub tests: Tests,
    /// The history.
    pub churn: Churn,
}

/// The score of a category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CategoryScore {
    /// The category.
    pub category: Category,
    /// From 0 to 100.
    pub score: u32,
    /// Why it is not more, one line for each check that did not pass.
    pub reasons: Vec<String>,
}

/// Tests against the rest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct Tests {
    /// Files that look like tests.
    pub files: u64,
    /// Lines in them.
    pub lines: u64,
    /// Source files that do not.
    pub source_files: u64,
    /// Lines in them.
    pub source_lines: u64,
    /// Source files with tests inside, as Rust has them.
    pub files_with_inner_tests: u64,
}

pub(crate) fn of(project: &Project, root: &Path) -> Health {
    let manifests = manifests::all(project);
    let tests = tests(project);
    let churn = churn::of(project, root);
    let checks = checks::run(project, &manifests, &tests, &churn);
    let categories: Vec<CategoryScore> = Category::ALL
        .into_iter()
        .filter_map(|category| score_of(category, &checks))
        .collect();
    Health {
        score: score(checks.iter()),
        categories,
        checks,
        tests,
        churn,
    }
}

fn score_of(category: Category, checks: &[Check]) -> Option<CategoryScore> {
    let own: Vec<&Check> = checks.iter().filter(|check| check.category == category).collect();
    if own.is_empty() {
        return None;
    }
    Some(CategoryScore {
        category,
        score: score(own.iter().copied()),
        reasons: own
            .iter()
            .filter(|check| !check.passed)
            .map(|check| check.reason.clone())
            .collect(),
    })
}

fn score<'a>(checks: impl Iterator<Item = &'a Check>) -> u32 {
    let (mut passed, mut all) = (0, 0);
    for check in checks {
        all += check.weight;
        passed += if check.passed { check.weight } else { 0 };
    }
    (passed * 100).checked_div(all).unwrap_or_default()
}

fn tests(project: &Project) -> Tests {
    let mut tests = Tests::default();
    for file in &project.files {
        if !languages::language(&file.path).is_some_and(files::is_programming) {
            continue;
        }
        let lines = languages::lines(project, file).unwrap_or_default();
        if files::is_test(&file.path) {
            tests.files += 1;
            tests.lines += lines;
            continue;
        }
        tests.source_files += 1;
        tests.source_lines += lines;
        let has_inner = file.extension().as_deref() == Some("rs")
            && project
                .read_text(file, project.limits.text_bytes)
                .is_some_and(|text| text.0.contains("#[cfg(test)]"));
        tests.files_with_inner_tests += u64::from(has_inner);
    }
    tests
}
