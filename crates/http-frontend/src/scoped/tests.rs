//! Every operation, as those see it who may not do it or see what it is about.

use std::sync::Arc;

use futures::StreamExt as _;
use jiff::Timestamp;
use session_core::api::SessionApi;
use session_core::audit::AuditQuery;
use session_core::checkpoint::RestoreRequest;
use session_core::command::CommandRequest;
use session_core::egress::DecideEgress;
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::{CheckpointId, CommandId, SessionId, TerminalId, TurnId};
use session_core::runtime::HostMount;
use session_core::session::{CreateSession, EventQuery, PromptRequest, SessionFilter, WorkspaceSource};
use session_core::terminal::{OpenTerminal, TerminalSize};
use testkit::harness::{ManagerProcess, Site};

use super::{Scoped, places};
use crate::caller::{Caller, Scope};
use crate::problem::Failure;

/// A manager, and views of it.
struct Room {
    manager: Arc<ManagerProcess>,
    _site: Site,
}

impl Room {
    async fn new() -> Self {
        let site = Site::new().unwrap();
        let manager = Arc::new(site.manager().await.unwrap());
        Self { manager, _site: site }
    }

    fn seen_by(&self, name: &str, scope: Scope) -> Scoped {
        Scoped::new(self.manager.clone(), Caller::with_token(name, scope, false), None)
    }

    async fn made_by(&self, name: &str) -> SessionId {
        let made = self
            .seen_by(name, Scope::Use)
            .create(CreateSession::default())
            .await;
        made.unwrap().id
    }
}

fn decision(session: Option<SessionId>) -> DecideEgress {
    DecideEgress {
        session,
        rule: "example.com".parse().unwrap(),
        allow: true,
    }
}

fn restore(session: SessionId) -> RestoreRequest {
    RestoreRequest {
        session,
        checkpoint: None,
        owner: None,
        idempotency_key: None,
    }
}

/// What comes of looking at a session in every way that there is.
async fn looks(api: &dyn SessionApi, id: &SessionId) -> Vec<(&'static str, Result<()>)> {
    vec![
        ("session", api.session(id).await.map(drop)),
        ("inspect", api.inspect(id).await.map(drop)),
        ("turn", api.turn(id, &TurnId::new()).await.map(drop)),
        ("turns", api.turns(id).await.map(drop)),
        ("events", api.events(id, 0).await.map(drop)),
        (
            "event_page",
            api.event_page(id, EventQuery::default()).await.map(drop),
        ),
        ("terminals", api.terminals(id).await.map(drop)),
        ("copy_out", api.copy_out(id, ".").await.map(drop)),
        ("diff", api.diff(id).await.map(drop)),
        ("egress_requests", api.egress_requests(Some(id)).await.map(drop)),
        ("egress_decisions", api.egress_decisions(Some(id)).await.map(drop)),
        ("usage", api.usage(Some(id)).await.map(drop)),
        ("checkpoints", api.checkpoints(id).await.map(drop)),
        (
            "checkpoint_patch",
            api.checkpoint_patch(id, &CheckpointId::new()).await.map(drop),
        ),
        ("mcp_status", api.mcp_status(Some(id)).await.map(drop)),
    ]
}

/// What comes of changing a session in every way that there is.
async fn changes(api: &dyn SessionApi, id: &SessionId) -> Vec<(&'static str, Result<()>)> {
    let prompt = PromptRequest {
        prompt: "x".to_owned(),
        ..PromptRequest::default()
    };
    let (command, terminal, size) = (CommandId::new(), TerminalId::new(), TerminalSize::default());
    let archive = futures::stream::empty().boxed();
    vec![
        ("prompt", api.prompt(id, prompt).await.map(drop)),
        ("interrupt", api.interrupt(id).await.map(drop)),
        (
            "interrupt_turn",
            api.interrupt_turn(id, &TurnId::new()).await.map(drop),
        ),
        (
            "command",
            api.command(id, CommandRequest::new(["true"])).await.map(drop),
        ),
        (
            "attach_command",
            api.attach_command(id, &command, 0).await.map(drop),
        ),
        (
            "open_terminal",
            api.open_terminal(id, OpenTerminal::default()).await.map(drop),
        ),
        (
            "attach_terminal",
            api.attach_terminal(id, &terminal, size).await.map(drop),
        ),
        ("close_terminal", api.close_terminal(id, &terminal).await),
        ("copy_in", api.copy_in(id, ".", archive).await.map(drop)),
        (
            "decide_egress",
            api.decide_egress(decision(Some(*id))).await.map(drop),
        ),
        ("pause", api.pause(id).await),
        ("resume", api.resume(id).await),
        ("renew_lease", api.renew_lease(id).await.map(drop)),
        ("checkpoint", api.checkpoint(id).await.map(drop)),
        ("restore", api.restore(restore(*id)).await.map(drop)),
        ("destroy", api.destroy(id).await),
    ]
}

fn told(error: &Error, id: &SessionId) -> String {
    format!("{:?}", Failure::from(error).problem()).replace(&id.to_string(), "ID")
}

#[tokio::test]
async fn a_session_of_somebody_else_looks_like_none_in_every_operation() {
    let room = Room::new().await;
    let (theirs, never) = (room.made_by("ann").await, SessionId::new());
    let api = room.seen_by("bob", Scope::Use);
    let mut of_theirs = looks(&api, &theirs).await;
    of_theirs.extend(changes(&api, &theirs).await);
    let mut of_never = looks(&api, &never).await;
    of_never.extend(changes(&api, &never).await);
    for ((operation, theirs_says), (_, never_says)) in of_theirs.into_iter().zip(of_never) {
        let (theirs_says, never_says) = (theirs_says.unwrap_err(), never_says.unwrap_err());
        assert_eq!(theirs_says.kind(), ErrorKind::NotFound, "{operation}");
        assert_eq!(
            told(&theirs_says, &theirs),
            told(&never_says, &never),
            "{operation}"
        );
    }
    let state = room.manager.session(&theirs).await.unwrap();
    assert_eq!(state.state.name().as_str(), "ready", "nothing was done to it");
}

#[tokio::test]
async fn who_may_only_look_changes_nothing_in_any_operation() {
    let room = Room::new().await;
    let session = room.made_by("ann").await;
    let api = room.seen_by("eye", Scope::Read);
    let refused = changes(&api, &session).await;
    let made = api.create(CreateSession::default()).await.map(drop);
    for (operation, outcome) in refused.into_iter().chain([("create", made)]) {
        let failure = Failure::from(outcome.unwrap_err());
        assert_eq!(failure.status(), 403, "{operation}");
    }
    assert_eq!(
        room.manager
            .session(&session)
            .await
            .unwrap()
            .state
            .name()
            .as_str(),
        "ready"
    );
    let decided = api.decide_egress(decision(None)).await.unwrap_err();
    assert_eq!(Failure::from(decided).status(), 403);
    assert_eq!(api.list(SessionFilter::default()).await.unwrap().len(), 1);
    assert!(api.usage(None).await.is_ok());
}

#[tokio::test]
async fn what_is_about_all_sessions_together_is_the_operators() {
    let room = Room::new().await;
    for scope in [Scope::Read, Scope::Use] {
        let api = room.seen_by("ann", scope);
        for outcome in [
            api.collect_garbage(true).await.map(drop),
            api.audit(AuditQuery::default()).await.map(drop),
            api.verify_audit().await.map(drop),
        ] {
            assert_eq!(Failure::from(outcome.unwrap_err()).status(), 403, "{scope:?}");
        }
    }
}

#[tokio::test]
async fn lists_hold_nothing_of_others() {
    let room = Room::new().await;
    let (ann, bob) = (room.made_by("ann").await, room.made_by("bob").await);
    let admin = room.seen_by("root", Scope::Admin);
    for id in [ann, bob] {
        admin.decide_egress(decision(Some(id))).await.unwrap();
    }
    admin.decide_egress(decision(None)).await.unwrap();
    let api = room.seen_by("ann", Scope::Use);
    let mine = api.list(SessionFilter::default()).await.unwrap();
    assert_eq!(mine.iter().map(|info| info.id).collect::<Vec<_>>(), [ann]);
    let asked = SessionFilter {
        owner: Some("bob".to_owned()),
        ..SessionFilter::default()
    };
    assert!(api.list(asked).await.unwrap().is_empty());
    let decisions = api.egress_decisions(None).await.unwrap();
    assert_eq!(decisions.len(), 2, "its own and the one for all: {decisions:?}");
    assert!(decisions.iter().all(|decision| decision.session != Some(bob)));
    assert_eq!(Failure::from(api.usage(None).await.unwrap_err()).status(), 403);
    let decided = api.decide_egress(decision(None)).await.unwrap_err();
    assert_eq!(Failure::from(decided).status(), 403);
}

#[tokio::test]
async fn the_same_key_of_two_callers_makes_two_sessions() {
    let room = Room::new().await;
    let request = || CreateSession {
        idempotency_key: Some("key".to_owned()),
        owner: Some("somebody".to_owned()),
        ..CreateSession::default()
    };
    let (ann, bob) = (room.seen_by("ann", Scope::Use), room.seen_by("bob", Scope::Use));
    let first = ann.create(request()).await.unwrap();
    assert_eq!(
        first.owner.as_deref(),
        Some("ann"),
        "nobody makes sessions for others"
    );
    let again = ann.create(request()).await.unwrap();
    assert_eq!(first.id, again.id);
    assert_ne!(bob.create(request()).await.unwrap().id, first.id);
    let whole = room.manager.create(request()).await.unwrap();
    assert_ne!(whole.id, first.id);
    let bad = CreateSession {
        idempotency_key: Some("two words".to_owned()),
        ..CreateSession::default()
    };
    assert_eq!(
        ann.create(bad).await.unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}

/// What somebody does between the look at a directory and its use.
fn swap(project: &std::path::Path, secret: &std::path::Path, with_link: bool) {
    std::fs::rename(project, project.with_extension("old")).unwrap();
    if with_link {
        std::os::unix::fs::symlink(secret, project).unwrap();
    } else {
        std::fs::create_dir(project).unwrap();
    }
}

#[tokio::test]
async fn a_directory_that_is_swapped_while_a_session_is_made_ends_it() {
    let room = Room::new().await;
    let ann = room.seen_by("ann", Scope::Use);
    for (as_mount, swapped) in [
        (false, None),
        (true, None),
        (false, Some(true)),
        (true, Some(true)),
        (false, Some(false)),
    ] {
        let host = tempfile::tempdir().unwrap();
        let root = host.path().canonicalize().unwrap();
        let (projects, secret) = (root.join("projects"), root.join("secret"));
        let project = projects.join("one");
        std::fs::create_dir_all(&project).unwrap();
        std::fs::create_dir(&secret).unwrap();
        let mut request = CreateSession {
            owner: Some("ann".to_owned()),
            ..CreateSession::default()
        };
        if as_mount {
            request.mounts.push(HostMount {
                source: project.clone(),
                target: "/data".to_owned(),
                read_only: true,
            });
        } else {
            request.workspace = WorkspaceSource::Copy {
                path: project.clone(),
            };
        }
        let judged_at = Timestamp::now();
        let (request, handed) = places::judge(Some(projects), request).await.unwrap();
        if let Some(with_link) = swapped {
            swap(&project, &secret, with_link);
        }
        let before = room.manager.list(SessionFilter::default()).await.unwrap().len();
        let made = ann.make(request, handed, judged_at).await;
        let after = room.manager.list(SessionFilter::default()).await.unwrap().len();
        match swapped {
            None => {
                made.unwrap();
                assert_eq!(after, before + 1);
            }
            Some(_) => {
                assert_eq!(Failure::from(made.unwrap_err()).status(), 403);
                assert_eq!(after, before, "what was made is gone");
            }
        }
    }
}
