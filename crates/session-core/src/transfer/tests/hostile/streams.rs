//! Streams that stall, break off or are damaged, and readers that leave.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

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
