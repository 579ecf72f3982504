//! git for the in-memory image: scripts that work with trees run in a shell and with the git of this host, in the container's own
//! directories. What they do there is real; the walls around it are not, and need not be, for the tests' own files.

use std::process::Stdio;
use std::sync::Arc;

use session_core::runtime::ContainerSpec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::Programs;
use super::shell::shell;
use crate::memory::program::{Context, Exit, Output};

/// What such a script says.
const MARK: &str = ".cofferdam";

/// From now on such scripts run; all others do as before.
pub(in crate::memory) fn add(programs: &Arc<Programs>) {
    let known = Arc::downgrade(programs);
    programs.add("sh", move |context: Context| {
        let known = known.clone();
        async move {
            if is_meant(&context) {
                run(context).await
            } else {
                shell(known, context).await
            }
        }
    });
}

/// Whether this is a script for a real shell.
fn is_meant(context: &Context) -> bool {
    let args = context.args();
    matches!(args.as_slice(), [flag, script, ..] if flag == "-c" && script.contains(MARK))
}

/// Runs it, with the host's paths in place of those of the container.
async fn run(mut context: Context) -> Exit {
    let workspace = context.host_path(ContainerSpec::WORKSPACE_DIR);
    let home = context.host_path(ContainerSpec::HOME_DIR);
    let script = context.args().get(1).cloned().unwrap_or_default();
    let script = script.replace(ContainerSpec::WORKSPACE_DIR, &workspace.to_string_lossy());
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", &script])
        .args(context.args().into_iter().skip(2))
        .env_clear()
        .envs(&context.env)
        .env("HOME", home)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let Ok(mut child) = command.spawn() else {
        return Exit::Code(127);
    };
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let input = async {
        let bytes = context.stdin.to_end().await;
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(&bytes).await;
        }
    };
    let ((), (), (), ended) = tokio::join!(
        input,
        pass_on(stdout, &context.stdout),
        pass_on(stderr, &context.stderr),
        child.wait()
    );
    Exit::Code(ended.ok().and_then(|status| status.code()).unwrap_or(1))
}

async fn pass_on(pipe: Option<impl AsyncReadExt + Unpin>, output: &Output) {
    let Some(mut pipe) = pipe else { return };
    let mut piece = vec![0; 64 << 10];
    while let Ok(read @ 1..) = pipe.read(&mut piece).await {
        output.write(piece[..read].to_vec()).await;
    }
}
