//! Bodies on their way: one that stalls is cut, one of an answer is counted.

mod measured;
mod stalling;

pub(crate) use self::measured::{Measured, Watched};
pub(crate) use self::stalling::{Stalling, is_stall};
