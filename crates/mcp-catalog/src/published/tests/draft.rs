//! What would be published, what stands in its way, and how it differs from what was.

use super::*;
use crate::Approval;
use crate::testing::tool;

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
