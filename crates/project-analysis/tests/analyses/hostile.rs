//! Projects that are made to harm whoever looks at them.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

use project_analysis::{AnalysisKind, Limits};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::{each, look, look_within, marked, project, write};

#[test]
fn no_symlink_is_followed_and_no_pipe_is_waited_for() {
    let outside = project(&[("secret.py", "password = 'Zx9Kq2Vb7Lm4Tn8R'\n# TO-DO outside\n")]);
    let dir = project(&[("real.py", "# TO-DO inside\n")]);
    let root = dir.path();
    symlink(outside.path(), root.join("dir")).unwrap();
    symlink(outside.path().join("secret.py"), root.join("file.py")).unwrap();
    symlink("/dev/zero", root.join("Cargo.toml")).unwrap();
    symlink("/dev/zero", root.join(".gitignore")).unwrap();
    symlink(".", root.join("loop")).unwrap();
    for name in ["package.json", "pipe.py"] {
        mknodat(
            CWD,
            root.join(name),
            FileType::Fifo,
            Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
    }
    std::fs::create_dir(root.join("sub")).unwrap();
    mknodat(
        CWD,
        root.join("sub/.gitignore"),
        FileType::Fifo,
        Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    for kind in AnalysisKind::ALL {
        let found = look(&dir, kind);
        assert_eq!(found["coverage"]["files"], 1, "{kind}");
        assert_eq!(found["coverage"]["skipped"]["symlinks"], 5, "{kind}");
        assert_eq!(found["coverage"]["skipped"]["special"], 3, "{kind}");
        assert!(!found.to_string().contains("outside"));
    }
}

#[test]
fn gitignore_is_obeyed_as_git_reads_it() {
    let dir = project(&[
        (".gitignore", "*.log\n/build/\n!keep.log\ndeep/**/x.py\n"),
        ("a.log", ""),
        ("keep.log", ""),
        ("build/out.py", ""),
        ("src/build/in.py", ""),
        ("src/.gitignore", "!b.log\nlocal.py\n"),
        ("src/b.log", ""),
        ("src/local.py", ""),
        ("deep/a/b/x.py", ""),
        ("node_modules/x/index.js", ""),
    ]);
    let found = look(&dir, AnalysisKind::Structure);
    let mut paths = each(&found["sizes"]["largest_files"], "path");
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            ".gitignore",
            "keep.log",
            "src/.gitignore",
            "src/b.log",
            "src/build/in.py"
        ]
    );
    assert_eq!(found["coverage"]["skipped"]["not_source"], 1);
}

#[test]
fn every_limit_holds_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..50 {
        write(dir.path(), &format!("d{number}/file.py"), "x = 1\n".repeat(1000));
    }
    let deep = "n/".repeat(80) + "file.py";
    write(dir.path(), &deep, "x");
    let with = |change: &dyn Fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        look_within(dir.path(), AnalysisKind::Issues, &limits)["coverage"].clone()
    };
    let coverage = with(&|limits| limits.entries = 20);
    assert!(coverage["files"].as_u64().unwrap() <= 20);
    assert_eq!(coverage["limits_reached"][0], "entries");
    assert_eq!(with(&|_| {})["limits_reached"], serde_json::json!(["depth"]));
    assert_eq!(
        with(&|limits| limits.total_bytes = 10_000)["limits_reached"][1],
        "bytes"
    );
    let small = with(&|limits| limits.text_bytes = 10);
    assert_eq!(small["limits_reached"][1], "file_size");
    assert_eq!(small["complete"], false);
    let late = with(&|limits| limits.time = Duration::ZERO);
    assert_eq!(late["limits_reached"][0], "time");
}

#[test]
fn manifests_that_are_bombs_cost_little() {
    let laughs: String = (1..30)
        .map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}]\n", n - 1))
        .collect();
    let yaml = format!("a0: &a0 [x, x]\n{laughs}importers: *a29\npackages: *a29\n");
    let entity: String = (1..20)
        .map(|n| format!("<!ENTITY e{n} \"&e{0};&e{0};&e{0};&e{0};\">", n - 1))
        .collect();
    let xml = format!(
        "<!DOCTYPE p [<!ENTITY e0 \"xxxx\">{entity}]><project><artifactId>&e19;</artifactId></project>"
    );
    let json = "[".repeat(200_000);
    let object = "{\"a\":".repeat(200_000);
    let toml_arrays = format!("a = {}", "[".repeat(200_000));
    let toml_tables = format!("[{}]\n", vec!["a"; 100_000].join("."));
    let tags = "<a>".repeat(200_000);
    let flow = "[".repeat(200_000);
    let lines = "gem 'x', '".repeat(100_000);
    let dir = project(&[
        ("pnpm-lock.yaml", &yaml),
        ("compose.yaml", &flow),
        ("pom.xml", &xml),
        ("deep/pom.xml", &tags),
        ("package.json", &json),
        ("package-lock.json", &object),
        ("composer.json", &object),
        ("Cargo.toml", &toml_arrays),
        ("Cargo.lock", &toml_tables),
        ("pyproject.toml", &toml_tables),
        ("Gemfile", &lines),
        ("yarn.lock", &"a@1,".repeat(100_000)),
        ("go.mod", &"require ( ".repeat(100_000)),
    ]);
    let begun = Instant::now();
    for kind in AnalysisKind::ALL {
        let found = look(&dir, kind);
        assert!(found.to_string().len() < 2 << 20, "{kind}");
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn a_document_stays_small_whatever_there_is_to_tell() {
    let dir = tempfile::tempdir().unwrap();
    let line = marked(&format!(
        "TO-DO eval(request) curl x | sh [a](gone{}) \n",
        "z".repeat(3000)
    ));
    write(dir.path(), "README.md", line.repeat(300));
    for number in 0..500 {
        let name = "n".repeat(200);
        write(dir.path(), &format!("{number}-{name}.py"), &line);
    }
    let scripts: serde_json::Map<_, _> = (0..3000)
        .map(|n| (format!("s{n}"), "x".repeat(1000).into()))
        .collect();
    write(
        dir.path(),
        "package.json",
        serde_json::json!({ "name": "x", "scripts": scripts }).to_string(),
    );
    for kind in AnalysisKind::ALL {
        let found = look_within(dir.path(), kind, &Limits::default());
        let bytes = found.to_string().len();
        assert!(bytes < 1 << 20, "{kind}: {bytes}");
    }
    let found = look_within(dir.path(), AnalysisKind::Issues, &Limits::default());
    assert_eq!(found["markers"]["items"].as_array().unwrap().len(), 200);
    assert_eq!(found["markers"]["total"], 800);
}

#[test]
fn names_that_are_no_text_are_shown_as_some() {
    let dir = project(&[("ok.py", "# TO-DO\n")]);
    for name in [
        &b"bad\xff.py"[..],
        b"new\nline.py",
        "flip\u{202e}yp.py".as_bytes(),
        b"\x1b[31mred.py",
    ] {
        let path = dir.path().join(std::ffi::OsStr::from_bytes(name));
        std::fs::write(path, marked("# TO-DO\n")).unwrap();
    }
    let found = look(&dir, AnalysisKind::Issues);
    assert_eq!(found["markers"]["total"], 5);
    for path in each(&found["markers"], "path") {
        assert!(
            !path.chars().any(|c| c.is_control() || c == '\u{202e}'),
            "{path:?}"
        );
    }
}

#[test]
fn what_cannot_be_read_is_counted() {
    let dir = project(&[("a.py", "# TO-DO\n"), ("closed/b.py", "# TO-DO\n")]);
    if rustix::process::geteuid().is_root() {
        // Nothing is closed to root.
        return;
    }
    let closed = dir.path().join("closed");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o0)).unwrap();
    let found = look(&dir, AnalysisKind::Issues);
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(found["coverage"]["skipped"]["unreadable"], 1);
    assert_eq!(found["markers"]["total"], 1);
}
