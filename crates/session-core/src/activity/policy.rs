//! After how long a stall is told, and what is done about one that lasts.

use std::time::Duration;

use super::{StallAction, StallCause, Suspicion};

const MINUTE: Duration = Duration::from_secs(60);

/// What the watchdog does about each cause; a cause without a rule is left alone.
///
/// A session that works is never taken for idle: by default nothing is done that could end work. What the defaults do
/// beyond a word is for the one cause that nothing else can end, an agent that says nothing while it waits for nobody.
/// It would hold its session's queue for ever, and nobody may be there to read a word. It is given more time than the
/// agent gives any hook of a project by itself (ten minutes), because those are the one thing that may keep it busy
/// unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchdogPolicy {
    /// Told after 60 s. The agent asks again by itself and names the cause when it gives up.
    pub model_unreachable: Option<StallRule>,
    /// Told after 2 minutes. As above.
    pub model_overloaded: Option<StallRule>,
    /// Told after 5 minutes, restarted after 15.
    pub agent_silent: Option<StallRule>,
    /// Told after 30 s, because somebody has to answer.
    pub waiting_for_permission: Option<StallRule>,
    /// Told after 30 minutes. Never ended by default, however long it takes: a turn's time limit is for that.
    pub tool_running: Option<StallRule>,
}

/// What is done about one cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StallRule {
    /// After how long it is told.
    pub tell_after: Duration,
    /// What is done when it lasts.
    pub remedy: Option<Remedy>,
}

/// What is done about a stall that lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remedy {
    /// After how long, from the stall's beginning.
    pub after: Duration,
    /// What.
    pub action: StallAction,
}

impl StallRule {
    /// A word after this time, and nothing else.
    pub const fn tell(after: Duration) -> Self {
        Self {
            tell_after: after,
            remedy: None,
        }
    }

    /// And this, when it lasts that long from its beginning.
    #[must_use]
    pub const fn then(mut self, action: StallAction, after: Duration) -> Self {
        self.remedy = Some(Remedy { after, action });
        self
    }

    /// What is to be done by now about a stall of this age; the strongest of it.
    fn due(&self, for_ms: u64) -> Option<StallAction> {
        let remedy = self.remedy.filter(|remedy| for_ms >= millis(remedy.after));
        let told = (for_ms >= millis(self.tell_after)).then_some(StallAction::Tell);
        remedy.map(|remedy| remedy.action).max(told)
    }

    fn moments(&self) -> impl Iterator<Item = Duration> {
        let remedy = self.remedy.map(|remedy| remedy.after);
        [Some(self.tell_after), remedy].into_iter().flatten()
    }
}

impl WatchdogPolicy {
    /// Nothing is watched.
    pub const OFF: Self = Self {
        model_unreachable: None,
        model_overloaded: None,
        agent_silent: None,
        waiting_for_permission: None,
        tool_running: None,
    };

    /// The rule for a cause.
    pub fn rule(&self, cause: StallCause) -> Option<StallRule> {
        match cause {
            StallCause::ModelUnreachable => self.model_unreachable,
            StallCause::ModelOverloaded => self.model_overloaded,
            StallCause::AgentSilent => self.agent_silent,
            StallCause::WaitingForPermission => self.waiting_for_permission,
            StallCause::ToolRunning => self.tool_running,
        }
    }

    /// What is to be done by now about what a turn may hang on; nothing when it is too early to speak of.
    pub fn due(&self, suspicion: Suspicion) -> Option<StallAction> {
        self.rule(suspicion.cause)?.due(suspicion.for_ms)
    }

    /// The shortest time after which anything is to be done; `None` when nothing is watched.
    pub fn shortest(&self) -> Option<Duration> {
        let rules = StallCause::ALL.into_iter().filter_map(|cause| self.rule(cause));
        rules.flat_map(|rule| rule.moments().collect::<Vec<_>>()).min()
    }

    /// How long until more is to be done if this goes on.
    pub fn next(&self, suspicion: Suspicion) -> Option<Duration> {
        let rule = self.rule(suspicion.cause)?;
        let ahead = rule
            .moments()
            .filter_map(|moment| millis(moment).checked_sub(suspicion.for_ms));
        ahead.filter(|left| *left > 0).min().map(Duration::from_millis)
    }
}

impl Default for WatchdogPolicy {
    fn default() -> Self {
        Self {
            model_unreachable: Some(StallRule::tell(MINUTE)),
            model_overloaded: Some(StallRule::tell(MINUTE.saturating_mul(2))),
            agent_silent: Some(
                StallRule::tell(MINUTE.saturating_mul(5))
                    .then(StallAction::Restart, MINUTE.saturating_mul(15)),
            ),
            waiting_for_permission: Some(StallRule::tell(Duration::from_secs(30))),
            tool_running: Some(StallRule::tell(MINUTE.saturating_mul(30))),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
