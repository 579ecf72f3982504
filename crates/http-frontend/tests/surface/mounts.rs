//! What is mounted gets the API of its caller, and lives as long as its caller may come in.

use http_frontend::caller::Scope;

use crate::support::House;

#[tokio::test]
async fn each_caller_has_one_of_their_own_over_their_own_sessions() {
    let house = House::new().await;
    let (ann, bob) = (house.token("ann", Scope::Use), house.token("bob", Scope::Use));
    let mine = house.session(Some("ann")).await.to_string();
    let theirs = house.session(Some("bob")).await.to_string();
    assert_eq!(house.ask_as(&ann, "GET /t/list").await.body, mine);
    assert_eq!(house.ask_as(&bob, "GET /t/list").await.body, theirs);
    let all = house.ask("GET /t/list").await.body;
    assert!(all.contains(&mine) && all.contains(&theirs));
    house.ended().await;
}
