//! Budgets with the real agent and the real accounts: a turn ends at once and says why, and goes on when it may.

use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use session_core::api::SessionApi;
use session_core::budget::{Budget, BudgetLimit};
use session_core::event::{Event, EventKind};
use session_core::session::CreateSession;
use session_core::turn::TurnStatus;
use testkit::model::Script;

use super::world::World;
use super::{Outcome, test};

/// The agent's own retries take half a minute and more.
const AT_ONCE: Duration = Duration::from_secs(15);

pub(crate) fn tests() -> Vec<Trial> {
    vec![test(
        "a_budget_that_is_spent_ends_the_turn_at_once_and_says_so",
        || Script::always("Done."),
        a_budget_that_is_spent_ends_the_turn_at_once_and_says_so,
    )]
}

fn said_to_be_spent(events: &[Event]) -> Vec<(BudgetLimit, bool)> {
    let spent = |event: &Event| match event.kind {
        EventKind::BudgetSpent { limit, today } => Some((limit, today)),
        _ => None,
    };
    events.iter().filter_map(spent).collect()
}

async fn a_budget_that_is_spent_ends_the_turn_at_once_and_says_so(world: Arc<World>) -> Outcome {
    let request = CreateSession {
        budget: Budget {
            // The first answer is enough to use it up.
            tokens: Some(1),
            ..Budget::default()
        },
        ..CreateSession::default()
    };
    let session = world.create(request).await?.id;
    let outcome = world.prompt(&session, "First.").await?;
    assert_eq!(outcome.status, TurnStatus::Succeeded, "{outcome:?}");
    let asked = world.model.requests().len();
    let usage = world.manager.usage(Some(&session)).await?;
    assert!(
        usage.session.tokens() > 0,
        "charged before the turn was over: {usage:?}"
    );
    assert!(usage.session.cost_microusd > 0, "{usage:?}");
    assert_eq!(usage.session, usage.today);

    for _ in 0..2 {
        let started = Instant::now();
        let outcome = world.prompt(&session, "Second.").await?;
        let took = started.elapsed();
        assert_eq!(outcome.status, TurnStatus::Failed, "{outcome:?}");
        let failure = outcome.failure.ok_or("a failed turn names its cause")?;
        let said = format!("{} {}", outcome.text, failure.error.message);
        assert!(
            said.contains("this session's budget of 1 token is spent"),
            "{said}"
        );
        assert!(took < AT_ONCE, "it took {took:?}");
    }
    assert_eq!(world.model.requests().len(), asked, "nothing went out");
    let events = world.events(&session).await?;
    assert_eq!(said_to_be_spent(&events), [(BudgetLimit::Tokens, false)]);
    // The session is as it was: whatever is not the model works.
    assert_eq!(world.read(&session, &["echo", "here"]).await?, "here");
    Ok(())
}
