mod draft;
mod key;

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};
use session_core::error::ErrorKind;

use super::*;
use crate::Digest;
use crate::testing::{Home, chmod, mode, name, stdio};

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
