//! A whole tree, there and back.

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

use session_link::CopyInOptions;

use super::{copy_in, copy_out};
use crate::fixture::Fixture;

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
