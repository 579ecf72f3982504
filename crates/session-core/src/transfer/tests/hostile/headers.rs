//! Headers that lie about what follows, that are broken, or that are too many.

use super::*;

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
