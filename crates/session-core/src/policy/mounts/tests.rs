use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A little host: a home with secrets, a project, our state and an engine's socket.
struct Host {
    root: TempDir,
    paths: HostPaths,
    _socket: UnixListener,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for dir in [
            "home/u/.ssh/keys",
            "home/u/.config/gcloud",
            "home/u/project/src",
            "state",
            "engine",
        ] {
            fs::create_dir_all(at(dir)).unwrap();
        }
        fs::write(at("home/u/.netrc"), "secret").unwrap();
        fs::write(at("home/u/project/file"), "").unwrap();
        let socket = UnixListener::bind(at("engine/docker.sock")).unwrap();
        let paths = HostPaths {
            home: Some(at("home/u")),
            state_dir: at("state"),
            engine_sockets: vec![at("engine/docker.sock")],
        };
        Self {
            root,
            paths,
            _socket: socket,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn judge(&self, path: impl AsRef<Path>) -> Result<JudgedDir> {
        judge(path.as_ref(), &self.paths)
    }

    fn refusal(&self, path: impl AsRef<Path>) -> ErrorKind {
        let error = self.judge(path.as_ref()).expect_err("must be refused");
        assert!(error.hint().is_some(), "no hint: {error}");
        error.kind()
    }
}

#[test]
fn a_project_below_home_is_judged_by_its_handle() {
    let host = Host::new();
    let judged = host.judge(host.at("home/u/project")).unwrap();
    assert!(judged.path().ends_with("home/u/project"));
    assert_eq!(judged.identity(), identity_of(&judged.handle).unwrap());
    judged.verify_unmoved().unwrap();
}

#[test]
fn protected_paths_their_parents_and_what_is_below_are_refused() {
    let host = Host::new();
    for inside in [
        "home/u",
        "home",
        "home/u/.ssh",
        "home/u/.ssh/keys",
        "home/u/.config",
        "state",
        "engine",
    ] {
        assert_eq!(
            host.refusal(host.at(inside)),
            ErrorKind::WorkspaceRefused,
            "{inside}"
        );
    }
    for system in [
        "/",
        "/etc",
        "/proc",
        "/proc/self",
        "/proc/self/root",
        "/sys",
        "/dev",
        "/dev/shm",
        "/run",
        "/var",
    ] {
        assert_eq!(host.refusal(system), ErrorKind::WorkspaceRefused, "{system}");
    }
    assert_eq!(host.refusal(host.root.path()), ErrorKind::WorkspaceRefused);
}

#[test]
fn roots_home_is_closed_unless_it_is_the_operators() {
    if fs::metadata("/root").is_err() {
        return;
    }
    let host = Host::new();
    assert_eq!(host.refusal("/root"), ErrorKind::WorkspaceRefused);
    let Ok(project) = TempDir::new_in("/root") else {
        return;
    };
    assert_eq!(host.refusal(project.path()), ErrorKind::WorkspaceRefused);
    let mut own = host.paths.clone();
    own.home = Some(PathBuf::from("/root"));
    judge(project.path(), &own).unwrap();
    assert_eq!(
        judge(Path::new("/root"), &own).unwrap_err().kind(),
        ErrorKind::WorkspaceRefused
    );
}

#[test]
fn what_is_no_directory_is_told_apart() {
    let host = Host::new();
    assert_eq!(
        host.refusal(host.at("home/u/absent")),
        ErrorKind::WorkspaceMissing
    );
    assert_eq!(
        host.refusal(host.at("home/u/project/file/x")),
        ErrorKind::WorkspaceMissing
    );
    assert_eq!(
        host.refusal(host.at("home/u/project/file")),
        ErrorKind::InvalidArgument
    );
    assert_eq!(host.refusal("relative"), ErrorKind::InvalidArgument);
    assert_eq!(host.refusal(""), ErrorKind::InvalidArgument);
    assert_eq!(host.refusal("/tmp/a\0b"), ErrorKind::InvalidArgument);
    let circle = host.at("home/u/circle");
    symlink(&circle, &circle).unwrap();
    assert_eq!(
        judge(&circle, &host.paths).unwrap_err().kind(),
        ErrorKind::WorkspaceRefused
    );
}

#[test]
fn i11_symlinks_lead_nowhere_forbidden_in_either_direction() {
    let host = Host::new();
    // A link to a secret, a chain of links, and a link to a directory that contains one.
    symlink(host.at("home/u/.ssh"), host.at("home/u/one")).unwrap();
    symlink(host.at("home/u/one"), host.at("home/u/two")).unwrap();
    symlink("/", host.at("home/u/three")).unwrap();
    for link in [
        "home/u/one",
        "home/u/two",
        "home/u/two/keys",
        "home/u/three",
        "home/u/three/etc",
    ] {
        assert_eq!(host.refusal(host.at(link)), ErrorKind::WorkspaceRefused, "{link}");
    }
    // The secret itself lives elsewhere: its true place is as closed as its name.
    fs::create_dir_all(host.at("vault/aws")).unwrap();
    symlink(host.at("vault/aws"), host.at("home/u/.aws")).unwrap();
    for place in ["vault", "vault/aws"] {
        assert_eq!(
            host.refusal(host.at(place)),
            ErrorKind::WorkspaceRefused,
            "{place}"
        );
    }
}

#[test]
fn files_as_mounts_are_regular_and_not_secret() {
    let host = Host::new();
    judge_mount_source(&host.at("home/u/project/file"), &host.paths).unwrap();
    fs::hard_link(host.at("home/u/.netrc"), host.at("home/u/project/innocent")).unwrap();
    for closed in ["home/u/.netrc", "home/u/project/innocent", "engine/docker.sock"] {
        let error = judge_mount_source(&host.at(closed), &host.paths).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WorkspaceRefused, "{closed}");
    }
    let other = host.at("home/u/project/other.sock");
    let _listener = UnixListener::bind(&other).unwrap();
    let error = judge_mount_source(&other, &host.paths).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WorkspaceRefused);
}

#[test]
fn i11_a_swapped_path_is_noticed() {
    let host = Host::new();
    let project = host.at("home/u/project");
    let judged = host.judge(&project).unwrap();
    fs::rename(&project, host.at("home/u/moved")).unwrap();
    assert!(judged.verify_unmoved().is_err());
    symlink(host.at("home/u/.ssh"), &project).unwrap();
    assert_eq!(
        judged.verify_unmoved().unwrap_err().kind(),
        ErrorKind::WorkspaceRefused
    );
    fs::remove_file(&project).unwrap();
    fs::rename(host.at("home/u/moved"), &project).unwrap();
    judged.verify_unmoved().unwrap();
}

#[test]
fn the_user_is_the_owner_and_never_root() {
    let host = Host::new();
    assert_eq!(user_for(None), UserIds::DEFAULT);
    let project = host.at("home/u/project");
    if chown(&project, Some(0), Some(0)).is_err() {
        return;
    }
    assert_eq!(user_for(Some(&host.judge(&project).unwrap())), UserIds::DEFAULT);
    chown(&project, Some(1234), Some(5678)).unwrap();
    assert_eq!(
        user_for(Some(&host.judge(&project).unwrap())),
        UserIds { uid: 1234, gid: 5678 }
    );
    chown(&project, Some(1234), Some(0)).unwrap();
    assert_eq!(
        user_for(Some(&host.judge(&project).unwrap())),
        UserIds { uid: 1234, gid: 1000 }
    );
}

#[test]
fn writability_follows_the_class_that_applies() {
    let host = Host::new();
    let project = host.at("home/u/project");
    let own = fs::metadata(&project)
        .map(|meta| std::os::unix::fs::MetadataExt::uid(&meta))
        .unwrap();
    let gid = fs::metadata(&project)
        .map(|meta| std::os::unix::fs::MetadataExt::gid(&meta))
        .unwrap();
    let owner = UserIds { uid: own, gid };
    let comrade = UserIds { uid: own + 1, gid };
    let stranger = UserIds {
        uid: own + 1,
        gid: gid + 1,
    };
    for (mode, user, writable) in [
        (0o700, owner, true),
        (0o500, owner, false),
        (0o077, owner, false),
        (0o770, comrade, true),
        (0o707, comrade, false),
        (0o707, stranger, true),
        (0o777, stranger, true),
        (0o775, stranger, false),
        (0o703, stranger, false),
    ] {
        fs::set_permissions(&project, fs::Permissions::from_mode(mode)).unwrap();
        let answer = check_writable(&host.judge(&project).unwrap(), user);
        assert_eq!(answer.is_ok(), writable, "{mode:o} {user:?}");
        if let Err(error) = answer {
            assert_eq!(error.kind(), ErrorKind::WorkspaceNotWritable);
            assert!(
                error
                    .hint()
                    .is_some_and(|hint| hint.contains("--copy") && hint.contains("chown"))
            );
        }
    }
}

/// One step of a path, spelled oddly.
fn odd_step(step: &str) -> impl Strategy<Value = String> + use<> {
    let step = step.to_owned();
    prop_oneof![
        Just(format!("/{step}")),
        Just(format!("//{step}")),
        Just(format!("/./{step}")),
        Just(format!("///.//{step}/.")),
        Just(format!("/{step}/../{step}")),
        Just(format!("/{step}/.")),
    ]
}

fn odd_path(steps: &[&str]) -> impl Strategy<Value = String> + use<> {
    let steps: Vec<_> = steps.iter().map(|step| odd_step(step)).collect();
    (steps, prop_oneof![Just(""), Just("/"), Just("//"), Just("/.")])
        .prop_map(|(steps, end)| steps.concat() + end)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_spelling_opens_what_is_closed(
        secret in odd_path(&["home", "u", ".ssh"]),
        home in odd_path(&["home", "u"]),
        below in odd_path(&["home", "u", "project"]),
        links in 1_usize..8,
    ) {
        let host = Host::new();
        let root = host.root.path().to_str().unwrap();
        let up = format!("{below}/../.config/gcloud");
        for spelled in [&secret, &home, &up] {
            prop_assert_eq!(host.refusal(format!("{root}{spelled}")), ErrorKind::WorkspaceRefused);
        }
        let mut target = PathBuf::from(format!("{root}{secret}"));
        for number in 0..links {
            let link = host.at(&format!("home/u/link{number}"));
            symlink(&target, &link).unwrap();
            target = link;
        }
        prop_assert_eq!(host.refusal(&target), ErrorKind::WorkspaceRefused);
    }

    #[test]
    fn every_spelling_of_a_project_is_the_same_directory(spelled in odd_path(&["home", "u", "project", "src"])) {
        let host = Host::new();
        let plain = host.judge(host.at("home/u/project/src")).unwrap();
        let odd = host.judge(format!("{}{spelled}", host.root.path().display())).unwrap();
        prop_assert_eq!(plain.path(), odd.path());
        prop_assert_eq!(plain.identity(), odd.identity());
    }

    #[test]
    fn no_path_makes_it_panic(path in "[/.a-z\\x00 ]{0,40}") {
        let host = HostPaths { state_dir: PathBuf::from("/nonexistent"), ..HostPaths::default() };
        let _ = judge(Path::new(&path), &host);
    }
}
