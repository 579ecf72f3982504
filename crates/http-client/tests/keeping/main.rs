//! What is kept of sessions, and what is known of their past: the same through a server and a client as without them.

#![expect(
    clippy::unwrap_used,
    reason = "what a test assumes and does not find is its failure"
)]

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http_api::ServerInfo;
use http_client::HttpSessions;
use http_frontend::listen::{Listeners, bind_socket};
use http_frontend::{HttpOptions, HttpServer, ServerControl};
use session_core::api::SessionApi;
use session_core::audit::{AuditDecision, AuditQuery};
use session_core::checkpoint::{CheckpointCause, RestoreRequest};
use session_core::error::{Error, ErrorKind};
use session_core::id::{CheckpointId, SessionId};
use session_core::lifetime::{Lifetime, OnInterrupt};
use session_core::manager::SessionManager;
use session_core::session::CreateSession;
use session_core::state_dir::{ServingLock, StateDir};
use testkit::harness::Site;

struct Control;

#[async_trait]
impl ServerControl for Control {
    fn info(&self) -> ServerInfo {
        ServerInfo {
            version: "0".to_owned(),
            pid: std::process::id(),
            started_at: jiff::Timestamp::now(),
            settings: String::new(),
            settings_without_credentials: String::new(),
            auto_started: false,
            working: false,
        }
    }

    fn stop(&self) {}

    async fn ready(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// A manager, and a client of its server.
struct House {
    manager: SessionManager,
    client: HttpSessions,
    _lock: ServingLock,
    _site: Site,
}

impl House {
    async fn new() -> Self {
        let site = Site::new().unwrap();
        site.memory.add_git();
        let state = StateDir::open(&site.state_dir()).unwrap();
        let lock = state.lock_serving().unwrap();
        let engine = Arc::new(site.faulty.clone());
        let manager = SessionManager::open(state, site.options(), engine, site.gateway.clone())
            .await
            .unwrap();
        let options = HttpOptions {
            audit: Some(manager.audit_log()),
            ..HttpOptions::default()
        };
        let path = site.state_dir().join("cofferdam.sock");
        let listeners = Listeners {
            unix: Some(bind_socket(&path, &lock).unwrap()),
            tcp: vec![],
        };
        let server = HttpServer::new(Arc::new(manager.clone()), options, Arc::new(Control));
        tokio::spawn(server.serve(listeners, std::future::pending()));
        Self {
            manager,
            client: HttpSessions::unix(path).unwrap(),
            _lock: lock,
            _site: site,
        }
    }

    async fn write(&self, session: &SessionId, name: &str, text: &str) {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_data(&mut header, name, text.as_bytes()).unwrap();
        let bytes = Bytes::from(archive.into_inner().unwrap());
        let archive = stream::iter([Ok(bytes)]).boxed();
        self.client.copy_in(session, ".", archive).await.unwrap();
    }
}

fn restore(session: SessionId, key: &str) -> RestoreRequest {
    RestoreRequest {
        session,
        checkpoint: None,
        owner: None,
        idempotency_key: Some(key.to_owned()),
    }
}

#[tokio::test]
async fn a_lifetime_goes_there_and_a_lease_is_renewed() {
    let house = House::new().await;
    let request = CreateSession {
        lifetime: Lifetime {
            idle_ms: Some(3_600_000),
            max_ms: Some(7_200_000),
            lease_ms: Some(600_000),
            keep_on_failure: true,
        },
        on_interrupt: OnInterrupt::Resume,
        ..CreateSession::default()
    };
    let asked = (request.lifetime, request.on_interrupt);
    let made = house.client.create(request).await.unwrap();
    assert_eq!((made.lifetime, made.on_interrupt), asked);
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let renewed = house.client.renew_lease(&made.id).await.unwrap();
    assert!(renewed.lease_until > made.lease_until, "{renewed:?}");
    let nobody = house.client.renew_lease(&SessionId::new()).await.unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn work_is_kept_read_and_brought_back() {
    let house = House::new().await;
    let (client, manager) = (&house.client, &house.manager);
    let id = client.create(CreateSession::default()).await.unwrap().id;
    assert_eq!(client.checkpoint(&id).await.unwrap(), None);
    let text = "a line of the session's work\n".repeat(20_000);
    house.write(&id, "work.txt", &text).await;
    let taken = client.checkpoint(&id).await.unwrap().unwrap();
    assert_eq!((taken.cause, taken.files), (CheckpointCause::Asked, 1));
    assert_eq!(
        client.checkpoints(&id).await.unwrap(),
        manager.checkpoints(&id).await.unwrap()
    );

    let read = async |api: &dyn SessionApi| -> Vec<u8> {
        let pieces: Vec<Bytes> = api
            .checkpoint_patch(&id, &taken.id)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        pieces.concat()
    };
    let patch = read(client).await;
    assert_eq!(patch.len() as u64, taken.bytes);
    assert!(patch == read(manager).await, "it is the same patch");
    let absent = client.checkpoint_patch(&id, &CheckpointId::new()).await;
    assert_eq!(absent.err().unwrap().kind(), ErrorKind::NotFound);

    client.destroy(&id).await.unwrap();
    let restored = client.restore(restore(id, "once")).await.unwrap();
    assert_ne!(restored.id, id);
    let again = client.restore(restore(id, "once")).await.unwrap();
    assert_eq!(again.id, restored.id, "the same key gives the same session");
    let diff = client.diff(&restored.id).await.unwrap();
    assert!(
        diff.files.is_empty() || diff.patch.contains("work.txt"),
        "{:?}",
        diff.files
    );
    let never = client.restore(restore(SessionId::new(), "x")).await.unwrap_err();
    assert_eq!(never.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn the_audit_log_and_the_garbage_are_told_as_they_are() {
    let house = House::new().await;
    let (client, manager) = (&house.client, &house.manager);
    let id = client.create(CreateSession::default()).await.unwrap().id;
    client.destroy(&id).await.unwrap();
    assert_eq!(
        client.collect_garbage(true).await.unwrap(),
        manager.collect_garbage(true).await.unwrap()
    );
    let query = AuditQuery {
        session: Some(id),
        ..AuditQuery::default()
    };
    let lines = client.audit(query).await.unwrap();
    assert_eq!(lines, manager.audit(query).await.unwrap());
    let actor = format!("socket uid {}", rustix::process::geteuid().as_raw());
    for action in ["create_session", "destroy_session"] {
        let found = lines
            .iter()
            .filter(|line| line.action == action && line.actor == actor)
            .map(|line| line.decision)
            .collect::<Vec<_>>();
        assert_eq!(found, [AuditDecision::Done], "{action}: {lines:?}");
    }
    let tail = AuditQuery {
        limit: 1,
        tail: true,
        ..query
    };
    assert_eq!(client.audit(tail).await.unwrap(), lines[lines.len() - 1..]);
    assert_eq!(
        client.verify_audit().await.unwrap(),
        manager.verify_audit().await.unwrap()
    );
}
