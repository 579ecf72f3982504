//! MCP servers are declared, looked at and taken away: real files, no server started.

use std::fs;

use serde_json::{Value, json};

use crate::support::home::{Home, SECRET, at_home, declare_some, program};

#[tokio::test]
async fn a_declaration_is_written_listed_described_and_taken_away() {
    let home = Home::new();
    declare_some(&home).await;
    let written = home.written();
    assert!(
        written.contains("GIT_TOKEN") && !written.contains("canary"),
        "{written}"
    );
    let outcome = home.user.runs("mcp list").await;
    at_home!("mcp_list", home, outcome);
    let outcome = home.user.runs("mcp describe git").await;
    at_home!("mcp_describe", home, outcome);
    let outcome = home.user.runs("mcp profiles").await;
    at_home!("mcp_profiles", home, outcome);
    let all = home.user.runs("mcp list --json").await.lines();
    let names: Vec<_> = all.iter().map(|line| line["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["box", "docs", "git"]);
    assert_eq!(all[2]["definition"]["env"]["TOKEN"], json!({"env": "GIT_TOKEN"}));

    let outcome = home.user.runs("mcp remove git docs").await;
    at_home!("mcp_remove", home, outcome);
    assert!(!home.written().contains("git"), "{}", home.written());
    assert_eq!(home.user.runs("mcp list --json").await.lines().len(), 1);
    assert_eq!(home.user.fake.calls(), Vec::<String>::new(), "nothing was opened");
}

#[tokio::test]
async fn what_people_wrote_stays() {
    let home = Home::new();
    fs::create_dir_all(home.servers().parent().unwrap()).unwrap();
    fs::write(
        home.servers(),
        "# mine\nsearch_above = 9 # few\n\n[servers.a]\ncommand = \"a\" # keep\n",
    )
    .unwrap();
    home.succeeds(&["mcp", "add", "b", "--", "mcp-server-git"]).await;
    let written = home.written();
    for kept in [
        "# mine",
        "search_above = 9 # few",
        "command = \"a\" # keep",
        "[servers.b]",
    ] {
        assert!(written.contains(kept), "{kept}: {written}");
    }
    home.succeeds(&["mcp", "remove", "b"]).await;
    assert!(home.written().contains("command = \"a\" # keep"));
}

#[tokio::test]
async fn a_name_is_declared_once_unless_it_is_to_be_replaced() {
    let home = Home::new();
    home.succeeds(&["mcp", "add", "git", "--", "mcp-server-git"])
        .await;
    let before = home.written();
    let again = ["mcp", "add", "git", "--", "mcp-server-git", "--other"];
    let outcome = home.user.runs_args(&again).await;
    at_home!("mcp_add_twice", home, outcome);
    assert_eq!(home.written(), before);
    home.succeeds(&[
        "mcp",
        "add",
        "git",
        "--replace",
        "--",
        "mcp-server-git",
        "--other",
    ])
    .await;
    assert!(home.written().contains("--other"));
    assert_eq!(
        home.user.runs("mcp profiles --json").await.lines()[0]["servers"],
        json!(["git"])
    );
}

#[tokio::test]
async fn a_secret_that_was_pasted_is_refused_and_repeated_nowhere() {
    let home = Home::new();
    let pasted = [
        vec![
            "--secret-env".to_owned(),
            format!("TOKEN={SECRET}-"),
            "--".into(),
            "mcp-server-git".into(),
        ],
        vec![
            "--env".to_owned(),
            format!("TOKEN={SECRET}"),
            "--".into(),
            "mcp-server-git".into(),
        ],
        vec![
            "--".to_owned(),
            "mcp-server-git".into(),
            format!("--token={SECRET}"),
        ],
        vec![
            "--url".to_owned(),
            "https://a.example/mcp".into(),
            "--secret-header".into(),
            format!("Authorization=Bearer {SECRET}"),
        ],
        vec![
            "--url".to_owned(),
            "https://a.example/mcp".into(),
            "--header".into(),
            format!("Authorization=Bearer {SECRET}"),
        ],
        vec!["--url".to_owned(), format!("https://user:{SECRET}@a.example/mcp")],
        vec![
            "--url".to_owned(),
            format!("https://a.example/mcp?api_key={SECRET}"),
        ],
    ];
    for args in pasted {
        let line: Vec<String> = ["-v", "mcp", "add", "git"]
            .map(str::to_owned)
            .into_iter()
            .chain(args)
            .collect();
        let outcome = home.user.runs_args(&line).await;
        assert_eq!(outcome.code, 2, "{line:?}: {}", outcome.shown());
        assert!(!outcome.shown().contains("canary"), "{}", outcome.shown());
    }
    assert_eq!(home.written(), "");
}

#[tokio::test]
async fn flags_that_mean_nothing_together_are_refused() {
    let home = Home::new();
    for line in [
        "mcp add git",
        "mcp add git --url https://a.example/mcp -- program",
        "mcp add git --url https://a.example/mcp --env A=b",
        "mcp add git --image a:1 --secret-env A=B -- program",
        "mcp add git --in-session --secret-env A=B -- program",
        "mcp add git --allow npm -- program",
        "mcp add git --header A=b -- program",
        "mcp add git --env A=1 --secret-env A=B -- program",
        "mcp add Git -- program",
        "mcp add a__b -- program",
        "mcp add git --cwd x --url http://a.example/mcp",
        "mcp add git --url http://a.example/mcp",
        "mcp add git --url https://localhost/mcp",
    ] {
        let outcome = home.user.runs(line).await;
        assert_eq!(outcome.code, 2, "{line}: {}", outcome.shown());
    }
    assert_eq!(home.written(), "");
}

#[tokio::test]
async fn what_is_relative_is_meant_from_here() {
    let home = Home::new();
    program(&home.dir.path().join("server.py"));
    let args = [
        "mcp",
        "add",
        "own",
        "--cwd",
        ".",
        "--secret-env",
        "A=file:token",
        "--",
        "./server.py",
    ];
    home.succeeds(&args).await;
    let line = &home.user.runs("mcp describe own --json").await.lines()[0];
    let here = home.dir.path().to_str().unwrap();
    assert_eq!(line["definition"]["command"], format!("{here}/server.py"));
    assert_eq!(line["definition"]["cwd"], here);
    assert_eq!(line["definition"]["env"]["A"]["file"], format!("{here}/token"));
}

#[tokio::test]
async fn validation_finds_what_is_missing_and_starts_nothing() {
    let home = Home::new();
    declare_some(&home).await;
    home.succeeds(&["mcp", "add", "gone", "--", "no-such-program"])
        .await;
    let outcome = home.user.runs("mcp validate").await;
    at_home!("mcp_validate", home, outcome);
    assert_eq!(outcome.code, 1);
    assert_eq!(home.user.runs("mcp validate git").await.code, 0);
    let lines = home.user.runs("mcp validate docs --json").await.lines();
    assert_eq!(
        (&lines[0]["check"], &lines[0]["status"]),
        (&json!("docs"), &json!("fail"))
    );
    assert!(lines[0]["message"].as_str().unwrap().contains("DOCS_TOKEN"));
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_said_and_its_value_never() {
    let home = Home::new();
    let token = home.dir.path().join("token");
    for (place, readable) in [
        ("file:token", false),
        ("command:/bin/false", false),
        ("command:/bin/true", false),
        ("ABSENT", false),
        ("command:/bin/cat token", false),
        ("GIT_TOKEN", true),
    ] {
        let place = format!("TOKEN={place}");
        let args = [
            "mcp",
            "add",
            "git",
            "--replace",
            "--secret-env",
            &place,
            "--",
            "mcp-server-git",
        ];
        let added = home.succeeds(&args).await;
        assert_eq!(
            added.stderr().contains("warning: env.TOKEN"),
            !readable,
            "{}",
            added.shown()
        );
        let outcome = home.user.runs("mcp validate git").await;
        assert_eq!(outcome.code == 0, readable, "{place}: {}", outcome.shown());
        assert!(!outcome.shown().contains("canary"), "{}", outcome.shown());
    }
    fs::write(&token, SECRET).unwrap();
    home.succeeds(&[
        "mcp",
        "add",
        "git",
        "--replace",
        "--secret-env",
        "TOKEN=file:token",
        "--",
        "mcp-server-git",
    ])
    .await;
    let outcome = home.user.runs("mcp validate git").await;
    assert_eq!(outcome.code, 0, "{}", outcome.shown());
    let described = home.user.runs("mcp describe git --json").await;
    assert!(!described.shown().contains("canary"), "{}", described.shown());
    fs::remove_file(&token).unwrap();
    assert_eq!(home.user.runs("mcp validate git").await.code, 1);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_says_where() {
    let home = Home::new();
    fs::create_dir_all(home.servers().parent().unwrap()).unwrap();
    for (text, said) in [
        (
            "[servers.a]\ncommand = \"a\"\n[servers.a]\ncommand = \"b\"\n",
            "line",
        ),
        ("[servers.a]\ncomand = \"a\"\n", "line: 2"),
        (
            "[servers.a]\ncommand = \"a\"\nenv = { T = { token = \"x\" } }\n",
            "line: 3",
        ),
        ("[profiles.p]\nservers = [\"nothing\"]\n", "nothing"),
        ("nonsense", "line: 1"),
    ] {
        fs::write(home.servers(), text).unwrap();
        for line in ["mcp list", "mcp validate", "mcp add b -- mcp-server-git"] {
            let outcome = home.user.runs(line).await;
            assert_eq!(outcome.code, 2, "{line}: {text}: {}", outcome.shown());
            let stderr = outcome.stderr();
            assert!(
                stderr.contains(said) && stderr.contains("servers.toml"),
                "{stderr}"
            );
        }
        assert_eq!(home.written(), text);
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_not_taken_for_an_empty_one() {
    let home = Home::new();
    fs::create_dir_all(home.servers()).unwrap();
    let outcome = home.user.runs("mcp list").await;
    assert_eq!(outcome.code, 11, "{}", outcome.shown());
    assert!(outcome.stderr().contains("servers.toml"), "{}", outcome.stderr());
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let home = Home::new();
    home.succeeds(&["mcp", "add", "git", "--", "mcp-server-git"])
        .await;
    for line in [
        "mcp describe nothing",
        "mcp validate nothing",
        "mcp remove git nothing",
        "mcp approve nothing",
        "mcp revoke nothing",
        "mcp profiles remove nothing",
    ] {
        let outcome = home.user.runs(line).await;
        assert_eq!(outcome.code, 3, "{line}: {}", outcome.shown());
        assert!(outcome.stderr().contains("hint:"), "{}", outcome.stderr());
    }
    assert!(home.written().contains("servers.git"));
    let outcome = home.user.runs("mcp profiles set work nothing").await;
    assert_eq!(outcome.code, 2, "{}", outcome.shown());
}

#[tokio::test]
async fn profiles_are_set_and_removed() {
    let home = Home::new();
    declare_some(&home).await;
    home.succeeds(&[
        "mcp", "profiles", "set", "work", "git", "docs", "--tool", "git__*", "--search",
    ])
    .await;
    let lines = home.user.runs("mcp profiles --json").await.lines();
    let work: &Value = lines.iter().find(|line| line["name"] == "work").unwrap();
    assert_eq!(
        (&work["servers"], &work["tools"], &work["search"]),
        (&json!(["git", "docs"]), &json!(["git__*"]), &json!(true))
    );
    home.succeeds(&["mcp", "profiles", "remove", "work"]).await;
    assert!(!home.written().contains("profiles.work"));
    assert!(home.written().contains("servers.docs"));
}
