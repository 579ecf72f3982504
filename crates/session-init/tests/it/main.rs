//! The real `session-init`, as an ordinary process, driven over a real socket by the host's client.

mod fixture;

mod commands;
