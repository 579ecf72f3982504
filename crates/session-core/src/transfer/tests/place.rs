//! Where an archive ends up.

use super::*;

fn single() -> Vec<u8> {
    Tar::default().dir("x").file("x/a", "new").end()
}

fn contents() -> Vec<u8> {
    Tar::default()
        .dir(".")
        .file("./a", "new")
        .dir("./sub")
        .file("./sub/b", "new")
        .end()
}

fn forced() -> UnpackOptions {
    UnpackOptions {
        overwrite: true,
        ..UnpackOptions::default()
    }
}

#[tokio::test]
async fn one_thing_goes_into_a_directory_or_becomes_the_destination() {
    let host = Host::new();
    let unpacked = host.take(single()).await.unwrap();
    assert_eq!(names(&host.out()), ["x", "x/a"]);
    assert_eq!(unpacked.report, CopyReport { entries: 2, bytes: 3 });
    let options = UnpackOptions::default();
    unpack(archive(single()), &host.out().join("named"), options)
        .await
        .unwrap();
    assert_eq!(names(&host.out()), ["named", "named/a", "x", "x/a"]);
    let file = || archive(Tar::default().file("f", "data").end());
    unpack(file(), &host.out(), options).await.unwrap();
    unpack(file(), &host.out().join("g"), options).await.unwrap();
    assert_eq!(
        fs::read(host.out().join("f")).unwrap(),
        fs::read(host.out().join("g")).unwrap()
    );
}

#[tokio::test]
async fn contents_become_the_destination_or_go_into_it() {
    let host = Host::new();
    let options = UnpackOptions::default();
    host.take(contents()).await.unwrap();
    unpack(archive(contents()), &host.out().join("named"), options)
        .await
        .unwrap();
    assert_eq!(
        names(&host.out()),
        [
            "a",
            "named",
            "named/a",
            "named/sub",
            "named/sub/b",
            "sub",
            "sub/b"
        ]
    );
    assert_eq!(
        fs::metadata(host.out().join("named")).unwrap().mtime(),
        1_700_000_000
    );
}

/// A session packs the contents of a directory without an entry for the directory.
#[tokio::test]
async fn contents_of_one_entry_are_told_apart_by_whoever_asked_for_them() {
    let host = Host::new();
    let bytes = || {
        archive(
            Tar::default()
                .dir("src")
                .file("src/a", "")
                .symlink("src/up", "../b")
                .end(),
        )
    };
    let contents = UnpackOptions {
        contents: true,
        ..UnpackOptions::default()
    };
    unpack(bytes(), &host.out().join("all"), contents).await.unwrap();
    let unpacked = unpack(bytes(), &host.out().join("one"), UnpackOptions::default())
        .await
        .unwrap();
    assert_eq!(
        names(&host.out()),
        ["all", "all/src", "all/src/a", "all/src/up", "one", "one/a"]
    );
    assert_eq!(unpacked.withheld, ["src/up"]);
}

/// An entry may leave its time out.
#[tokio::test]
async fn a_time_that_is_not_said_is_now() {
    let mut header = Tar::header(EntryType::Directory, b"./", 0);
    header.as_gnu_mut().unwrap().mtime = [0; 12];
    header.set_cksum();
    let host = Host::new();
    let named = host.out().join("named");
    unpack(
        archive(Tar::default().member(&header, b"").end()),
        &named,
        UnpackOptions::default(),
    )
    .await
    .unwrap();
    assert!(
        fs::metadata(&named)
            .unwrap()
            .modified()
            .unwrap()
            .elapsed()
            .unwrap()
            .as_secs()
            < 60
    );
}

#[tokio::test]
async fn what_is_in_the_way_stays_unless_it_shall_be_replaced() {
    let host = Host::new();
    for old in ["x", "sub", "a"] {
        fs::create_dir(host.out().join(old)).unwrap();
        fs::write(host.out().join(old).join("old"), "old").unwrap();
    }
    for bytes in [single(), contents()] {
        let error = host.refuse(bytes).await;
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.hint().is_some_and(|hint| hint.contains("--force")));
    }
    for bytes in [single(), contents()] {
        unpack(archive(bytes), &host.out(), forced()).await.unwrap();
    }
    assert_eq!(names(&host.out()), ["a", "sub", "sub/b", "x", "x/a"]);
    let target = host.out().join("sub");
    unpack(
        archive(Tar::default().file("f", "file").end()),
        &target.join("b"),
        forced(),
    )
    .await
    .unwrap();
    assert_eq!(fs::read(target.join("b")).unwrap(), b"file");
}

#[tokio::test]
async fn a_merge_that_fails_in_the_middle_takes_everything_back() {
    let host = Host::new();
    fs::write(host.out().join("b"), "old").unwrap();
    let names_of_many = ["a", "b", "c", "d", "e", "f"];
    let many = names_of_many.iter().fold(Tar::default().dir("."), |tar, name| {
        tar.file(format!("./{name}"), "new")
    });
    host.refuse(many.end()).await;
    assert_eq!(fs::read(host.out().join("b")).unwrap(), b"old");
    assert_eq!(names(&host.out()), ["b"]);
}

#[tokio::test]
async fn destinations_that_cannot_be_are_told() {
    let host = Host::new();
    let options = UnpackOptions::default();
    for bad in ["absent/x", "../outside/x"] {
        let error = unpack(archive(single()), &host.out().join(bad), options)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad}");
        assert!(error.hint().is_some());
    }
    let error = unpack(archive(single()), Path::new("/proc/self"), options)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostIo);
    let error = unpack(archive(single()), &host.root.path().join("outside"), options)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(names(host.root.path()), ["out", "outside"]);
}

#[tokio::test]
async fn directories_without_write_permission_are_moved_and_finished() {
    let mut closed = Tar::header(EntryType::Directory, b"x", 0);
    closed.set_mode(0o555);
    closed.set_cksum();
    let mut inner = Tar::header(EntryType::Directory, b"x/in", 0);
    inner.set_mode(0o500);
    inner.set_cksum();
    let bytes = || {
        let tar = Tar::default()
            .member(&closed, b"")
            .member(&inner, b"")
            .file("x/in/a", "1")
            .file("x/b", "2");
        tar.file("x/in/late", "3")
    };
    let host = Host::new();
    host.take(bytes().end()).await.unwrap();
    let mode = |name: &str| fs::metadata(host.out().join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("x"), mode("x/in")), (0o555, 0o500));
    assert_eq!(
        fs::metadata(host.out().join("x/in")).unwrap().mtime(),
        1_700_000_000
    );
    host.refuse(bytes().file("x/in/late", "twice").end()).await;
}

#[tokio::test]
#[ignore = "needs root, to mount a small file system"]
async fn a_full_disk_is_said_and_nothing_is_left_on_it() {
    let at = tempfile::tempdir().unwrap();
    let mount = |program: &str, arguments: &[&str]| {
        let status = std::process::Command::new(program)
            .args(arguments)
            .arg(at.path())
            .status();
        assert!(status.unwrap().success());
    };
    mount("mount", &["-t", "tmpfs", "-o", "size=1m,nr_inodes=40", "tmpfs"]);
    let large = Tar::default()
        .dir("x")
        .with(EntryType::Regular, "x/large", &vec![1; 2 << 20]);
    let many = (0..60).fold(Tar::default().dir("x"), |tar, n| tar.file(format!("x/{n}"), ""));
    let mut told = Vec::new();
    for bytes in [large.end(), many.end()] {
        let outcome = unpack(archive(bytes), at.path(), UnpackOptions::default()).await;
        told.push((
            outcome.map_err(|error| (error.kind(), error.hint().is_some())),
            names(at.path()),
        ));
    }
    mount("umount", &["--lazy"]);
    assert_eq!(
        told,
        vec![(Err((ErrorKind::HostIo, true)), Vec::<String>::new()); 2]
    );
}
