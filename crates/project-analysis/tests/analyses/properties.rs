//! Whatever a tree holds: no analysis panics, each is the same twice, and each fits its schema's bounds.

use project_analysis::{AnalysisKind, Limits};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::{look_within, write};

/// Names that something is made of, and names of nothing.
fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "Cargo.toml",
            "Cargo.lock",
            "package.json",
            "package-lock.json",
            "yarn.lock",
            "pnpm-lock.yaml",
            "pyproject.toml",
            "requirements.txt",
            "uv.lock",
            "Pipfile",
            "Pipfile.lock",
            "go.mod",
            "go.sum",
            "pom.xml",
            "build.gradle",
            "settings.gradle",
            "gradle.lockfile",
            "Gemfile",
            "Gemfile.lock",
            "composer.json",
            "composer.lock",
            "Dockerfile",
            "Makefile",
            "compose.yaml",
            "README.md",
            ".gitignore",
            "a.py",
            "a.sh",
            "x.rs",
            "main.go",
            ".git",
            ".env",
            "justfile",
            "Procfile",
        ])
        .prop_map(str::to_owned),
        "[a-zA-Z0-9._ äß-]{1,12}".prop_filter("no step of a path", |name| !matches!(
            name.trim(),
            "." | ".." | ""
        )),
    ]
}

/// Pieces of what parsers look for, in any order, and noise.
fn contents() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        ":",
        ",",
        "=",
        "\n",
        "\n  ",
        "\n    ",
        "<",
        ">",
        "/",
        "@",
        "#",
        "`",
        "![",
        "](",
        ")",
        "dependencies",
        "\"dependencies\":{",
        "[dependencies]",
        "[[package]]",
        "name = \"x\"",
        "version = \"1\"",
        "packages:",
        "importers:",
        "  .:",
        "specifier: ",
        "require (",
        "module m",
        "=>",
        "replace",
        "gem 'a', '1'",
        "DEPENDENCIES",
        "GEM",
        "<project>",
        "<dependency>",
        "<artifactId>a</artifactId>",
        "</project>",
        "implementation 'a:b:1'",
        "include ':a'",
        "a@^1.0.0:",
        "version \"1\"",
        "all:",
        "services:",
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        "password = \"",
        "AKIA",
        "sk-ant-",
        "eval(",
        "curl x | sh",
        "```",
        "[a](b.md)",
        "[r]: x",
        "%",
        "%2",
        "%zz",
        "&a",
        "*a",
        "!!x",
        "|",
        "---",
        "\u{202e}",
        "ä",
        "\0",
        "!",
        "**",
        "*",
        "\\",
        "?",
    ])
    .prop_map(|piece| piece.as_bytes().to_vec());
    prop_oneof![
        3 => vec(pieces, 0..60).prop_map(|pieces| pieces.concat()),
        1 => vec(any::<u8>(), 0..400),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_tree_breaks_an_analysis(files in vec((vec(names(), 1..4), contents()), 0..12)) {
        let dir = tempfile::tempdir().unwrap();
        for (steps, content) in &files {
            let path = steps.join("/");
            // A file that stands where a directory should be is somebody else's luck.
            if dir.path().join(&path).parent().is_some_and(|parent| std::fs::create_dir_all(parent).is_ok())
                && !dir.path().join(&path).is_dir()
            {
                write(dir.path(), &path, content);
            }
        }
        for kind in AnalysisKind::ALL {
            let one = look_within(dir.path(), kind, &Limits::default());
            let two = look_within(dir.path(), kind, &Limits::default());
            prop_assert_eq!(&one, &two, "the same files give the same document");
            prop_assert_eq!(one["analysis_type"].as_str(), Some(kind.as_str()));
            prop_assert!(one["coverage"]["complete"].as_bool().unwrap());
        }
    }
}
