//! The socket carrier's host end.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use session_link::{ErrorKind, LinkListener};
use tokio::net::UnixStream;

#[tokio::test]
async fn it_listens_however_deep_the_directory_lies() {
    let root = tempfile::tempdir().expect("a directory");
    let deep = root
        .path()
        .join(["d".repeat(60), "e".repeat(60), "f".repeat(60)].join("/"));
    std::fs::create_dir_all(&deep).expect("directories");
    let listener = LinkListener::bind(&deep, "host-1").expect("a listener");
    let file = deep.join(listener.file_name());
    let metadata = file.symlink_metadata().expect("a socket");
    assert!(metadata.file_type().is_socket() && metadata.permissions().mode() & 0o777 == 0o666);
    let directory = std::fs::File::open(&deep).expect("a directory");
    let short = format!(
        "/proc/self/fd/{}/host-1.sock",
        std::os::fd::AsRawFd::as_raw_fd(&directory)
    );
    let dial = async {
        // One who only looks whether we live is passed over; one who speaks is taken.
        drop(UnixStream::connect(&short).await.expect("a connection"));
        let mut stream = UnixStream::connect(&short).await.expect("a connection");
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"hello")
            .await
            .expect("to be heard");
        stream
    };
    let (dialled, accepted) = tokio::join!(dial, listener.accept());
    let peer = accepted.expect("a connection").peer_cred().expect("credentials");
    assert_eq!(peer.pid(), i32::try_from(std::process::id()).ok());
    drop((dialled, listener));
    assert!(!file.exists() && std::fs::read_dir(&deep).expect("a directory").count() == 0);
}

#[tokio::test]
async fn sockets_of_dead_hosts_are_removed_and_living_ones_are_not() {
    let root = tempfile::tempdir().expect("a directory");
    drop(std::os::unix::net::UnixListener::bind(root.path().join("dead.sock")).expect("a socket"));
    std::fs::write(root.path().join("note.txt"), "").expect("a file");
    let one = LinkListener::bind(root.path(), "one").expect("a listener");
    assert!(!root.path().join("dead.sock").exists() && root.path().join("note.txt").exists());
    let two = LinkListener::bind(root.path(), "two").expect("a listener");
    assert!(root.path().join(one.file_name()).exists() && root.path().join(two.file_name()).exists());
    assert_eq!(
        LinkListener::bind(root.path(), "one").expect_err("taken").kind(),
        ErrorKind::Conflict
    );
    drop(one);
    let again = LinkListener::bind(root.path(), "one").expect("free again");
    assert!(root.path().join(again.file_name()).exists());
}

#[tokio::test]
async fn it_refuses_what_is_no_name_and_no_directory() {
    let root = tempfile::tempdir().expect("a directory");
    for name in ["", "a/b", "..", "a.b", &"x".repeat(65)] {
        assert_eq!(
            LinkListener::bind(root.path(), name).expect_err("refused").kind(),
            ErrorKind::InvalidArgument
        );
    }
    let missing = LinkListener::bind(&root.path().join("missing"), "a").expect_err("missing");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    std::fs::write(root.path().join("file"), "").expect("a file");
    assert!(LinkListener::bind(&root.path().join("file"), "a").is_err());
}
