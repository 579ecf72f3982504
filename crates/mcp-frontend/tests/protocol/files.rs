//! Files in and out.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::World;
use crate::support::files::{archive, contents};

struct Files {
    world: World,
    id: String,
    dir: tempfile::TempDir,
}

impl Files {
    async fn new() -> Self {
        let mut world = World::new().await;
        let id = world.client.session().await;
        Self {
            world,
            id,
            dir: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
        }
    }

    fn host(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn arguments(&self, direction: &str, source: &str, dest: &str) -> Value {
        json!({ "sessionId": self.id, "direction": direction, "sourcePath": source, "destPath": dest })
    }

    async fn bring(&mut self, source: &str, dest: &str) -> Value {
        let arguments = self.arguments("to_container", source, dest);
        self.world.client.ok("transfer_files", arguments).await
    }

    async fn out(&mut self, source: &str, dest: &str) -> Value {
        let arguments = self.arguments("from_container", source, dest);
        self.world.client.ok("transfer_files", arguments).await
    }

    async fn refused(&mut self, direction: &str, source: &str, dest: &str) -> String {
        let arguments = self.arguments(direction, source, dest);
        self.world.client.err("transfer_files", arguments).await
    }

    fn got(&self, dest: &str) -> Vec<(String, String)> {
        contents(
            &self
                .world
                .fake
                .archive(dest)
                .unwrap_or_else(|| panic!("nothing came to {dest}")),
        )
    }
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect()
}

#[tokio::test]
async fn a_single_file_goes_in_under_the_destinations_name() {
    let mut files = Files::new().await;
    files.write("a.txt", "hello");
    let source = files.host("a.txt");
    let copied = files.bring(&source, "/workspace/b.txt").await;
    assert_eq!((&copied["entries"], &copied["bytes"]), (&json!(1), &json!(5)));
    assert_eq!(files.got("/workspace"), pairs(&[("b.txt", "hello")]));
    files.bring(&source, "c.txt").await;
    assert_eq!(files.got("."), pairs(&[("c.txt", "hello")]));
    files.bring(&source, "docs/").await;
    assert_eq!(files.got("docs/"), pairs(&[("a.txt", "hello")]));
    files
        .world
        .fake
        .put_archive("there", archive(&[("x", b"1"), ("y", b"2")]));
    files.bring(&source, "there").await;
    assert_eq!(files.got("there"), pairs(&[("a.txt", "hello")]));
    files.world.end().await;
}

#[tokio::test]
async fn a_directory_goes_in_as_its_contents_or_into_another() {
    let mut files = Files::new().await;
    files.write("d/one", "1");
    files.write("d/sub/two", "2");
    let source = files.host("d");
    files.bring(&source, "new").await;
    let mut got = files.got("new");
    got.sort();
    assert_eq!(got, pairs(&[("one", "1"), ("sub/two", "2")]));
    files.bring(&source, "old/").await;
    assert_eq!(files.got("old/d").len(), 2);
    files.world.end().await;
}

#[tokio::test]
async fn files_come_out_and_replace_what_is_there() {
    let mut files = Files::new().await;
    files
        .world
        .fake
        .put_archive("out.txt", archive(&[("out.txt", b"new")]));
    let dest = files.host("kept.txt");
    files.out("out.txt", &dest).await;
    assert_eq!(std::fs::read_to_string(&dest).unwrap(), "new");
    files.write("kept.txt", "old");
    files.out("out.txt", &dest).await;
    assert_eq!(std::fs::read_to_string(&dest).unwrap(), "new");
    let dir = files.host("");
    files.out("out.txt", dir.trim_end_matches('/')).await;
    assert_eq!(std::fs::read_to_string(files.host("out.txt")).unwrap(), "new");

    files
        .world
        .fake
        .put_archive("/workspace/d", archive(&[("one", b"1")]));
    let fresh = files.host("fresh");
    files.out("/workspace/d", &fresh).await;
    assert_eq!(std::fs::read_to_string(files.host("fresh/one")).unwrap(), "1");
    files.out("/workspace/d", &fresh).await;
    assert_eq!(std::fs::read_to_string(files.host("fresh/d/one")).unwrap(), "1");
    files.world.end().await;
}

#[tokio::test]
async fn what_could_run_here_is_withheld_and_listed() {
    let mut files = Files::new().await;
    files.world.fake.put_archive(
        "p",
        archive(&[
            ("src/a", b"1"),
            (".git/hooks/post-commit", b"evil"),
            (".envrc", b"evil"),
        ]),
    );
    let dest = files.host("p");
    let copied = files.out("p", &dest).await;
    assert_eq!(copied["withheldCount"], 2);
    assert!(copied["note"].is_string());
    assert!(Path::new(&files.host("p/src/a")).exists());
    assert!(!Path::new(&files.host("p/.envrc")).exists() && !Path::new(&files.host("p/.git/hooks")).exists());
    let text = files
        .refused("from_container", "p", &files.host("x/.git/hooks/pre-push"))
        .await;
    assert!(text.starts_with("workspace_refused"), "{text}");
    files.world.end().await;
}

#[tokio::test]
async fn paths_of_the_host_are_judged() {
    let mut files = Files::new().await;
    files.write("f", "x");
    std::os::unix::fs::symlink("/etc/passwd", files.host("link")).unwrap();
    std::os::unix::fs::symlink("/etc", files.host("dir")).unwrap();
    let (link, dir) = (files.host("link"), files.host("dir/passwd"));
    for source in [
        "/etc/passwd",
        "/proc/self/environ",
        "/var/run/docker.sock",
        "/",
        &link,
        &dir,
        "/dev/null",
    ] {
        let text = files.refused("to_container", source, "x").await;
        assert!(
            text.starts_with("workspace_refused") || text.starts_with("workspace_missing"),
            "{source}: {text}"
        );
    }
    for source in ["relative", "", "~/x"] {
        let text = files.refused("to_container", source, "x").await;
        assert!(text.starts_with("invalid_argument"), "{source}: {text}");
    }
    assert!(
        files
            .refused("to_container", &files.host("absent"), "x")
            .await
            .starts_with("workspace_missing")
    );
    files.world.fake.put_archive("out", archive(&[("out", b"x")]));
    for dest in ["/etc/cron.d/x", "/etc", &dir, "/proc/x", "/var/lib/docker/x"] {
        let text = files.refused("from_container", "out", dest).await;
        assert!(
            text.starts_with("workspace_refused") || text.starts_with("workspace_missing"),
            "{dest}: {text}"
        );
    }
    assert_eq!(files.world.fake.count("copy_in"), 0);
    files.world.end().await;
}

#[tokio::test]
async fn paths_inside_are_judged_and_hostile_archives_refused() {
    let mut files = Files::new().await;
    files.write("f", "x");
    let (source, dest) = (files.host("f"), files.host("out"));
    for inside in ["../x", "/proc/1/x", "a\u{0}b"] {
        assert!(
            files
                .refused("to_container", &source, inside)
                .await
                .starts_with("invalid_argument"),
            "{inside:?}"
        );
        assert!(
            files
                .refused("from_container", inside, &dest)
                .await
                .starts_with("invalid_argument"),
            "{inside:?}"
        );
    }
    assert!(
        files
            .refused("from_container", "absent", &dest)
            .await
            .starts_with("path_not_found")
    );
    let mut cut = archive(&[("big", &[b'x'; 5000])]);
    cut.truncate(2000);
    files.world.fake.put_archive("cut", cut);
    assert!(
        files
            .refused("from_container", "cut", &dest)
            .await
            .starts_with("archive_refused")
    );
    assert!(!Path::new(&dest).exists(), "nothing half done");
    let text = files.refused("sideways", &source, "x").await;
    assert!(text.contains("direction"), "{text}");
    files.world.end().await;
}
