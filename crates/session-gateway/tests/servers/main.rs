//! The MCP gateway as a whole, over real programs: what sessions get of it, and what is left when it ends.

mod hostile;
mod lifetime;
mod plans;
mod support;
