//! The place of the socket: what stands there is judged, and never replaced when it is not ours.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;

use crate::host::Host;

fn private(host: &Host) {
    std::fs::create_dir_all(host.state()).unwrap();
    std::fs::set_permissions(host.state(), std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn what_is_not_our_socket_is_refused_and_left() {
    let host = Host::new();
    private(&host);
    let elsewhere = host.dir().join("elsewhere.sock");
    let _foreign = UnixListener::bind(&elsewhere).unwrap();
    symlink(&elsewhere, host.socket()).unwrap();
    for args in [&["ls"][..], &["serve"], &["health"], &["serve", "--stop"]] {
        let said = host.run(args);
        assert_eq!(said.code, Some(11), "{args:?}: {said:?}");
        assert!(said.stderr.contains("not a socket of ours"), "{said:?}");
    }
    assert!(host.socket().is_symlink());

    std::fs::remove_file(host.socket()).unwrap();
    std::fs::write(host.socket(), "somebody's file").unwrap();
    assert_eq!(host.run(&["ls"]).code, Some(11));
    assert_eq!(std::fs::read_to_string(host.socket()).unwrap(), "somebody's file");
    assert!(host.processes().is_empty());
    assert_eq!(
        host.run(&["ls", "--embedded"]).code,
        Some(0),
        "it needs no socket"
    );
}

#[test]
fn a_path_that_is_too_long_for_a_socket_is_told() {
    let host = Host::new().with_state(&"a".repeat(100));
    let said = host.run(&["ls"]);
    assert_eq!(said.code, Some(11), "{said:?}");
    assert!(said.stderr.contains("longer than a socket's may be"), "{said:?}");
    assert!(said.stderr.contains("--embedded"), "{said:?}");
    assert_eq!(host.run(&["ls", "--embedded"]).code, Some(0));
}

#[test]
fn a_state_directory_that_is_open_to_others_is_no_place_for_one() {
    let host = Host::new();
    private(&host);
    std::fs::set_permissions(host.state(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let said = host.run(&["ls"]);
    assert_eq!(said.code, Some(11), "{said:?}");
    assert!(said.stderr.contains("chmod 700"), "{said:?}");
}
