//! Faults on order, in builds for tests alone: what `COFFERDAM_FAULTS` says becomes true at the fault points it names.
//!
//! ```text
//!  COFFERDAM_FAULTS="store.commit.before=kill@3;driver.turn.recorded=error@1;docker.inspect.before=delay(50)@*"
//! ```
//!
//! `kill` ends this process with SIGKILL, `error` lets the code there fail, `delay(MS)` lets it be late; `@3` is the third
//! time that the point is reached, `@*` every time, and nothing the first. What a point can do stands in
//! `docs/reliability/fault-points.md`; anything else is refused, so that no campaign believes in a fault that never was.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use session_core::error::{Error, ErrorKind, Result};

use crate::settings::env::Environment;

const VARIABLE: &str = "COFFERDAM_FAULTS";
const LIST: &str = include_str!("../../../docs/reliability/fault-points.md");
/// A point blocks a thread that others need.
const LONGEST_DELAY: u64 = 10_000;

/// What is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Kill,
    Error,
    Delay(u64),
}

/// One fault.
#[derive(Debug, PartialEq, Eq)]
struct Order {
    point: String,
    action: Action,
    /// Which time it is; every time when `None`.
    at: Option<u64>,
}

/// Arranges for the faults that the environment orders. Before there is anything that could reach a point.
///
/// # Errors
/// `InvalidArgument` for anything that is not understood, for a point that does not exist, and for a fault that it cannot
/// have.
pub fn arrange(environment: &dyn Environment) -> Result<()> {
    let Some(text) = environment.named(VARIABLE) else {
        return Ok(());
    };
    let text = text.to_str().ok_or_else(|| refused("it is not text", ""))?;
    for order in read(text)? {
        order.place()?;
    }
    Ok(())
}

fn read(text: &str) -> Result<Vec<Order>> {
    let orders = text.split(';').map(str::trim).filter(|order| !order.is_empty());
    orders.map(Order::read).collect()
}

impl Order {
    fn read(text: &str) -> Result<Self> {
        let (point, fault) = text
            .split_once('=')
            .ok_or_else(|| refused("a fault is written as point=action@count", text))?;
        let (action, at) = fault.split_once('@').unwrap_or((fault, "1"));
        let at = match at {
            "*" => None,
            number => Some(
                number
                    .parse()
                    .ok()
                    .filter(|number| *number > 0)
                    .ok_or_else(|| refused("a count is a number from 1 on, or *", text))?,
            ),
        };
        let order = Self {
            point: point.to_owned(),
            action: Action::read(action)
                .ok_or_else(|| refused("an action is kill, error or delay(MS) up to 10000", text))?,
            at,
        };
        match can_fail(point) {
            None => Err(refused("there is no such fault point", text)),
            Some(false) if order.action == Action::Error => {
                Err(refused("the code at this point cannot fail", text))
            }
            Some(_) => Ok(order),
        }
    }

    fn place(self) -> Result<()> {
        let Self { point, action, at } = self;
        let placed = match action {
            Action::Kill => {
                let left = AtomicU64::new(at.unwrap_or(1));
                fail::cfg_callback(point.clone(), move || {
                    if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                        die(&point);
                    }
                })
            }
            Action::Error => fail::cfg(point, &timed("return", at)),
            Action::Delay(millis) => fail::cfg(point, &timed(&format!("sleep({millis})"), at)),
        };
        placed.map_err(|reason| refused("the fault cannot be arranged", &reason))
    }
}

impl Action {
    fn read(text: &str) -> Option<Self> {
        match text {
            "kill" => Some(Self::Kill),
            "error" => Some(Self::Error),
            _ => {
                let millis = text.strip_prefix("delay(")?.strip_suffix(')')?.parse().ok()?;
                (millis <= LONGEST_DELAY).then_some(Self::Delay(millis))
            }
        }
    }
}

/// An action at one time, or at all times, in the words of `fail`.
fn timed(action: &str, at: Option<u64>) -> String {
    match at {
        None => action.to_owned(),
        Some(1) => format!("1*{action}"),
        Some(at) => format!("{}*off->1*{action}", at - 1),
    }
}

/// Whether the code at a point can fail, as the list says; `None` when there is no such point.
fn can_fail(point: &str) -> Option<bool> {
    let row = format!("| `{point}` |");
    let rest = LIST.lines().find_map(|line| line.strip_prefix(&row))?;
    Some(rest.split('|').next()?.contains("error"))
}

fn die(point: &str) {
    // Whoever looks for the reason finds it; nobody to tell is no reason to live.
    let _ = writeln!(std::io::stderr(), "fault point {point}: kill");
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

fn refused(message: &'static str, what: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, "arrange for faults", message)
        .with_context(VARIABLE, what.escape_debug())
        .with_hint("docs/reliability/fault-points.md lists the points and what they can do")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_and_nothing_else_is() {
        let orders =
            read(" store.commit.before=kill@3; driver.output.before=error;store.commit.after=delay(50)@* ;");
        let order = |point: &str, action, at| Order {
            point: point.to_owned(),
            action,
            at,
        };
        assert_eq!(
            orders.unwrap(),
            [
                order("store.commit.before", Action::Kill, Some(3)),
                order("driver.output.before", Action::Error, Some(1)),
                order("store.commit.after", Action::Delay(50), None),
            ]
        );
        for bad in [
            "store.commit.before",
            "store.commit.before=",
            "store.commit.before=kill@0",
            "store.commit.before=kill@",
            "store.commit.before=explode@1",
            "store.commit.before=delay(10001)@1",
            "store.commit.before=delay(-1)@1",
            "nowhere=kill@1",
            "store.commit=kill@1",
            // It is done by then.
            "store.commit.after=error@1",
        ] {
            assert_eq!(read(bad).unwrap_err().kind(), ErrorKind::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn a_fault_happens_at_its_time_and_at_no_other() {
        let times = |at| {
            let point = "a_fault_happens_at_its_time";
            fail::cfg(point, &timed("return", at)).unwrap();
            let happened = || fail::eval(point, |_| ()).is_some();
            [happened(), happened(), happened(), happened()]
        };
        assert_eq!(times(Some(1)), [true, false, false, false]);
        assert_eq!(times(Some(3)), [false, false, true, false]);
        assert_eq!(times(None), [true; 4]);
    }
}
