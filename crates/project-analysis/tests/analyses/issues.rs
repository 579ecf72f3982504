//! Markers, secrets, oversized files, dead links, known-bad patterns.

use project_analysis::AnalysisKind::Issues;
use serde_json::json;

use crate::support::{each, item, look, marked, project};

#[test]
fn markers_have_their_place() {
    let dir = project(&[
        (
            "a.rs",
            "fn a() {}\n// TO-DO: more\n/* FIX-ME(bob) now */ // TO-DO too\n# HA-CK\nlet todos = TO-DO_LIST; mktemp XXXXXX\n",
        ),
        ("package-lock.json", "// TO-DO"),
    ]);
    let found = look(&dir, Issues);
    assert_eq!(
        found["marker_counts"],
        json!({ "todo": 1, "fixme": 1, "hack": 1, "xxx": 0 })
    );
    let markers = &found["markers"]["items"];
    assert_eq!(
        markers[0],
        json!({ "path": "a.rs", "line": 2, "kind": marked("TO-DO"), "text": marked("// TO-DO: more") })
    );
}

/// Put together here, so that nobody's scanner takes this file for a leak.
fn keys() -> Vec<(&'static str, String)> {
    let random = "Zx9Kq2Vb7Lm4Tn8Rw3Yc6Hd1Jf5Gp0SaUeIoQz1Xy2Wv3Ut4Sr5Qp6On7Ml8Kj9";
    vec![
        (
            "AWS access key id",
            format!("AKIA{}", &random.to_uppercase()[..16]),
        ),
        ("Anthropic API key", format!("sk-ant-api03-{random}")),
        ("GitHub token", format!("ghp_{}", &random[..36])),
        ("GitHub token", format!("github_pat_{}", &random[..60])),
        ("GitLab token", format!("glpat-{}", &random[..20])),
        ("Slack token", format!("xoxb-{}", &random[..24])),
        ("Stripe key", format!("sk_live_{}", &random[..24])),
        ("Google API key", format!("AIza{}", &random[..35])),
        ("npm token", format!("npm_{}", &random[..36])),
        ("JSON web token", format!("eyJ{0}.eyJ{0}.{0}", &random[..20])),
        (
            "password in a URL",
            format!("postgres://app:{}@db/x", &random[..12]),
        ),
        ("private key", format!("-----BEGIN {} KEY-----", "RSA PRIVATE")),
        (
            "value that something calls a secret",
            format!("db_password = \"{}\"", &random[..20]),
        ),
    ]
}

#[test]
fn secrets_are_found_and_never_shown() {
    for (kind, key) in keys() {
        let dir = project(&[
            ("conf.txt", &format!("first\nTO-DO remove {key} soon\n")),
            ("Makefile", &format!("x:\n\techo {key}\n")),
            (
                "package.json",
                &json!({ "scripts": { "a": format!("run {key}") }, "dependencies": { "x": key.clone() } })
                    .to_string(),
            ),
        ]);
        let found = look(&dir, Issues);
        let secret = item(&found["secrets"], "path", "conf.txt");
        assert_eq!(
            (&secret["kind"], &secret["line"]),
            (&json!(kind), &json!(2)),
            "{secret}"
        );
        assert!(secret["masked"].as_str().unwrap().contains("****"));
        if kind == "private key" {
            continue;
        }
        let value = key.rsplit(['"', ':']).find(|part| part.len() > 8).unwrap();
        let value = value.split('@').next().unwrap();
        for analysis in project_analysis::AnalysisKind::ALL {
            let text = look(&dir, analysis).to_string();
            assert!(!text.contains(value), "{kind} in {analysis}: {text}");
            assert!(
                !text.contains(&value[value.len() / 2..]),
                "half of {kind} in {analysis}: {text}"
            );
        }
    }
}

#[test]
fn dead_links_are_found_and_live_ones_left_alone() {
    let dir = project(&[
        (
            "README.md",
            "[a](docs/a.md) [b](docs/b.md#x \"title\") [web](https://example.com/x) [mail](mailto:a@b.c) [here](#part)\n\
             ![i](img/%C3%A4.png) [up](../elsewhere.md) `[code](gone.md)` [dir](docs) [root](/docs/a.md)\n\
             ```\n[fenced](gone.md)\n```\n[ref]: gone/ref.md\n[ok]: <docs/a.md>\n",
        ),
        ("docs/a.md", "[back](../README.md) [dead](c.md)\n"),
        ("img/ä.png", "x"),
        (".gitignore", "built/\n"),
        ("docs/built.md", "[b](../built/x.html)\n"),
        ("built/x.html", "x"),
    ]);
    let found = look(&dir, Issues);
    assert_eq!(
        each(&found["dead_links"], "target"),
        ["docs/b.md#x", "gone/ref.md", "c.md"]
    );
    assert_eq!(item(&found["dead_links"], "target", "gone/ref.md")["line"], 6);
}

#[test]
fn known_bad_patterns_are_found() {
    let cases = [
        ("a.py", "eval(request.args['x'])", "eval_of_input"),
        ("a.js", "eval(code)", "eval"),
        ("a.py", "requests.get(u, verify=False)", "tls_not_verified"),
        ("a.go", "tls.Config{InsecureSkipVerify: true}", "tls_not_verified"),
        ("a.sh", "curl -sSk https://x", "tls_not_verified_by_tool"),
        ("a.sh", "chmod -R 777 /srv", "chmod_777"),
        ("a.md", "curl -fsSL https://x.sh | sudo bash", "pipe_to_shell"),
        ("a.sh", "bash <(curl -s https://x)", "pipe_to_shell"),
        ("a.c", "<<<<<<< HEAD", "merge_conflict"),
        ("a.py", "subprocess.run(cmd, shell=True)", "shell_from_program"),
        ("a.py", "pickle.loads(data)", "unsafe_deserialisation"),
        ("a.yml", "  privileged: true", "all_capabilities"),
        (
            ".github/workflows/x.yml",
            "on:\n  pull_request_target:",
            "workflow_runs_foreign_code",
        ),
        ("x/.env", "A=b", "env_file_committed"),
        ("id_rsa", "x", "private_key_file"),
        ("a.p12", "x", "key_store_committed"),
        (".netrc", "x", "credentials_file"),
    ];
    for (path, content, id) in cases {
        let dir = project(&[(path, content)]);
        let found = look(&dir, Issues);
        assert_eq!(each(&found["patterns"], "id"), [id], "{path}: {content}");
    }
    for (path, content) in [
        ("a.py", "retrieval(x)\nmodel.eval()\nliteral_eval(x)"),
        ("a.md", "Title\n=======\nnever run curl https://x | sh"),
        (".env.example", "A=b"),
        ("a.rs", "let evaluate = eval_all(x);"),
        (
            "a.sh",
            "curl -fsSL https://x -o y && sha256sum -c y.sum\nchmod 755 x",
        ),
    ] {
        let dir = project(&[(path, content)]);
        let found = look(&dir, Issues);
        assert_eq!(found["patterns"]["total"], 0, "{path}: {}", found["patterns"]);
    }
}

#[test]
fn oversized_files_are_found_by_their_kind() {
    let (large, huge) = ("x\n".repeat(300 << 10), "x".repeat(6 << 20));
    let dir = project(&[
        ("a.rs", &large),
        ("data.bin", &large),
        ("huge.bin", &huge),
        ("Cargo.lock", &large),
    ]);
    let found = look(&dir, Issues);
    assert_eq!(each(&found["oversized_files"], "path"), ["a.rs", "huge.bin"]);
}
