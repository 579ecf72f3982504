//! Paths and links that lead out.

use super::*;

#[tokio::test]
async fn i11_paths_that_lead_out_are_refused() {
    for (path, why) in [
        ("../outside", "steps up"),
        ("x/../../outside", "steps up"),
        ("x/..", "steps up"),
        ("..", "steps up"),
        ("/etc/passwd", "absolute"),
        ("//x", "absolute"),
    ] {
        refused(Tar::default().file(path, "evil").end(), why).await;
        refused(Tar::default().file("x/a", "fine").file(path, "evil").end(), why).await;
        refused(Tar::default().dir(path).end(), why).await;
        refused(
            pax(format!("path={path}").as_bytes()).file("y", "evil").end(),
            why,
        )
        .await;
    }
    refused(pax(b"path=a\0b").file("y", "").end(), "NUL").await;
    let long = Tar::default()
        .with(EntryType::GNULongName, "././@LongLink", b"x/a\0b\0")
        .file("y", "");
    refused(long.end(), "NUL").await;
    refused(Tar::default().file("", "evil").end(), "empty").await;
}

#[tokio::test]
async fn i11_nothing_is_written_through_a_symlink() {
    let through = |target: &str| Tar::default().dir("x").symlink("x/link", target);
    // Links that lead out are withheld, so what goes through one lands in a directory of its name.
    let host = Host::new();
    let unpacked = host
        .take(through("../..").file("x/link/outside", "evil").end())
        .await
        .unwrap();
    assert_eq!(unpacked.withheld, ["x/link"]);
    assert_eq!(names(&host.out()), ["x", "x/link", "x/link/outside"]);
    assert_eq!(fs::read(host.root.path().join("outside")).unwrap(), b"untouched");
    // Links that stay are made, and not followed.
    for bytes in [
        through(".").file("x/link/file", "evil"),
        through("sub").dir("x/sub").file("x/link/file", "evil"),
        through("sub")
            .dir("x/sub")
            .dir("x/link")
            .file("x/link/file", "evil"),
        through("sub").dir("x/link/deeper"),
    ] {
        refused(bytes.end(), "through a file or a link").await;
    }
    refused(
        through("sub").file("x/sub", "").file("x/link", "evil").end(),
        "same path",
    )
    .await;
}

#[tokio::test]
async fn symlinks_that_lead_out_are_withheld() {
    let host = Host::new();
    let bytes = Tar::default()
        .dir("x")
        .dir("x/sub")
        .symlink("x/absolute", "/etc/passwd")
        .symlink("x/up", "../outside")
        .symlink("x/sub/up", "../../outside")
        .symlink("x/sub/root", "..")
        .symlink("x/sub/detour", "root/../../outside")
        .symlink("x/sub/fine", "../sub/file")
        .end();
    let unpacked = host.take(bytes).await.unwrap();
    assert_eq!(
        unpacked.withheld,
        ["x/absolute", "x/up", "x/sub/up", "x/sub/detour"]
    );
    assert_eq!(unpacked.withheld_count, 4);
    assert_eq!(names(&host.out()), ["x", "x/sub", "x/sub/fine", "x/sub/root"]);
    refused(Tar::default().symlink("only", "outside").end(), "withheld").await;
}

#[tokio::test]
async fn hard_links_lead_to_files_of_the_archive() {
    let link = |target: &str| {
        let archive = Tar::default()
            .dir("x")
            .file("x/file", "data")
            .symlink("x/sym", "file");
        archive.link(EntryType::Link, "x/hard", target).end()
    };
    let host = Host::new();
    host.take(link("x/file")).await.unwrap();
    assert_eq!(fs::metadata(host.out().join("x/hard")).unwrap().nlink(), 2);
    for astray in ["x/absent", "x", "x/sym", "x/sym/a"] {
        refused(link(astray), "leads to no file").await;
    }
    refused(link("../outside"), "steps up").await;
    refused(link("x/../../outside"), "steps up").await;
    refused(link("/etc/passwd"), "absolute").await;
}
