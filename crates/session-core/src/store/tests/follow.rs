//! Following: each event once, in order, whoever commits it and whenever.

use std::time::Duration;

use futures::StreamExt as _;
use proptest::prelude::*;

use super::*;

const SOON: Duration = Duration::from_secs(10);

async fn next(stream: &mut EventStream) -> Option<Result<Event>> {
    tokio::time::timeout(SOON, stream.next())
        .await
        .expect("an event in time")
}

async fn seqs(stream: &mut EventStream, until: u64) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| *last < until) {
        seen.push(next(stream).await.unwrap().unwrap().seq);
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn i12_following_from_any_number_gives_each_event_once(
        stored in 1..30u64, after in 0..40u64, live in 1..40u64, foreign: bool
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let home = Home::new();
            let store = home.open().await;
            let writer = if foreign { home.open().await } else { store.clone() };
            let session = ready(&writer).await;
            writer.commit(&session, say(2..=stored)).await.unwrap();
            let last = stored + live + 40;
            let mut stream = store.follow(session, after);
            let commits = tokio::spawn(async move {
                for seq in stored + 1..=last {
                    writer.commit(&session, say([seq])).await.unwrap();
                }
            });
            let seen = seqs(&mut stream, last).await;
            assert_eq!(seen, (after + 1..=last).collect::<Vec<_>>());
            commits.await.unwrap();
        });
    }
}

#[tokio::test]
async fn many_follow_one_session_and_each_sees_all() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let mut following = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let mut stream = store.follow(session, 0);
        following.spawn(async move { seqs(&mut stream, 51).await.len() });
    }
    for step in 0..50 {
        store.commit(&session, say([step])).await.unwrap();
    }
    assert!(following.join_all().await.into_iter().all(|count| count == 51));
}

#[tokio::test]
async fn a_stream_ends_after_the_last_event_of_a_session_that_ended() {
    let home = Home::new();
    let store = home.open().await;
    let failed = SessionState::Failed {
        cause: "no image".into(),
    };
    for (ended, foreign) in [
        (failed.clone(), false),
        (SessionState::Destroyed, false),
        (failed.clone(), true),
    ] {
        let writer = if foreign { home.open().await } else { store.clone() };
        let session = ready(&store).await;
        let mut stream = store.follow(session, 1);
        let waiting = tokio::spawn(async move { (next(&mut stream).await, next(&mut stream).await) });
        tokio::time::sleep(Duration::from_millis(20)).await;
        writer.commit(&session, state(ended)).await.unwrap();
        let (event, end) = waiting.await.unwrap();
        assert_eq!(event.unwrap().unwrap().seq, 2);
        assert!(end.is_none());
        assert!(
            next(&mut store.follow(session, 2)).await.is_none(),
            "also when taken up later"
        );
        assert_eq!(seqs(&mut store.follow(session, 0), 2).await, [1, 2]);
    }
    // A failed session that is then destroyed has more to tell.
    let session = ready(&store).await;
    for to in [failed, SessionState::Destroying, SessionState::Destroyed] {
        store.commit(&session, state(to)).await.unwrap();
    }
    let all: Vec<_> = store.follow(session, 0).collect().await;
    assert_eq!(all.len(), 4);
}

#[tokio::test]
async fn following_what_does_not_exist_is_one_error_and_the_end() {
    let home = Home::new();
    let store = home.open().await;
    let mut stream = store.follow(SessionId::new(), 0);
    assert_eq!(kind_of(next(&mut stream).await.unwrap()), ErrorKind::NotFound);
    assert!(next(&mut stream).await.is_none());
}

#[tokio::test]
async fn closing_the_store_ends_its_streams() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let mut stream = store.follow(session, 1);
    let waiting = tokio::spawn(async move { next(&mut stream).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    store.close().await;
    assert_eq!(kind_of(waiting.await.unwrap().unwrap()), ErrorKind::Cancelled);
}

#[tokio::test]
async fn the_store_is_watched_only_while_somebody_follows() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    assert!(!store.inner.hub.is_watching());
    for _ in 0..2 {
        let mut stream = store.follow(session, 0);
        next(&mut stream).await.unwrap().unwrap();
        assert!(store.inner.hub.is_watching());
        drop(stream);
        let unwatched = async {
            while store.inner.hub.is_watching() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(SOON, unwatched).await.unwrap();
    }
}

#[tokio::test]
async fn large_events_are_read_in_small_pages() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    for _ in 0..4 {
        store
            .commit(&session, say(["x".repeat(900_000), "y".repeat(900_000)]))
            .await
            .unwrap();
    }
    let page = store
        .inner
        .read("read a page", move |connection| {
            events::stream_page(connection, &session, 0)
        })
        .await
        .unwrap();
    assert_eq!(page.events.len(), 3, "no more than fills a page");
    assert_eq!(
        seqs(&mut store.follow(session, 0), 9).await,
        (1..=9).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_reaches_its_followers_while_somebody_reads_for_long() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let mut streams: Vec<_> = (0..3).map(|_| store.follow(session, 0)).collect();
    for stream in &mut streams {
        // The second is there only when the stream has come to the end of what is stored.
        assert_eq!(seqs(stream, 1).await, [1]);
    }
    let following: Vec<_> = streams
        .into_iter()
        .map(|mut stream| {
            tokio::spawn(async move { (seqs(&mut stream, 2).await, std::time::Instant::now()) })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (reading, begun) = (store.clone(), std::sync::Arc::new(tokio::sync::Notify::new()));
    let told = begun.clone();
    let long = tokio::spawn(async move {
        let read = move |_: &Connection| {
            told.notify_one();
            std::thread::sleep(Duration::from_millis(800));
            Ok(())
        };
        reading.inner.read("read for long", read).await.unwrap();
        std::time::Instant::now()
    });
    begun.notified().await;
    store.commit(&session, say(["x"])).await.unwrap();
    let read = long.await.unwrap();
    for following in following {
        let (seen, at) = following.await.unwrap();
        assert_eq!(seen, [2]);
        assert!(at < read, "it waited for the other reader");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_of_two_handles_mix_and_each_event_comes_once() {
    const EACH: u64 = 200;
    let home = Home::new();
    let (ours, theirs) = (home.open().await, home.open().await);
    let session = ready(&ours).await;
    let streams: Vec<_> = [&ours, &theirs, &ours]
        .map(|store| store.follow(session, 0))
        .into();
    let following: Vec<_> = streams
        .into_iter()
        .map(|mut stream| tokio::spawn(async move { seqs(&mut stream, 1 + 2 * EACH).await }))
        .collect();
    let committing: Vec<_> = [ours, theirs]
        .into_iter()
        .map(|store| {
            tokio::spawn(async move {
                for step in 0..EACH {
                    store.commit(&session, say([step])).await.unwrap();
                }
            })
        })
        .collect();
    for committing in committing {
        committing.await.unwrap();
    }
    for following in following {
        assert_eq!(following.await.unwrap(), (1..=1 + 2 * EACH).collect::<Vec<_>>());
    }
}
