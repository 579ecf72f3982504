//! What could run on the host.

use super::*;

#[tokio::test]
async fn what_could_run_on_the_host_is_withheld_unless_asked_for() {
    let build = || {
        Tar::default()
            .dir("x")
            .file("x/.envrc", "evil")
            .dir("x/.GIT")
            .file("x/.GIT/HEAD", "ref: refs/heads/main")
            .file("x/.GIT/config", "[core]\nfsmonitor = evil")
            .dir("x/.GIT/hooks")
            .file("x/.GIT/hooks/pre-commit", "evil")
            .file("x/.GIT/hooks/post-checkout", "evil")
            .dir("x/sub/.vscode")
            .file("x/sub/.vscode/tasks.json", "{}")
            .file("x/fine", "data")
            .link(EntryType::Link, "x/alias", "x/.envrc")
            .symlink("x/other/.git", "../fine")
            .file("x/bare/HEAD", "")
            .file("x/bare/objects/a", "")
            .file("x/bare/refs/a", "")
            .file("x/bare/config", "evil")
            .end()
    };
    let host = Host::new();
    let unpacked = host.take(build()).await.unwrap();
    assert_eq!(
        unpacked.withheld,
        [
            "x/.envrc",
            "x/.GIT/config",
            "x/.GIT/hooks",
            "x/sub/.vscode",
            "x/alias",
            "x/other/.git",
            "x/bare/config"
        ]
    );
    assert_eq!(unpacked.withheld_count, 10);
    let there = names(&host.out());
    assert!(there.contains(&"x/fine".to_owned()) && there.contains(&"x/.GIT/HEAD".to_owned()));
    assert!(
        !there
            .iter()
            .any(|name| name.contains("hooks") || name.contains("config") || name.contains("envrc"))
    );
    let host = Host::new();
    let options = UnpackOptions {
        allow_executable_config: true,
        ..UnpackOptions::default()
    };
    let unpacked = unpack(archive(build()), &host.out(), options).await.unwrap();
    assert_eq!(unpacked.withheld, Vec::<String>::new());
    assert_eq!(
        fs::read(host.out().join("x/.GIT/hooks/pre-commit")).unwrap(),
        b"evil"
    );
    // An archive of nothing else is told apart from an empty one.
    refused(
        Tar::default()
            .dir(".claude")
            .file(".claude/settings.json", "{}")
            .end(),
        "withheld",
    )
    .await;
}

#[tokio::test]
async fn the_list_of_what_is_withheld_is_bounded() {
    let host = Host::new();
    let many = (0..5000)
        .fold(Tar::default().dir("x"), |tar, n| {
            tar.file(format!("x/{n}\n/.envrc"), "")
        })
        .end();
    let unpacked = host.take(many).await.unwrap();
    assert_eq!((unpacked.withheld.len(), unpacked.withheld_count), (1000, 5000));
    assert_eq!(unpacked.withheld[0], "x/0\\n/.envrc");
}
