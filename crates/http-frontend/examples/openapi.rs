//! The description of the API as `docs/reference` holds it.
//!
//! ```text
//! cargo run -p http-frontend --example openapi -- write   # makes the file anew
//! cargo run -p http-frontend --example openapi -- check   # fails when it is stale
//! ```

use std::error::Error;
use std::path::Path;

/// Where it is kept.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/openapi.json");

fn main() -> Result<(), Box<dyn Error>> {
    let mut text = serde_json::to_string_pretty(&http_frontend::description())?;
    text.push('\n');
    match std::env::args().nth(1).as_deref() {
        Some("write") => Ok(std::fs::write(FILE, text)?),
        Some("check") if std::fs::read_to_string(Path::new(FILE))? == text => Ok(()),
        Some("check") => Err("docs/reference/openapi.json is stale: run this with `write`".into()),
        _ => Err("say `write` or `check`".into()),
    }
}
