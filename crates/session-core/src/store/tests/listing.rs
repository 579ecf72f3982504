//! The list of those that live: never out of date, whoever changed what, and read again only when something changed.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// What the list must be, read anew.
async fn read_anew(store: &Store) -> Vec<SessionInfo> {
    let records = store.sessions(&SessionFilter::default()).await.unwrap();
    records.into_iter().map(|record| record.info).collect()
}

fn infos(listing: &Listing) -> Vec<SessionInfo> {
    let sessions = listing.sessions().iter();
    sessions.map(|info| SessionInfo::clone(info)).collect()
}

#[tokio::test]
async fn what_has_not_changed_is_not_read_again() {
    let home = Home::new();
    let store = home.open().await;
    let (one, other) = (ready(&store).await, ready(&store).await);
    let first = store.listing().await.unwrap();
    let again = store.listing().await.unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    store.commit(&one, say(["x"])).await.unwrap();
    let later = store.listing().await.unwrap();
    assert_ne!(later.version(), first.version());
    assert!(!Arc::ptr_eq(later.get(&one).unwrap(), first.get(&one).unwrap()));
    assert!(Arc::ptr_eq(
        later.get(&other).unwrap(),
        first.get(&other).unwrap()
    ));
}

/// What is done to one of three sessions, by one of two handles that share nothing but the file.
#[derive(Debug, Clone)]
enum Step {
    Insert,
    Say(usize),
    Prompt(usize),
    End(usize),
}

fn steps() -> impl Strategy<Value = Vec<(bool, Step)>> {
    let step = prop_oneof![
        Just(Step::Insert),
        (0..3usize).prop_map(Step::Say),
        (0..3usize).prop_map(Step::Prompt),
        (0..3usize).prop_map(Step::End),
    ];
    proptest::collection::vec((any::<bool>(), step), 1..12)
}

async fn make(store: &Store, sessions: &mut Vec<SessionId>, step: Step) {
    let of = |index: usize| sessions.get(index).copied();
    match step {
        Step::Insert => sessions.push(ready(store).await),
        Step::Say(index) => {
            if let Some(session) = of(index) {
                store.commit(&session, say(["x"])).await.unwrap();
            }
        }
        Step::Prompt(index) => {
            // Refused when it has ended.
            if let Some(session) = of(index) {
                let _ = store.insert_turn(&session, turn("p")).await;
            }
        }
        Step::End(index) => {
            if let Some(session) = of(index) {
                store
                    .commit(&session, state(SessionState::Destroyed))
                    .await
                    .unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_list_is_what_is_stored_after_each_step_of_anybody(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let home = Home::new();
            let (ours, theirs) = (home.open().await, home.open().await);
            let mut sessions = Vec::new();
            let mut version = ours.listing().await.unwrap().version();
            for (foreign, step) in steps {
                let before = read_anew(&ours).await;
                make(if foreign { &theirs } else { &ours }, &mut sessions, step).await;
                let listing = ours.listing().await.unwrap();
                let now = read_anew(&ours).await;
                assert_eq!(infos(&listing), now);
                assert!(now == before || listing.version() != version, "a change changes the version");
                version = listing.version();
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_shares_a_look_with_one_that_went_away_gets_its_list() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let mut asking = tokio::task::JoinSet::new();
    for asker in 0..400_u64 {
        let store = store.clone();
        asking.spawn(async move {
            if asker % 2 == 0 {
                // Dropped while it waits, or done.
                let hurry = std::time::Duration::from_micros(asker);
                let _ = tokio::time::timeout(hurry, store.listing()).await;
                return true;
            }
            store.listing().await.unwrap().get(&session).is_some()
        });
    }
    let all = asking.join_all();
    let all = tokio::time::timeout(std::time::Duration::from_secs(20), all).await;
    assert!(all.unwrap().into_iter().all(|found| found));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_nobody_will_read_is_an_error_and_no_wait() {
    let home = Home::new();
    let store = home.open().await;
    ready(&store).await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let store = store.clone();
        asking.spawn(async move {
            while store.listing().await.is_ok() {}
            kind_of(store.listing().await)
        });
    }
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    store.close().await;
    let all = tokio::time::timeout(std::time::Duration::from_secs(20), asking.join_all()).await;
    assert!(all.unwrap().into_iter().all(|kind| kind == ErrorKind::Cancelled));
}
