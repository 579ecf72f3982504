//! Random lives on an engine that fails at random: whatever happens, the rules hold. A seed that breaks one is printed by
//! the assertion, and breaks it again.

use std::time::Duration;

use session_core::api::SessionApi;
use session_core::id::SessionId;
use session_core::manager::ManagerOptions;
use session_core::runtime::TimeLimits;
use session_core::session::CreateSession;
use session_core::turn::TurnStatus;
use testkit::faults::FaultPlan;
use testkit::harness::ManagerProcess;
use testkit::memory::AgentTurn;

use super::world::{World, all, history, prompt, soon};

/// How many lives are lived.
const LIVES: u64 = 24;
/// How many things happen in one.
const STEPS: u64 = 14;

/// A small generator: the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

async fn start(world: &World) -> ManagerProcess {
    let limit = Duration::from_millis(500);
    let options = ManagerOptions {
        time_limits: TimeLimits {
            read: limit,
            change: limit,
            prepare: limit,
        },
        socket_patience: Duration::from_millis(50),
        interrupt_grace: Duration::from_millis(200),
        ..world.site.options()
    };
    world.site.manager_with(options).await.unwrap()
}

/// One thing happens; what it returns may be any typed error.
async fn step(world: &World, manager: &mut ManagerProcess, sessions: &mut Vec<SessionId>, dice: &mut Dice) {
    let chosen = sessions
        .get(dice.roll(sessions.len().max(1) as u64) as usize)
        .copied();
    let Some(session) = chosen.filter(|_| dice.roll(6) > 0) else {
        if let Ok(info) = soon("a creation", manager.create(CreateSession::default())).await {
            sessions.push(info.id);
        }
        return;
    };
    match dice.roll(12) {
        0..=3 => {
            world.then(match dice.roll(5) {
                0 => AgentTurn::new().say("Oh.").exit(1),
                1 => AgentTurn::new().say("Hm.").hang(),
                2 => AgentTurn::new().deaf().hang(),
                _ => AgentTurn::new().say("Fine."),
            });
            let text = format!("Work {}.", dice.roll(1 << 31));
            let _ = soon("a prompt", manager.prompt(&session, prompt(&text))).await;
        }
        4 => drop(soon("an interrupt", manager.interrupt(&session)).await),
        5 => drop(soon("an inspection", manager.inspect(&session)).await),
        6 => drop(soon("a pause", manager.pause(&session)).await),
        7 => drop(soon("a resume", manager.resume(&session)).await),
        8 => {
            if let Some(container) = world.site.memory.container(&session) {
                container.cut_links();
            }
        }
        9 => {
            if let Some(container) = world.site.memory.container(&session) {
                match dice.roll(3) {
                    0 => container.kill(),
                    1 => container.out_of_memory(),
                    _ => container.remove(),
                }
            }
        }
        10 => drop(soon("an end", manager.destroy(&session)).await),
        _ => {
            let next = start(world).await;
            std::mem::replace(manager, next).kill().await;
        }
    }
}

#[tokio::test]
async fn whatever_happens_the_rules_hold() {
    let lives = (0..LIVES).map(|seed| tokio::spawn(live(seed)));
    for (seed, life) in futures::future::join_all(lives).await.into_iter().enumerate() {
        assert!(life.is_ok(), "seed {seed} broke a rule");
    }
}

/// No prompt was worked on twice, and none that succeeded never.
async fn each_prompt_once(world: &World, manager: &ManagerProcess) {
    let seen = world.prompts();
    for session in all(manager).await {
        for turn in manager.turns(&session).await.unwrap() {
            let times = seen.iter().filter(|text| **text == turn.prompt).count();
            let succeeded = turn.status == TurnStatus::Succeeded;
            assert!(turn.status.is_ended(), "{turn:?}");
            assert!(
                times <= 1 && (times == 1 || !succeeded),
                "worked on {times} times: {turn:?}"
            );
        }
    }
}

async fn live(seed: u64) {
    let world = World::new();
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9) + 1);
    let mut manager = start(&world).await;
    world.site.faulty.set_plan(FaultPlan::seeded(seed, 0.15));
    let mut sessions = Vec::new();
    for _ in 0..STEPS {
        step(&world, &mut manager, &mut sessions, &mut dice).await;
    }
    // The engine recovers, whoever was paused goes on, and everything comes to an end.
    world.site.faulty.set_plan(FaultPlan::none());
    for session in all(&manager).await {
        let _ = soon("a resume", manager.resume(&session)).await;
        history(&manager, &session).await;
    }
    let reconciled = manager.run(|manager| async move { manager.reconcile().await });
    soon("the reconciler", reconciled).await.unwrap();
    world.finish(&manager).await;
    each_prompt_once(&world, &manager).await;
    manager.kill().await;
}
