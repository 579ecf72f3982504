//! `cp`: as `cp -r` does it.

use std::path::Path;

use crate::support::User;
use crate::support::fake::Fake;
use crate::support::fixtures::session_id;

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned())
        .collect()
}

fn inside(files: &[(&str, Vec<u8>)]) -> User {
    let mut fake = Fake::new();
    fake.files = files
        .iter()
        .map(|(path, bytes)| ((*path).to_owned(), bytes.clone()))
        .collect();
    User::new(fake)
}

fn last_copy(user: &User) -> String {
    user.fake.calls().pop().unwrap()
}

async fn copy(user: &User, source: impl AsRef<Path>, dest: impl AsRef<Path>) -> crate::support::Outcome {
    user.runs_args(&[
        "cp".as_ref(),
        source.as_ref().as_os_str(),
        dest.as_ref().as_os_str(),
    ])
    .await
}

#[tokio::test]
async fn a_file_goes_into_a_directory_or_gets_a_name() {
    let host = tempfile::tempdir().unwrap();
    let file = host.path().join("notes.txt");
    std::fs::write(&file, "notes").unwrap();
    let user = inside(&[("/tmp", archive(&[]))]);
    for (dest, into, name) in [
        ("fix-it:/tmp", "/tmp", "notes.txt"),
        ("fix-it:docs/", "docs/", "notes.txt"),
        ("fix-it:", ".", "notes.txt"),
        ("fix-it:docs/other.txt", "docs", "other.txt"),
        ("fix-it:other.txt", ".", "other.txt"),
        ("fix-it:/other.txt", "/", "other.txt"),
    ] {
        let outcome = copy(&user, &file, dest).await;
        assert_eq!(outcome.code, 0, "{dest}: {}", outcome.stderr());
        assert_eq!(
            last_copy(&user),
            format!("copy_in {} {into}", session_id('f')),
            "{dest}"
        );
        assert_eq!(names(&user.fake.received()), [name], "{dest}");
    }
}

#[tokio::test]
async fn a_directory_goes_into_a_directory_or_becomes_one() {
    let host = tempfile::tempdir().unwrap();
    let dir = host.path().join("docs");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("a.txt"), "a").unwrap();
    let user = inside(&[("/tmp", archive(&[("x", "")]))]);
    copy(&user, &dir, "fix-it:/tmp").await;
    assert_eq!(names(&user.fake.received()), ["docs", "docs/a.txt"]);
    copy(&user, &dir, "fix-it:new").await;
    assert_eq!(last_copy(&user), format!("copy_in {} new", session_id('f')));
    assert_eq!(names(&user.fake.received()), ["a.txt"]);
}

#[tokio::test]
async fn out_of_a_session() {
    let host = tempfile::tempdir().unwrap();
    let user = inside(&[
        ("a.txt", archive(&[("a.txt", "a")])),
        ("dir", archive(&[("only.txt", "only"), (".envrc", "evil")])),
    ]);
    copy(&user, "fix-it:a.txt", host.path()).await;
    assert_eq!(std::fs::read_to_string(host.path().join("a.txt")).unwrap(), "a");
    copy(&user, "fix-it:a.txt", host.path().join("b.txt")).await;
    assert_eq!(std::fs::read_to_string(host.path().join("b.txt")).unwrap(), "a");
    let outcome = copy(&user, "fix-it:dir", host.path()).await;
    assert_eq!(
        std::fs::read_to_string(host.path().join("dir/only.txt")).unwrap(),
        "only"
    );
    assert!(!host.path().join("dir/.envrc").exists());
    assert!(outcome.stderr().contains(".envrc"), "{}", outcome.stderr());
    copy(&user, "fix-it:dir", host.path().join("new")).await;
    assert_eq!(
        std::fs::read_to_string(host.path().join("new/only.txt")).unwrap(),
        "only"
    );
    let outcome = copy(&user, "fix-it:a.txt", host.path().join("missing/")).await;
    assert_eq!(outcome.code, 2, "{}", outcome.stderr());
    let outcome = copy(&user, "fix-it:a.txt", host.path().join("b.txt")).await;
    assert_ne!(outcome.code, 0, "nothing is replaced unless it is asked for");
}

#[tokio::test]
async fn json_lists_what_was_withheld() {
    let host = tempfile::tempdir().unwrap();
    let user = inside(&[("dir", archive(&[("a", "a"), (".envrc", "evil")]))]);
    let dest = host.path().join("out");
    let outcome = user
        .runs_args(&["cp", "--json", "fix-it:dir", dest.to_str().unwrap()])
        .await;
    let line = &outcome.lines()[0];
    assert_eq!(line["event"], "copied");
    assert_eq!(line["withheld"][0], ".envrc");
}

#[tokio::test]
async fn tar_streams_pass_through() {
    let bytes = archive(&[("a", "a")]);
    let mut user = inside(&[("dir", bytes.clone())]);
    let outcome = user.runs("cp fix-it:dir -").await;
    assert_eq!(outcome.stdout, bytes);
    user.stdin = bytes.clone();
    user.runs("cp - fix-it:dir").await;
    assert_eq!(user.fake.received(), bytes);
    let user = inside(&[("dir", bytes)]).on_a_terminal();
    let outcome = user.runs("cp fix-it:dir -").await;
    assert_eq!((outcome.code, outcome.stdout.len()), (2, 0));
}

#[tokio::test]
async fn one_end_is_a_session() {
    let user = User::new(Fake::new());
    for (source, dest) in [("a", "b"), ("-", "-"), ("fix-it:a", "fix-it:b")] {
        assert_eq!(copy(&user, source, dest).await.code, 2, "{source} {dest}");
    }
    assert_eq!(copy(&user, "/nonexistent-source", "fix-it:b").await.code, 11);
    assert_eq!(copy(&user, "fix-it:nothing", "here").await.code, 3);
}
