//! What a caller may ask for, decided before anything happens.
//!
//! [`mounts`] judges the host's directories that a session would see; [`limits`] judges names, sizes and vectors,
//! [`clone`] addresses of repositories. All
//! are told everything they need: none reads the environment nor a configuration.

pub mod clone;
pub mod limits;
pub mod mounts;
