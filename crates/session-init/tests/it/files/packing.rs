//! What is packed of one file, of what has no contents, and of what changes meanwhile.

use std::os::unix::fs::symlink;
use std::path::Path;

use session_link::{CopyOutOptions, ErrorKind};

use super::copy_out;
use crate::fixture::Fixture;

#[tokio::test]
async fn one_file_a_link_and_nothing() {
    let (fixture, link) = Fixture::linked().await;
    let file = fixture.work().join("file");
    std::fs::write(&file, "contents").expect("a file");
    symlink("/etc/passwd", fixture.work().join("link")).expect("a link");
    let (tar, report) = copy_out(&link, Path::new("file"))
        .await
        .expect("relative to the working directory");
    assert_eq!((report.files, report.bytes), (1, 8));
    let names = |tar: &[u8]| -> Vec<String> {
        let mut archive = tar::Archive::new(tar);
        let entries = archive.entries().expect("entries");
        entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .path()
                    .expect("a path")
                    .display()
                    .to_string()
            })
            .collect()
    };
    assert_eq!(names(&tar), ["file"]);
    let (_, report) = copy_out(&link, Path::new("link")).await.expect("packed as it is");
    assert_eq!((report.files, report.symlinks), (0, 1));
    let missing = copy_out(&link, Path::new("missing")).await.expect_err("missing");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(
        missing.hint().is_none() && missing.to_string().contains("missing"),
        "{missing}"
    );
}

#[tokio::test]
async fn what_has_no_contents_is_counted() {
    let (fixture, link) = Fixture::linked().await;
    let tree = fixture.work().join("tree");
    std::fs::create_dir(&tree).expect("a directory");
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).expect("a socket");
    let mkfifo = std::process::Command::new("mkfifo")
        .arg(tree.join("pipe"))
        .status()
        .expect("mkfifo");
    assert!(mkfifo.success());
    std::fs::create_dir(tree.join("node_modules")).expect("a directory");
    std::fs::write(tree.join("node_modules/x"), "x").expect("a file");
    std::fs::write(tree.join("kept"), "x").expect("a file");
    let options = CopyOutOptions {
        exclude: vec!["node_modules".into()],
        ..CopyOutOptions::default()
    };
    let mut copy = link
        .copy_out(tree.to_str().expect("text"), options)
        .await
        .expect("packed");
    while copy.next().await.expect("bytes").is_some() {}
    let report = copy.report().expect("complete");
    assert_eq!((report.files, report.skipped, report.directories), (1, 2, 0));
}

#[tokio::test]
async fn a_file_that_grows_is_cut_to_what_was_announced() {
    let (fixture, link) = Fixture::linked().await;
    let tree = fixture.work().join("tree");
    std::fs::create_dir(&tree).expect("a directory");
    let log = tree.join("log");
    std::fs::write(&log, vec![b'a'; 40 << 20]).expect("a file");
    let mut copy = link
        .copy_out(tree.to_str().expect("text"), CopyOutOptions::default())
        .await
        .expect("packed");
    let mut tar = copy.next().await.expect("bytes").expect("some").to_vec();
    std::fs::File::options()
        .write(true)
        .open(&log)
        .and_then(|file| file.set_len(1000))
        .expect("cut");
    while let Some(bytes) = copy.next().await.expect("bytes") {
        tar.extend_from_slice(&bytes);
    }
    assert_eq!(copy.report().expect("complete").changed, 1);
    let mut archive = tar::Archive::new(&tar[..]);
    let sizes: Vec<_> = archive
        .entries()
        .expect("entries")
        .map(|entry| entry.expect("an entry").size())
        .collect();
    assert_eq!(sizes, [40 << 20]);
}
