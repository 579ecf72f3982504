//! The program.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::project;

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_project-analysis"))
        .args(args)
        .output()
        .expect("the program starts")
}

#[test]
fn it_writes_a_document_and_says_how_it_went() {
    let dir = project(&[("a.py", "# TO-DO\n")]);
    let path = dir.path().to_str().unwrap();
    let done = run(&["issues", "--time-limit", "30", path]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let document: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(document["marker_counts"]["todo"], 1);
    assert!(done.stderr.is_empty());

    let gone = run(&["issues", "/nonexistent/x"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("could not analyse the project"));
    for wrong in [
        &[][..],
        &["nothing"],
        &["issues", "a", "b"],
        &["issues", "--time-limit", "x"],
        &["--help-me"],
    ] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let schema: Value = serde_json::from_slice(&run(&["--schema"]).stdout).unwrap();
    assert_eq!(schema, project_analysis::schema::document());
    assert!(String::from_utf8_lossy(&run(&["--version"]).stdout).starts_with("project-analysis "));
}
