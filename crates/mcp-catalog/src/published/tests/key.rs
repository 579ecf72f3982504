//! The keys that sign.

use std::thread;

use super::*;

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
