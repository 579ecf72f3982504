//! The checks. Each has a weight, and says why it passed or what would make it pass.

use schemars::JsonSchema;
use serde::Serialize;

use super::Tests;
use super::churn::Churn;
use crate::manifests::Manifests;
use crate::project::{File, Project};
use crate::text;

/// The most paths that a check names.
const MAX_EVIDENCE: usize = 5;

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Category {
    Tests,
    Ci,
    Docs,
    Lint,
    Format,
    Licence,
    Hygiene,
    Churn,
}

impl Category {
    pub(super) const ALL: [Self; 8] = [
        Self::Tests,
        Self::Ci,
        Self::Docs,
        Self::Lint,
        Self::Format,
        Self::Licence,
        Self::Hygiene,
        Self::Churn,
    ];
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Check {
    /// Its name, which does not change.
    pub id: String,
    /// What it is about.
    pub category: Category,
    /// Whether it passed.
    pub passed: bool,
    /// How much it counts, 1 to 10.
    pub weight: u32,
    /// Why it passed, or what is missing.
    pub reason: String,
    /// Files that show it, at most 5.
    pub evidence: Vec<String>,
}

struct Context<'a> {
    project: &'a Project,
    manifests: &'a Manifests,
    checks: Vec<Check>,
}

pub(super) fn run(project: &Project, manifests: &Manifests, tests: &Tests, churn: &Churn) -> Vec<Check> {
    let mut context = Context {
        project,
        manifests,
        checks: Vec::new(),
    };
    context.tests(tests);
    context.ci();
    context.docs();
    context.lint_and_format();
    context.licence();
    context.hygiene();
    context.churn(churn);
    context.checks
}

impl Context<'_> {
    fn check(
        &mut self,
        id: &str,
        category: Category,
        weight: u32,
        evidence: Vec<String>,
        good: &str,
        bad: &str,
    ) {
        let passed = !evidence.is_empty();
        self.judged(id, category, weight, passed, if passed { good } else { bad });
        if let Some(check) = self.checks.last_mut() {
            check.evidence = evidence;
        }
    }

    fn judged(&mut self, id: &str, category: Category, weight: u32, passed: bool, reason: &str) {
        self.checks.push(Check {
            id: id.to_owned(),
            category,
            passed,
            weight,
            reason: reason.to_owned(),
            evidence: Vec::new(),
        });
    }

    fn find(&self, wanted: impl Fn(&File) -> bool) -> Vec<String> {
        let found = self.project.files.iter().filter(|file| wanted(file));
        found.take(MAX_EVIDENCE).map(|file| file.path.clone()).collect()
    }

    fn named(&self, names: &[&str]) -> Vec<String> {
        self.find(|file| names.contains(&file.name().to_ascii_lowercase().as_str()))
    }

    fn tests(&mut self, tests: &Tests) {
        let any = tests.files + tests.files_with_inner_tests;
        self.judged(
            "tests.present",
            Category::Tests,
            10,
            any > 0,
            if any > 0 {
                "there are tests"
            } else {
                "no file looks like a test"
            },
        );
        if tests.source_files == 0 {
            return;
        }
        let many =
            tests.lines * 5 >= tests.source_lines || tests.files_with_inner_tests * 3 >= tests.source_files;
        let reason = if many {
            "tests are at least a fifth of the source, or in a third of its files"
        } else {
            "tests are less than a fifth of the source"
        };
        self.judged("tests.amount", Category::Tests, 5, many, reason);
    }

    fn ci(&mut self) {
        let found = self.find(|file| {
            let path = file.path.as_str();
            (path.starts_with(".github/workflows/") && (path.ends_with(".yml") || path.ends_with(".yaml")))
                || path.starts_with(".circleci/")
                || path.starts_with(".buildkite/")
                || matches!(
                    path,
                    ".gitlab-ci.yml"
                        | ".travis.yml"
                        | "azure-pipelines.yml"
                        | "Jenkinsfile"
                        | ".drone.yml"
                        | ".woodpecker.yml"
                        | "bitbucket-pipelines.yml"
                        | ".cirrus.yml"
                        | "appveyor.yml"
                )
        });
        self.check(
            "ci.present",
            Category::Ci,
            10,
            found,
            "a CI service is set up",
            "no CI service is set up",
        );
    }

    fn docs(&mut self) {
        let readme = self.find(|file| {
            file.depth() == 0 && file.name().to_ascii_lowercase().starts_with("readme") && file.bytes > 0
        });
        let long = readme
            .iter()
            .any(|path| self.project.file(path).is_some_and(|file| file.bytes >= 500));
        self.check(
            "docs.readme",
            Category::Docs,
            6,
            readme,
            "there is a README",
            "there is no README at the root",
        );
        let reason = if long {
            "the README says more than a few lines"
        } else {
            "no README says more than a few lines"
        };
        self.judged("docs.readme_length", Category::Docs, 2, long, reason);
        let pages = self.find(|file| {
            (file.path.starts_with("docs/") || file.path.starts_with("doc/"))
                && matches!(
                    file.extension().as_deref(),
                    Some("md" | "rst" | "adoc" | "mdx" | "html")
                )
        });
        self.check(
            "docs.pages",
            Category::Docs,
            3,
            pages,
            "there is documentation beside the README",
            "there is no documentation beside the README",
        );
        let changelog = self.find(|file| {
            let name = file.name().to_ascii_lowercase();
            file.depth() == 0
                && ["changelog", "changes", "history", "news"]
                    .iter()
                    .any(|stem| name.starts_with(stem))
        });
        self.check(
            "docs.changelog",
            Category::Docs,
            2,
            changelog,
            "changes are written down",
            "no file tells what changed",
        );
        let contributing = self.named(&[
            "contributing.md",
            "contributing.rst",
            "contributing",
            "contributing.adoc",
        ]);
        self.check(
            "docs.contributing",
            Category::Docs,
            1,
            contributing,
            "contributors are told how",
            "contributors are not told how",
        );
    }

    fn lint_and_format(&mut self) {
        let lint = self.configured(&LINT_FILES, &LINT_WORDS);
        self.check(
            "lint.configured",
            Category::Lint,
            6,
            lint,
            "a linter is set up",
            "no linter is set up",
        );
        let mut format = self.configured(&FORMAT_FILES, &FORMAT_WORDS);
        if format.is_empty() {
            // gofmt needs no set-up.
            format = self.named(&["go.mod"]);
        }
        self.check(
            "format.configured",
            Category::Format,
            4,
            format,
            "a formatter is set up",
            "no formatter is set up",
        );
        let editor = self.named(&[".editorconfig"]);
        self.check(
            "format.editorconfig",
            Category::Format,
            1,
            editor,
            "editors are told the style",
            "there is no .editorconfig",
        );
    }

    /// Files of that name, and manifests and CI files that say one of the words.
    fn configured(&self, names: &[&str], words: &[&str]) -> Vec<String> {
        let mut found = self.named(names);
        let may_say = |file: &&File| {
            matches!(
                file.name(),
                "Cargo.toml"
                    | "pyproject.toml"
                    | "package.json"
                    | "setup.cfg"
                    | "tox.ini"
                    | "Makefile"
                    | "justfile"
            ) || file.path.starts_with(".github/workflows/")
                || file.name() == ".pre-commit-config.yaml"
        };
        for file in self.project.files.iter().filter(may_say) {
            if found.len() >= MAX_EVIDENCE {
                break;
            }
            let says = self
                .project
                .read_text(file, self.project.limits.text_bytes)
                .is_some_and(|content| words.iter().any(|word| content.0.contains(word)));
            if says {
                found.push(file.path.clone());
            }
        }
        found
    }

    fn licence(&mut self) {
        let found = self.find(|file| {
            let name = file.name().to_ascii_lowercase();
            file.depth() == 0
                && ["license", "licence", "copying", "unlicense"]
                    .iter()
                    .any(|stem| name.starts_with(stem))
        });
        self.check(
            "licence.file",
            Category::Licence,
            5,
            found,
            "there is a licence",
            "there is no licence file at the root",
        );
        let declared: Vec<String> = self
            .manifests
            .manifests
            .iter()
            .filter(|manifest| manifest.license.is_some())
            .take(MAX_EVIDENCE)
            .map(|manifest| manifest.path.clone())
            .collect();
        if !self.manifests.manifests.is_empty() {
            self.check(
                "licence.declared",
                Category::Licence,
                1,
                declared,
                "a manifest names the licence",
                "no manifest names the licence",
            );
        }
    }

    fn hygiene(&mut self) {
        let ignore = self.named(&[".gitignore"]);
        self.check(
            "hygiene.gitignore",
            Category::Hygiene,
            2,
            ignore,
            "there is a .gitignore",
            "there is no .gitignore",
        );
        let large = self
            .project
            .files
            .iter()
            .filter(|file| file.bytes > crate::issues::sizes::OVERSIZED);
        let large = large.count();
        let reason = if large == 0 {
            "no file is oversized".to_owned()
        } else {
            format!("{large} files are oversized; see the analysis `issues`")
        };
        self.judged("hygiene.sizes", Category::Hygiene, 2, large == 0, &reason);
    }

    fn churn(&mut self, churn: &Churn) {
        let Some(history) = &churn.history else {
            return;
        };
        let several = history.authors > 1;
        let reason = if several {
            format!("{} people wrote the commits that were looked at", history.authors)
        } else {
            "one person wrote all commits that were looked at".to_owned()
        };
        self.judged("churn.authors", Category::Churn, 1, several, &reason);
        let focused = history
            .hot_files
            .first()
            .is_none_or(|file| file.commits * 2 <= history.commits.max(10));
        let reason = match history.hot_files.first() {
            Some(file) if !focused => {
                format!("{} is changed by every second commit", text::excerpt(&file.path))
            }
            _ => "no file is changed by every second commit".to_owned(),
        };
        self.judged("churn.hot_files", Category::Churn, 2, focused, &reason);
    }
}

const LINT_FILES: [&str; 24] = [
    "clippy.toml",
    ".clippy.toml",
    ".eslintrc",
    ".eslintrc.js",
    ".eslintrc.cjs",
    ".eslintrc.json",
    ".eslintrc.yml",
    "eslint.config.js",
    "eslint.config.mjs",
    "eslint.config.ts",
    "biome.json",
    ".oxlintrc.json",
    "ruff.toml",
    ".ruff.toml",
    ".flake8",
    ".pylintrc",
    "mypy.ini",
    ".golangci.yml",
    ".golangci.yaml",
    ".rubocop.yml",
    "phpstan.neon",
    "checkstyle.xml",
    "detekt.yml",
    ".clang-tidy",
];
const LINT_WORDS: [&str; 9] = [
    "[lints",
    "[workspace.lints",
    "clippy",
    "[tool.ruff",
    "[tool.pylint",
    "[tool.mypy",
    "\"eslint",
    "golangci",
    "flake8",
];
const FORMAT_FILES: [&str; 16] = [
    "rustfmt.toml",
    ".rustfmt.toml",
    ".prettierrc",
    ".prettierrc.js",
    ".prettierrc.cjs",
    ".prettierrc.json",
    ".prettierrc.yml",
    ".prettierrc.yaml",
    "prettier.config.js",
    "prettier.config.mjs",
    "biome.json",
    "dprint.json",
    ".clang-format",
    ".scalafmt.conf",
    ".style.yapf",
    "ruff.toml",
];
const FORMAT_WORDS: [&str; 8] = [
    "cargo fmt",
    "rustfmt",
    "[tool.black",
    "[tool.ruff.format",
    "ruff format",
    "\"prettier",
    "gofmt",
    "spotless",
];
