//! The place of the socket: ours alone, and nothing else is ever touched.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use http_frontend::listen::{MAX_SOCKET_PATH, bind_socket};
use session_core::error::ErrorKind;
use session_core::state_dir::{ServingLock, StateDir};
use tempfile::TempDir;

use crate::support::House;
use crate::support::client::get;

struct Place {
    dir: TempDir,
    lock: ServingLock,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let lock = StateDir::open(&dir.path().join("state"))
            .unwrap()
            .lock_serving()
            .unwrap();
        Self { dir, lock }
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("c.sock")
    }

    fn refused(&self, path: &Path) -> ErrorKind {
        let error = bind_socket(path, &self.lock).unwrap_err();
        assert!(error.hint().is_some(), "{error}");
        error.kind()
    }
}

#[tokio::test]
async fn the_socket_is_for_its_user_alone_whatever_the_umask_says() {
    let place = Place::new();
    let before = rustix::process::umask(rustix::fs::Mode::empty());
    let socket = bind_socket(&place.path(), &place.lock);
    rustix::process::umask(before);
    let socket = socket.unwrap();
    let metadata = socket.path().symlink_metadata().unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let left: Vec<_> = std::fs::read_dir(place.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "nothing but the socket and the state: {left:?}");
}

#[tokio::test]
async fn a_path_that_no_socket_can_have_is_told_so() {
    let place = Place::new();
    let long = place.dir.path().join("x".repeat(MAX_SOCKET_PATH));
    assert_eq!(place.refused(&long), ErrorKind::InvalidArgument);
    let room = MAX_SOCKET_PATH - place.dir.path().as_os_str().len() - 1;
    let longest = place.dir.path().join("x".repeat(room));
    let _bound = bind_socket(&longest, &place.lock).unwrap();
    tokio::net::UnixStream::connect(&longest).await.unwrap();
    let one_more = place.dir.path().join("y".repeat(room + 1));
    assert_eq!(place.refused(&one_more), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn a_symlink_is_neither_followed_nor_replaced() {
    let place = Place::new();
    let elsewhere = TempDir::new().unwrap();
    let target = elsewhere.path().join("target");
    symlink(&target, place.path()).unwrap();
    assert_eq!(place.refused(&place.path()), ErrorKind::StateDirRefused);
    assert!(!target.exists());
    assert!(place.path().symlink_metadata().unwrap().is_symlink());
    let behind = place.dir.path().join("behind");
    symlink(elsewhere.path(), &behind).unwrap();
    assert_eq!(place.refused(&behind.join("c.sock")), ErrorKind::StateDirRefused);
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_is_no_socket_stays_where_it_is() {
    let place = Place::new();
    std::fs::write(place.path(), "precious").unwrap();
    assert_eq!(place.refused(&place.path()), ErrorKind::StateDirRefused);
    assert_eq!(std::fs::read(place.path()).unwrap(), b"precious");
    let dir = place.dir.path().join("dir");
    std::fs::create_dir(&dir).unwrap();
    assert_eq!(place.refused(&dir), ErrorKind::StateDirRefused);
    assert!(dir.is_dir());
}

#[tokio::test]
async fn a_directory_that_others_can_write_is_refused() {
    let place = Place::new();
    let open = place.dir.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(place.refused(&open.join("c.sock")), ErrorKind::StateDirRefused);
}

#[tokio::test]
async fn a_socket_that_somebody_listens_on_stays_and_a_stale_one_is_replaced() {
    let place = Place::new();
    let listener = std::os::unix::net::UnixListener::bind(place.path()).unwrap();
    assert_eq!(place.refused(&place.path()), ErrorKind::Busy);
    std::os::unix::net::UnixStream::connect(place.path()).unwrap();
    drop(listener);
    assert!(place.path().exists(), "as a process leaves it that was killed");
    let _bound = bind_socket(&place.path(), &place.lock).unwrap();
    tokio::net::UnixStream::connect(place.path()).await.unwrap();
}

#[tokio::test]
async fn the_servers_user_needs_no_token() {
    let house = House::new().await;
    assert_eq!(house.send_local(&get("/metrics")).await.status, 200);
    house.ended().await;
}

#[tokio::test]
async fn a_server_removes_no_socket_but_its_own() {
    let house = House::new().await;
    let path = house.socket.clone();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "another").unwrap();
    let site = house.site.state_dir();
    assert!(path.starts_with(&site));
    house.begin_to_end();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(std::fs::read(&path).unwrap(), b"another");
    house.ended().await;
}
