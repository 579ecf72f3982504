//! Who calls, and what the lifecycle API is to them.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use http_api::SurfaceCode;
use session_core::api::SessionApi;
use session_core::audit::Audited;

pub use http_api::TokenScope as Scope;

use crate::audit;
use crate::problem::Failure;
use crate::scoped::Scoped;
use crate::state::AppState;

/// Somebody who was let in. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The token's name; `None` over the socket, whose callers are the server's own user.
    name: Option<Arc<str>>,
    scope: Scope,
    all_sessions: bool,
    /// Which user of the host, over the socket.
    uid: Option<u32>,
}

impl Caller {
    /// The server's own user, over its socket.
    pub fn local() -> Self {
        Self::local_as(rustix::process::geteuid().as_raw())
    }

    /// A user of the host, over the server's socket: its own user, or root.
    pub(crate) fn local_as(uid: u32) -> Self {
        Self {
            name: None,
            scope: Scope::Admin,
            all_sessions: true,
            uid: Some(uid),
        }
    }

    /// Who presents a token.
    pub fn with_token(name: &str, scope: Scope, all_sessions: bool) -> Self {
        Self {
            name: Some(name.into()),
            scope,
            all_sessions: all_sessions || scope != Scope::Use,
            uid: None,
        }
    }

    /// The name of the token; `None` over the socket.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// What the caller may do.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Whether sessions of others exist for this caller.
    pub fn sees_all(&self) -> bool {
        self.all_sessions
    }

    /// Whether files of the server's host are this caller's to read and write: those of its own user and of who was given
    /// everything. A token below that was given for sessions alone.
    pub fn may_touch_host(&self) -> bool {
        self.scope >= Scope::Admin
    }

    /// The lifecycle API as this caller sees it.
    pub fn view(&self, state: &AppState) -> Arc<dyn SessionApi> {
        let api = state.whole_api().clone();
        let view: Arc<dyn SessionApi> = match self.name {
            None => api,
            Some(_) => Arc::new(Scoped::new(api, self.clone(), state.projects())),
        };
        match &state.options().audit {
            None => view,
            // Around what judges, so that refusals are written, too.
            Some(log) => Arc::new(Audited::new(view, log.clone(), self.actor())),
        }
    }

    /// As the audit log names the caller.
    pub(crate) fn actor(&self) -> String {
        match (&self.name, self.uid) {
            (Some(name), _) => format!("token {name}"),
            (None, Some(uid)) => format!("socket uid {uid}"),
            (None, None) => "socket".to_owned(),
        }
    }

    /// Refuses whoever may do less than `scope`.
    ///
    /// # Errors
    /// 403.
    pub fn require(&self, scope: Scope) -> Result<(), Failure> {
        if self.scope >= scope {
            return Ok(());
        }
        let (what, hint) = match scope {
            Scope::Read => ("this token may do nothing", "use another token"),
            Scope::Use => (
                "this token may only look",
                "use a token with the scope `use` or `admin`",
            ),
            Scope::Admin => (
                "this needs the scope `admin`",
                "use a token with the scope `admin`, or the socket",
            ),
        };
        Err(Failure::new(SurfaceCode::Forbidden, what).with_hint(hint))
    }

    /// Refuses whoever sees only sessions of their own.
    ///
    /// # Errors
    /// 403.
    pub fn require_all_sessions(&self) -> Result<(), Failure> {
        if self.all_sessions {
            return Ok(());
        }
        Err(Failure::new(
            SurfaceCode::Forbidden,
            "this token sees its own sessions alone, and this is about all of them",
        ))
    }

    fn of(parts: &Parts) -> Result<&Self, Failure> {
        // The surface lets nobody in without one.
        parts
            .extensions
            .get()
            .ok_or_else(|| Failure::new(SurfaceCode::Internal, "a request has no caller"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Self::of(parts).cloned()
    }
}

/// The lifecycle API as the caller sees it: sessions of others do not exist for whoever may not see them.
#[derive(Clone)]
pub struct Api(pub Arc<dyn SessionApi>);

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Api")
    }
}

impl FromRequestParts<AppState> for Api {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        Ok(Self(Caller::of(parts)?.view(state)))
    }
}

/// A caller who may make sessions and work with them.
#[derive(Debug, Clone)]
pub struct RequireUse(pub Caller);

impl FromRequestParts<AppState> for RequireUse {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        required(parts, state, Scope::Use).await.map(Self)
    }
}

/// A caller who may do everything.
#[derive(Debug, Clone)]
pub struct RequireAdmin(pub Caller);

impl FromRequestParts<AppState> for RequireAdmin {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        required(parts, state, Scope::Admin).await.map(Self)
    }
}

/// The caller, who may do as much; a refusal is written to the audit log.
async fn required(parts: &Parts, state: &AppState, scope: Scope) -> Result<Caller, Failure> {
    let caller = Caller::of(parts)?;
    if let Err(failure) = caller.require(scope) {
        let asked = audit::asked(&parts.method, &parts.extensions);
        audit::turned_away(state, caller.actor(), SurfaceCode::Forbidden.code(), asked).await;
        return Err(failure);
    }
    Ok(caller.clone())
}
