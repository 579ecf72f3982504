//! What a file is by its name.

use crate::text;

/// Languages in which there is something to test.
pub(super) fn is_programming(language: &str) -> bool {
    !matches!(
        language,
        "CSS"
            | "HTML"
            | "INI"
            | "JSON"
            | "Less"
            | "Markdown"
            | "Sass"
            | "SVG"
            | "TOML"
            | "TeX"
            | "Text"
            | "XML"
            | "YAML"
            | "Dockerfile"
            | "Makefile"
            | "Go Module"
            | "CMake"
            | "Just"
    )
}

/// Whether a source file is a test, by the customs of its language.
pub(super) fn is_test(path: &str) -> bool {
    let in_directory = text::parent(path)
        .split('/')
        .any(|step| matches!(step, "test" | "tests" | "__tests__" | "spec" | "specs" | "e2e"));
    if in_directory {
        return true;
    }
    let name = text::file_name(path);
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    stem.starts_with("test_")
        || stem.ends_with("_test")
        || stem.ends_with("_spec")
        || stem == "tests"
        || stem == "conftest"
        || (name.len() > stem.len()
            && (stem.ends_with("Test") || stem.ends_with("Tests") || stem.ends_with("Spec")))
        || name.contains(".test.")
        || name.contains(".spec.")
}

#[cfg(test)]
mod tests {
    use super::is_test;

    #[test]
    fn tests_are_known_by_their_names() {
        for test in [
            "tests/a.rs",
            "src/__tests__/a.js",
            "a_test.go",
            "test_a.py",
            "a.spec.ts",
            "FooTest.java",
            "x/tests.rs",
        ] {
            assert!(is_test(test), "{test}");
        }
        for other in ["src/a.rs", "contest.py", "latest.js", "src/testing/a.rs"] {
            assert!(!is_test(other), "{other}");
        }
    }
}
