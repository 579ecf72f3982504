//! A client that was told something else than the daemon.

use crate::host::{Host, Said};

const OURS: (&str, &str) = ("ANTHROPIC_API_KEY", "canary-key-of-one-0123456789");
const THEIRS: (&str, &str) = ("ANTHROPIC_API_KEY", "canary-key-of-another-0123456789");

/// Makes a session, which there is no engine for; but the daemon has been chosen by then.
fn creates(host: &Host, key: (&str, &str)) -> Said {
    let said = host.run_with(key, &["create", "--empty"]);
    assert_eq!(said.code, Some(5), "there is no engine: {said:?}");
    said
}

#[test]
fn one_that_a_client_started_is_replaced_when_it_has_nothing_to_do() {
    let host = Host::new();
    creates(&host, OURS);
    let first = host.pid().unwrap();
    creates(&host, OURS);
    assert_eq!(host.pid(), Some(first), "the same settings");
    let said = creates(&host, THEIRS);
    assert!(!said.stderr.contains("warning"), "{said:?}");
    let second = host.pid().unwrap();
    assert_ne!(second, first);
    // Whoever brings no key of their own takes the daemon as it is.
    assert_eq!(host.run(&["create", "--empty"]).code, Some(5));
    assert_eq!(host.pid(), Some(second));
    // So does whoever makes nothing that settings matter to.
    assert_eq!(host.run_with(OURS, &["ls"]).code, Some(0));
    assert_eq!(host.pid(), Some(second));
}

#[test]
fn one_that_somebody_started_by_hand_stays_and_the_client_is_warned() {
    let host = Host::new();
    let _serving = host.serve(&[]);
    let first = host.pid();
    let said = creates(&host, OURS);
    assert!(
        said.stderr.contains("was started with other settings"),
        "{said:?}"
    );
    assert!(!said.stderr.contains("canary") && host.pid() == first, "{said:?}");
    let said = host.run(&["create", "--empty"]);
    assert!(!said.stderr.contains("warning"), "{said:?}");
}

#[test]
fn policies_and_what_they_name_are_settings_too() {
    let host = Host::new();
    let policy = host.dir().join("policy.toml");
    let named = ("COFFERDAM_POLICY", policy.to_str().unwrap());
    let pid = |key: &str| {
        let mut command = host.command(&["create", "--empty"]);
        command.envs([OURS, named, ("HOST_KEY", key)]);
        assert_eq!(Said::of(&command.output().unwrap()).code, Some(5));
        host.pid().unwrap()
    };
    std::fs::write(&policy, "[budget.day]\nusd = 1\n").unwrap();
    let first = pid("a");
    assert_eq!(pid("b"), first, "nobody refers to that variable");
    std::fs::write(
        &policy,
        "[[egress.credentials]]\nhost = \"a.example.com\"\nsecret = { env = \"HOST_KEY\" }\n",
    )
    .unwrap();
    let second = pid("a");
    assert_ne!(second, first);
    assert_eq!(pid("a"), second);
    assert_ne!(pid("b"), second);
}

/// Runs `args` without any key, with one more variable.
fn without_key(host: &Host, variable: (&str, &str), args: &[&str]) -> Said {
    let said = host.run_with(variable, args);
    assert!(!matches!(said.code, Some(0 | 2)), "{said:?}");
    said
}

#[test]
fn engines_and_policies_are_compared_without_any_key_too() {
    let host = Host::new();
    let policy = host.dir().join("policy.toml");
    std::fs::write(&policy, "[budget.day]\nusd = 1\n").unwrap();
    let engine = ("DOCKER_HOST", "unix:///nonexistent/other.sock");
    let policy = ("COFFERDAM_POLICY", policy.to_str().unwrap());
    for (number, other) in [engine, policy].into_iter().enumerate() {
        creates(&host, OURS);
        let first = host.pid().unwrap();
        // A command that needs the model needs the key that is there, and is told whose settings hold.
        for args in [&["run", "--empty", "go"][..], &["prompt", "some", "go"]] {
            let said = without_key(&host, other, args);
            assert!(
                said.stderr.contains("was started with other settings"),
                "{other:?}: {said:?}"
            );
            assert_eq!(host.pid(), Some(first), "{number}");
        }
        // One that does not need it gets what it was told.
        let said = without_key(&host, other, &["create", "--empty"]);
        assert!(!said.stderr.contains("warning"), "{said:?}");
        let second = host.pid().unwrap();
        assert_ne!(second, first, "{other:?}");
        without_key(&host, other, &["create", "--empty"]);
        assert_eq!(host.pid(), Some(second), "the same settings");
        // Settings mean nothing to these.
        without_key(
            &host,
            ("DOCKER_HOST", "unix:///elsewhere"),
            &["exec", "some", "true"],
        );
        assert_eq!(host.pid(), Some(second));
    }
}

#[test]
fn where_the_key_of_the_daemon_leads_is_its_own() {
    let host = Host::new();
    let mut command = host.command(&["create", "--empty"]);
    command.envs([OURS, ("ANTHROPIC_BASE_URL", "https://provider.example.com")]);
    assert_eq!(Said::of(&command.output().unwrap()).code, Some(5));
    let first = host.pid();
    let said = host.run(&["create", "--empty"]);
    assert!(!said.stderr.contains("warning"), "{said:?}");
    assert_eq!(host.pid(), first);
    // Whoever brings a key says where it leads, too.
    creates(&host, OURS);
    assert_ne!(host.pid(), first);
}

#[test]
fn a_prompt_without_any_key_starts_nothing() {
    let host = Host::new();
    let said = host.run(&["run", "--empty", "do it"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("there is no credential"), "{said:?}");
    assert!(host.processes().is_empty());
}
