//! Full disks and damaged files: typed errors, nothing acknowledged is lost, and work goes on when the cause is gone.

use std::fs;

use super::*;

async fn limit_pages(store: &Store, more: i64) {
    store
        .inner
        .write("limit the store", move |write| {
            let connection = write.connection;
            let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
            let limit = if more < 0 { 1 << 30 } else { pages + more };
            connection.pragma_update_and_check(None, "max_page_count", limit, |_| Ok(()))?;
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_full_disk_is_said_to_be_one_and_work_goes_on_when_there_is_space_again() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    limit_pages(&store, 20).await;
    let error = loop {
        if let Err(error) = store.commit(&session, say(["x".repeat(3000)])).await {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::HostIo);
    assert!(error.is_retryable());
    assert!(error.hint().unwrap().contains("free space"));
    let full = all_events(&store, &session).await;
    assert_numbered(&full);
    assert!(full.len() > 2);
    assert_eq!(
        kind_of(store.insert_session(big_record()).await),
        ErrorKind::HostIo
    );

    limit_pages(&store, -1).await;
    let stored = store.commit(&session, say(["again"])).await.unwrap();
    assert_eq!(stored[0].seq, full.len() as u64 + 1);
    store.verify().await.unwrap();
}

fn big_record() -> SessionRecord {
    let mut record = record();
    record.info.name = Some("x".repeat(100_000));
    record
}

#[tokio::test]
async fn a_change_that_is_too_large_spoils_no_other_in_its_transaction() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    limit_pages(&store, 8).await;
    // All of them are queued before the writer takes any: this test's thread does not let go in between.
    let changes = (0..20).map(|index| {
        let size = if index % 5 == 0 { 200_000 } else { 10 };
        store.commit(&session, say(["x".repeat(size)]))
    });
    let outcomes = futures::future::join_all(changes).await;
    for (index, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(_) => assert_ne!(index % 5, 0),
            Err(error) => {
                assert_eq!(index % 5, 0, "{error}");
                assert_eq!(error.kind(), ErrorKind::HostIo);
            }
        }
    }
    let events = all_events(&store, &session).await;
    assert_numbered(&events);
    assert_eq!(events.len(), 1 + 16);
}

#[tokio::test]
async fn a_store_held_by_another_is_waited_for() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let other = Connection::open(home.dir.store_path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.commit(&session, say(["x"])).await }
    });
    // Reading goes on meanwhile.
    assert_eq!(all_events(&store, &session).await.len(), 1);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(waiting.await.unwrap().unwrap()[0].seq, 2);
}

/// Overwrites one byte in every page but the first.
fn damage(path: &std::path::Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    for page in bytes.chunks_mut(4096).skip(1) {
        let at = offset % page.len();
        page[at] ^= 0xff;
    }
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn damage_inside_the_file_is_an_error_or_harmless_and_reading_never_changes_it() {
    for offset in [0, 1, 3, 5, 7, 8, 9, 100, 2000, 4000, 4095] {
        let home = Home::new();
        let store = home.open().await;
        let session = ready(&store).await;
        for _ in 0..50 {
            store
                .commit(&session, say(["some words of the agent"; 5]))
                .await
                .unwrap();
        }
        store.close().await;
        damage(&home.dir.store_path(), offset);
        let before = fs::read(home.dir.store_path()).unwrap();
        let Ok(store) = Store::open(&home.dir).await else {
            continue;
        };
        let outcomes = [
            store.sessions(&SessionFilter::default()).await.map(drop),
            store.turns(&session).await.map(drop),
            store.events(&session, EventQuery::default()).await.map(drop),
            store.verify().await,
        ];
        for error in outcomes.into_iter().filter_map(Result::err) {
            assert!(
                matches!(error.kind(), ErrorKind::StoreFailed | ErrorKind::NotFound),
                "{error:?}"
            );
            assert!(!error.is_retryable(), "{error:?}");
        }
        store.close().await;
        assert_eq!(fs::read(home.dir.store_path()).unwrap(), before);
    }
}

#[tokio::test]
async fn a_truncated_file_is_found_damaged_and_left_as_it_is() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    for _ in 0..50 {
        store
            .commit(&session, say(["some words of the agent"; 5]))
            .await
            .unwrap();
    }
    store.close().await;
    let whole = fs::read(home.dir.store_path()).unwrap();
    fs::write(home.dir.store_path(), &whole[..whole.len() / 2]).unwrap();
    let outcome = async {
        let store = Store::open(&home.dir).await?;
        store.verify().await?;
        store.events(&session, EventQuery::default()).await
    };
    let error = outcome.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreFailed);
    assert_eq!(
        fs::read(home.dir.store_path()).unwrap(),
        &whole[..whole.len() / 2]
    );
}
