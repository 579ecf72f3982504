//! Each trick that an archive can try, by hand.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

async fn refused(bytes: impl Into<Vec<u8>>, why: &str) {
    let error = Host::new().refuse(bytes).await;
    assert_eq!(error.kind(), ErrorKind::ArchiveRefused, "{error}");
    assert!(error.to_string().contains(why), "{error} does not say {why:?}");
    assert!(error.hint().is_some());
}

fn limited(bytes: u64, entries: u64, depth: usize) -> UnpackOptions {
    let limits = ArchiveLimits {
        bytes,
        entries,
        depth,
        ..ArchiveLimits::default()
    };
    UnpackOptions {
        limits,
        ..UnpackOptions::default()
    }
}

/// A member whose name stands in a PAX header.
fn pax(record: &[u8]) -> Tar {
    let mut length = record.len() + 3;
    while length != record.len() + 2 + length.to_string().len() {
        length += 1;
    }
    let line = [format!("{length} ").as_bytes(), record, b"\n"].concat();
    Tar::default().dir("x").with(EntryType::XHeader, "pax", &line)
}

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
async fn sizes_that_lie_are_refused() {
    let host = Host::new();
    let sized = |size: u64| {
        let mut header = Tar::header(EntryType::Regular, b"x", 0);
        header.set_size(size);
        header.set_cksum();
        Tar::default().member(&header, b"data")
    };
    refused(sized(u64::MAX).end(), "malformed").await;
    assert_eq!(
        host.refuse(sized(1 << 62).end()).await.kind(),
        ErrorKind::LimitExceeded
    );
    refused(sized(1 << 20).end(), "incomplete").await;
    refused(pax(b"size=9").file("x/a", "data").end(), "different sizes").await;
    refused(
        pax(b"size=99999999999999999999").file("x/a", "data").end(),
        "no number",
    )
    .await;
    refused(pax(b"size=-1").file("x/a", "data").end(), "no number").await;
    host.take(pax(b"size=4").file("x/a", "data").end()).await.unwrap();
    for kind in [EntryType::Directory, EntryType::Symlink, EntryType::Link] {
        let mut header = Tar::header(kind, b"x", 4);
        header.set_link_name_literal("y").unwrap();
        header.set_cksum();
        refused(Tar::default().member(&header, b"data").end(), "has content").await;
    }
    let mut minus = Tar::header(EntryType::Regular, b"x", 0);
    minus.as_gnu_mut().unwrap().size = [0xff; 12];
    minus.set_cksum();
    refused(Tar::default().member(&minus, b"").end(), "malformed").await;
    let mut words = Tar::header(EntryType::Regular, b"x", 0);
    words.as_gnu_mut().unwrap().size = *b"-7777777777\0";
    words.set_cksum();
    refused(Tar::default().member(&words, b"").end(), "malformed").await;
}

#[tokio::test]
async fn truncated_and_broken_archives_are_refused() {
    let whole = Tar::default()
        .dir("x")
        .file("x/a", "some data")
        .file("x/b", "")
        .end();
    // Two blocks end an archive; the second may be missing, as some programs leave it out.
    for cut in (0..whole.len() - 1023).step_by(37) {
        let error = Host::new().refuse(&whole[..cut]).await;
        assert_eq!(error.kind(), ErrorKind::ArchiveRefused, "cut at {cut}: {error}");
    }
    refused([&whole[..], b"more"].concat(), "follows the end").await;
    refused(
        [&whole[..], &Tar::default().file("y", "evil").end()].concat(),
        "follows the end",
    )
    .await;
    refused([&whole[..], &vec![0; 2 << 20]].concat(), "follows the end").await;
    Host::new()
        .take([&whole[..], &[0; 10240]].concat())
        .await
        .unwrap();
    let mut flipped = whole.clone();
    flipped[3] ^= 1;
    refused(flipped, "malformed").await;
    refused(vec![b'x'; 2048], "malformed").await;
    refused(Vec::new(), "incomplete").await;
    refused(
        Tar::default()
            .dir("x")
            .with(EntryType::GNULongName, "l", b"name\0")
            .end(),
        "does not follow",
    )
    .await;
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

#[tokio::test]
async fn bombs_meet_limits() {
    let host = Host::new();
    let many = (0..100)
        .fold(Tar::default(), |tar, n| tar.file(format!("x/{n}"), "0123456789"))
        .end();
    for options in [limited(999, 1000, 9), limited(1000, 99, 9)] {
        assert_eq!(
            host.refuse_with(many.clone(), options).await.kind(),
            ErrorKind::LimitExceeded
        );
    }
    unpack(archive(many), &host.out(), limited(1000, 100, 9))
        .await
        .unwrap();
    let deep = Tar::default().file("a/b/c/d/e", "");
    assert_eq!(
        host.refuse_with(deep.end(), limited(9, 9, 4)).await.kind(),
        ErrorKind::LimitExceeded
    );
    // Headers that describe nothing count as well.
    let global = (0..200).fold(Tar::default(), |tar, _| {
        tar.with(EntryType::XGlobalHeader, "g", b"14 comment=ab\n")
    });
    let error = host.refuse_with(global.end(), limited(u64::MAX, 100, 9)).await;
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
}

#[tokio::test]
async fn extension_headers_are_bounded_and_unambiguous() {
    let long = |kind, bytes: &[u8]| Tar::default().dir("x").with(kind, "ext", bytes);
    refused(
        long(EntryType::GNULongName, &[b'a'; 5000]).file("y", "").end(),
        "too long",
    )
    .await;
    refused(
        long(EntryType::GNULongLink, &[b'a'; 5000])
            .symlink("y", "z")
            .end(),
        "too long",
    )
    .await;
    refused(
        long(EntryType::XHeader, &vec![b'a'; 300 << 10])
            .file("y", "")
            .end(),
        "too long",
    )
    .await;
    refused(
        long(EntryType::XHeader, b"nonsense").file("y", "").end(),
        "malformed",
    )
    .await;
    // A size that would take all memory if it were believed before it is read.
    let mut huge = Tar::header(EntryType::GNULongName, b"ext", 0);
    huge.set_size(1 << 40);
    huge.set_cksum();
    assert_eq!(
        Host::new()
            .refuse(Tar::default().member(&huge, b"").end())
            .await
            .kind(),
        ErrorKind::LimitExceeded
    );
    let twice = long(EntryType::GNULongName, b"x/a\0").with(EntryType::GNULongName, "ext", b"x/b\0");
    refused(twice.file("y", "").end(), "same entry").await;
    let both = long(EntryType::GNULongName, b"x/a\0").with(EntryType::XHeader, "ext", b"12 path=x/b\n");
    refused(both.file("y", "").end(), "same entry").await;
    let global = long(EntryType::XGlobalHeader, b"20 path=/etc/passwd\n");
    refused(global.file("x/a", "").end(), "global header").await;
    let name = "n".repeat(256);
    refused(
        pax(format!("path=x/{name}").as_bytes()).file("y", "").end(),
        "too long",
    )
    .await;
}

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

#[tokio::test]
async fn a_stream_that_stalls_is_given_up() {
    let host = Host::new();
    let limits = ArchiveLimits {
        idle: Duration::from_millis(50),
        ..ArchiveLimits::default()
    };
    let options = UnpackOptions {
        limits,
        ..UnpackOptions::default()
    };
    let bytes = Tar::default().dir("x").file("x/a", "data").0;
    let stalled = archive(bytes).chain(stream::pending()).boxed();
    let error = unpack(stalled, &host.out(), options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert_eq!(names(host.root.path()), ["out", "outside"]);
}

#[tokio::test]
async fn an_error_of_the_stream_is_what_the_caller_gets() {
    let host = Host::new();
    let whole = Tar::default().dir("x").file("x/a", "data").end();
    for cut in [0, 512, 1300, whole.len()] {
        let lost = Error::new(ErrorKind::LinkLost, "copy", "gone");
        let broken = archive(&whole[..cut]).chain(stream::iter([Err(lost)])).boxed();
        let error = unpack(broken, &host.out(), UnpackOptions::default())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LinkLost, "{error}");
        assert_eq!(names(host.root.path()), ["out", "outside"]);
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing() {
    let host = Host::new();
    let stalled = archive(Tar::default().dir("x").file("x/a", "data").0)
        .chain(stream::pending())
        .boxed();
    let out = host.out();
    let waiting = unpack(stalled, &out, UnpackOptions::default());
    assert!(
        tokio::time::timeout(Duration::from_millis(100), waiting)
            .await
            .is_err()
    );
    for _ in 0..200 {
        if names(host.root.path()) == ["out", "outside"] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("left over: {:?}", names(host.root.path()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the bytes, nothing outside changes, and a refusal leaves nothing.
    #[test]
    fn i11_damaged_archives_never_reach_outside(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        mend in any::<bool>(),
    ) {
        let mut bytes = Tar::default()
            .dir("x")
            .file("x/file", "some data")
            .symlink("x/link", "file")
            .with(EntryType::GNULongName, "././@LongLink", b"x/long\0")
            .file("x/short", "more")
            .with(EntryType::XHeader, "pax", b"12 path=x/p\n")
            .link(EntryType::Link, "x/hard", "x/file")
            .end();
        for (index, value) in damage {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if mend {
            mend_checksums(&mut bytes);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let host = Host::new();
            let outcome = host.take(bytes).await;
            assert_eq!(fs::read(host.root.path().join("outside")).unwrap(), b"untouched");
            let beside: Vec<_> = fs::read_dir(host.root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(beside.len(), 2);
            assert!(!names_lossy(&host.out()).iter().any(|name| name.contains("partial")));
            if outcome.is_err() {
                assert!(tree(&host.out()).is_empty());
            }
        });
    }
}

/// So that damage to a header's fields is not all caught by its checksum.
fn mend_checksums(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512) {
        if block.iter().any(|byte| *byte != 0) && block[257..262] == *b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

fn names_lossy(root: &Path) -> Vec<String> {
    tree(root)
        .into_keys()
        .map(|name| String::from_utf8_lossy(&name).into_owned())
        .collect()
}
