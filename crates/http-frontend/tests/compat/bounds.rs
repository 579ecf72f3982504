//! Rates.

use std::time::Duration;

use http_frontend::Rate;

use crate::support::House;

#[tokio::test]
async fn who_asks_too_often_is_told_how_long_to_wait() {
    let house = House::with(|options| {
        options.compat_rate = Rate {
            requests: 3,
            window: Duration::from_mins(15),
        };
    })
    .await;
    for left in ["2", "1", "0"] {
        let reply = house.get("/health").await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("ratelimit-limit"), Some("3"));
        assert_eq!(reply.header("ratelimit-remaining"), Some(left));
        assert!(reply.header("ratelimit-reset").is_some());
    }
    let refused = house.get("/claude-code/status").await;
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(
        house.get("/v1/nothing").await.status,
        404,
        "only the older interface has this rate"
    );
}
