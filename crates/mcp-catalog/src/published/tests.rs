use std::collections::BTreeMap;
use std::fs;
use std::thread;

use serde_json::{Value, json};
use session_core::error::ErrorKind;

use super::*;
use crate::testing::{Home, chmod, mode, name, stdio, tool};
use crate::{Approval, Digest};

const FILE: &str = r#"
[servers.git]
command = "mcp-server-git"
env = { TOKEN = { env = "GIT_TOKEN" } }
times = { start_ms = 1 }
[servers.docs]
url = "https://docs.example.com/mcp"
[servers.off]
command = "off"
enabled = false
[profiles.default]
servers = ["git"]
tools = ["git__*"]
[profiles.empty]
servers = []
"#;

fn key(client: &str, profile: &str) -> DraftKey {
    DraftKey {
        client: client.parse().unwrap(),
        profile: name(profile),
    }
}

fn metadata() -> BTreeMap<String, Value> {
    [
        ("note".to_owned(), json!("first")),
        ("ratio".to_owned(), json!(0.1)),
    ]
    .into()
}

fn publish(home: &Home, key: &DraftKey) -> Artifact {
    home.catalog.publish(key, metadata()).unwrap()
}

fn kind_of<T: std::fmt::Debug>(outcome: session_core::error::Result<T>) -> ErrorKind {
    let error = outcome.unwrap_err();
    assert!(error.hint().is_some(), "{error}");
    error.kind()
}

#[test]
fn what_is_published_is_the_profile_and_verifies_in_every_process() {
    let home = Home::declaring(FILE);
    let key = key("sessions", "default");
    let artifact = publish(&home, &key);
    let configuration = home
        .catalog
        .declared()
        .unwrap()
        .configuration(&session_core::mcp::McpSelection::default())
        .unwrap();
    for catalog in [&home.catalog, &home.other()] {
        assert_eq!(catalog.artifact(&artifact.artifact_id).unwrap(), artifact);
        assert_eq!(catalog.latest(&key).unwrap(), Some(artifact.clone()));
        let verified = catalog.verify(&artifact).unwrap();
        assert_eq!(verified.key, key);
        assert_eq!(verified.configuration, configuration);
        assert_eq!(
            verified.digest,
            configuration.digest(),
            "what a session has in its plan"
        );
        let (found, _) = catalog.published_as(&verified.digest).unwrap().unwrap();
        assert_eq!(found, artifact);
    }
    assert_eq!(artifact.artifact_id, Digest::of(&artifact.payload));
    assert_eq!(home.catalog.published_as(&stdio("a").digest()).unwrap(), None);
    let fields: Vec<String> = serde_json::to_value(&artifact)
        .unwrap()
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(
        fields,
        [
            "artifact_id",
            "client_id",
            "created_at",
            "metadata",
            "payload",
            "profile_id",
            "signature",
            "signing_key_id"
        ]
    );
}

/// Every way to change one part of an artifact.
fn tampered(artifact: &Artifact, other: &Artifact) -> Vec<(&'static str, Artifact)> {
    let mut all = Vec::new();
    let mut change = |what, change: &dyn Fn(&mut Artifact)| {
        let mut changed = artifact.clone();
        change(&mut changed);
        assert_ne!(&changed, artifact, "{what}");
        all.push((what, changed));
    };
    change("artifact_id", &|artifact| {
        artifact.artifact_id = other.artifact_id.clone()
    });
    change("client_id", &|artifact| {
        artifact.client_id = "cursor".parse().unwrap()
    });
    change("profile_id", &|artifact| artifact.profile_id = name("other"));
    change("created_at", &|artifact| {
        artifact.created_at = "2020-01-01T00:00:00Z".parse().unwrap()
    });
    change("payload", &|artifact| {
        artifact.payload["configuration"]["servers"]["git"]["command"] = json!("evil");
    });
    change("payload and artifact_id", &|artifact| {
        artifact.payload["configuration"]["servers"]["git"]["command"] = json!("evil");
        artifact.artifact_id = Digest::of(&artifact.payload);
    });
    change("payload of another", &|artifact| {
        artifact.payload = other.payload.clone()
    });
    change("signature of another", &|artifact| {
        artifact.signature = other.signature.clone()
    });
    change("no signature", &|artifact| artifact.signature.clear());
    change("a signature that is no base64", &|artifact| {
        artifact.signature.replace_range(..1, "!")
    });
    change("signing_key_id", &|artifact| {
        artifact.signing_key_id = "ed25519-00".to_owned()
    });
    change("path as key", &|artifact| {
        artifact.signing_key_id = "../mcp-signing".to_owned()
    });
    change("metadata", &|artifact| {
        artifact.metadata.insert("note".to_owned(), json!("second"));
    });
    change("metadata left out", &|artifact| artifact.metadata.clear());
    all
}

#[test]
fn no_part_of_an_artifact_can_be_changed() {
    let home = Home::declaring(FILE);
    let artifact = publish(&home, &key("sessions", "default"));
    home.catalog
        .draft_add(&key("claude-code", "default"), &name("docs"))
        .unwrap();
    let other = publish(&home, &key("claude-code", "default"));
    for (what, changed) in tampered(&artifact, &other) {
        let error = home.catalog.verify(&changed).expect_err(what);
        let expected = if what == "signing_key_id" || what == "path as key" {
            ErrorKind::NotFound
        } else {
            ErrorKind::InvalidArgument
        };
        assert_eq!(error.kind(), expected, "{what}");
        assert!(error.hint().is_some());
    }
    // Each bit of the signature counts.
    let mut bytes = artifact.signature.clone().into_bytes();
    for index in 0..86 {
        let before = bytes[index];
        bytes[index] = if before == b'A' { b'B' } else { b'A' };
        let changed = Artifact {
            signature: String::from_utf8(bytes.clone()).unwrap(),
            ..artifact.clone()
        };
        assert!(home.catalog.verify(&changed).is_err(), "{index}");
        bytes[index] = before;
    }
    home.catalog.verify(&artifact).unwrap();
}

#[test]
fn a_signature_over_a_false_id_does_not_help() {
    let home = Home::declaring(FILE);
    let artifact = publish(&home, &key("sessions", "default"));
    let signer = home.catalog.signer(false).unwrap();
    let configuration = home.catalog.verify(&artifact).unwrap().configuration;
    let mut forged = Artifact::sign(&key("sessions", "default"), &configuration, metadata(), &signer);
    home.catalog.verify(&forged).unwrap();
    forged.artifact_id = stdio("a").digest();
    forged.resign(&signer);
    assert_eq!(kind_of(home.catalog.verify(&forged)), ErrorKind::InvalidArgument);
    let mut forged = Artifact::sign(&key("cursor", "default"), &configuration, metadata(), &signer);
    forged.client_id = ClientId::sessions();
    forged.resign(&signer);
    assert_eq!(kind_of(home.catalog.verify(&forged)), ErrorKind::InvalidArgument);
}

#[test]
fn the_key_of_somebody_else_is_none_of_ours() {
    let (home, other) = (Home::declaring(FILE), Home::declaring(FILE));
    let artifact = publish(&other, &key("sessions", "default"));
    assert_eq!(kind_of(home.catalog.verify(&artifact)), ErrorKind::NotFound);
    publish(&home, &key("sessions", "default"));
    assert_eq!(kind_of(home.catalog.verify(&artifact)), ErrorKind::NotFound);
    // Their key under the id of ours.
    let ours = home.catalog.initialize_keys(false).unwrap();
    let theirs = other.catalog.initialize_keys(false).unwrap();
    let (from, to) = (
        other.keys(&format!("mcp-{}.pub", theirs.key_id)),
        home.keys(&format!("mcp-{}.pub", ours.key_id)),
    );
    fs::copy(from, &to).unwrap();
    let renamed = Artifact {
        signing_key_id: ours.key_id,
        ..artifact
    };
    assert_eq!(kind_of(home.catalog.verify(&renamed)), ErrorKind::StateDirRefused);
}

#[test]
fn keys_are_made_once_kept_closed_and_replaced_on_demand() {
    let home = Home::declaring(FILE);
    let first = home.catalog.initialize_keys(false).unwrap();
    assert!(first.is_new);
    let again = home.other().initialize_keys(false).unwrap();
    assert_eq!(
        (again.is_new, &again.key_id, again.created),
        (false, &first.key_id, first.created)
    );
    assert_eq!(mode(&home.keys("")), 0o700);
    let public = home.keys(&format!("mcp-{}.pub", first.key_id));
    for path in [home.keys("mcp-signing.key"), public.clone()] {
        assert_eq!(mode(&path), 0o600);
    }
    let artifact = publish(&home, &key("sessions", "default"));
    let second = home.catalog.initialize_keys(true).unwrap();
    assert!(second.is_new);
    assert_ne!(second.key_id, first.key_id);
    home.other().verify(&artifact).unwrap();
    assert_eq!(
        publish(&home, &key("sessions", "default")),
        artifact,
        "its signature still holds"
    );

    fs::remove_file(public).unwrap();
    assert_eq!(kind_of(home.catalog.verify(&artifact)), ErrorKind::NotFound);
    let signed_again = publish(&home, &key("sessions", "default"));
    assert_eq!(signed_again.artifact_id, artifact.artifact_id);
    assert_eq!(signed_again.signing_key_id, second.key_id);
    home.other()
        .verify(&home.other().latest(&key("sessions", "default")).unwrap().unwrap())
        .unwrap();
}

#[test]
fn a_key_that_others_could_have_read_or_written_is_refused() {
    let home = Home::declaring(FILE);
    home.catalog.initialize_keys(false).unwrap();
    let path = home.keys("mcp-signing.key");
    chmod(&path, 0o644);
    assert_eq!(
        kind_of(home.catalog.initialize_keys(false)),
        ErrorKind::StateDirRefused
    );
    chmod(&path, 0o600);
    fs::write(&path, "short").unwrap();
    assert_eq!(
        kind_of(home.catalog.initialize_keys(false)),
        ErrorKind::StateDirRefused
    );
    home.catalog.initialize_keys(true).unwrap();
    chmod(&home.keys(""), 0o755);
    assert_eq!(
        kind_of(home.catalog.initialize_keys(false)),
        ErrorKind::StateDirRefused
    );
}

#[test]
fn of_many_who_make_a_key_at_once_all_have_the_same() {
    let home = Home::new();
    let keys: Vec<KeyInfo> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let catalog = home.other();
                scope.spawn(move || catalog.initialize_keys(false).unwrap())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(keys.iter().filter(|key| key.is_new).count(), 1);
    assert!(
        keys.iter()
            .all(|key| key.key_id == keys[0].key_id && key.public_key == keys[0].public_key)
    );
}

#[test]
fn a_draft_is_a_choice_of_its_own_that_begins_with_the_profile() {
    let home = Home::declaring(FILE);
    let key = key("cursor", "default");
    assert_eq!(home.catalog.draft(&key).unwrap(), None);
    assert_eq!(
        home.catalog.draft_add(&key, &name("docs")).unwrap().servers,
        [name("git"), name("docs")]
    );
    assert_eq!(
        home.catalog.draft_add(&key, &name("docs")).unwrap().servers.len(),
        2
    );
    assert_eq!(
        kind_of(home.catalog.draft_add(&key, &name("none"))),
        ErrorKind::NotFound
    );
    let draft = home.catalog.draft_remove(&key, &name("git")).unwrap();
    assert_eq!(home.other().draft(&key).unwrap(), Some(draft));
    assert_eq!(home.catalog.draft(&self::key("cursor", "empty")).unwrap(), None);
    assert!(home.catalog.draft_clear(&key).unwrap());
    assert!(!home.catalog.draft_clear(&key).unwrap());
    assert_eq!(home.catalog.draft(&key).unwrap(), None);
    fs::write(home.storage("drafts/cursor.default.json"), "{}").unwrap();
    chmod(&home.storage("drafts/cursor.default.json"), 0o600);
    assert_eq!(kind_of(home.catalog.draft(&key)), ErrorKind::StateDirRefused);
}

#[test]
fn clients_and_their_profiles_are_listed() {
    let home = Home::declaring(FILE);
    let clients: Vec<String> = home.catalog.clients().into_iter().map(String::from).collect();
    assert_eq!(clients, ["claude-code", "claude-desktop", "cursor", "sessions"]);
    for wrong in ["", "claude", "../x", "Cursor"] {
        assert_eq!(kind_of(wrong.parse::<ClientId>()), ErrorKind::InvalidArgument);
    }
    assert!(serde_json::from_str::<ClientId>("\"a.b\"").is_err());
    let artifact = publish(&home, &key("cursor", "default"));
    home.catalog
        .draft_add(&key("cursor", "work"), &name("docs"))
        .unwrap();
    let summary = |profile: &str, declared, draft, published: Option<&Artifact>| ProfileSummary {
        profile: name(profile),
        declared,
        draft,
        published: published.map(|artifact| artifact.artifact_id.clone()),
    };
    assert_eq!(
        home.catalog.list_profiles(&"cursor".parse().unwrap()).unwrap(),
        [
            summary("default", true, false, Some(&artifact)),
            summary("empty", true, false, None),
            summary("work", false, true, None),
        ]
    );
    assert_eq!(
        home.catalog.list_profiles(&ClientId::sessions()).unwrap().len(),
        2
    );
}

#[test]
fn what_stands_in_the_way_is_said_and_not_published() {
    let home = Home::declaring(FILE);
    let codes = |key: &DraftKey| -> Vec<&'static str> {
        let validation = home.catalog.validate(key).unwrap();
        validation.problems.iter().map(|problem| problem.code).collect()
    };
    let default = key("sessions", "default");
    assert_eq!(codes(&default), Vec::<&str>::new());
    assert_eq!(
        kind_of(home.catalog.validate(&key("sessions", "none"))),
        ErrorKind::NotFound
    );
    assert_eq!(codes(&key("sessions", "empty")), ["no_servers"]);
    assert_eq!(
        kind_of(home.catalog.publish(&key("sessions", "empty"), BTreeMap::new())),
        ErrorKind::InvalidArgument
    );

    home.catalog
        .judge(&name("git"), Approval::Each, &[tool("log", "")])
        .unwrap();
    assert_eq!(codes(&default), ["held_tools"]);
    home.catalog.draft_add(&default, &name("off")).unwrap();
    assert_eq!(codes(&default), ["held_tools", "disabled_server"]);
    assert!(home.catalog.validate(&default).unwrap().is_publishable());
    let artifact = publish(&home, &default);
    let verified = home.catalog.verify(&artifact).unwrap();
    assert!(!verified.configuration.servers.contains_key(&name("off")));
    assert_eq!(verified.digest, home.catalog.validate(&default).unwrap().digest);

    home.catalog.remove_server(&name("off")).unwrap();
    assert_eq!(codes(&default), ["held_tools", "unknown_server"]);
    assert_eq!(
        kind_of(home.catalog.publish(&default, BTreeMap::new())),
        ErrorKind::InvalidArgument
    );
    home.catalog.draft_remove(&default, &name("off")).unwrap();
    home.catalog.draft_remove(&default, &name("git")).unwrap();
    home.catalog.draft_add(&default, &name("docs")).unwrap();
    assert_eq!(codes(&default), ["tools_match_nothing"]);
}

#[test]
fn metadata_is_bounded_and_holds_no_secret() {
    let home = Home::declaring(FILE);
    let publish = |value: Value| {
        let metadata = [("a".to_owned(), value)].into();
        home.catalog.publish(&key("sessions", "default"), metadata)
    };
    assert_eq!(
        kind_of(publish(json!("x".repeat(70_000)))),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        kind_of(publish(json!({"b": [format!("ghp_{}", "a".repeat(40))]}))),
        ErrorKind::InvalidArgument
    );
    publish(json!({"b": [1.1, -0.0, 1e300, 12_345_678_901_234_567_890_u64]})).unwrap();
    let latest = home.other().latest(&key("sessions", "default")).unwrap().unwrap();
    home.other().verify(&latest).unwrap();
}

#[test]
fn going_back_publishes_the_old_artifact_again() {
    let home = Home::declaring(FILE);
    let key = key("sessions", "default");
    let one = publish(&home, &key);
    home.catalog
        .add_server(&name("git"), &stdio("other"), true)
        .unwrap();
    let two = publish(&home, &key);
    assert_eq!(home.catalog.artifacts(&key).unwrap(), [two.clone(), one.clone()]);
    home.write(FILE);
    assert_eq!(publish(&home, &key), one);
    assert_eq!(publish(&home, &key), one);
    assert_eq!(home.other().latest(&key).unwrap(), Some(one.clone()));
    assert_eq!(home.other().artifacts(&key).unwrap(), [one.clone(), two]);
    let elsewhere = publish(&home, &self::key("cursor", "default"));
    assert_ne!(
        elsewhere.artifact_id, one.artifact_id,
        "each client has artifacts of its own"
    );
    assert_eq!(
        home.catalog.verify(&elsewhere).unwrap().digest,
        home.catalog.verify(&one).unwrap().digest
    );
}

#[test]
fn what_was_stored_is_checked_when_it_is_read() {
    let home = Home::declaring(FILE);
    let key = key("sessions", "default");
    let artifact = publish(&home, &key);
    assert_eq!(
        kind_of(home.catalog.artifact(&stdio("a").digest())),
        ErrorKind::NotFound
    );
    let path = home.storage(&format!("artifacts/{}.json", artifact.artifact_id.hex()));
    assert_eq!(mode(&path), 0o600);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("mcp-server-git", "mcp-server-evil")).unwrap();
    let stored = home.other().latest(&key).unwrap().unwrap();
    assert_eq!(kind_of(home.other().verify(&stored)), ErrorKind::InvalidArgument);
    assert_eq!(
        home.other().diff(&key, None).unwrap().status,
        DriftStatus::Unknown
    );
    assert_eq!(home.other().published_as(&stdio("a").digest()).unwrap(), None);
    fs::write(&path, "{}").unwrap();
    assert_eq!(
        kind_of(home.other().artifact(&artifact.artifact_id)),
        ErrorKind::StateDirRefused
    );
    fs::write(&path, text).unwrap();
    home.other().verify(&artifact).unwrap();
}

#[test]
fn drift_is_told_in_four_words() {
    let home = Home::declaring(FILE);
    let key = key("claude-desktop", "default");
    let diff = |deployed: Option<&Digest>| home.catalog.diff(&key, deployed).unwrap();
    let before = diff(None);
    assert_eq!(before.status.as_str(), "unknown");
    assert_eq!(before.changes[0].kind, ChangeKind::Added);
    assert_eq!(diff(Some(&before.current)).status, DriftStatus::Unknown);

    let artifact = publish(&home, &key);
    let published = home.catalog.verify(&artifact).unwrap().digest;
    let strange = stdio("strange").digest();
    assert_eq!(published, before.current);
    let same = diff(None);
    assert_eq!(same.status.as_str(), "up-to-date");
    assert_eq!(same.published, Some(artifact.artifact_id));
    assert!(same.changes.is_empty() && !same.tools_changed);
    assert_eq!(diff(Some(&published)).status, DriftStatus::UpToDate);
    assert_eq!(diff(Some(&strange)).status.as_str(), "diverged");

    let changed = FILE
        .replace("mcp-server-git", "mcp-server-got")
        .replace("start_ms = 1", "start_ms = 2")
        .replace("\"git__*\"", "\"git__*\", \"docs__*\"")
        .replace("servers = [\"git\"]", "servers = [\"git\", \"docs\"]");
    home.write(&changed);
    let outdated = diff(None);
    assert_eq!(outdated.status.as_str(), "outdated");
    assert!(outdated.tools_changed);
    assert_eq!(
        outdated.changes,
        [
            ServerChange {
                server: name("docs"),
                kind: ChangeKind::Added,
                fields: Vec::new()
            },
            ServerChange {
                server: name("git"),
                kind: ChangeKind::Changed,
                fields: vec!["command".to_owned(), "times".to_owned()]
            },
        ]
    );
    assert_eq!(diff(Some(&published)).status, DriftStatus::Outdated);
    assert_eq!(diff(Some(&outdated.current)).status, DriftStatus::Outdated);
    assert_eq!(diff(Some(&strange)).status, DriftStatus::Diverged);

    home.catalog.draft_remove(&key, &name("git")).unwrap();
    let removed = diff(None);
    assert_eq!(removed.changes[1].kind, ChangeKind::Removed);
    assert_eq!(
        serde_json::to_value(&removed).unwrap()["status"],
        json!("outdated"),
        "the draft counts too"
    );
    publish(&home, &key);
    assert_eq!(diff(None).status, DriftStatus::UpToDate);
    assert_eq!(
        diff(Some(&published)).status,
        DriftStatus::Diverged,
        "it is older than the last publication"
    );
}
