//! Languages, sizes, entry points, modules.

use project_analysis::AnalysisKind::Structure;
use serde_json::json;

use crate::support::{each, item, look, project};

#[test]
fn languages_are_counted_by_lines() {
    let dir = project(&[
        ("src/a.rs", "one\ntwo\nthree"),
        ("src/b.rs", "one\n"),
        ("web/x.ts", "a\nb\n"),
        ("Dockerfile", "FROM scratch\n"),
        ("image.png", "\u{0}binary\n\n\n"),
        ("noise.js", "a\u{0}b\nc\n"),
    ]);
    let found = look(&dir, Structure);
    let rust = item(&found["languages"], "name", "Rust");
    assert_eq!(
        (&rust["files"], &rust["lines"], &rust["bytes"]),
        (&json!(2), &json!(4), &json!(17))
    );
    assert_eq!(rust["percent"], 57.1);
    assert_eq!(each(&found["languages"], "name")[0], "Rust");
    assert_eq!(item(&found["languages"], "name", "Dockerfile")["lines"], 1);
    assert_eq!(
        item(&found["languages"], "name", "JavaScript")["lines"],
        0,
        "it is binary"
    );
    assert_eq!(found["coverage"]["files"], 6);
    assert_eq!(found["coverage"]["complete"], true);
}

#[test]
fn the_largest_files_and_directories_come_first() {
    let large = "x".repeat(5000);
    let dir = project(&[
        ("a/deep/large.bin", &large),
        ("a/small.txt", "x"),
        ("b/medium.txt", &large[..300]),
    ]);
    let found = look(&dir, Structure);
    assert_eq!(
        each(&found["sizes"]["largest_files"], "path"),
        ["a/deep/large.bin", "b/medium.txt", "a/small.txt"]
    );
    let directories = &found["sizes"]["largest_directories"];
    assert_eq!(each(directories, "path"), ["a", "a/deep", "b"]);
    assert_eq!(directories[0]["bytes"], 5001);
    assert_eq!(directories[0]["files"], 2);
}

#[test]
fn entry_points_are_found_where_ecosystems_write_them() {
    let dir = project(&[
        (
            "Cargo.toml",
            "[package]\nname = \"tool\"\n[[bin]]\nname = \"extra\"\npath = \"src/extra.rs\"\n",
        ),
        ("src/main.rs", "fn main() {}"),
        ("src/lib.rs", ""),
        ("src/bin/other.rs", "fn main() {}"),
        (
            "web/package.json",
            r#"{"name":"web","main":"index.js","bin":{"web":"./cli.js"},"scripts":{"build":"tsc","test":"jest"}}"#,
        ),
        (
            "py/pyproject.toml",
            "[project]\nname = \"py\"\n[project.scripts]\nserve = \"py.app:main\"\n",
        ),
        ("py/manage.py", ""),
        ("cmd/server/main.go", "package main\n\nfunc main() {}\n"),
        ("lib/main.go", "package lib\n"),
        (
            "Dockerfile",
            "FROM x\nENTRYPOINT [\"/bin/tool\"]\nCMD [\"serve\"]\n",
        ),
        (
            "Makefile",
            ".PHONY: all\nall: build\nbuild:\n\techo\nVERSION := 1\n",
        ),
        ("compose.yaml", "services:\n  db:\n    image: x\n  app: {}\n"),
        ("Procfile", "web: gunicorn app\n"),
    ]);
    let found = look(&dir, Structure);
    let points = &found["entry_points"];
    let has = |kind: &str, path: &str, name: Option<&str>, target: Option<&str>| {
        let wanted = json!({ "path": path, "kind": kind, "name": name, "target": target });
        assert!(
            points["items"].as_array().unwrap().contains(&wanted),
            "{wanted} in {points:#}"
        );
    };
    has("program", "src/main.rs", Some("tool"), None);
    has("library", "src/lib.rs", Some("tool"), None);
    has("program", "src/bin/other.rs", None, None);
    has("program", "Cargo.toml", Some("extra"), Some("src/extra.rs"));
    has("library", "web/package.json", Some("main"), Some("index.js"));
    has("program", "web/package.json", Some("web"), Some("./cli.js"));
    has("script", "web/package.json", Some("test"), Some("jest"));
    has("program", "py/pyproject.toml", Some("serve"), Some("py.app:main"));
    has("program", "py/manage.py", None, None);
    has("program", "cmd/server/main.go", None, None);
    has(
        "container",
        "Dockerfile",
        Some("ENTRYPOINT"),
        Some("[\"/bin/tool\"]"),
    );
    has("target", "Makefile", Some("all"), None);
    has("target", "Makefile", Some("build"), None);
    has("service", "compose.yaml", Some("db"), None);
    has("service", "Procfile", Some("web"), Some("gunicorn app"));
    let paths = each(points, "path");
    assert!(!paths.contains(&"lib/main.go"), "a library");
    assert_eq!(paths.iter().filter(|path| **path == "Makefile").count(), 2);
}

#[test]
fn modules_and_their_relations_are_what_manifests_say() {
    let dir = project(&[
        ("Cargo.toml", "[workspace]\nmembers = [\"crates/*\"]\n"),
        (
            "crates/a/Cargo.toml",
            "[package]\nname = \"a\"\nversion = \"1.2.3\"\n[dependencies]\nb = { path = \"../b\" }\nserde = \"1\"\n",
        ),
        ("crates/b/Cargo.toml", "[package]\nname = \"b\"\n"),
        ("package.json", r#"{"name":"root","workspaces":["packages/*"]}"#),
        (
            "packages/x/package.json",
            r#"{"name":"@s/x","dependencies":{"@s/y":"workspace:*","react":"^18"}}"#,
        ),
        ("packages/y/package.json", r#"{"name":"@s/y"}"#),
        (
            "pom.xml",
            "<project><artifactId>parent</artifactId><modules><module>core</module></modules></project>",
        ),
        ("go.mod", "module example.com/thing\n\ngo 1.22\n"),
        (
            "settings.gradle",
            "rootProject.name = 'gradle-root'\ninclude ':app', ':lib:core'\n",
        ),
    ]);
    let found = look(&dir, Structure);
    let modules = &found["modules"];
    assert_eq!(item(modules, "name", "a")["depends_on"], json!(["b"]));
    assert_eq!(item(modules, "name", "a")["version"], "1.2.3");
    assert_eq!(item(modules, "name", "@s/x")["depends_on"], json!(["@s/y"]));
    assert_eq!(
        item(modules, "manifest", "Cargo.toml")["members"],
        json!(["crates/*"])
    );
    assert_eq!(item(modules, "name", "root")["workspace"], true);
    assert_eq!(item(modules, "name", "parent")["members"], json!(["core"]));
    assert_eq!(item(modules, "name", "example.com/thing")["ecosystem"], "go");
    assert_eq!(
        item(modules, "name", "gradle-root")["members"],
        json!(["app", "lib/core"])
    );
}
