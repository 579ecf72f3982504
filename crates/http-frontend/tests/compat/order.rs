//! Who is next, and how many at once.

use crate::support::{House, hold};

async fn with_places(places: usize) -> House {
    let house = House::set(|compat| compat.max_concurrent_tasks = places).await;
    house.project("thing", &[]);
    house
}

#[tokio::test]
async fn the_most_urgent_task_is_next_and_among_equals_the_first() {
    let house = with_places(1).await;
    let gate = hold(&house);
    let mut ids = vec![house.begin("thing", "running", "low").await];
    house.site.memory.agents().wait_for_prompts(1).await;
    for (what, priority) in [
        ("low", "low"),
        ("medium", "medium"),
        ("high", "high"),
        ("critical", "critical"),
        ("critical too", "critical"),
    ] {
        ids.push(house.begin("thing", what, priority).await);
    }
    assert_eq!(house.task(&ids[1]).await["phase"], "queued");
    gate.open();
    for id in &ids {
        house.ended(id).await;
    }
    let prompts = house.site.memory.agents().prompts();
    let order: Vec<&str> = prompts.iter().map(|prompt| prompt.text.as_str()).collect();
    assert_eq!(
        order,
        ["running", "critical", "critical too", "high", "medium", "low"]
    );
}

#[tokio::test]
async fn no_more_tasks_run_at_once_than_there_are_places() {
    let house = with_places(2).await;
    let gate = hold(&house);
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(house.begin("thing", &format!("task {number}"), "medium").await);
    }
    house.site.memory.agents().wait_for_prompts(2).await;
    // Whatever would begin a third one has the time for it.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(house.site.memory.agents().prompts().len(), 2);
    assert_eq!(house.site.memory.names().len(), 2, "and no more sessions");
    let status = house.get("/claude-code/status").await.body;
    assert_eq!(status["tasks"]["running"], 5);
    assert_eq!(status["tasks"]["queued"], 3);
    gate.open();
    for id in &ids {
        assert_eq!(house.ended(id).await["status"], "completed");
    }
    house.cleared().await;
}
