//! Entries of the wrong kind, with too many rights, or in the place of another.

use super::*;

#[tokio::test]
async fn devices_pipes_and_unknown_types_are_refused() {
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
        refused(
            Tar::default().dir("x").with(kind, "x/dev", b"").end(),
            "devices and pipes",
        )
        .await;
    }
    for kind in [EntryType::Continuous, EntryType::new(b'Z'), EntryType::new(b'V')] {
        refused(
            Tar::default().dir("x").with(kind, "x/odd", b"").end(),
            "are not taken",
        )
        .await;
    }
    refused(
        Tar::default().with(EntryType::GNUSparse, "x", b"").end(),
        "sparse",
    )
    .await;
    refused(pax(b"GNU.sparse.major=1").file("x/a", "").end(), "sparse").await;
}

#[tokio::test]
async fn setuid_setgid_and_sticky_bits_are_dropped() {
    let mut file = Tar::header(EntryType::Regular, b"x/tool", 0);
    file.set_mode(0o7755);
    file.set_cksum();
    let mut dir = Tar::header(EntryType::Directory, b"x", 0);
    dir.set_mode(0o7777);
    dir.set_cksum();
    let host = Host::new();
    host.take(Tar::default().member(&dir, b"").member(&file, b"").end())
        .await
        .unwrap();
    let mode = |name: &str| fs::metadata(host.out().join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("x"), mode("x/tool")), (0o777, 0o755));
}

#[tokio::test]
async fn two_entries_never_share_a_path() {
    for second in [
        Tar::default().file("x/a", "two"),
        Tar::default().file("x/./a", "two"),
        Tar::default().file("x//a", "two"),
        Tar::default().symlink("x/a", "b"),
        Tar::default().link(EntryType::Link, "x/a", "x/a"),
    ] {
        refused(
            Tar::default().file("x/a", "one").raw(&second.0).end(),
            "same path",
        )
        .await;
    }
    refused(Tar::default().file("x/a", "").dir("x/a").end(), "through a file").await;
    refused(Tar::default().dir("x/a").file("x/a", "").end(), "same path").await;
    refused(
        Tar::default().dir("x").file("x/a/", "").end(),
        "name of a directory",
    )
    .await;
}
