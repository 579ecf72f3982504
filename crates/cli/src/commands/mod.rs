//! The commands. Each takes what was resolved for it, the lifecycle API and a console, and returns an exit status.

mod completions;
mod config;
mod cp;
mod create;
mod diff;
mod doctor;
mod exec;
mod help;
mod input;
mod inspect;
mod logs;
mod ls;
mod man;
mod own_turn;
mod prompt;
mod rm;
mod run;
mod steer;

pub use self::completions::completions;
pub use self::config::{ConfigSettings, config};
pub use self::cp::cp;
pub use self::create::create;
pub use self::diff::diff;
pub use self::doctor::{DoctorSettings, doctor};
pub use self::exec::{exec, output};
pub use self::help::help;
pub use self::inspect::inspect;
pub use self::logs::logs;
pub use self::ls::ls;
pub use self::man::man;
pub use self::own_turn::own_turn;
pub use self::prompt::prompt;
pub use self::rm::rm;
pub use self::run::{ApplyMode, RunSettings, run};
pub use self::steer::{interrupt, pause, resume};
