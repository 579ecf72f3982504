//! What sessions use, what it costs, and how much they may.
//!
//! ```text
//!  request ──▶ owed? ──▶ budget left? ──▶ (turn) ──▶ provider ──▶ answer ──▶ cost ──▶ charge ──▶ end of the answer
//!              account    budget          queue                               prices   account
//!                │           │ ▲                                                         │
//!                │           │ └── what is under way, by estimate, until it is charged ──┤
//!                ▼           ▼                                                           ▼
//!             ledger of the session (durable, shared by all processes that serve it) ◀───┘
//! ```
//!
//! **The ledger is the truth.** Each request that went out is charged to it once, when it is over: finished, broken off
//! by either side, or cut because the session was forgotten. A session whose last charge failed gets no further request
//! through until that one is made up for.
//!
//! **The end of an answer waits for its charge**, its data does not: a stream's last event passes at once, and only the
//! end of the body (of an answer of known length, its last piece) is held until the charge is durable, for at most a
//! second. So an agent that has seen the end of an answer has been charged for it, and its next request meets a budget
//! that knows. To charge after the end would save that one write's time and let a `kill -9` lose what was already
//! acknowledged to the agent. As it is, what a `kill -9` can lose is the usage of the requests under way, and those are
//! cut by it too.
//!
//! **What is under way is held against the budget by estimate**, see [`budget`]. Processes see each other's
//! charges, not each other's estimates: with two that serve sessions of one state directory the bound of a day's budget
//! is the sum of both.
//!
//! Nothing asks the ledger on the way of a request unless the session or the day has a budget.

mod account;
mod admission;
mod budget;
mod charges;
mod list_prices;
mod model_name;
mod prices;

pub use account::Terms;
pub(crate) use account::{Account, Accounts, Reservation};
pub(crate) use budget::SpentLimit;
pub(crate) use charges::Charged;
pub(crate) use model_name::ModelName;
pub use prices::{LongPrompt, ModelPrice, PriceTable, Rates};
