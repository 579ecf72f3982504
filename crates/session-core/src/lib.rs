//! The lifecycle of sessions: everything that a front end may ask for, and what it rests on.
//!
//! A session is a container, a workspace and an agent's conversation under one id.

pub mod error;
pub mod gateway;
pub mod id;
pub mod label;
pub mod runtime;
