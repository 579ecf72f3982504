//! Files: what goes in comes out, and what is made to do harm does none.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::Path,
    time::Duration,
};

use bytes::Bytes;
use session_link::{CopyInOptions, CopyOutOptions, CopyReport, ErrorKind, Link, Result};
use tar::{Builder, EntryType, Header};

use crate::fixture::Fixture;

async fn copy_in(link: &Link, dest: &Path, tar: &[u8], options: CopyInOptions) -> Result<CopyReport> {
    let mut copy = link.copy_in(dest.to_str().expect("text"), options).await?;
    for piece in tar.chunks(100_003) {
        copy.write(Bytes::copy_from_slice(piece)).await?;
    }
    copy.finish().await
}

async fn copy_out(link: &Link, path: &Path) -> Result<(Vec<u8>, CopyReport)> {
    let mut copy = link
        .copy_out(path.to_str().expect("text"), CopyOutOptions::default())
        .await?;
    let mut tar = Vec::new();
    while let Some(bytes) = copy.next().await? {
        tar.extend_from_slice(&bytes);
    }
    Ok((tar, copy.report().expect("complete")))
}

/// All that is to be kept of a tree: per name its mode, contents or target, and time.
fn listing(root: &Path) -> BTreeMap<Vec<u8>, (u32, Vec<u8>, i64)> {
    let mut found = BTreeMap::new();
    let mut queue = vec![root.to_owned()];
    while let Some(directory) = queue.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let metadata = path.symlink_metadata().expect("there");
            let contents = if metadata.is_symlink() {
                std::fs::read_link(&path)
                    .expect("a link")
                    .as_os_str()
                    .as_bytes()
                    .to_vec()
            } else if metadata.is_dir() {
                queue.push(path.clone());
                Vec::new()
            } else {
                std::fs::read(&path).expect("a file")
            };
            let name = path
                .strip_prefix(root)
                .expect("beneath")
                .as_os_str()
                .as_bytes()
                .to_vec();
            found.insert(name, (metadata.mode(), contents, metadata.mtime()));
        }
    }
    found
}

fn odd_tree(root: &Path) {
    let long = "n".repeat(200);
    let deep = root.join(["d"; 60].join("/"));
    std::fs::create_dir_all(&deep).expect("directories");
    std::fs::create_dir(root.join(&long)).expect("a directory");
    std::fs::create_dir(root.join("empty")).expect("a directory");
    let odd: [&OsStr; 7] = [
        OsStr::new("plain"),
        OsStr::new("with space"),
        OsStr::new("-dash"),
        OsStr::new("new\nline"),
        OsStr::new("ünï"),
        OsStr::from_bytes(b"bad\xff\xfe"),
        OsStr::new("...dots"),
    ];
    for (number, name) in odd.iter().enumerate() {
        for directory in [root, &deep, &root.join(&long)] {
            let path = directory.join(name);
            std::fs::write(&path, vec![b'a'; number * 300]).expect("a file");
            let mode = [0o644, 0o755, 0o600, 0o444, 0o777, 0o640, 0o666][number];
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("a mode");
            let time = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + number as u64);
            std::fs::File::open(&path)
                .and_then(|file| file.set_modified(time))
                .expect("a time");
        }
    }
    symlink("plain", root.join("to-plain")).expect("a link");
    symlink("../../somewhere/./else", root.join("dangling")).expect("a link");
    symlink("/etc/passwd", root.join("absolute")).expect("a link");
    symlink("x".repeat(300), root.join(format!("{}l", &long[1..]))).expect("a link");
    std::fs::hard_link(root.join("plain"), root.join("second")).expect("a link");
    std::fs::set_permissions(root.join("empty"), PermissionsExt::from_mode(0o500)).expect("a mode");
}

#[tokio::test]
async fn a_tree_of_odd_names_round_trips() {
    let (fixture, link) = Fixture::linked().await;
    let (one, two) = (fixture.work().join("one"), fixture.work().join("two"));
    std::fs::create_dir(&one).expect("a directory");
    odd_tree(&one);
    let (tar, out) = copy_out(&link, &one).await.expect("packed");
    let report = copy_in(&link, &two, &tar, CopyInOptions::default())
        .await
        .expect("unpacked");
    assert_eq!(
        (out.files, out.directories, out.symlinks),
        (report.files, report.directories, report.symlinks)
    );
    assert_eq!(listing(&one), listing(&two));
    let inode = |name| two.join(name).metadata().expect("there").ino();
    assert_eq!(inode("plain"), inode("second"));
    // The same tree gives the same archive, and others read it.
    assert!(copy_out(&link, &two).await.expect("packed").0 == tar);
    let theirs = fixture.work().join("three");
    std::fs::create_dir(&theirs).expect("a directory");
    tar::Archive::new(&tar[..])
        .unpack(&theirs)
        .expect("a proper archive");
    assert_eq!(listing(&one).len(), listing(&theirs).len());
}

#[tokio::test]
async fn one_file_a_link_and_nothing() {
    let (fixture, link) = Fixture::linked().await;
    let file = fixture.work().join("file");
    std::fs::write(&file, "contents").expect("a file");
    symlink("/etc/passwd", fixture.work().join("link")).expect("a link");
    let (tar, report) = copy_out(&link, Path::new("file"))
        .await
        .expect("relative to the working directory");
    assert_eq!((report.files, report.bytes), (1, 8));
    let names = |tar: &[u8]| -> Vec<String> {
        let mut archive = tar::Archive::new(tar);
        let entries = archive.entries().expect("entries");
        entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .path()
                    .expect("a path")
                    .display()
                    .to_string()
            })
            .collect()
    };
    assert_eq!(names(&tar), ["file"]);
    let (_, report) = copy_out(&link, Path::new("link")).await.expect("packed as it is");
    assert_eq!((report.files, report.symlinks), (0, 1));
    let missing = copy_out(&link, Path::new("missing")).await.expect_err("missing");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(
        missing.hint().is_none() && missing.to_string().contains("missing"),
        "{missing}"
    );
}

#[tokio::test]
async fn what_has_no_contents_is_counted() {
    let (fixture, link) = Fixture::linked().await;
    let tree = fixture.work().join("tree");
    std::fs::create_dir(&tree).expect("a directory");
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).expect("a socket");
    let mkfifo = std::process::Command::new("mkfifo")
        .arg(tree.join("pipe"))
        .status()
        .expect("mkfifo");
    assert!(mkfifo.success());
    std::fs::create_dir(tree.join("node_modules")).expect("a directory");
    std::fs::write(tree.join("node_modules/x"), "x").expect("a file");
    std::fs::write(tree.join("kept"), "x").expect("a file");
    let options = CopyOutOptions {
        exclude: vec!["node_modules".into()],
        ..CopyOutOptions::default()
    };
    let mut copy = link
        .copy_out(tree.to_str().expect("text"), options)
        .await
        .expect("packed");
    while copy.next().await.expect("bytes").is_some() {}
    let report = copy.report().expect("complete");
    assert_eq!((report.files, report.skipped, report.directories), (1, 2, 0));
}

#[tokio::test]
async fn a_file_that_grows_is_cut_to_what_was_announced() {
    let (fixture, link) = Fixture::linked().await;
    let tree = fixture.work().join("tree");
    std::fs::create_dir(&tree).expect("a directory");
    let log = tree.join("log");
    std::fs::write(&log, vec![b'a'; 40 << 20]).expect("a file");
    let mut copy = link
        .copy_out(tree.to_str().expect("text"), CopyOutOptions::default())
        .await
        .expect("packed");
    let mut tar = copy.next().await.expect("bytes").expect("some").to_vec();
    std::fs::File::options()
        .write(true)
        .open(&log)
        .and_then(|file| file.set_len(1000))
        .expect("cut");
    while let Some(bytes) = copy.next().await.expect("bytes") {
        tar.extend_from_slice(&bytes);
    }
    assert_eq!(copy.report().expect("complete").changed, 1);
    let mut archive = tar::Archive::new(&tar[..]);
    let sizes: Vec<_> = archive
        .entries()
        .expect("entries")
        .map(|entry| entry.expect("an entry").size())
        .collect();
    assert_eq!(sizes, [40 << 20]);
}

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

#[derive(Clone, Copy)]
struct Bad<'a> {
    path: &'a [u8],
    kind: EntryType,
    link: &'a [u8],
    mode: u32,
}

fn entry(builder: &mut Builder<Vec<u8>>, bad: Bad<'_>, contents: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(bad.kind);
    header.set_mode(bad.mode);
    header.set_size(contents.len() as u64);
    let old = header.as_old_mut();
    old.name[..bad.path.len()].copy_from_slice(bad.path);
    old.linkname[..bad.link.len()].copy_from_slice(bad.link);
    header.set_cksum();
    builder.append(&header, contents).expect("appended");
}

fn regular(path: &[u8]) -> Bad<'_> {
    Bad {
        path,
        kind: EntryType::Regular,
        link: b"",
        mode: 0o644,
    }
}

fn linked<'a>(path: &'a [u8], kind: EntryType, link: &'a [u8]) -> Bad<'a> {
    Bad {
        path,
        kind,
        link,
        mode: 0o777,
    }
}

fn archive(entries: &[Bad<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for bad in entries {
        let contents: &[u8] = if bad.kind.is_file() { b"evil" } else { b"" };
        entry(&mut builder, *bad, contents);
    }
    builder.into_inner().expect("an archive")
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
    crate::fixture::eventually("threads to end", || threads() <= 1).await;
}
