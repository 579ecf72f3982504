//! Settings of the interface that existed before, resolved. Its environment variables are read by who composes the server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use session_core::runtime::ResourceLimits;
use session_core::state_dir::PrivateDir;

/// How tasks and analyses are run.
#[derive(Debug, Clone)]
pub struct CompatOptions {
    /// The directory to which every `project_path` is relative (`PROJECTS_PATH`), absolute.
    pub projects_dir: PathBuf,
    /// Where accepted tasks are kept until they have ended, for this server alone: what waits when it ends goes on in the
    /// next one, and sessions that it does not know from there are none of this interface's.
    pub tasks_dir: Arc<PrivateDir>,
    /// How long the agent may work on a task (`CLAUDE_CODE_TIMEOUT`), and an analysis may take.
    pub timeout: Duration,
    /// How many tasks run at once (`CLAUDE_CODE_MAX_CONCURRENT_TASKS`), and as many analyses.
    pub max_concurrent_tasks: usize,
    /// Limits of each session (`CONTAINER_MEMORY_LIMIT`, `CONTAINER_CPU_LIMIT`).
    pub limits: ResourceLimits,
    /// The agent's version, as `claude_code_version` tells it.
    pub claude_code_version: String,
    /// How many sessions of failed tasks are kept, so that one can look inside; older ones are destroyed.
    pub keep_failed: usize,
}

impl CompatOptions {
    /// The defaults of the interface before: 300 s, 3 tasks, 2 GiB and 1 CPU for each.
    pub fn new(projects_dir: PathBuf, tasks_dir: Arc<PrivateDir>) -> Self {
        Self {
            projects_dir,
            tasks_dir,
            timeout: Duration::from_secs(300),
            max_concurrent_tasks: 3,
            limits: ResourceLimits {
                memory_bytes: 2 << 30,
                milli_cpus: 1000,
                ..ResourceLimits::default()
            },
            claude_code_version: "unknown".to_owned(),
            keep_failed: 3,
        }
    }
}
