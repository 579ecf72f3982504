//! Onto the stream and back: bytes, modes, times, links and odd names.

use std::ffi::OsStr;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Node {
    File {
        mode: u32,
        mtime: u64,
        data: Vec<u8>,
    },
    Link {
        target: String,
    },
    Dir {
        mode: u32,
        mtime: u64,
        below: BTreeMap<Vec<u8>, Node>,
    },
}

/// Any bytes that a name can have; long ones too. What would be withheld has its own tests.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 1..12),
        1 => prop::collection::vec(any::<u8>(), 90..110),
        1 => prop::collection::vec(any::<u8>(), 200..=255),
        2 => "[a-zé\\n \\\\]{1,9}".prop_map(String::into_bytes),
    ]
    .prop_map(|mut name| {
        name.iter_mut()
            .filter(|byte| [0, b'/'].contains(*byte))
            .for_each(|byte| *byte = b'_');
        name
    })
    .prop_filter("not a name", |name| {
        name != b"." && name != b".." && !could_run_on_host(name) && name.len() < 256
    })
}

fn mtime() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..2_000_000_000, Just(8_589_934_592)]
}

fn node() -> impl Strategy<Value = Node> {
    let data = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        Just(vec![7; 511]),
        Just(vec![8; 512]),
        Just(vec![9; 513]),
        (250_000_usize..270_000).prop_map(|length| vec![b'x'; length]),
    ];
    let file =
        (0_u32..0o1000, mtime(), data).prop_map(|(mode, mtime, data)| Node::File { mode, mtime, data });
    let link = prop_oneof!["[a-z]{1,20}", "[a-z]{101,200}"].prop_map(|target| Node::Link { target });
    prop_oneof![4 => file, 1 => link].prop_recursive(4, 24, 6, |inner| {
        (
            0_u32..0o1000,
            mtime(),
            prop::collection::btree_map(name(), inner, 0..6),
        )
            .prop_map(|(mode, mtime, below)| Node::Dir {
                mode: mode | 0o700,
                mtime,
                below,
            })
    })
}

fn make(path: &Path, node: &Node) {
    let time = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    match node {
        Node::File { mode, mtime, data } => {
            fs::write(path, data).unwrap();
            fs::File::open(path).unwrap().set_modified(time(*mtime)).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(*mode | 0o400)).unwrap();
        }
        Node::Link { target } => symlink(target, path).unwrap(),
        Node::Dir { mode, mtime, below } => {
            fs::create_dir(path).unwrap();
            for (name, node) in below {
                make(&path.join(OsStr::from_bytes(name)), node);
            }
            fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
            fs::File::open(path).unwrap().set_modified(time(*mtime)).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_comes_back_as_it_was(below in prop::collection::btree_map(name(), node(), 0..6), as_contents in any::<bool>()) {
        let root = tempfile::tempdir().unwrap();
        let (source, back) = (root.path().join("source"), root.path().join("back"));
        make(&source, &Node::Dir { mode: 0o755, mtime: 1_600_000_000, below });
        let options = UnpackOptions { contents: as_contents, ..UnpackOptions::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let unpacked = runtime
            .block_on(unpack(pack(&source, PackOptions { as_contents, ..PackOptions::default() }), &back, options))
            .unwrap();
        prop_assert_eq!(unpacked.withheld, Vec::<String>::new());
        let came = tree(&back);
        prop_assert_eq!(unpacked.report.entries, came.len() as u64 + u64::from(!as_contents));
        prop_assert_eq!(came, tree(&source));
        prop_assert!(as_contents || fs::metadata(&back).unwrap().mtime() == 1_600_000_000);
    }
}

/// The same through archives that other programs make.
#[tokio::test]
async fn what_gnu_tar_writes_is_read_in_each_of_its_formats() {
    let root = tempfile::tempdir().unwrap();
    let deep = root.path().join("x").join("d".repeat(120)).join("e".repeat(120));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("line\nend"), "data").unwrap();
    symlink("t".repeat(150), root.path().join("x/link")).unwrap();
    fs::hard_link(deep.join("line\nend"), root.path().join("x/hard")).unwrap();
    for format in ["gnu", "pax"] {
        let Ok(made) = std::process::Command::new("tar")
            .args(["-c", "--format", format, "-C"])
            .arg(root.path())
            .arg("x")
            .output()
        else {
            return;
        };
        let host = Host::new();
        host.take(made.stdout)
            .await
            .unwrap_or_else(|error| panic!("{format}: {error}"));
        let times = |mut tree: BTreeMap<Vec<u8>, (u32, i64, Vec<u8>)>| {
            tree.retain(|name, _| !name.is_empty());
            tree
        };
        assert_eq!(
            times(tree(&host.out().join("x"))),
            times(tree(&root.path().join("x"))),
            "{format}"
        );
    }
}

/// A large file, so that sizes and chunks beyond the buffers are met.
#[tokio::test]
async fn a_file_larger_than_every_buffer_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let data: Vec<u8> = (0_u32..3_000_000)
        .map(|n| u8::try_from(n % 251).unwrap())
        .collect();
    fs::write(root.path().join("big"), &data).unwrap();
    let back = root.path().join("back");
    unpack(
        pack(&root.path().join("big"), PackOptions::default()),
        &back,
        UnpackOptions::default(),
    )
    .await
    .unwrap();
    assert!(fs::read(back).unwrap() == data);
}
