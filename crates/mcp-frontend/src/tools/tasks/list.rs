//! `list_tasks`.

use std::cmp::Reverse;
use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use session_core::event::EventKind;
use session_core::id::SessionId;
use session_core::session::{EventQuery, SessionFilter};

use crate::args::{self, Count, given};
use crate::call::{Call, Stop};
use crate::core::Core;
use crate::tasks::commands::{Found, Past};
use crate::tasks::view::{TaskView, of_command, of_record, of_turn};
use crate::text::one_line;
use crate::tools::{Hints, Spec, Tool};

/// How many events of a session are searched for commands.
const SEARCHED: usize = 2000;
/// How many sessions are looked at.
const SESSIONS: usize = 100;
const MAX_LIMIT: usize = 200;
const DEFAULT_LIMIT: usize = 50;

/// See the module.
pub(in crate::tools) struct ListTasks;

/// What `list_tasks` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::tools) struct Args {
    /// Only tasks of this session. Without it: of all that were not destroyed.
    session_id: Option<String>,
    /// open: only tasks that run or wait. ended: only the others. all (default).
    state: Option<Which>,
    /// At most so many, up to 200; 50 when absent.
    limit: Option<Count>,
}

/// Which tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Which {
    Open,
    Ended,
    All,
}

/// What `list_tasks` gives.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::tools) struct Output {
    /// The tasks, newest first.
    tasks: Vec<Brief>,
    /// How many match in all.
    total: u64,
    /// What an empty list means.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// A task in short.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Brief {
    /// The id that the task tools take.
    task_id: String,
    /// prompt or command.
    kind: &'static str,
    /// The session.
    session_id: String,
    /// As get_task says it.
    status: &'static str,
    /// Whether it has ended.
    ended: bool,
    /// The prompt's or command's beginning.
    about: String,
    /// When it was accepted, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
}

impl From<TaskView> for Brief {
    fn from(view: TaskView) -> Self {
        Self {
            about: one_line(view.prompt.or(view.command).as_deref().unwrap_or_default(), 120),
            task_id: view.task_id,
            kind: view.kind,
            session_id: view.session_id,
            status: view.status,
            ended: view.ended,
            created_at: view.created_at,
        }
    }
}

/// All tasks of a session. Commands come from this server's book and from the log, which does not say whether a command
/// whose end it does not know still runs; get_task does.
async fn tasks_of(core: &Core, session: &SessionId) -> Result<Vec<Brief>, Stop> {
    let mut tasks: Vec<Brief> = core
        .api
        .turns(session)
        .await?
        .iter()
        .map(|turn| of_turn(turn, 0, 1).into())
        .collect();
    let records = core.book.of_session(session);
    tasks.extend(records.iter().map(|record| Brief::from(of_record(record, 0, 1))));
    let query = EventQuery {
        after: 0,
        limit: SEARCHED,
        tail: true,
    };
    let events = core.api.event_page(session, query).await?;
    let ends: HashMap<_, _> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::CommandFinished {
                command,
                code,
                signal,
                cause,
            } => Some((*command, (*code, *signal, *cause))),
            _ => None,
        })
        .collect();
    for event in &events {
        let EventKind::CommandStarted { command, argv } = &event.kind else {
            continue;
        };
        if records.iter().any(|record| record.command == *command) {
            continue;
        }
        let end = ends.get(command).copied();
        let past = Past {
            line: Some(one_line(&argv.join(" "), 200)),
            started: Some(event.at),
            end,
        };
        tasks.push(of_command(session, command, &Found::Past(past), 0, 1).into());
    }
    Ok(tasks)
}

impl Tool for ListTasks {
    const SPEC: Spec = Spec {
        name: "list_tasks",
        title: "List tasks",
        description: "Prompts and commands of one session or of all, newest first, with their status. Use it to find a \
            task again whose id was lost.",
        hints: Hints::READS,
    };
    type Args = Args;
    type Output = Output;

    async fn run(args: Args, call: &Call) -> Result<Output, Stop> {
        let limit = args.limit.map_or(DEFAULT_LIMIT, |Count(limit)| {
            usize::try_from(limit).unwrap_or(MAX_LIMIT).clamp(1, MAX_LIMIT)
        });
        let sessions = match given(args.session_id.as_deref()) {
            Some(id) => vec![args::session_id(id)?],
            None => {
                let sessions = call.core.api.list(SessionFilter::default()).await?;
                sessions
                    .into_iter()
                    .take(SESSIONS)
                    .map(|session| session.id)
                    .collect()
            }
        };
        let mut tasks = Vec::new();
        for session in &sessions {
            tasks.extend(tasks_of(&call.core, session).await?);
        }
        let which = args.state.unwrap_or(Which::All);
        tasks.retain(|task| which == Which::All || task.ended == (which == Which::Ended));
        tasks.sort_by_cached_key(|task| Reverse(task.created_at.clone()));
        let total = tasks.len() as u64;
        tasks.truncate(limit);
        let note = tasks
            .is_empty()
            .then(|| "no task matches; start_task starts one".to_owned());
        Ok(Output { tasks, total, note })
    }
}
