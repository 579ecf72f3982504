//! Archives made to write where they may not.

use std::os::unix::{ffi::OsStrExt, fs::MetadataExt};

use session_link::{CopyInOptions, ErrorKind};
use tar::EntryType;

use super::{Bad, archive, copy_in, regular};
use crate::fixture::Fixture;

fn linked<'a>(path: &'a [u8], kind: EntryType, link: &'a [u8]) -> Bad<'a> {
    Bad {
        path,
        kind,
        link,
        mode: 0o777,
    }
}

#[tokio::test]
async fn archives_made_to_do_harm_are_refused() {
    let (fixture, link) = Fixture::linked().await;
    let outside = fixture.work().join("outside");
    std::fs::create_dir(&outside).expect("a directory");
    std::fs::write(outside.join("victim"), "good").expect("a file");
    let outside_bytes = outside.as_os_str().as_bytes();
    let victim = [outside_bytes, b"/victim"].concat();
    let evil: Vec<(&str, Vec<Bad<'_>>)> = vec![
        ("dots", vec![regular(b"../outside/victim")]),
        ("dots within", vec![regular(b"a/../../outside/victim")]),
        ("absolute", vec![regular(&victim)]),
        (
            "a link as parent",
            vec![
                linked(b"l", EntryType::Symlink, outside_bytes),
                regular(b"l/victim"),
            ],
        ),
        (
            "a relative link as parent",
            vec![linked(b"l", EntryType::Symlink, b"../outside"), regular(b"l/new")],
        ),
        (
            "a link as directory",
            vec![
                linked(b"l", EntryType::Symlink, b"../outside"),
                linked(b"l", EntryType::Directory, b""),
            ],
        ),
        (
            "a hard link out",
            vec![linked(b"h", EntryType::Link, b"../outside/victim")],
        ),
        (
            "an absolute hard link",
            vec![linked(b"h", EntryType::Link, &victim)],
        ),
        (
            "a hard link through a link",
            vec![
                linked(b"l", EntryType::Symlink, b"../outside"),
                linked(b"h", EntryType::Link, b"l/victim"),
            ],
        ),
        ("a character device", vec![linked(b"null", EntryType::Char, b"")]),
        ("a block device", vec![linked(b"disk", EntryType::Block, b"")]),
        ("a pipe", vec![linked(b"pipe", EntryType::Fifo, b"")]),
        (
            "the destination itself",
            vec![linked(b".", EntryType::Symlink, b"/etc")],
        ),
    ];
    for (number, (what, entries)) in evil.iter().enumerate() {
        let dest = fixture.work().join(format!("dest-{number}"));
        let error = copy_in(&link, &dest, &archive(entries), CopyInOptions::default())
            .await
            .expect_err(what);
        assert_eq!(error.kind(), ErrorKind::UnsafeArchive, "{what}: {error}");
    }
    assert_eq!(
        std::fs::read_to_string(outside.join("victim")).expect("there"),
        "good"
    );
    assert_eq!(std::fs::read_dir(&outside).expect("there").count(), 1);
}

#[tokio::test]
async fn links_are_replaced_and_bits_are_dropped() {
    let (fixture, link) = Fixture::linked().await;
    let victim = fixture.work().join("victim");
    std::fs::write(&victim, "good").expect("a file");
    let dest = fixture.work().join("dest");
    std::fs::create_dir(&dest).expect("a directory");
    std::fs::hard_link(&victim, dest.join("hard")).expect("a link");
    let entries = [
        linked(b"l", EntryType::Symlink, victim.as_os_str().as_bytes()),
        regular(b"l"),
        regular(b"hard"),
        Bad {
            mode: 0o6755,
            ..regular(b"setuid")
        },
        Bad {
            path: b"shared/",
            kind: EntryType::Directory,
            link: b"",
            mode: 0o3777,
        },
        regular(b"./a//b/./c"),
    ];
    copy_in(&link, &dest, &archive(&entries), CopyInOptions::default())
        .await
        .expect("unpacked");
    assert_eq!(std::fs::read_to_string(&victim).expect("there"), "good");
    assert!(dest.join("l").symlink_metadata().expect("there").is_file());
    assert_eq!(std::fs::read_to_string(dest.join("hard")).expect("there"), "evil");
    assert_eq!(
        dest.join("setuid").metadata().expect("there").mode() & 0o7777,
        0o755
    );
    assert_eq!(
        dest.join("shared").metadata().expect("there").mode() & 0o7777,
        0o777
    );
    assert_eq!(
        std::fs::read_to_string(dest.join("a/b/c")).expect("there"),
        "evil"
    );
}
