//! A lease by which the end of a session is judged.

use super::*;

#[tokio::test]
async fn nothing_is_changed_when_the_lease_was_renewed_meanwhile() {
    let home = Home::new();
    let store = home.open().await;
    let session = ready(&store).await;
    let now = jiff::Timestamp::now();
    let renewal = |until| Batch {
        lease_until: Some(until),
        ..Batch::default()
    };
    let end = |judged| Batch {
        expect_lease_until: Some(judged),
        ..state(SessionState::Destroying)
    };
    let later = now + jiff::SignedDuration::from_secs(60);
    let without = store.commit(&session, end(now)).await.unwrap_err();
    assert_eq!(without.kind(), ErrorKind::StateConflict);
    store.commit(&session, renewal(now)).await.unwrap();
    store.commit(&session, renewal(later)).await.unwrap();
    let stale = store.commit(&session, end(now)).await.unwrap_err();
    assert_eq!(stale.kind(), ErrorKind::StateConflict);
    let record = store.session(&session).await.unwrap().unwrap();
    assert_eq!(record.info.state, SessionState::Ready);
    // As whoever judged has it from the store.
    let judged = record.info.lease_until.unwrap();
    store.commit(&session, end(judged)).await.unwrap();
}
