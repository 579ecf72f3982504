//! A creation fails at each call of the engine, in each way: nothing is left, and the record says so.

use std::time::Duration;

use session_core::api::SessionApi;
use session_core::error::ErrorKind;
use session_core::manager::{AdmissionPolicy, ManagerOptions};
use session_core::runtime::TimeLimits;
use session_core::session::{CreateSession, WorkspaceSource};
use session_core::state::{SessionState, StateName};
use testkit::faults::{Fault, FaultPlan, Operation};
use testkit::harness::ManagerProcess;

use super::world::{World, all, ask, create, recorded, soon};

/// A manager whose engine may be slow for a moment only.
async fn hasty(world: &World) -> ManagerProcess {
    let limit = Duration::from_millis(300);
    let time_limits = TimeLimits {
        read: limit,
        change: limit,
        prepare: limit,
    };
    let options = ManagerOptions {
        time_limits,
        socket_patience: Duration::from_millis(50),
        ..world.site.options()
    };
    world.site.manager_with(options).await.unwrap()
}

/// The calls that a creation makes without faults.
async fn calls(dials: bool) -> usize {
    let world = World::new();
    world.site.memory.set_dials(dials);
    let manager = hasty(&world).await;
    world.site.faulty.set_plan(FaultPlan::none());
    create(&manager).await;
    world.site.faulty.calls().len()
}

#[tokio::test]
async fn a_session_is_as_old_as_its_making_however_long_it_waited_for_it() {
    let world = World::new();
    let delay = Duration::from_millis(800);
    let plan = FaultPlan::none().always(Operation::Launch, Fault::Delay(delay));
    world.site.faulty.set_plan(plan);
    let options = ManagerOptions {
        admission: AdmissionPolicy {
            concurrent_creations: 1,
            ..world.site.options().admission
        },
        ..world.site.options()
    };
    let manager = world.manager_of(options).await;
    let (one, other) = tokio::join!(
        manager.create(CreateSession::default()),
        manager.create(CreateSession::default())
    );
    let apart = one
        .unwrap()
        .created_at
        .duration_since(other.unwrap().created_at)
        .unsigned_abs();
    assert!(apart >= delay, "{apart:?}");
    world.finish(&manager).await;
}

#[tokio::test]
async fn whichever_call_fails_nothing_is_left_and_the_record_says_failed() {
    for dials in [true, false] {
        let count = calls(dials).await;
        assert!(count >= 2, "a creation makes {count} calls");
        for nth in 1..=count as u64 {
            for fault in [Fault::FailBefore, Fault::FailAfter, Fault::Hang, Fault::HangAfter] {
                let world = World::new();
                world.site.memory.set_dials(dials);
                let manager = hasty(&world).await;
                world.site.faulty.set_plan(FaultPlan::none().fail_at(nth, fault));
                let created = soon("a creation", manager.create(CreateSession::default())).await;
                let called = world.site.faulty.calls();
                let at = format!(
                    "{fault:?} at {:?} (dials: {dials})",
                    called[nth as usize - 1].operation
                );
                match created {
                    // A read that fails may be tried again, or not matter.
                    Ok(info) => {
                        assert_eq!(info.state, SessionState::Ready, "{at}");
                        assert_eq!(ask(&manager, &info.id, "Hello").await.text, "Hello", "{at}");
                    }
                    Err(error) => {
                        let expected = match fault {
                            Fault::Hang | Fault::HangAfter => ErrorKind::EngineTimeout,
                            _ => ErrorKind::EngineFailed,
                        };
                        assert_eq!(error.kind(), expected, "{at}");
                        assert!(error.hint().is_some(), "{at}");
                        let sessions = all(&manager).await;
                        assert_eq!(sessions.len(), 1, "{at}");
                        assert_eq!(
                            recorded(&manager, &sessions[0]).await.name(),
                            StateName::Failed,
                            "{at}"
                        );
                        assert_eq!(world.site.leftovers(), Vec::<String>::new(), "{at}");
                    }
                }
                world.site.faulty.set_plan(FaultPlan::none());
                world.finish(&manager).await;
            }
        }
    }
}

#[tokio::test]
async fn what_cannot_be_removed_now_is_removed_by_the_reconciler() {
    let world = World::new();
    let manager = hasty(&world).await;
    let plan = FaultPlan::none()
        .always(Operation::Launch, Fault::FailAfter)
        .always(Operation::Remove, Fault::FailBefore);
    world.site.faulty.set_plan(plan);
    soon("a creation", manager.create(CreateSession::default()))
        .await
        .unwrap_err();
    assert_eq!(
        world.site.memory.names().len(),
        1,
        "there is something to be removed"
    );
    let left = manager
        .run(|manager| async move { manager.reconcile().await })
        .await
        .unwrap();
    assert_eq!(left.left.len(), 1);
    world.site.faulty.set_plan(FaultPlan::none());
    let done = manager
        .run(|manager| async move { manager.reconcile().await })
        .await
        .unwrap();
    assert_eq!((done.removed.len(), done.left.len()), (1, 0));
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_workspace_that_cannot_be_copied_fails_the_creation() {
    let world = World::new();
    let manager = hasty(&world).await;
    let path = world.site.workspace("project").unwrap();
    for number in 0..2000 {
        std::fs::write(path.join(format!("file-{number}")), "x".repeat(1000)).unwrap();
    }
    let workspace = WorkspaceSource::Copy { path };
    let creating = manager.create(CreateSession {
        workspace,
        ..CreateSession::default()
    });
    let breaking = async {
        loop {
            if let [session] = all(&manager).await[..]
                && let Some(container) = world.site.memory.container(&session)
            {
                container.kill();
                return;
            }
        }
    };
    let (created, ()) = soon("a creation", async { tokio::join!(creating, breaking) }).await;
    if let Err(error) = created {
        assert!(
            matches!(error.kind(), ErrorKind::LinkLost | ErrorKind::ContainerLost),
            "{error:?}"
        );
        assert_eq!(world.site.leftovers(), Vec::<String>::new());
    }
    world.finish(&manager).await;
}

#[tokio::test]
async fn an_engine_that_hangs_is_a_timeout_within_the_limit() {
    let world = World::new();
    let manager = hasty(&world).await;
    let session = create(&manager).await;
    world.site.memory.set_hung(true);
    for hung in [
        soon("an inspection", manager.inspect(&session)).await.map(drop),
        soon("a creation", manager.create(CreateSession::default()))
            .await
            .map(drop),
        soon("a pause", manager.pause(&session)).await,
        soon("an end", manager.destroy(&session)).await,
    ] {
        let error = hung.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EngineTimeout, "{error:?}");
        assert!(error.is_retryable() && error.hint().is_some(), "{error:?}");
    }
    world.site.memory.set_hung(false);
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_creation_that_is_killed_is_finished_by_the_next_manager() {
    let world = World::new();
    let first = world.manager().await;
    world
        .site
        .faulty
        .set_plan(FaultPlan::none().fail(Operation::Launch, 1, Fault::HangAfter));
    let creating = tokio::time::timeout(Duration::from_millis(300), first.create(CreateSession::default()));
    creating.await.unwrap_err();
    assert_eq!(
        world.site.memory.names().len(),
        1,
        "it was killed before it made anything"
    );
    first.kill().await;
    world.site.faulty.set_plan(FaultPlan::none());
    let second = world.manager().await;
    let session = all(&second).await[0];
    assert_eq!(recorded(&second, &session).await, SessionState::Creating);
    // Too young to be told from one whose maker is about to lock it: it can be destroyed all the same.
    soon("the end", second.destroy(&session)).await.unwrap();
    world.finish(&second).await;
}

#[tokio::test]
async fn an_agent_that_cannot_be_warmed_does_not_spoil_the_session() {
    let world = World::new();
    let manager = world.manager().await;
    world.site.gateway.collide(true);
    let request = CreateSession {
        warm_agent: true,
        ..CreateSession::default()
    };
    let session = soon("a creation", manager.create(request)).await.unwrap();
    assert_eq!(session.state, SessionState::Ready);
    world.site.gateway.collide(false);
    assert_eq!(ask(&manager, &session.id, "Hello").await.text, "Hello");
    world.finish(&manager).await;
}

#[tokio::test]
async fn what_the_gateway_refuses_is_said_before_anything_is_made() {
    let world = World::new();
    let manager = world.manager().await;
    world.site.gateway.refuse(true);
    let refused = soon("a refusal", manager.create(CreateSession::default())).await;
    let error = refused.unwrap_err();
    assert!(error.to_string().contains("admits nobody"), "{error}");
    let launched = world.site.faulty.calls();
    assert!(
        launched.iter().all(|call| call.operation != Operation::Launch),
        "{launched:?}"
    );
    world.finish(&manager).await;
}

#[tokio::test]
async fn what_a_session_may_do_reaches_the_gateway_and_its_record() {
    use session_core::budget::Budget;
    use session_core::gateway::ProviderAccount;
    let world = World::new();
    let manager = world.manager().await;
    let allow: Vec<_> = ["npm", "*.example.com:8443"]
        .iter()
        .map(|entry| entry.parse().unwrap())
        .collect();
    let budget = Budget {
        tokens: Some(7),
        ..Budget::default()
    };
    let request = CreateSession {
        allow: allow.clone(),
        budget,
        small_model: Some("small-1".to_owned()),
        account: Some(ProviderAccount::ApiKey("sk-of-the-caller".to_owned().into())),
        ..CreateSession::default()
    };
    let info = manager.create(request).await.unwrap();
    assert_eq!((&info.allow, info.budget), (&allow, budget));
    assert_eq!(info.small_model.as_deref(), Some("small-1"));
    let grant = world.site.gateway.grant(&info.id).unwrap();
    assert_eq!((grant.allow, grant.budget, grant.sealed), (allow, budget, true));
    assert!(matches!(grant.account, Some(ProviderAccount::ApiKey(_))));
    let shown = serde_json::to_string(&manager.inspect(&info.id).await.unwrap()).unwrap();
    assert!(!shown.contains("sk-of"), "{shown}");
    world.finish(&manager).await;
}

#[tokio::test]
async fn an_operator_can_close_the_open_network() {
    use session_core::runtime::NetworkMode;
    let world = World::new();
    let options = ManagerOptions {
        allow_open: false,
        ..world.site.options()
    };
    let manager = world.site.manager_with(options).await.unwrap();
    let request = CreateSession {
        network: NetworkMode::Open,
        ..CreateSession::default()
    };
    let error = manager.create(request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(
        error.hint().is_some_and(|hint| hint.contains("--allow")),
        "{error}"
    );
    create(&manager).await;
    world.finish(&manager).await;
}

#[tokio::test]
async fn a_host_that_holds_no_further_session_says_so_and_nothing_is_made() {
    let world = World::new();
    let options = ManagerOptions {
        admission: AdmissionPolicy {
            max_sessions: 2,
            ..world.site.options().admission
        },
        ..world.site.options()
    };
    let manager = world.site.manager_with(options.clone()).await.unwrap();
    let keyed = |key: &str| CreateSession {
        idempotency_key: Some(key.to_owned()),
        ..CreateSession::default()
    };
    let first = manager.create(keyed("a")).await.unwrap();
    // Of many at once as many are made as there is room for.
    let rush = futures::future::join_all((0..8).map(|_| manager.create(CreateSession::default()))).await;
    let (made, refused): (Vec<_>, Vec<_>) = rush.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), 1);
    for error in refused.into_iter().filter_map(Result::err) {
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::LimitExceeded, true)
        );
        assert!(error.hint().is_some());
    }
    assert_eq!(all(&manager).await.len(), 2, "what is refused is not recorded");
    // Who repeats a request makes no further session.
    assert_eq!(manager.create(keyed("a")).await.unwrap().id, first.id);
    manager.destroy(&first.id).await.unwrap();
    create(&manager).await;
    world.finish(&manager).await;
    let greedy = ManagerOptions {
        admission: AdmissionPolicy {
            memory_reserve: u64::MAX,
            ..options.admission
        },
        ..options
    };
    let manager = world.site.manager_with(greedy).await.unwrap();
    let refused = manager.create(CreateSession::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LimitExceeded);
    world.finish(&manager).await;
}
