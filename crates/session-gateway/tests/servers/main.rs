//! The MCP gateway as a whole, over real programs: what sessions get of it, and what is left when it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up has to fail")]

mod hostile;
mod lifetime;
mod plans;
mod support;
