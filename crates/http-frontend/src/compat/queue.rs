//! Who is next: places for so many at once, given to the most urgent and among equals to who came first.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// How urgent something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Priority {
    Low,
    #[default]
    Medium,
    High,
    Critical,
}

impl Priority {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl FromStr for Priority {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        [Self::Low, Self::Medium, Self::High, Self::Critical]
            .into_iter()
            .find(|priority| priority.as_str() == name)
            .ok_or(())
    }
}

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Queue(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Below nothing while work that was found already running takes more places than there are.
    free: isize,
    room: usize,
    next: u64,
    waiting: BTreeMap<(Reverse<Priority>, u64), oneshot::Sender<Place>>,
}

impl State {
    fn stand(&mut self, priority: Priority) -> oneshot::Receiver<Place> {
        let (sender, receiver) = oneshot::channel();
        let number = self.next;
        self.next += 1;
        self.waiting.insert((Reverse(priority), number), sender);
        receiver
    }
}

/// A place. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place(Option<Queue>);

/// No more may wait.
#[derive(Debug)]
pub(super) struct Full;

impl Queue {
    pub(super) fn new(places: usize, room: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: isize::try_from(places).unwrap_or(isize::MAX),
            room,
            next: 0,
            waiting: BTreeMap::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stands in line at once. The place arrives at the receiver; dropping that leaves the line.
    pub(super) fn enter(&self, priority: Priority) -> Result<oneshot::Receiver<Place>, Full> {
        let mut state = self.lock();
        // Who left the line without a word does not count.
        state.waiting.retain(|_, sender| !sender.is_closed());
        if state.waiting.len() >= state.room {
            return Err(Full);
        }
        let line = state.stand(priority);
        drop(state);
        self.serve();
        Ok(line)
    }

    /// Lets those stand in line again who stood there before, first come first, all of them before anybody is served.
    pub(super) fn enter_again<T>(
        &self,
        all: impl IntoIterator<Item = (Priority, T)>,
    ) -> Vec<(T, oneshot::Receiver<Place>)> {
        let mut state = self.lock();
        let lines = all
            .into_iter()
            .map(|(priority, who)| (who, state.stand(priority)))
            .collect();
        drop(state);
        self.serve();
        lines
    }

    /// Takes a place for work that runs already, whether there is one or not.
    pub(super) fn occupy(&self) -> Place {
        self.lock().free -= 1;
        Place(Some(self.clone()))
    }

    /// Gives free places to those who wait.
    fn serve(&self) {
        loop {
            let mut state = self.lock();
            if state.free <= 0 {
                return;
            }
            let Some((_, sender)) = state.waiting.pop_first() else {
                return;
            };
            state.free -= 1;
            drop(state);
            // A place that nobody takes comes back right here, without its own way back.
            if let Err(mut place) = sender.send(Place(Some(self.clone()))) {
                place.0 = None;
                self.lock().free += 1;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.lock().free += 1;
            queue.serve();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_most_urgent_is_next_and_among_equals_who_came_first() {
        let queue = Queue::new(1, 10);
        let running = queue.enter(Priority::Low).unwrap().await.unwrap();
        let mut lines = Vec::new();
        for (name, priority) in [
            ("low", Priority::Low),
            ("medium", Priority::Medium),
            ("critical", Priority::Critical),
            ("high", Priority::High),
            ("critical too", Priority::Critical),
        ] {
            lines.push((name, queue.enter(priority).unwrap()));
        }
        let mut order = Vec::new();
        let mut held = Some(running);
        while !lines.is_empty() {
            drop(held.take());
            let at = lines
                .iter_mut()
                .position(|(_, line)| match line.try_recv() {
                    Ok(place) => {
                        held = Some(place);
                        true
                    }
                    Err(_) => false,
                })
                .expect("somebody is next");
            order.push(lines.remove(at).0);
        }
        assert_eq!(order, ["critical", "critical too", "high", "medium", "low"]);
    }

    #[tokio::test]
    async fn those_who_stand_in_line_again_are_served_in_the_same_order() {
        let queue = Queue::new(1, 1);
        let all = [
            Priority::Low,
            Priority::Critical,
            Priority::Medium,
            Priority::Critical,
        ];
        let mut lines = queue.enter_again(all.into_iter().zip(0..));
        let mut order = Vec::new();
        while !lines.is_empty() {
            let (who, place) = lines
                .iter_mut()
                .find_map(|(who, line)| Some((*who, line.try_recv().ok()?)))
                .expect("somebody is next");
            lines.retain(|(other, _)| *other != who);
            order.push(who);
            drop(place);
        }
        assert_eq!(order, [1, 3, 2, 0]);
    }

    #[tokio::test]
    async fn never_more_than_there_are_places_and_none_is_lost() {
        let queue = Queue::new(2, 10);
        let one = queue.enter(Priority::Low).unwrap().await.unwrap();
        let _two = queue.enter(Priority::Low).unwrap().await.unwrap();
        let gone = queue.enter(Priority::Critical).unwrap();
        let mut third = queue.enter(Priority::Low).unwrap();
        assert!(third.try_recv().is_err());
        // Who gave up is passed over, and the place goes on.
        drop(gone);
        drop(one);
        let third = third.await.expect("a place");
        let mut fourth = queue.enter(Priority::Low).unwrap();
        assert!(fourth.try_recv().is_err());
        drop(third);
        fourth.await.expect("a place");
    }

    #[tokio::test]
    async fn what_runs_already_counts_and_the_line_is_bounded() {
        let queue = Queue::new(1, 1);
        let (one, two) = (queue.occupy(), queue.occupy());
        let mut line = queue.enter(Priority::High).unwrap();
        assert!(queue.enter(Priority::High).is_err(), "the line is full");
        drop(one);
        assert!(line.try_recv().is_err(), "one too many still runs");
        drop(two);
        line.await.expect("a place");
    }
}
