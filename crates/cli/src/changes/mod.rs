//! What an agent changed in a copy of a directory, on its way back: kept as a patch file first, applied when asked.

mod apply;
mod keep;
mod symlinks;

pub use self::apply::{Applied, apply};
pub use self::keep::keep;
