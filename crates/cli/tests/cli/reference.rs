//! The written reference is what the program says of itself.

use std::path::Path;

use cli::args::Program;

/// Writes the file instead of judging it, when it is set.
const WRITE: &str = "COFFERDAM_WRITE_REFERENCE";

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a switch of the developer, not a setting of the program"
)]
fn the_reference_is_not_stale() {
    for (program, file) in [(Program::Cofferdam, "cli.md"), (Program::CofferdamMcp, "mcp.md")] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../docs/reference")
            .join(file);
        let current = cli::reference::markdown(program);
        if std::env::var_os(WRITE).is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, current).unwrap();
            continue;
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == current,
            "docs/reference/{file} is stale; write it with {WRITE}=1 cargo test -p cli reference"
        );
    }
}

#[test]
fn every_command_flag_and_code_is_in_it() {
    let text = cli::reference::markdown(Program::Cofferdam);
    let mut root = cli::args::command();
    root.build();
    for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
        assert!(
            text.contains(&format!("## `cofferdam {}`", command.get_name())),
            "{}",
            command.get_name()
        );
        let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
        for flag in shown.filter_map(|arg| arg.get_long()) {
            assert!(text.contains(&format!("--{flag}")), "{flag}");
        }
    }
    assert!(!text.contains("__own-turn") && !text.contains("__detached"));
    assert!(text.contains("`PROJECTS_PATH`") && !text.contains("DEFAULT_CLAUDE_IMAGE"));

    let text = cli::reference::markdown(Program::CofferdamMcp);
    assert!(text.contains("`MCP_PORT`") && text.contains("--allow-remote"));
    assert!(!text.contains("__keep-turns"));
}
