//! What is packed.

use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::*;

async fn packed(source: &Path, options: PackOptions) -> Vec<String> {
    let bytes = collect(pack(source, options)).await.unwrap();
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut names: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| String::from_utf8(entry.unwrap().path_bytes().into_owned()).unwrap())
        .collect();
    names.sort();
    names
}

fn project() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = root.path().join("p").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(".gitignore", ".*\n!.gitignore\ntarget/\n*.log\n");
    write(".git/HEAD", "ref");
    write(".git/info/exclude", "private\n");
    write(".git/x.log", "kept");
    write("src/main.rs", "fn main() {}");
    write("src/.git/HEAD", "a submodule");
    write("src/.gitignore", "generated\n");
    write("src/generated/a", "");
    write("target/debug/big", "");
    write("private/a", "");
    write("x.log", "");
    write(".hidden", "");
    symlink("/etc/passwd", root.path().join("p/link")).unwrap();
    UnixListener::bind(root.path().join("p/socket")).unwrap();
    root
}

#[tokio::test]
async fn gitignore_decides_but_never_about_the_repository() {
    let root = project();
    let options = PackOptions {
        respect_gitignore: true,
        as_contents: true,
    };
    let expected = [
        ".git",
        ".git/HEAD",
        ".git/info",
        ".git/info/exclude",
        ".git/x.log",
        ".gitignore",
        "link",
        "src",
        "src/.git",
        "src/.git/HEAD",
        "src/.gitignore",
        "src/main.rs",
    ];
    // `src/.gitignore` is kept by the rule of the directory above.
    assert_eq!(packed(&root.path().join("p"), options).await, expected);
}

#[tokio::test]
async fn without_it_everything_but_sockets_is_packed_below_its_name() {
    let root = project();
    let names = packed(&root.path().join("p"), PackOptions::default()).await;
    assert_eq!(names[0], "p");
    assert!(names.contains(&"p/target/debug/big".to_owned()) && names.contains(&"p/.hidden".to_owned()));
    assert!(!names.iter().any(|name| name.contains("socket")));
    let counted = names.len();
    // Through a link, by an odd spelling, with an end: the same.
    symlink(root.path().join("p"), root.path().join("alias")).unwrap();
    let aliased = packed(&root.path().join("alias/"), PackOptions::default()).await;
    assert_eq!((aliased[0].as_str(), aliased.len()), ("alias", counted));
    assert_eq!(
        packed(&root.path().join("p/link"), PackOptions::default()).await,
        ["link"]
    );
    assert_eq!(
        packed(&root.path().join("p/.hidden"), PackOptions::default()).await,
        [".hidden"]
    );
}

#[tokio::test]
async fn sources_that_cannot_be_packed_are_told() {
    let root = project();
    let kind = |path: PathBuf| async move {
        collect(pack(&path, PackOptions::default()))
            .await
            .unwrap_err()
            .kind()
    };
    assert_eq!(kind(root.path().join("absent")).await, ErrorKind::HostIo);
    assert_eq!(kind(root.path().join("p/..")).await, ErrorKind::InvalidArgument);
    assert_eq!(kind(PathBuf::from("/dev/null")).await, ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn a_file_is_packed_under_another_name() {
    let root = tempfile::tempdir().unwrap();
    let source = root.path().join("source.txt");
    fs::write(&source, "content").unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o640)).unwrap();
    for name in ["n".repeat(100), "n".repeat(101), "-ü \\".to_owned()] {
        let source = source.clone();
        let packed = collect(pack_file(name.clone(), || fs::File::open(source)))
            .await
            .unwrap();
        let mut archive = tar::Archive::new(&packed[..]);
        let mut entries = archive.entries().unwrap();
        let mut entry = entries.next().unwrap().unwrap();
        assert_eq!(entry.path_bytes(), name.as_bytes());
        assert_eq!(entry.header().mode().unwrap(), 0o640);
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        assert_eq!(text, "content");
        assert!(entries.next().is_none());
    }
}

#[tokio::test]
async fn files_and_names_that_cannot_be_packed_are_told() {
    let kind = |name: &'static str, source: &'static str| async move {
        collect(pack_file(name, move || fs::File::open(source)))
            .await
            .unwrap_err()
            .kind()
    };
    assert_eq!(kind("x", "/nonexistent").await, ErrorKind::HostIo);
    for source in ["/", "/dev/null"] {
        assert_eq!(kind("x", source).await, ErrorKind::InvalidArgument, "{source}");
    }
    for name in ["", ".", "..", "/", "x/", "a/b", "../x", "a\0b"] {
        assert_eq!(
            kind(name, "/nonexistent").await,
            ErrorKind::InvalidArgument,
            "{name:?}"
        );
    }
}

#[tokio::test]
async fn nothing_is_opened_before_somebody_reads() {
    let (told, opened) = std::sync::mpsc::channel();
    let archive = pack_file("x", move || {
        told.send(()).unwrap();
        fs::File::open("/nonexistent")
    });
    drop(archive);
    assert!(opened.recv().is_err());
}

#[tokio::test]
async fn a_reader_that_leaves_ends_the_thread() {
    let root = tempfile::tempdir().unwrap();
    let big = fs::File::create(root.path().join("big")).unwrap();
    big.set_len(1 << 40).unwrap();
    let mut archive = pack(root.path(), PackOptions::default());
    assert!(archive.next().await.unwrap().is_ok());
    drop(archive);
    // The runtime waits for its threads when it ends; this test would hang if one went on for a terabyte.
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_keeps_its_announced_size() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("big");
    let file = fs::File::create(&path).unwrap();
    file.set_len(64 << 20).unwrap();
    let mut archive = pack(&path, PackOptions::default());
    let mut bytes = archive.next().await.unwrap().unwrap().to_vec();
    file.set_len(1 << 20).unwrap();
    while let Some(chunk) = archive.next().await {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    assert_eq!(bytes.len(), 512 + (64 << 20) + 1024);
    tar::Archive::new(&bytes[..])
        .entries()
        .unwrap()
        .for_each(|entry| drop(entry.unwrap()));
}
