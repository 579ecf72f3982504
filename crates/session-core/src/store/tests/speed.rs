//! How fast it is. Prints figures and holds them to their budgets: to the whole of them when built with optimisation,
//! `cargo test --release -p session-core --lib store::tests::speed -- --ignored --nocapture`,
//! and otherwise to so many times as much that only what has become another order of work is found, on a busy machine, too.

use std::time::{Duration, Instant};

use futures::StreamExt as _;

use super::*;

fn report(what: &str, took: Duration, budget: Duration) {
    let most = if cfg!(debug_assertions) {
        budget * DEBUG_FACTOR
    } else {
        budget
    };
    println!("{what:<48} {took:>12.1?}   (budget {budget:?})");
    assert!(took <= most, "{what} took {took:?}, more than {most:?}");
}

/// Seen on two busy cores: 16.
const DEBUG_FACTOR: u32 = 60;

fn percentile(mut samples: Vec<Duration>, percent: usize) -> Duration {
    samples.sort();
    samples[(samples.len() * percent / 100).min(samples.len() - 1)]
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn opening_is_fast() {
    let home = Home::new();
    let start = Instant::now();
    let store = home.open().await;
    report("open, first time", start.elapsed(), ms(50));
    ready(&store).await;
    let mut opened = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        let other = home.open().await;
        opened.push(start.elapsed());
        other.close().await;
    }
    report("open beside another, median", percentile(opened, 50), ms(3));
    store.close().await;
    let (mut opened, mut closed) = (Vec::new(), Vec::new());
    for _ in 0..50 {
        let start = Instant::now();
        let only = home.open().await;
        opened.push(start.elapsed());
        let start = Instant::now();
        only.close().await;
        closed.push(start.elapsed());
    }
    report("open alone, median", percentile(opened, 50), ms(3));
    report("close unchanged, median", percentile(closed, 50), ms(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn committing_is_fast() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let words = "x".repeat(200);
    let mut single = Vec::new();
    for _ in 0..2000 {
        let batch = say([&words]);
        let start = Instant::now();
        store.commit(&session, batch).await.unwrap();
        single.push(start.elapsed());
    }
    report("commit alone, median", percentile(single.clone(), 50), ms(1));
    report("commit alone, 99th", percentile(single, 99), ms(20));

    const TASKS: u32 = 256;
    const EACH: u32 = 100;
    let mut tasks = tokio::task::JoinSet::new();
    let start = Instant::now();
    for _ in 0..TASKS {
        let (store, words) = (store.clone(), words.clone());
        tasks.spawn(async move {
            for _ in 0..EACH {
                store.commit(&session, say([&words])).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    report(
        "commit of 256 at once, each",
        start.elapsed() / (TASKS * EACH),
        Duration::from_micros(50),
    );

    let start = Instant::now();
    store.commit(&session, say(vec![&words; 1000])).await.unwrap();
    report("1,000 events in one commit", start.elapsed(), ms(20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn reading_is_fast() {
    let home = Home::new();
    let store = home.open().await;
    let (mut session, mut inserting) = (ready(&store).await, Vec::new());
    for ended in [true, false] {
        for _ in 0..if ended { 5000 } else { 1000 } {
            let mut record = record();
            session = record.info.id;
            if ended {
                record.info.state = SessionState::Destroyed;
            }
            let store = store.clone();
            inserting.push(async move { store.insert_session(record).await });
        }
    }
    futures::future::join_all(inserting).await;
    store
        .commit(&session, say(vec!["x".repeat(200); 1000]))
        .await
        .unwrap();

    let (mut listed, mut replayed, mut followed, mut one) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..20 {
        let start = Instant::now();
        let live = store.sessions(&SessionFilter::default()).await.unwrap();
        listed.push(start.elapsed());
        assert_eq!(live.len(), 1001);
        let start = Instant::now();
        assert_eq!(
            store.events(&session, EventQuery::default()).await.unwrap().len(),
            1000
        );
        replayed.push(start.elapsed());
        let start = Instant::now();
        assert_eq!(store.follow(session, 0).take(1000).count().await, 1000);
        followed.push(start.elapsed());
        let start = Instant::now();
        store.session(&session).await.unwrap().unwrap();
        one.push(start.elapsed());
    }
    report(
        "1,000 live sessions of 6,000 listed, median",
        percentile(listed, 50),
        ms(10),
    );
    report("1,000 events replayed, median", percentile(replayed, 50), ms(5));
    report(
        "1,000 events followed from the store, median",
        percentile(followed, 50),
        ms(5),
    );
    report("one session read, median", percentile(one, 50), ms(1));

    let mut stream = store.follow(session, 1000);
    let mut woken = Vec::new();
    for _ in 0..200 {
        let committed = store
            .commit(&session, say(["x"]))
            .await
            .map(|_| Instant::now())
            .unwrap();
        stream.next().await.unwrap().unwrap();
        woken.push(committed.elapsed());
    }
    report("commit to follower, median", percentile(woken, 50), ms(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn listing_again_is_fast() {
    for count in [24, 200] {
        let home = Home::new();
        let store = home.open().await;
        let mut session = ready(&store).await;
        for _ in 1..count {
            session = ready(&store).await;
        }
        const TASKS: u32 = 32;
        const EACH: u32 = 1000;
        let mut tasks = tokio::task::JoinSet::new();
        let start = Instant::now();
        for _ in 0..TASKS {
            let store = store.clone();
            tasks.spawn(async move {
                for _ in 0..EACH {
                    assert_eq!(store.listing().await.unwrap().sessions().len(), count);
                }
            });
        }
        tasks.join_all().await;
        let each = start.elapsed() / (TASKS * EACH);
        report(
            &format!("{count} sessions listed by 32 at once, each"),
            each,
            Duration::from_micros(20),
        );
        let (mut alone, mut changed) = (Vec::new(), Vec::new());
        for _ in 0..500 {
            let start = Instant::now();
            store.listing().await.unwrap();
            alone.push(start.elapsed());
            store.commit(&session, say(["x"])).await.unwrap();
            let start = Instant::now();
            store.listing().await.unwrap();
            changed.push(start.elapsed());
        }
        report("  listed alone, median", percentile(alone, 50), ms(1));
        report("  listed after a change, median", percentile(changed, 50), ms(1));
    }
}

/// CPU time of this process so far.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<i64> = fields
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    // Fields 14 and 15 of proc(5), in ticks of 10 ms; the state, which is no number, fell out.
    ms((fields[10] + fields[11]) as u64 * 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn many_followers_are_cheap() {
    const FOLLOWERS: usize = 200;
    const EVENTS: u64 = 200;
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let mut following = tokio::task::JoinSet::new();
    for _ in 0..FOLLOWERS {
        let mut stream = store.follow(session, 0);
        following.spawn(async move {
            let mut late = Vec::new();
            while let Some(Ok(event)) = stream.next().await {
                if let EventKind::AgentText { text } = &event.kind {
                    let sent: u128 = text[..20].trim().parse().unwrap();
                    late.push(jiff::Timestamp::now().as_microsecond() as u128 - sent);
                }
                if event.seq == 1 + EVENTS {
                    break;
                }
            }
            late
        });
    }
    tokio::time::sleep(ms(300)).await;
    let (start, before) = (Instant::now(), cpu_time());
    for _ in 0..EVENTS {
        let words = format!(
            "{:>20}{}",
            jiff::Timestamp::now().as_microsecond(),
            "x".repeat(200)
        );
        store.commit(&session, say([words])).await.unwrap();
        tokio::time::sleep(ms(20)).await;
    }
    let late: Vec<u128> = following.join_all().await.into_iter().flatten().collect();
    let share = (cpu_time() - before).as_secs_f64() / start.elapsed().as_secs_f64();
    let late: Vec<_> = late
        .into_iter()
        .map(|late| Duration::from_micros(late as u64))
        .collect();
    println!(
        "200 followers of 50 events a second: {:.1} % of a core",
        share * 100.0
    );
    report(
        "before the commit to its followers, median",
        percentile(late.clone(), 50),
        ms(3),
    );
    report(
        "before the commit to its followers, 99th",
        percentile(late, 99),
        ms(20),
    );
    assert!(cfg!(debug_assertions) || share < 0.1);
}
