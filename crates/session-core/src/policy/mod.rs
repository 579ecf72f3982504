//! What a caller may ask for, decided before anything happens.
//!
//! [`mounts`] judges the host's directories that a session would see; [`limits`] judges names, sizes and vectors,
//! [`clone`] addresses of repositories, [`certificates`] what sessions may be told to trust. All are told everything they
//! need: none reads the environment nor a configuration.

pub mod certificates;
pub mod clone;
pub mod limits;
pub mod mounts;
