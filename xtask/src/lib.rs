//! What every task rests on, shared by the two programs of this package.
//!
//! `xtask` itself knows nothing of the product, so that `cargo xtask engine up` compiles in seconds on a fresh checkout. What
//! needs the product (`demo`, `bench`) is the program `harness`, which `xtask` builds and runs.

pub mod error;
pub mod process;
pub mod reporter;
pub mod tasks;
pub mod workspace;
