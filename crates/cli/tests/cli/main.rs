//! The command line as a user meets it: exit code and both streams, driven whole in this process over a scripted API.

#![expect(
    clippy::unwrap_used,
    reason = "what a test assumes and does not find is its failure"
)]

mod attach;
mod config;
mod daemon;
mod doctor;
mod egress;
mod escape;
mod exec;
mod files;
mod keeper;
mod keeping;
mod list;
mod logs;
mod mcp_approve;
mod mcp_declare;
mod mcp_import;
mod mcp_publish;
mod mcp_sessions;
mod prompt;
mod reference;
mod run;
mod support;
mod usage;
