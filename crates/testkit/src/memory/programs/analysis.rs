//! The program that looks at a project's files, as every session has it in its toolbox: the real analysis, of the
//! workspace of the container.

use std::time::Duration;

use project_analysis::{AnalysisKind, Limits, analyze};
use session_core::runtime::ContainerSpec;

use super::Programs;
use crate::memory::program::{Context, Exit};

pub(super) fn add(programs: &Programs) {
    let path = format!("{}/bin/project-analysis", ContainerSpec::TOOLBOX_DIR);
    programs.add(path, run);
}

/// `project-analysis KIND [--time-limit SECONDS] [DIRECTORY]`.
async fn run(context: Context) -> Exit {
    let args = context.args();
    let mut args = args.iter().map(String::as_str);
    let Some(kind) = args.next().and_then(|name| name.parse::<AnalysisKind>().ok()) else {
        context
            .stderr
            .line("usage: project-analysis KIND [DIRECTORY]")
            .await;
        return Exit::Code(2);
    };
    let (mut limits, mut directory) = (Limits::default(), ".");
    while let Some(argument) = args.next() {
        match (argument, args.clone().next()) {
            ("--time-limit", Some(seconds)) => {
                limits.time = Duration::from_secs(seconds.parse().unwrap_or_default());
                args.next();
            }
            (path, _) => directory = path,
        }
    }
    let root = context.host_path(directory);
    let document = tokio::task::spawn_blocking(move || {
        let document = analyze(&root, kind, &limits).map_err(|error| error.to_string())?;
        serde_json::to_string(&document).map_err(|error| error.to_string())
    });
    match document.await.unwrap_or_else(|died| Err(died.to_string())) {
        Ok(document) => {
            context.stdout.line(document).await;
            Exit::OK
        }
        Err(complaint) => {
            context.stderr.line(complaint).await;
            Exit::Code(1)
        }
    }
}
