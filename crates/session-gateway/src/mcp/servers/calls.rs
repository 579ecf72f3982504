//! The calls under way on one connection, and whom each message of the server belongs to.
//!
//! A server speaks of calls by numbers that mean nothing outside its connection: ids of requests and tokens of progress.
//! This table ties them to callers, knows when the server last gave a sign of life, and closes the door on a connection
//! before it is stopped, so that no call enters one that is going away.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rmcp::model::{NumberOrString, ProgressNotificationParam, ProgressToken, RequestId};
use rmcp::service::InboundStreamOrigin;
use session_core::id::SessionId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::call::Caller;

/// Reports of progress that a caller may be behind; more are dropped, for only the newest says where a call is.
const PROGRESS: usize = 64;
/// How long a question of the server may still belong to a call that is over.
const ECHO: Duration = Duration::from_secs(30);
/// Of so many sessions we remember that their calls are over.
const ECHOES: usize = 256;
/// Bytes of requests that wait to be written: a server that does not read what it is asked is asked no more.
const UNSENT: u32 = 64 << 20;

/// One call under way.
pub(crate) struct Call {
    /// Newer calls have higher numbers.
    serial: u64,
    pub(crate) session: SessionId,
    pub(crate) caller: Arc<dyn Caller>,
    /// Cancelled when nobody waits for the answer any more.
    pub(crate) over: CancellationToken,
    progress: mpsc::Sender<ProgressNotificationParam>,
    /// Set when it is given to the transport.
    left: OnceLock<Numbers>,
    answered: AtomicBool,
    /// When there was last a sign of life for it, in milliseconds since the connection began.
    heard: AtomicU64,
    /// Questions of the server to the caller that are not answered yet: a call that waits for a person is not silent.
    pub(crate) asking: AtomicUsize,
}

impl Call {
    /// Whether it was given to the transport.
    pub(crate) fn has_left(&self) -> bool {
        self.left.get().is_some()
    }
}

/// Under which numbers a call is known to the server.
struct Numbers {
    id: RequestId,
    token: Option<ProgressToken>,
}

/// Marks a request on its way through the transport.
#[derive(Clone)]
pub(crate) struct Marked(pub(crate) Arc<Call>);

/// Rides with a request until it is written, or given up.
#[derive(Clone)]
pub(crate) struct Unsent {
    _room: Arc<OwnedSemaphorePermit>,
}

/// See the module.
pub(crate) struct Calls {
    begun: Instant,
    /// Whether it is of several sessions.
    shared: bool,
    heard: AtomicU64,
    proved: AtomicBool,
    table: Mutex<Table>,
    room: Arc<Semaphore>,
    /// Rung when the last call ended.
    pub(crate) quiet: Notify,
}

#[derive(Default)]
struct Table {
    closed: bool,
    serial: u64,
    calls: HashMap<u64, Arc<Call>>,
    ids: HashMap<RequestId, Arc<Call>>,
    tokens: HashMap<ProgressToken, Arc<Call>>,
    echoes: VecDeque<(Instant, SessionId)>,
    last_used: Option<Instant>,
}

impl Table {
    /// What the server says under the numbers of a call is no longer its.
    fn forget(&mut self, call: &Call) {
        if let Some(numbers) = call.left.get() {
            self.ids.remove(&numbers.id);
            if let Some(token) = &numbers.token {
                self.tokens.remove(token);
            }
        }
    }
}

impl Calls {
    pub(crate) fn new(shared: bool) -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            shared,
            heard: AtomicU64::new(0),
            proved: AtomicBool::new(false),
            table: Mutex::default(),
            room: Arc::new(Semaphore::new(UNSENT as usize)),
            quiet: Notify::new(),
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a call; `None` when the connection takes no more.
    pub(crate) fn enter(self: &Arc<Self>, session: SessionId, caller: Arc<dyn Caller>) -> Option<Entered> {
        let (progress, reports) = mpsc::channel(PROGRESS);
        let mut table = self.table();
        if table.closed {
            return None;
        }
        table.serial += 1;
        let call = Arc::new(Call {
            serial: table.serial,
            session,
            caller,
            over: CancellationToken::new(),
            progress,
            left: OnceLock::new(),
            answered: AtomicBool::new(false),
            heard: AtomicU64::new(self.now()),
            asking: AtomicUsize::new(0),
        });
        table.calls.insert(call.serial, Arc::clone(&call));
        Some(Entered {
            calls: Arc::clone(self),
            call,
            reports,
        })
    }

    /// Room for a request of so many bytes; `None` while too much is not written yet. The largest has room alone.
    pub(crate) fn room(&self, bytes: usize) -> Option<Unsent> {
        let bytes = u32::try_from(bytes).unwrap_or(UNSENT).min(UNSENT);
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes).ok()?;
        Some(Unsent {
            _room: Arc::new(room),
        })
    }

    /// Closes the door if nobody is inside and nobody was for `idle`; how long to wait otherwise, as far as can be said.
    pub(crate) fn close_if_idle(&self, idle: Duration) -> Result<(), Option<Duration>> {
        let mut table = self.table();
        if !table.calls.is_empty() {
            return Err(None);
        }
        let since = table.last_used.unwrap_or(self.begun).elapsed();
        if since < idle {
            return Err(Some(idle - since));
        }
        table.closed = true;
        Ok(())
    }

    /// Closes the door; those inside stay until they are told that the connection ended.
    pub(crate) fn close(&self) {
        self.table().closed = true;
    }

    /// How many calls are under way.
    pub(crate) fn under_way(&self) -> usize {
        self.table().calls.len()
    }

    /// When a call last ended.
    pub(crate) fn last_used(&self) -> Instant {
        self.table().last_used.unwrap_or(self.begun)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The server said something, whatever it was.
    pub(crate) fn heard(&self) {
        self.heard.store(self.now(), Ordering::Relaxed);
    }

    /// For how long the server has said nothing.
    pub(crate) fn silent(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.heard.load(Ordering::Relaxed)))
    }

    /// Whether a call succeeded on this connection.
    pub(crate) fn is_proved(&self) -> bool {
        self.proved.load(Ordering::Relaxed)
    }

    /// A call succeeded.
    pub(crate) fn proved(&self) {
        self.proved.store(true, Ordering::Relaxed);
    }

    /// A marked request is given to the transport under this id and token.
    pub(crate) fn leaves(&self, call: &Arc<Call>, id: &RequestId, token: Option<ProgressToken>) {
        let mut table = self.table();
        table.ids.insert(id.clone(), Arc::clone(call));
        if let Some(token) = &token {
            table.tokens.insert(token.clone(), Arc::clone(call));
        }
        // A call is given to one transport once; another try is another call.
        drop(call.left.set(Numbers {
            id: id.clone(),
            token,
        }));
    }

    /// The server answered a request.
    pub(crate) fn answered(&self, id: &RequestId) {
        let mut table = self.table();
        if let Some(call) = table.ids.get(&numeric(id)).cloned() {
            call.answered.store(true, Ordering::SeqCst);
            table.forget(&call);
        }
    }

    /// The server reports progress. What belongs to no call is dropped.
    pub(crate) fn progress(&self, report: ProgressNotificationParam) {
        let token = ProgressToken(numeric(&report.progress_token.0));
        let Some(call) = self.table().tokens.get(&token).cloned() else {
            return;
        };
        self.heard_of(&call);
        // Full: the caller is behind, and the next report says more than this one.
        drop(call.progress.try_send(report));
    }

    /// A sign of life for one call.
    pub(crate) fn heard_of(&self, call: &Call) {
        call.heard.store(self.now(), Ordering::Relaxed);
    }

    /// For how long there was no sign of life for a call.
    pub(crate) fn silent_on(&self, call: &Call) -> Duration {
        if call.asking.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        Duration::from_millis(self.now().saturating_sub(call.heard.load(Ordering::Relaxed)))
    }

    /// Whose call a question of the server belongs to. `None` when that cannot be said for certain: no session ever gets
    /// what may be meant for another.
    pub(crate) fn asked(&self, origin: Option<&InboundStreamOrigin>) -> Option<Arc<Call>> {
        let mut table = self.table();
        if let Some(InboundStreamOrigin::OutboundRequest(id)) = origin {
            return table.ids.get(id).cloned();
        }
        table.echoes.retain(|(at, _)| at.elapsed() < ECHO);
        let newest = table.calls.values().max_by_key(|call| call.serial)?;
        let only = table.calls.values().all(|call| call.session == newest.session)
            && table.echoes.iter().all(|(_, session)| *session == newest.session);
        only.then(|| Arc::clone(newest))
    }

    /// The session whose calls alone are under way.
    pub(crate) fn only_session(&self) -> Option<SessionId> {
        self.asked(None).map(|call| call.session)
    }

    fn leave(&self, call: &Call) {
        call.over.cancel();
        let now = Instant::now();
        let mut table = self.table();
        table.calls.remove(&call.serial);
        table.last_used = Some(now);
        let answered = call.answered.load(Ordering::SeqCst);
        if call.has_left() && !answered {
            table.forget(call);
        }
        // What several sessions use may ask about a call that it has answered as well.
        if call.has_left() && (self.shared || !answered) {
            table.echoes.retain(|(_, session)| *session != call.session);
            table.echoes.push_back((now, call.session));
            if table.echoes.len() > ECHOES {
                table.echoes.pop_front();
            }
        }
        if table.calls.is_empty() {
            self.quiet.notify_one();
        }
    }
}

/// A place in the table; given back when dropped.
pub(crate) struct Entered {
    calls: Arc<Calls>,
    pub(crate) call: Arc<Call>,
    /// What the server reports of the call's progress, in order.
    pub(crate) reports: mpsc::Receiver<ProgressNotificationParam>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.calls.leave(&self.call);
    }
}

/// Some servers answer `"7"` to 7.
fn numeric(id: &NumberOrString) -> NumberOrString {
    match id {
        NumberOrString::String(text) => text.parse().map_or_else(|_| id.clone(), NumberOrString::Number),
        NumberOrString::Number(_) => id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::caller::Quiet;
    use super::*;

    fn id(n: i64) -> RequestId {
        RequestId::Number(n)
    }

    #[tokio::test]
    async fn progress_reaches_the_call_that_has_the_token_and_no_other() {
        let calls = Calls::new(false);
        let mut one = calls.enter(SessionId::new(), Quiet::new()).unwrap();
        let mut two = calls.enter(SessionId::new(), Quiet::new()).unwrap();
        calls.leaves(&one.call, &id(1), Some(ProgressToken(id(11))));
        calls.leaves(&two.call, &id(2), Some(ProgressToken(id(12))));
        calls.progress(ProgressNotificationParam::new(
            ProgressToken(RequestId::String("12".into())),
            0.5,
        ));
        calls.progress(ProgressNotificationParam::new(ProgressToken(id(99)), 0.5));
        assert!(one.reports.try_recv().is_err());
        assert_eq!(
            two.reports.try_recv().unwrap().progress.to_bits(),
            0.5_f64.to_bits()
        );
        calls.answered(&id(2));
        calls.progress(ProgressNotificationParam::new(ProgressToken(id(12)), 0.7));
        assert!(two.reports.try_recv().is_err(), "it is answered");
    }

    #[tokio::test]
    async fn a_question_belongs_to_a_session_only_when_no_other_can_be_meant() {
        let calls = Calls::new(false);
        let (a, b) = (SessionId::new(), SessionId::new());
        assert!(calls.asked(None).is_none(), "nobody calls");
        let first = calls.enter(a, Quiet::new()).unwrap();
        calls.leaves(&first.call, &id(1), None);
        assert_eq!(calls.asked(None).unwrap().session, a);
        let second = calls.enter(b, Quiet::new()).unwrap();
        calls.leaves(&second.call, &id(2), None);
        assert!(calls.asked(None).is_none(), "two may be meant");
        assert_eq!(
            calls
                .asked(Some(&InboundStreamOrigin::OutboundRequest(id(2))))
                .unwrap()
                .session,
            b,
            "the stream tells"
        );
        assert!(
            calls
                .asked(Some(&InboundStreamOrigin::OutboundRequest(id(7))))
                .is_none()
        );
        drop(first);
        assert!(
            calls.asked(None).is_none(),
            "the call that was taken back may still ask"
        );
        tokio::time::pause();
        tokio::time::advance(ECHO).await;
        assert_eq!(calls.asked(None).unwrap().session, b);
    }

    #[tokio::test]
    async fn what_is_not_written_yet_is_bounded_and_the_largest_request_has_room_alone() {
        let calls = Calls::new(false);
        let half = calls.room(UNSENT as usize / 2).unwrap();
        assert!(calls.room(usize::MAX).is_none());
        let rides = half.clone();
        drop(half);
        assert!(calls.room(UNSENT as usize).is_none(), "it still rides");
        drop(rides);
        assert!(calls.room(usize::MAX).is_some());
    }

    #[tokio::test]
    async fn an_answered_call_leaves_no_echo() {
        let calls = Calls::new(false);
        let (a, b) = (SessionId::new(), SessionId::new());
        let first = calls.enter(a, Quiet::new()).unwrap();
        calls.leaves(&first.call, &id(1), None);
        calls.answered(&RequestId::String("1".into()));
        drop(first);
        let _second = calls.enter(b, Quiet::new()).unwrap();
        assert_eq!(calls.asked(None).unwrap().session, b);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_shared_server_asks_after_its_answer_reaches_no_other_session() {
        let calls = Calls::new(true);
        let (a, b) = (SessionId::new(), SessionId::new());
        let first = calls.enter(a, Quiet::new()).unwrap();
        calls.leaves(&first.call, &id(1), None);
        calls.answered(&id(1));
        drop(first);
        for n in 2..1000 {
            let other = calls.enter(b, Quiet::new()).unwrap();
            calls.leaves(&other.call, &id(n), None);
            assert!(calls.asked(None).is_none(), "the first may be meant");
            calls.answered(&id(n));
        }
        tokio::time::advance(ECHO).await;
        let _other = calls.enter(b, Quiet::new()).unwrap();
        assert_eq!(calls.asked(None).unwrap().session, b);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_closed_only_when_it_was_idle_for_long_enough() {
        let calls = Calls::new(false);
        let idle = Duration::from_secs(10);
        let inside = calls.enter(SessionId::new(), Quiet::new()).unwrap();
        tokio::time::advance(idle * 2).await;
        assert_eq!(calls.close_if_idle(idle), Err(None), "somebody is inside");
        drop(inside);
        tokio::time::advance(idle / 2).await;
        assert_eq!(calls.close_if_idle(idle), Err(Some(idle / 2)));
        tokio::time::advance(idle / 2).await;
        assert_eq!(calls.close_if_idle(idle), Ok(()));
        assert!(
            calls.enter(SessionId::new(), Quiet::new()).is_none(),
            "the door is closed"
        );
    }
}
