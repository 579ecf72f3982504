//! Events: pages, streams, and coming back to where one stopped.

use serde_json::json;

use crate::support::{House, Notices};

async fn rest(mut notices: Notices) -> Vec<(u64, String)> {
    let mut seen = Vec::new();
    while let Some(notice) = notices.next().await {
        assert_eq!(notice.data["seq"], notice.id);
        assert_eq!(notice.data["event"], notice.name);
        seen.push((notice.id, notice.name));
    }
    seen
}

#[tokio::test]
async fn a_subscriber_that_comes_back_has_every_event_once() {
    let house = House::new().await;
    let id = house.session().await;
    let turns = format!("/v1/sessions/{id}/turns?wait_ms=20000");
    let stream = format!("/v1/sessions/{id}/events/stream");
    assert_eq!(
        house.admin.post(&turns, json!({"prompt": "one"})).await.status,
        200
    );

    let mut first = house.admin.follow(&stream, None).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        let notice = first.next().await.unwrap();
        seen.push((notice.id, notice.name));
    }
    drop(first);
    let back = house.admin.follow(&stream, Some(4)).await;
    // The header goes before the query, as a browser that comes back sends both.
    let back_by_query = house.admin.follow(&format!("{stream}?after=4"), None).await;
    let back_by_both = house.admin.follow(&format!("{stream}?after=1"), Some(4)).await;
    assert_eq!(
        house.admin.post(&turns, json!({"prompt": "two"})).await.status,
        200
    );
    assert_eq!(
        house.admin.delete(&format!("/v1/sessions/{id}")).await.status,
        204
    );

    let (by_header, by_query, by_both) = tokio::join!(rest(back), rest(back_by_query), rest(back_by_both));
    assert_eq!(by_header, by_query);
    assert_eq!(by_header, by_both);
    seen.extend(by_header);
    let numbers: Vec<u64> = seen.iter().map(|(number, _)| *number).collect();
    let whole: Vec<u64> = (1..=seen.len() as u64).collect();
    assert_eq!(numbers, whole, "no gap, no duplicate");
    let finished = seen.iter().filter(|(_, name)| name == "turn_finished").count();
    assert_eq!(finished, 2);

    // The streams ended by themselves, and what they told is what is stored.
    let page = house
        .admin
        .get(&format!("/v1/sessions/{id}/events?limit=10000"))
        .await
        .json();
    assert_eq!(page.as_array().unwrap().len(), seen.len());
    let last = house
        .admin
        .get(&format!("/v1/sessions/{id}/events?limit=2&tail=true"))
        .await
        .json();
    assert_eq!(last[1]["seq"], seen.len());
    let some = house
        .admin
        .get(&format!("/v1/sessions/{id}/events?after=2&limit=2"))
        .await
        .json();
    assert_eq!((&some[0]["seq"], &some[1]["seq"]), (&json!(3), &json!(4)));
}

#[tokio::test]
async fn a_stream_of_a_session_that_has_ended_ends() {
    let house = House::new().await;
    let id = house.session().await;
    assert_eq!(
        house.admin.delete(&format!("/v1/sessions/{id}")).await.status,
        204
    );
    let stream = format!("/v1/sessions/{id}/events/stream");
    let seen = rest(house.admin.follow(&stream, None).await).await;
    assert_eq!(
        rest(house.admin.follow(&stream, Some(seen.len() as u64)).await).await,
        []
    );
}
