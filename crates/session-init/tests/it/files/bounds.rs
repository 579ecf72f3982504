//! Where a transfer ends: at its bounds, at damage, and when nobody wants it any more.

use bytes::Bytes;
use session_link::{CopyInOptions, CopyOutOptions, ErrorKind};
use tar::{Builder, Header};

use super::{archive, copy_in, copy_out, regular};
use crate::fixture::{Fixture, eventually};

#[tokio::test]
async fn a_tree_may_be_deep_but_not_bottomless() {
    let (fixture, link) = Fixture::linked().await;
    for (depth, fits) in [(500, true), (600, false)] {
        let tree = fixture.work().join(depth.to_string());
        std::fs::create_dir_all(tree.join(vec!["d"; depth].join("/"))).expect("directories");
        match copy_out(&link, &tree).await {
            Ok((tar, report)) => {
                assert!(fits && report.directories == 500);
                let dest = fixture.work().join("dest");
                let report = copy_in(&link, &dest, &tar, CopyInOptions::default())
                    .await
                    .expect("unpacked");
                assert_eq!(report.directories, 500);
            }
            Err(error) => assert!(!fits && error.kind() == ErrorKind::LimitReached, "{error}"),
        }
    }
    let deep = ["d"; 600].join("/");
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(0);
    builder
        .append_data(&mut header, deep, &b""[..])
        .expect("appended");
    let tar = builder.into_inner().expect("an archive");
    let error = copy_in(
        &link,
        &fixture.work().join("deep"),
        &tar,
        CopyInOptions::default(),
    )
    .await
    .expect_err("deep");
    assert_eq!(error.kind(), ErrorKind::UnsafeArchive);
}

#[tokio::test]
async fn limits_and_damage_have_their_names() {
    let (fixture, link) = Fixture::linked().await;
    let tar = archive(&[regular(b"a"), regular(b"b"), regular(b"c")]);
    let dest = |name: &str| fixture.work().join(name);
    let few = CopyInOptions {
        max_entries: 2,
        ..CopyInOptions::default()
    };
    assert_eq!(
        copy_in(&link, &dest("few"), &tar, few)
            .await
            .expect_err("too many")
            .kind(),
        ErrorKind::LimitReached
    );
    let small = CopyInOptions {
        max_bytes: 9,
        ..CopyInOptions::default()
    };
    assert_eq!(
        copy_in(&link, &dest("small"), &tar, small)
            .await
            .expect_err("too big")
            .kind(),
        ErrorKind::LimitReached
    );
    let cut = copy_in(&link, &dest("cut"), &tar[..600], CopyInOptions::default())
        .await
        .expect_err("cut");
    assert_eq!(cut.kind(), ErrorKind::InvalidArchive);
    let noise = vec![0x5a; 4096];
    let damaged = copy_in(&link, &dest("noise"), &noise, CopyInOptions::default())
        .await
        .expect_err("noise");
    assert_eq!(damaged.kind(), ErrorKind::InvalidArchive);
    assert_eq!(
        copy_in(&link, &dest("none"), &[], CopyInOptions::default())
            .await
            .expect("nothing")
            .files,
        0
    );
    let blocked = fixture.work().join("blocked");
    std::fs::write(&blocked, "").expect("a file");
    assert!(
        copy_in(&link, &blocked.join("x"), &tar, CopyInOptions::default())
            .await
            .is_err()
    );
    // An error comes at once, not when all has been sent.
    let mut copy = link
        .copy_in(dest("early").to_str().expect("text"), CopyInOptions::default())
        .await
        .expect("begun");
    let error = loop {
        if let Err(error) = copy.write(Bytes::from(vec![0x5a; 1 << 20])).await {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::InvalidArchive);
    link.ping().await.expect("the link is fine");
}

#[tokio::test]
async fn a_transfer_that_is_given_up_ends() {
    let (fixture, link) = Fixture::linked().await;
    let tree = fixture.work().join("tree");
    std::fs::create_dir(&tree).expect("a directory");
    std::fs::write(tree.join("large"), vec![0; 30 << 20]).expect("a file");
    for _ in 0..20 {
        let mut copy = link
            .copy_out(tree.to_str().expect("text"), CopyOutOptions::default())
            .await
            .expect("begun");
        copy.next().await.expect("bytes");
        drop(copy);
        let dest = fixture.work().join("dest");
        let mut copy = link
            .copy_in(dest.to_str().expect("text"), CopyInOptions::default())
            .await
            .expect("begun");
        copy.write(Bytes::from(archive(&[regular(b"a")])))
            .await
            .expect("written");
        drop(copy);
    }
    let threads = || std::fs::read_dir(format!("/proc/{}/task", fixture.pid())).map_or(0, Iterator::count);
    eventually("threads to end", || threads() <= 1).await;
}
