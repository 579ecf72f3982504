//! The analyses of projects that are written for them, of hostile ones, and of whatever comes.

mod dependencies;
mod health;
mod hostile;
mod issues;
mod program;
mod properties;
mod schema;
mod structure;
mod support;
