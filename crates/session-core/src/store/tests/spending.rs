//! What sessions use: added up exactly, whoever adds, and apart by session and day.

use super::*;
use crate::budget::{Spending, Spent};

fn used(requests: u64, cost_microusd: u64) -> Spending {
    Spending {
        requests,
        input_tokens: 10 * requests,
        output_tokens: 20 * requests,
        cache_read_tokens: 30 * requests,
        cache_creation_tokens: 40 * requests,
        cost_microusd,
        model_ms: 5 * requests,
    }
}

#[tokio::test]
async fn what_is_charged_is_the_session_s_and_the_day_s() {
    let home = Home::new();
    let store = home.open().await;
    let (one, other) = (ready(&store).await, ready(&store).await);
    assert_eq!(store.spent(Some(&one)).await.unwrap(), Spent::default());
    store.charge(&one, used(1, 100)).await.unwrap();
    store.charge(&one, used(2, 50)).await.unwrap();
    store.charge(&other, used(4, 7)).await.unwrap();
    store.close().await;

    let store = home.open().await;
    let all = used(7, 157);
    let spent = |session| Spent { session, today: all };
    assert_eq!(store.spent(Some(&one)).await.unwrap(), spent(used(3, 150)));
    assert_eq!(store.spent(Some(&other)).await.unwrap(), spent(used(4, 7)));
    assert_eq!(store.spent(None).await.unwrap(), spent(all));
}

#[tokio::test]
async fn what_was_used_yesterday_is_not_used_today() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    store.charge(&session, used(1, 100)).await.unwrap();
    raw(&home)
        .execute("UPDATE spending_of_day SET day = day - 1", [])
        .unwrap();
    let expected = Spent {
        session: used(1, 100),
        today: Spending::default(),
    };
    assert_eq!(store.spent(Some(&session)).await.unwrap(), expected);
    assert_eq!(store.spent(None).await.unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_charge_at_once_lose_nothing() {
    let home = Home::new();
    let stores = [home.open().await, home.open().await];
    let session = ready(&stores[0]).await;
    let mut charging = tokio::task::JoinSet::new();
    for at in 0..40 {
        let store = stores[at % 2].clone();
        charging.spawn(async move { store.charge(&session, used(1, 3)).await.unwrap() });
    }
    charging.join_all().await;
    for store in &stores {
        assert_eq!(store.spent(Some(&session)).await.unwrap().session, used(40, 120));
    }
}

#[tokio::test]
async fn sums_do_not_overflow_and_unknown_sessions_are_told() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    for _ in 0..2 {
        store.charge(&session, used(1, u64::MAX)).await.unwrap();
    }
    let spent = store.spent(Some(&session)).await.unwrap();
    assert_eq!(spent.session.cost_microusd, i64::MAX as u64);
    assert_eq!(spent.session.requests, 2);
    let nobody = SessionId::new();
    assert_eq!(
        kind_of(store.charge(&nobody, used(1, 1)).await),
        ErrorKind::NotFound
    );
    assert_eq!(kind_of(store.spent(Some(&nobody)).await), ErrorKind::NotFound);
}
