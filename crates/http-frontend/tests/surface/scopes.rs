//! What a token is for.

use http_frontend::caller::Scope;

use crate::support::{House, make_token};

#[tokio::test]
async fn a_token_that_may_look_sees_all_and_changes_nothing() {
    let house = House::new().await;
    let session = house.session(Some("ann")).await;
    let token = house.token("eye", Scope::Read);
    assert_eq!(
        house
            .ask_as(&token, &format!("GET /t/look?{session}"))
            .await
            .status,
        200
    );
    for head in [format!("POST /t/pause?{session}"), "POST /t/create".to_owned()] {
        let reply = house.ask_as(&token, &head).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (403, "forbidden"),
            "{head}"
        );
    }
    house.ended().await;
}

#[tokio::test]
async fn a_token_owns_what_it_makes_and_works_with_that_alone() {
    let house = House::new().await;
    let token = house.token("ann", Scope::Use);
    let made = house.ask_as(&token, "POST /t/create").await;
    assert_eq!(made.body, r#"Some("ann")"#);
    let mine = house.ask_as(&token, "GET /t/list").await.body;
    assert_eq!(
        house
            .ask_as(&token, &format!("POST /t/pause?{mine}"))
            .await
            .status,
        200
    );
    let theirs = house.session(None).await;
    assert_eq!(
        house
            .ask_as(&token, &format!("POST /t/pause?{theirs}"))
            .await
            .status,
        404
    );
    let everywhere = make_token(&house.tokens, "all", Scope::Use, true);
    assert_eq!(
        house
            .ask_as(&everywhere, &format!("POST /t/pause?{theirs}"))
            .await
            .status,
        200
    );
    house.ended().await;
}
