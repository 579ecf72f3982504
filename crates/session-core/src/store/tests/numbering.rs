//! Numbers have no gaps and no duplicates, whoever appends.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Append {
        handle: usize,
        session: usize,
        count: usize,
    },
    Refused {
        handle: usize,
        session: usize,
    },
    Prompt {
        handle: usize,
        session: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = || (0..2usize, 0..3usize);
    let step = prop_oneof![
        3 => (place(), 0..5usize).prop_map(|((handle, session), count)| Step::Append { handle, session, count }),
        1 => place().prop_map(|(handle, session)| Step::Refused { handle, session }),
        1 => place().prop_map(|(handle, session)| Step::Prompt { handle, session }),
    ];
    prop::collection::vec(step, 1..30)
}

/// What must be stored: of each session, the kinds in order.
type Model = Vec<(SessionId, Vec<EventKind>)>;

async fn take(step: Step, stores: &[Store; 2], model: &mut Model, count: &mut usize) {
    *count += 1;
    match step {
        Step::Append {
            handle,
            session,
            count: events,
        } => {
            let (id, expected) = &mut model[session];
            let batch = say((0..events).map(|index| format!("{count}.{index}")));
            expected.extend(batch.events.iter().map(|(_, kind)| kind.clone()));
            let stored = stores[handle].commit(id, batch).await.unwrap();
            assert_eq!(stored.len(), events);
        }
        Step::Refused { handle, session } => {
            let batch = Batch {
                expect_state: Some(crate::state::StateName::Failed),
                ..say(["never"])
            };
            stores[handle].commit(&model[session].0, batch).await.unwrap_err();
        }
        Step::Prompt { handle, session } => {
            let (id, expected) = &mut model[session];
            let prompt = count.to_string();
            let queued = stores[handle]
                .insert_turn(id, turn(&prompt))
                .await
                .unwrap()
                .into_turn();
            expected.push(EventKind::TurnQueued { prompt });
            assert_eq!(queued.first_event, expected.len() as u64);
        }
    }
}

async fn check(stores: &[Store; 2], model: &Model) {
    for store in stores {
        for (id, expected) in model {
            let events = all_events(store, id).await;
            assert_numbered(&events);
            let kinds: Vec<_> = events.into_iter().map(|event| event.kind).collect();
            assert_eq!(&kinds, expected);
            let info = store.session(id).await.unwrap().unwrap().info;
            assert_eq!(info.last_event, expected.len() as u64);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn i12_two_handles_number_as_one(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let home = Home::new();
            let stores = [home.open().await, home.open().await];
            let first = EventKind::StateChanged { to: SessionState::Ready };
            let mut model = Model::new();
            for _ in 0..3 {
                model.push((ready(&stores[0]).await, vec![first.clone()]));
            }
            let mut count = 0;
            for step in steps {
                take(step, &stores, &mut model, &mut count).await;
            }
            check(&stores, &model).await;
        });
    }

    #[test]
    fn pages_are_windows_of_the_whole(after in 0..25u64, limit in 0..25usize, tail: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let home = Home::new();
            let store = home.open().await;
            let session = ready(&store).await;
            store.commit(&session, say(2..=20)).await.unwrap();
            let page = store.events(&session, EventQuery { after, limit, tail }).await.unwrap();
            let mut expected: Vec<u64> = (after + 1..=20).collect();
            let limit = if limit == 0 { usize::MAX } else { limit };
            if tail {
                expected.drain(..expected.len().saturating_sub(limit));
            } else {
                expected.truncate(limit);
            }
            assert_eq!(page.iter().map(|event| event.seq).collect::<Vec<_>>(), expected);
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i12_many_who_append_at_once_each_get_numbers_of_their_own() {
    const TASKS: usize = 32;
    const EACH: usize = 20;
    let home = Home::new();
    let stores = [home.open().await, home.open().await];
    let session = ready(&stores[0]).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let store = stores[task % 2].clone();
        tasks.spawn(async move {
            let mut stored = Vec::new();
            for step in 0..EACH {
                // Every third is refused and must leave no trace.
                if step % 3 == 0 {
                    let refused = Batch {
                        expect_state: Some(crate::state::StateName::Paused),
                        ..say(["never"])
                    };
                    assert_eq!(
                        kind_of(store.commit(&session, refused).await),
                        ErrorKind::StateConflict
                    );
                }
                let batch = say([format!("{task}.{step}.a"), format!("{task}.{step}.b")]);
                stored.extend(store.commit(&session, batch).await.unwrap());
            }
            stored
        });
    }
    let mut answered: Vec<Event> = tasks.join_all().await.concat();
    answered.sort_by_key(|event| event.seq);
    let events = all_events(&stores[1], &session).await;
    assert_numbered(&events);
    assert_eq!(events[1..], answered, "what was answered is what is stored");
    assert_eq!(answered.len(), TASKS * EACH * 2);
}
