//! The lifecycle of sessions: everything that a front end may ask for, and what it rests on.
//!
//! A session is a container, a workspace and an agent's conversation under one id. [`api::SessionApi`] is what front
//! ends consume; [`runtime::ContainerRuntime`], [`gateway::Gateway`] and [`agent::AgentDriver`] are what the wings
//! implement; the manager in between owns the whole life.

pub mod activity;
pub mod agent;
mod ambient;
pub mod api;
pub mod audit;
pub mod backup;
pub mod budget;
pub mod checkpoint;
pub mod command;
mod driver;
pub mod egress;
pub mod error;
pub mod event;
#[cfg(feature = "faults")]
pub mod fault;
pub mod garbage;
pub mod gateway;
pub mod id;
pub mod label;
pub mod lifetime;
mod link_error;
pub mod manager;
pub mod mcp;
pub mod policy;
pub mod runtime;
#[cfg(test)]
#[cfg(feature = "openapi")]
mod schemas;
pub mod secret;
pub mod session;
pub mod state;
pub mod state_dir;
pub mod store;
pub mod terminal;
pub mod transfer;
pub mod turn;
mod workspace_tree;
