//! The real `session-init`, as an ordinary process, driven over a real socket by the host's client.

mod fixture;

mod commands;
mod doors;
mod files;
mod hostile;
mod lifecycle;
mod limits;
mod reattach;
mod terminals;
