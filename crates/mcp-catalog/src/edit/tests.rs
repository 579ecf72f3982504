use std::fs;
use std::os::unix::fs::symlink;
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::testing::{CANARY, Home, chmod, definition, mode, name, server_name, stdio, unprivileged};
use crate::{Names, Transport};

/// A file as people write it.
const FILE: &str = r#"# The servers of this machine.
# Ask ops before you add one.

only_published = false # for now

# Read only!
[servers.git]
command = "mcp-server-git" # from PyPI
args = [
  "--repository", # one per line
  "/srv/repo",
]

[servers.docs]
# The token is rotated every night.
url = "https://docs.example.com/mcp"

[servers.docs.headers]
Authorization = { prefix = "Bearer ", env = "DOCS_TOKEN" }

# Everybody has these.
[profiles.default]
servers = [
  "docs", # first
  "git",
]
"#;

#[test]
fn a_new_server_is_put_behind_and_nothing_else_changes() {
    let home = Home::declaring(FILE);
    home.catalog
        .add_server(&name("time"), &stdio("mcp-time"), false)
        .unwrap();
    let text = home.text();
    assert!(
        text.contains("[servers.time]\ntransport = \"stdio\"\ncommand = \"mcp-time\"\n"),
        "{text}"
    );
    let without = text.replace(
        "\n[servers.time]\ntransport = \"stdio\"\ncommand = \"mcp-time\"\n",
        "",
    );
    assert_eq!(without, FILE);
    assert_eq!(
        home.catalog.declared().unwrap().servers[&name("time")],
        stdio("mcp-time")
    );
}

#[test]
fn the_first_server_makes_the_file_and_its_directory() {
    let home = Home::new();
    let mut paths = home.catalog.paths().clone();
    paths.servers = home.dir.path().join("config/cofferdam/servers.toml");
    let catalog = Catalog::new(paths.clone());
    catalog
        .add_server(&name("time"), &stdio("mcp-time"), false)
        .unwrap();
    assert_eq!(
        fs::read_to_string(&paths.servers).unwrap(),
        "[servers.time]\ntransport = \"stdio\"\ncommand = \"mcp-time\"\n"
    );
    assert_eq!(mode(&paths.servers), 0o600);
    assert_eq!(mode(paths.servers.parent().unwrap()), 0o700);
}

#[test]
fn a_replaced_server_keeps_what_it_says_the_same_way() {
    let home = Home::declaring(FILE);
    let error = home
        .catalog
        .add_server(&name("git"), &stdio("a"), false)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.hint().unwrap().contains("--replace"));
    assert_eq!(home.text(), FILE);

    let mut git = home.catalog.declared().unwrap().servers[&name("git")].clone();
    git.names = Names::Bare;
    let Transport::Stdio { command, .. } = &mut git.transport else {
        panic!("{git:?}");
    };
    "/opt/git".clone_into(command);
    home.catalog.add_server(&name("git"), &git, true).unwrap();
    let text = home.text();
    assert!(text.contains("command = \"/opt/git\" # from PyPI"), "{text}");
    assert!(text.contains("\"--repository\", # one per line"), "{text}");
    assert!(text.contains("# Read only!\n[servers.git]"), "{text}");
    assert!(text.contains("names = \"bare\""), "{text}");
    assert_eq!(home.catalog.declared().unwrap().servers[&name("git")], git);

    home.catalog
        .add_server(&name("docs"), &stdio("docs"), true)
        .unwrap();
    assert_eq!(
        home.catalog.declared().unwrap().servers[&name("docs")],
        stdio("docs")
    );
    assert!(!home.text().contains("[servers.docs.headers]"));
}

#[test]
fn a_removed_server_is_gone_from_profiles_too_and_other_comments_stay() {
    let home = Home::declaring(FILE);
    assert!(home.catalog.remove_server(&name("git")).unwrap());
    let text = home.text();
    for kept in [
        "# The servers of this machine.",
        "# Ask ops before you add one.",
        "# for now",
        "# The token is rotated every night.",
        "# Everybody has these.",
        "\"docs\", # first",
    ] {
        assert!(text.contains(kept), "{kept}: {text}");
    }
    assert!(!text.contains("git"), "{text}");
    assert!(!text.contains("# Read only!"), "{text}");
    let declared = home.catalog.declared().unwrap();
    assert_eq!(declared.profiles[&name("default")].servers, [name("docs")]);
    assert!(!home.catalog.remove_server(&name("git")).unwrap());
    assert_eq!(home.text(), text);
}

#[test]
fn the_head_of_a_file_stays_when_its_first_server_goes() {
    let home = Home::declaring(
        "# Ours.\n\n# a\n[servers.a]\ncommand = \"a\"\n\n# b\n[servers.b]\ncommand = \"b\"\n",
    );
    home.catalog.remove_server(&name("a")).unwrap();
    assert_eq!(home.text(), "# Ours.\n\n# b\n[servers.b]\ncommand = \"b\"\n");
    home.catalog.remove_server(&name("b")).unwrap();
    assert_eq!(home.text(), "# Ours.\n\n");
}

#[test]
fn servers_on_one_line_are_edited_too() {
    let home = Home::declaring(
        "servers = { a = { command = \"a\" } } # few\nprofiles = { p = { servers = [\"a\"] } }\n",
    );
    home.catalog.add_server(&name("b"), &stdio("b"), false).unwrap();
    home.catalog.add_server(&name("a"), &stdio("c"), true).unwrap();
    let declared = home.catalog.declared().unwrap();
    assert_eq!(declared.servers[&name("a")], stdio("c"));
    assert_eq!(declared.servers[&name("b")], stdio("b"));
    home.catalog.remove_server(&name("a")).unwrap();
    let declared = home.catalog.declared().unwrap();
    assert_eq!(declared.servers.len(), 1);
    assert!(declared.profiles[&name("p")].servers.is_empty());
    assert!(home.text().contains("# few"));
}

#[test]
fn profiles_are_set_and_removed() {
    let home = Home::declaring(FILE);
    let profile = Profile {
        servers: vec![name("git")],
        tools: vec!["git__*".to_owned()],
        search: Some(true),
    };
    home.catalog.set_profile(&name("default"), &profile).unwrap();
    home.catalog.set_profile(&name("work"), &profile).unwrap();
    assert!(home.text().contains("# Everybody has these.\n[profiles.default]"));
    let declared = home.catalog.declared().unwrap();
    assert_eq!(declared.profiles[&name("default")], profile);
    assert_eq!(declared.profiles[&name("work")], profile);

    let unknown = Profile {
        servers: vec![name("none")],
        ..profile.clone()
    };
    assert_eq!(
        home.catalog
            .set_profile(&name("work"), &unknown)
            .unwrap_err()
            .kind(),
        ErrorKind::InvalidArgument
    );
    let strange = Profile {
        tools: vec!["a b".to_owned()],
        ..profile
    };
    assert_eq!(
        home.catalog
            .set_profile(&name("work"), &strange)
            .unwrap_err()
            .kind(),
        ErrorKind::InvalidArgument
    );
    assert!(home.catalog.remove_profile(&name("default")).unwrap());
    assert!(!home.catalog.remove_profile(&name("default")).unwrap());
    assert_eq!(home.catalog.declared().unwrap().profiles.len(), 1);
}

#[test]
fn a_file_that_cannot_be_understood_is_not_touched() {
    let broken = format!("[servers.a]\ncommand = \"a\"\ncomand = \"{CANARY}\"\n");
    let home = Home::declaring(&broken);
    let error = home
        .catalog
        .add_server(&name("b"), &stdio("b"), false)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("line: 3"), "{error}");
    assert!(!format!("{error:?}").contains(CANARY));
    assert_eq!(home.text(), broken);
    home.catalog
        .add_server(&name("b"), &stdio("not absolute/b"), false)
        .unwrap_err();
    fs::write(home.servers(), b"a = \"\xff\"").unwrap();
    assert_eq!(
        home.catalog.declared().unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn a_link_to_the_file_stays_a_link() {
    let home = Home::declaring(FILE);
    let real = home.dir.path().join("dotfiles");
    fs::create_dir(&real).unwrap();
    chmod(&real, 0o755);
    fs::rename(home.servers(), real.join("mcp.toml")).unwrap();
    symlink("dotfiles/mcp.toml", home.servers()).unwrap();
    chmod(&real.join("mcp.toml"), 0o640);
    home.catalog
        .add_server(&name("time"), &stdio("time"), false)
        .unwrap();
    assert!(fs::symlink_metadata(home.servers()).unwrap().is_symlink());
    assert!(
        fs::read_to_string(real.join("mcp.toml"))
            .unwrap()
            .contains("[servers.time]")
    );
    assert_eq!(mode(&real.join("mcp.toml")), 0o640, "the mode is kept");
    assert!(
        home.catalog
            .declared()
            .unwrap()
            .servers
            .contains_key(&name("time"))
    );
}

#[test]
fn editors_at_once_lose_nothing() {
    let home = Home::declaring(FILE);
    let servers: Vec<_> = (0..8).map(|editor| format!("s{editor}")).collect();
    thread::scope(|scope| {
        for server in &servers {
            let catalog = home.other();
            scope.spawn(move || {
                for round in 0..5 {
                    let name = name(&format!("{server}-{round}"));
                    catalog.add_server(&name, &stdio("a"), false).unwrap();
                }
                assert!(catalog.remove_server(&name(&format!("{server}-0"))).unwrap());
            });
        }
    });
    let declared = home.catalog.declared().unwrap();
    assert_eq!(declared.servers.len(), 2 + 8 * 4);
    assert!(home.text().starts_with("# The servers of this machine."));
    let left: Vec<_> = fs::read_dir(home.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".draft"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn where_nothing_can_be_written_the_old_file_stays() {
    unprivileged(|| {
        let home = Home::declaring(FILE);
        // Its lock is there already.
        home.catalog
            .add_server(&name("time"), &stdio("time"), false)
            .unwrap();
        let before = home.text();
        chmod(home.dir.path(), 0o500);
        let error = home
            .catalog
            .add_server(&name("a"), &stdio("a"), false)
            .unwrap_err();
        chmod(home.dir.path(), 0o700);
        assert_eq!(error.kind(), ErrorKind::HostIo);
        assert!(error.hint().is_some());
        assert_eq!(home.text(), before);
        home.catalog.add_server(&name("a"), &stdio("a"), false).unwrap();
    });
}

#[test]
fn a_file_that_others_can_write_is_refused() {
    let home = Home::declaring(FILE);
    for open in [0o664, 0o646] {
        chmod(&home.servers(), open);
        for error in [
            home.catalog.declared().unwrap_err(),
            home.catalog
                .add_server(&name("a"), &stdio("a"), false)
                .unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::StateDirRefused);
            assert!(error.hint().unwrap().contains("chmod go-w"), "{:?}", error.hint());
        }
    }
    chmod(&home.servers(), 0o644);
    home.catalog.declared().unwrap();
    chmod(home.dir.path(), 0o777);
    assert_eq!(
        home.catalog.declared().unwrap_err().kind(),
        ErrorKind::StateDirRefused
    );
    chmod(home.dir.path(), 0o1777);
    home.catalog.declared().unwrap();
}

#[test]
fn what_was_declared_is_read_again_when_the_file_changed_and_only_then() {
    let home = Home::declaring(FILE);
    let first = home.catalog.declared().unwrap();
    thread::sleep(std::time::Duration::from_millis(120));
    let second = home.catalog.declared().unwrap();
    let third = home.catalog.declared().unwrap();
    assert!(std::sync::Arc::ptr_eq(&second, &third));
    assert_eq!(first, second);
    // Of the same length, in the same place.
    home.write(&FILE.replace("mcp-server-git", "mcp-server-got"));
    assert_ne!(home.catalog.declared().unwrap(), first);
    home.write(FILE);
    assert_eq!(home.catalog.declared().unwrap(), first);
    fs::remove_file(home.servers()).unwrap();
    assert_eq!(*home.catalog.declared().unwrap(), Declared::default());
    assert!(!home.catalog.is_declared().unwrap());
}

#[derive(Debug, Clone)]
enum Step {
    Add(ServerName, Box<ServerDefinition>),
    Remove(ServerName),
}

fn step() -> impl Strategy<Value = Step> {
    let known = prop_oneof![
        3 => prop::sample::select(vec![name("git"), name("docs"), name("a"), name("b")]),
        1 => server_name(),
    ];
    prop_oneof![
        2 => (known.clone(), definition()).prop_map(|(name, definition)| Step::Add(name, Box::new(definition))),
        1 => known.prop_map(Step::Remove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_edited_the_file_says_just_that_and_the_head_stays(steps in prop::collection::vec(step(), 1..8)) {
        let home = Home::declaring(FILE);
        let mut expected = home.catalog.declared().unwrap().servers.clone();
        for step in steps {
            match step {
                Step::Add(name, definition) => {
                    home.catalog.add_server(&name, &definition, true).unwrap();
                    expected.insert(name, *definition);
                }
                Step::Remove(name) => {
                    let there = expected.remove(&name).is_some();
                    prop_assert_eq!(home.catalog.remove_server(&name).unwrap(), there);
                }
            }
            let declared = home.catalog.declared().unwrap();
            prop_assert_eq!(&declared.servers, &expected);
            prop_assert!(declared.profiles[&name("default")].servers.iter().all(|server| expected.contains_key(server)));
            let text = home.text();
            prop_assert!(text.starts_with("# The servers of this machine.\n# Ask ops before you add one.\n"), "{}", text);
            prop_assert!(text.contains("# for now") && text.contains("# Everybody has these.\n[profiles.default]"), "{}", text);
        }
    }
}
