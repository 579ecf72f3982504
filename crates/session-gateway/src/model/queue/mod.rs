//! A provider's places, shared fairly among sessions: so that one session with a hundred helpers does not keep the
//! others from their model, and none meets the provider's own limit because of it.
//!
//! `scheduler` decides, `rate` counts; here is the waiting. Who stops waiting leaves the line, whenever that is; a place
//! is a value and free again when it is dropped, wherever that is.

mod rate;
mod scheduler;

use std::collections::HashMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use session_core::id::SessionId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::refusal::Refusal;
use rate::Bucket;
use scheduler::{Full, Next, Scheduler, Ticket};

/// How often who waits looks whether the rate lets it go, when nobody told it a time.
const LOOK: Duration = Duration::from_millis(100);

/// How a provider's places are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharing {
    /// Requests of all sessions that are under way at one provider at once; one more waits.
    pub concurrency: NonZeroUsize,
    /// How many may start in a time.
    pub rate: Option<Rate>,
    /// Requests of one session that wait at once; one more gets 429.
    pub max_waiting: usize,
    /// How long a request waits; then it gets 429.
    pub max_wait: Duration,
}

/// A number of requests in a time. After a pause that many start at once, and then one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub requests: NonZeroU32,
    /// In which time.
    pub per: Duration,
}

impl Default for Sharing {
    fn default() -> Self {
        Self {
            concurrency: NonZeroUsize::MIN.saturating_add(255),
            rate: None,
            max_waiting: 32,
            max_wait: Duration::from_secs(120),
        }
    }
}

/// The line at one provider. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct FairQueue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    sharing: Sharing,
    /// All times are durations since then.
    born: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    scheduler: Scheduler<SessionId>,
    waiting: HashMap<u64, oneshot::Sender<Place>>,
}

/// A place at the provider; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    shared: Arc<Shared>,
    /// Whether it was waited for.
    pub(crate) waited: bool,
}

impl FairQueue {
    pub(crate) fn new(sharing: Sharing) -> Self {
        let bucket = sharing
            .rate
            .map(|rate| Bucket::new(rate.requests.get(), rate.per));
        let scheduler = Scheduler::new(sharing.concurrency.get(), sharing.max_waiting, bucket);
        Self(Arc::new(Shared {
            sharing,
            born: Instant::now(),
            state: Mutex::new(State {
                scheduler,
                waiting: HashMap::new(),
            }),
        }))
    }

    /// Waits for a place. Dropping the future leaves the line.
    pub(crate) async fn enter(&self, session: SessionId) -> Result<Place, Refusal> {
        let shared = &self.0;
        let (sender, mut place) = oneshot::channel();
        let _waiting = shared.get_in_line(session, sender)?;
        let mut again = shared.serve_next();
        if let Ok(place) = place.try_recv() {
            return Ok(place);
        }
        let deadline = Instant::now() + shared.sharing.max_wait;
        loop {
            // Places that become free are handed over; only the clock has to be looked at.
            let look = again.map_or_else(|| Instant::now() + LOOK, |at| shared.born + at);
            let alarm = if shared.sharing.rate.is_some() {
                look.min(deadline)
            } else {
                deadline
            };
            // A place that comes is in the channel until it is taken out or the channel goes; a timer loses nothing.
            tokio::select! {
                biased;
                place = &mut place => {
                    // The sender is dropped only by who leaves, and that is us.
                    return place.map_err(|_| Refusal::QueueTimeout).map(Place::waited);
                }
                () = tokio::time::sleep_until(alarm) => {
                    if Instant::now() >= deadline {
                        return Err(Refusal::QueueTimeout);
                    }
                    again = shared.serve_next();
                }
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get_in_line(
        self: &Arc<Self>,
        session: SessionId,
        sender: oneshot::Sender<Place>,
    ) -> Result<Waiting, Refusal> {
        let mut state = self.state();
        let limit = self.sharing.max_waiting;
        let asked = state.scheduler.ask(session);
        let ticket = asked.map_err(|Full| Refusal::QueueFull { limit })?;
        state.waiting.insert(ticket.number, sender);
        Ok(Waiting {
            shared: Arc::clone(self),
            ticket,
        })
    }

    /// Hands out the places that are free. Returns the time to look again, if it is the rate that holds places back.
    fn serve_next(self: &Arc<Self>) -> Option<Duration> {
        loop {
            let sender = {
                let mut state = self.state();
                match state.scheduler.next(self.born.elapsed()) {
                    Next::Go(ticket) => state.waiting.remove(&ticket.number),
                    Next::NotBefore(at) => return Some(at),
                    Next::Nobody => return None,
                }
            };
            let place = Place {
                shared: Arc::clone(self),
                waited: false,
            };
            // Without the lock: a place that nobody takes is dropped here and goes to the next.
            match sender {
                Some(sender) => drop(sender.send(place)),
                None => drop(place),
            }
        }
    }
}

impl Place {
    fn waited(self) -> Self {
        // `self` is not taken apart: it has a destructor.
        let mut place = self;
        place.waited = true;
        place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.state().scheduler.release();
        self.shared.serve_next();
    }
}

/// A place in the line; left when dropped.
struct Waiting {
    shared: Arc<Shared>,
    ticket: Ticket<SessionId>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.scheduler.leave(&self.ticket);
        // Dropped after the lock: it holds no place, but whoever reads this should not have to know.
        let sender = state.waiting.remove(&self.ticket.number);
        drop(state);
        drop(sender);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(concurrency: usize, max_waiting: usize) -> FairQueue {
        FairQueue::new(Sharing {
            concurrency: NonZeroUsize::new(concurrency).unwrap(),
            max_waiting,
            ..Sharing::default()
        })
    }

    fn is_idle(queue: &FairQueue) -> bool {
        let state = queue.0.state();
        state.waiting.is_empty() && format!("{:?}", state.scheduler).contains("taken: 0")
    }

    /// Lets everything that can run do so.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waiting_leaves_the_line() {
        let queue = queue(1, 8);
        let (one, two) = (SessionId::new(), SessionId::new());
        let place = queue.enter(one).await.unwrap();
        assert!(!place.waited);
        let gone = tokio::spawn({
            let queue = queue.clone();
            async move { queue.enter(two).await }
        });
        let stays = tokio::spawn({
            let queue = queue.clone();
            async move { queue.enter(one).await }
        });
        settle().await;
        gone.abort();
        settle().await;
        drop(place);
        let place = stays.await.unwrap().unwrap();
        assert!(place.waited);
        drop(place);
        assert!(is_idle(&queue));
    }

    #[tokio::test(start_paused = true)]
    async fn who_left_does_not_count_any_more() {
        let queue = queue(1, 1);
        let (one, two) = (SessionId::new(), SessionId::new());
        let _place = queue.enter(one).await.unwrap();
        for _ in 0..3 {
            let mut waits = Box::pin(queue.enter(two));
            assert!(
                futures::poll!(waits.as_mut()).is_pending(),
                "there is room in its line"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_came_too_late_goes_to_the_next() {
        let queue = queue(1, 8);
        let session = SessionId::new();
        let place = queue.enter(session).await.unwrap();
        let mut late = Box::pin(queue.enter(session));
        let mut next = Box::pin(queue.enter(session));
        assert!(futures::poll!(late.as_mut()).is_pending());
        assert!(futures::poll!(next.as_mut()).is_pending());
        // The place is in the channel of the one that is dropped without having looked.
        drop(place);
        drop(late);
        drop(next.await.unwrap());
        assert!(is_idle(&queue));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_is_bounded_in_number_and_time() {
        let queue = queue(1, 1);
        let (one, two) = (SessionId::new(), SessionId::new());
        let _place = queue.enter(one).await.unwrap();
        let mut waits = Box::pin(queue.enter(one));
        assert!(futures::poll!(waits.as_mut()).is_pending());
        assert_eq!(
            queue.enter(one).await.unwrap_err(),
            Refusal::QueueFull { limit: 1 }
        );
        let started = Instant::now();
        assert_eq!(queue.enter(two).await.unwrap_err(), Refusal::QueueTimeout);
        assert_eq!(started.elapsed(), Sharing::default().max_wait);
        assert_eq!(waits.await.unwrap_err(), Refusal::QueueTimeout);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept_also_when_places_are_free() {
        let rate = Rate {
            requests: NonZeroU32::new(2).unwrap(),
            per: Duration::from_secs(10),
        };
        let queue = FairQueue::new(Sharing {
            rate: Some(rate),
            ..Sharing::default()
        });
        let started = Instant::now();
        let mut times = Vec::new();
        for _ in 0..4 {
            drop(queue.enter(SessionId::new()).await.unwrap());
            times.push(started.elapsed().as_secs_f64().round());
        }
        assert_eq!(times, [0.0, 0.0, 5.0, 10.0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_goes_on_after_a_place_was_waited_for() {
        let rate = Rate {
            requests: NonZeroU32::new(1).unwrap(),
            per: Duration::from_secs(10),
        };
        let queue = FairQueue::new(Sharing {
            rate: Some(rate),
            concurrency: NonZeroUsize::MIN,
            ..Sharing::default()
        });
        let place = queue.enter(SessionId::new()).await.unwrap();
        let waits = tokio::spawn({
            let queue = queue.clone();
            async move { queue.enter(SessionId::new()).await.map(|_| Instant::now()) }
        });
        settle().await;
        let freed = Instant::now() + Duration::from_secs(3);
        tokio::time::sleep_until(freed).await;
        drop(place);
        let went = waits.await.unwrap().unwrap();
        assert_eq!((went - freed).as_secs(), 7);
    }
}
