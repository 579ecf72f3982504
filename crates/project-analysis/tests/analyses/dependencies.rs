//! Manifests and locks.

use project_analysis::AnalysisKind::Dependencies;
use serde_json::json;

use crate::support::{each, item, look, project};

#[test]
fn a_lock_of_cargo_is_held_against_its_manifest() {
    let dir = project(&[
        (
            "Cargo.toml",
            "[package]\nname = \"x\"\n[dependencies]\nserde = \"1.0\"\nold = \"2\"\nnew = \"1\"\nany = \"*\"\n\
             fork = { git = \"https://example.com/fork\" }\nheld = { git = \"https://example.com/h\", rev = \"abc\" }\n\
             here = { path = \"here\" }\n[dev-dependencies]\nproptest = \"1\"\n",
        ),
        (
            "Cargo.lock",
            "version = 4\n[[package]]\nname = \"serde\"\nversion = \"1.0.9\"\n[[package]]\nname = \"old\"\nversion = \"1.5.0\"\n\
             [[package]]\nname = \"any\"\nversion = \"1.0.0\"\n[[package]]\nname = \"fork\"\nversion = \"0.1.0\"\n\
             [[package]]\nname = \"held\"\nversion = \"0.1.0\"\n[[package]]\nname = \"proptest\"\nversion = \"1.2.0\"\n\
             [[package]]\nname = \"rand\"\nversion = \"0.8.5\"\n[[package]]\nname = \"rand\"\nversion = \"0.9.0\"\n",
        ),
    ]);
    let found = look(&dir, Dependencies);
    assert_eq!(found["manifests"]["items"][0]["state"], "outdated");
    assert_eq!(each(&found["mismatches"], "name"), ["new", "old"]);
    assert!(
        item(&found["mismatches"], "name", "old")["problem"]
            .as_str()
            .unwrap()
            .contains("\"2\"")
    );
    assert_eq!(found["duplicates"]["items"][0]["name"], "rand");
    assert_eq!(
        found["duplicates"]["items"][0]["versions"],
        json!(["0.8.5", "0.9.0"])
    );
    assert_eq!(
        each(&found["unpinned"], "name"),
        ["any"],
        "a lock holds what follows a branch"
    );
    let serde = item(&found["declared"], "name", "serde");
    assert_eq!(
        (&serde["scope"], &serde["locked"]),
        (&json!("runtime"), &json!(["1.0.9"]))
    );
    assert_eq!(
        item(&found["declared"], "name", "proptest")["scope"],
        "development"
    );
    assert_eq!(item(&found["declared"], "name", "here")["source"], "path");
    assert!(!found["unknown_offline"].as_array().unwrap().is_empty());
}

#[test]
fn members_of_a_workspace_share_its_lock() {
    let dir = project(&[
        (
            "Cargo.toml",
            "[workspace]\nmembers = [\"a\"]\n[workspace.dependencies]\nserde = \"1\"\nunused = \"3\"\n",
        ),
        (
            "a/Cargo.toml",
            "[package]\nname = \"a\"\n[dependencies]\nserde.workspace = true\n",
        ),
        (
            "Cargo.lock",
            "[[package]]\nname = \"serde\"\nversion = \"1.0.0\"\n",
        ),
    ]);
    let found = look(&dir, Dependencies);
    assert_eq!(
        item(&found["manifests"], "path", "a/Cargo.toml")["lock"],
        "Cargo.lock"
    );
    assert_eq!(
        item(&found["manifests"], "path", "a/Cargo.toml")["state"],
        "current"
    );
    assert_eq!(found["mismatches"]["total"], 0);
}

#[test]
fn the_locks_of_npm_yarn_and_pnpm_are_read() {
    let manifest = r#"{"name":"x","dependencies":{"left":"^1.0.0","gone":"^2.0.0","moved":"^3.0.0"},"peerDependencies":{"react":"*"}}"#;
    let npm = r#"{"lockfileVersion":3,"packages":{"":{"dependencies":{"left":"^1.0.0","moved":"^2.0.0"}},
        "node_modules/left":{"version":"1.1.0","deprecated":"use right"},"node_modules/a/node_modules/left":{"version":"1.0.0"},
        "node_modules/moved":{"version":"2.0.0"}}}"#;
    let yarn = "# yarn lockfile v1\n\n\"left@^1.0.0\", left@^1:\n  version \"1.1.0\"\n\nmoved@^2.0.0:\n  version \"2.0.0\"\n";
    let pnpm = "lockfileVersion: '9.0'\nimporters:\n  .:\n    dependencies:\n      left:\n        specifier: ^1.0.0\n        version: 1.1.0\n\
        \x20     moved:\n        specifier: ^2.0.0\n        version: 2.0.0\npackages:\n  left@1.1.0:\n    resolution: {}\n    deprecated: use right\n  '@s/n@1.0.0(left@1.1.0)':\n    resolution: {}\n";
    for (name, lock, deprecated) in [
        ("package-lock.json", npm, 1),
        ("yarn.lock", yarn, 0),
        ("pnpm-lock.yaml", pnpm, 1),
    ] {
        let dir = project(&[("package.json", manifest), (name, lock)]);
        let found = look(&dir, Dependencies);
        assert_eq!(found["locks"]["items"][0]["readable"], true, "{name}");
        assert_eq!(found["manifests"]["items"][0]["state"], "outdated", "{name}");
        assert_eq!(each(&found["mismatches"], "name"), ["gone", "moved"], "{name}");
        assert_eq!(
            item(&found["declared"], "name", "left")["locked"]
                .as_array()
                .unwrap()
                .last()
                .unwrap(),
            "1.1.0",
            "{name}"
        );
        assert_eq!(found["deprecated"]["total"], deprecated, "{name}");
        assert_eq!(found["unpinned"]["total"], 0, "{name}: {}", found["unpinned"]);
    }
}

#[test]
fn what_has_no_lock_says_so_and_what_needs_none_does_not() {
    let dir = project(&[
        (
            "a/package.json",
            r#"{"dependencies":{"x":"^1.0.0","y":"latest","z":"github:o/r","w":">=1"}}"#,
        ),
        ("b/Cargo.toml", "[package]\nname = \"b\"\n"),
        (
            "c/requirements.txt",
            "# pins\nflask==3.0.0 --hash=sha256:00\nrequests>=2\n-r other.txt\ndjango[extra] ; python_version > '3'\n",
        ),
        (
            "d/pom.xml",
            "<project><dependencies><dependency><groupId>g</groupId><artifactId>a</artifactId><version>LATEST</version></dependency></dependencies></project>",
        ),
        (
            "e/build.gradle",
            "dependencies {\n  implementation 'g:n:1.+'\n  testImplementation(\"h:m:2.0\")\n}\n",
        ),
        ("f/broken/package.json", "{"),
        (
            "g/go.mod",
            "module g\nrequire example.com/dep v1.0.0 // indirect\n",
        ),
    ]);
    let found = look(&dir, Dependencies);
    let state = |path: &str| item(&found["manifests"], "path", path)["state"].clone();
    assert_eq!(state("a/package.json"), "missing");
    assert_eq!(state("b/Cargo.toml"), "not_needed");
    assert_eq!(state("c/requirements.txt"), "pin_list");
    assert_eq!(state("d/pom.xml"), "not_needed");
    assert_eq!(state("f/broken/package.json"), "unreadable");
    assert_eq!(state("g/go.mod"), "missing");
    let mut unpinned = each(&found["unpinned"], "name");
    unpinned.sort_unstable();
    assert_eq!(unpinned, ["django", "g:a", "g:n", "requests", "w", "y", "z"]);
}

#[test]
fn python_go_ruby_and_php_are_held_against_their_locks() {
    let dir = project(&[
        (
            "py/pyproject.toml",
            "[project]\nname = \"p\"\ndependencies = [\"Flask-Login>=0.6\", \"gone\"]\n[dependency-groups]\ndev = [\"pytest\"]\n",
        ),
        (
            "py/uv.lock",
            "[[package]]\nname = \"flask-login\"\nversion = \"0.6.3\"\n[[package]]\nname = \"pytest\"\nversion = \"8\"\n",
        ),
        (
            "pipenv/Pipfile",
            "[packages]\nrequests = \"*\"\n[dev-packages]\nlost = \"*\"\n",
        ),
        (
            "pipenv/Pipfile.lock",
            r#"{"default":{"requests":{"version":"==2.31.0"}}}"#,
        ),
        (
            "go/go.mod",
            "module m\nrequire (\n\ta.example/x v1.0.0\n\tb.example/y v2.0.0\n)\n",
        ),
        (
            "go/go.sum",
            "a.example/x v1.0.0 h1:x\na.example/x v1.0.0/go.mod h1:y\nb.example/y v1.9.0/go.mod h1:z\n",
        ),
        (
            "rb/Gemfile",
            "source 'https://rubygems.org'\ngem 'rails', '~> 7.0'\ngroup :test do\n  gem \"rspec\"\nend\n",
        ),
        (
            "rb/Gemfile.lock",
            "GEM\n  specs:\n    rails (7.0.8)\n\nDEPENDENCIES\n  rails (~> 7.0)\n",
        ),
        (
            "php/composer.json",
            r#"{"require":{"php":">=8","a/b":"^1.0","c/d":"^2.0"}}"#,
        ),
        (
            "php/composer.lock",
            r#"{"packages":[{"name":"a/b","version":"1.2.0","abandoned":"e/f"}]}"#,
        ),
    ]);
    let found = look(&dir, Dependencies);
    let mut mismatched = each(&found["mismatches"], "name");
    mismatched.sort_unstable();
    assert_eq!(mismatched, ["b.example/y", "c/d", "gone", "lost", "rspec"]);
    assert_eq!(found["deprecated"]["items"][0]["reason"], "abandoned; use e/f");
    let declared = item(&found["declared"], "name", "Flask-Login");
    assert_eq!(
        (&declared["requirement"], &declared["locked"]),
        (&json!(">=0.6"), &json!(["0.6.3"]))
    );
    let ecosystems: Vec<_> = each(&found["ecosystems"], "ecosystem");
    assert_eq!(ecosystems, ["python", "go", "ruby", "php"]);
}

#[test]
fn packages_that_are_wanted_in_different_ways_are_told() {
    let dir = project(&[
        ("a/package.json", r#"{"dependencies":{"x":"^1.0.0"}}"#),
        (
            "b/package.json",
            r#"{"dependencies":{"x":"^2.0.0"},"peerDependencies":{"y":"*"}}"#,
        ),
        ("c/package.json", r#"{"dependencies":{"y":"^1.0.0"}}"#),
    ]);
    let found = look(&dir, Dependencies);
    assert_eq!(
        found["disagreements"]["items"],
        json!([{ "ecosystem": "npm", "name": "x", "requirements": ["^1.0.0", "^2.0.0"] }])
    );
}

#[test]
fn credentials_in_requirements_are_masked() {
    let dir = project(&[(
        "package.json",
        r#"{"dependencies":{"x":"git+https://bot:hunter2hunter2@example.com/x.git"},"scripts":{"a":"API_TOKEN=hunter2hunter2 x"}}"#,
    )]);
    for kind in project_analysis::AnalysisKind::ALL {
        let found = look(&dir, kind).to_string();
        assert!(!found.contains("hunter2"), "{kind}: {found}");
    }
}
