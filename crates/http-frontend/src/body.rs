//! Bodies on their way: one that stalls is cut, one that is read whole is
//! weighed with all others, one of an answer is counted.

mod measured;
mod stalling;
mod weighed;

pub(crate) use self::measured::{Measured, Watched};
pub(crate) use self::stalling::{Stalling, is_stall};
pub(crate) use self::weighed::{Load, Scales, Weighed, overweight};
