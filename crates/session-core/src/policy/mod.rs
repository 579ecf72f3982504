//! What a caller may ask for, decided before anything happens.
//!
//! [`mounts`] judges the host's directories that a session would see; [`limits`] judges names, sizes and vectors. Both
//! are told everything they need: neither reads the environment nor a configuration.

pub mod limits;
pub mod mounts;
