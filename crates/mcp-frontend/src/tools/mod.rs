//! The tools: what each is called, says of itself, takes and gives.
//!
//! One file for one concern. A tool is a type that implements [`Tool`]; [`offered`] has the only lists of them.

mod checkpoints;
mod command;
mod configuration;
mod create;
mod destroy;
mod diff;
mod doors;
mod execute;
mod inspect;
mod interrupt;
mod list;
mod logs;
mod mcp_view;
mod resume;
mod spawn;
mod tasks;
mod transfer;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use futures::FutureExt;
use futures::future::BoxFuture;
use rmcp::model::{CallToolResult, ToolAnnotations};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use session_core::id::SessionId;
use session_core::turn::{TurnInfo, TurnOutcome};

pub(crate) use self::configuration::refusal;
pub(crate) use self::diff::{DiffPart, diff_part, no_changes};
pub(crate) use self::inspect::SessionView;
pub(crate) use self::logs::newest as newest_lines;
use self::mcp_view::state as server_state;
pub(crate) use self::tasks::cancel::cancel;
use crate::args;
use crate::call::{Call, Stop};
use crate::configuration::Configuration;
use crate::core::Core;
use crate::failure::Failure;
use crate::options::{McpOptions, Toolset};
use crate::schema;

/// What a tool says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What it does and when to use it, for a model.
    pub(crate) description: &'static str,
    pub(crate) hints: Hints,
}

/// The protocol's annotations. They are true.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hints {
    pub(crate) read_only: bool,
    pub(crate) destructive: bool,
    pub(crate) idempotent: bool,
    pub(crate) open_world: bool,
}

impl Hints {
    /// Looks and changes nothing.
    pub(crate) const READS: Self = Self {
        read_only: true,
        destructive: false,
        idempotent: true,
        open_world: false,
    };
}

/// A tool.
pub(crate) trait Tool: Send + 'static {
    const SPEC: Spec;
    type Args: DeserializeOwned + JsonSchema + Send + 'static;
    type Output: Serialize + JsonSchema + 'static;

    fn run(args: Self::Args, call: &Call) -> impl Future<Output = Result<Self::Output, Stop>> + Send;
}

/// Reads the arguments, runs the tool and writes what it gives.
type Run = for<'a> fn(Map<String, Value>, &'a Call) -> BoxFuture<'a, Result<Value, Stop>>;

/// A tool without its types.
pub(crate) struct Entry {
    /// As clients see it.
    pub(crate) definition: rmcp::model::Tool,
    run: Run,
}

impl Entry {
    fn of<T: Tool>() -> Self {
        let Spec {
            name,
            title,
            description,
            hints,
        } = T::SPEC;
        let annotations = ToolAnnotations::from_raw(
            Some(title.to_owned()),
            Some(hints.read_only),
            Some(hints.destructive),
            Some(hints.idempotent),
            Some(hints.open_world),
        );
        let definition = rmcp::model::Tool::new(name, description, schema::input::<T::Args>())
            .with_title(title)
            .with_raw_output_schema(schema::output::<T::Output>())
            .with_annotations(annotations);
        Self {
            definition,
            run: run::<T>,
        }
    }

    /// Runs it.
    pub(crate) async fn run(&self, arguments: Map<String, Value>, call: &Call) -> Result<Value, Stop> {
        for warning in args::unknown(&arguments, &self.definition.input_schema) {
            call.warn(warning);
        }
        let mut output = (self.run)(without_nulls(arguments), call).await?;
        let warnings = call.take_warnings();
        if !warnings.is_empty()
            && let Value::Object(fields) = &mut output
        {
            fields.insert("warnings".to_owned(), warnings.into());
        }
        Ok(output)
    }
}

/// Some clients write `null` for what they leave out.
fn without_nulls(mut arguments: Map<String, Value>) -> Map<String, Value> {
    arguments.retain(|_, value| !value.is_null());
    arguments
}

fn run<T: Tool>(arguments: Map<String, Value>, call: &Call) -> BoxFuture<'_, Result<Value, Stop>> {
    async move {
        let output = T::run(args::read(arguments)?, call).await?;
        serde_json::to_value(output).map_err(|error| {
            tracing::error!(tool = T::SPEC.name, %error, "a result could not be written");
            Stop::from(Failure::of(
                session_core::error::ErrorKind::Internal,
                "the result could not be written",
                "this is a defect of the server; its log says more",
            ))
        })
    }
    .boxed()
}

/// What `execute_in_session` gives for an outcome, for those who ask for it later.
pub(crate) fn execute_result(turn: &TurnInfo, outcome: &TurnOutcome, limit: usize) -> CallToolResult {
    match execute::conclude(turn, outcome, limit).map(serde_json::to_value) {
        Ok(value) => CallToolResult::structured(value.unwrap_or_default()),
        Err(failure) => failure.into_result(),
    }
}

/// A session closely, as the text of its resource.
pub(crate) async fn session_document(core: &Core, id: &SessionId) -> Result<String, Stop> {
    let output = inspect::Output::of(core, id).await?;
    Ok(serde_json::to_string_pretty(&output).unwrap_or_default())
}

/// The tools that clients may have, by name. What is not among them cannot be called either.
pub(crate) fn offered(
    options: &McpOptions,
    configuration: Option<&Configuration>,
) -> BTreeMap<&'static str, Arc<Entry>> {
    let McpOptions { toolsets, host, .. } = options;
    let mut tools = BTreeMap::new();
    if toolsets.contains(&Toolset::Sessions) {
        tools.extend(SESSIONS.iter().cloned());
        if host.is_some() {
            tools.extend(HOST.iter().cloned());
        }
    }
    if toolsets.contains(&Toolset::Configuration)
        && let Some(configuration) = configuration
    {
        tools.extend(configuration::tools(configuration.deployer.is_some()));
    }
    tools
}

static SESSIONS: LazyLock<[Named; 18]> = LazyLock::new(|| {
    [
        entry::<create::CreateSession>(),
        entry::<execute::Execute>(),
        entry::<command::ExecuteCommand>(),
        entry::<list::ListSessions>(),
        entry::<inspect::GetSession>(),
        entry::<diff::GetDiff>(),
        entry::<logs::GetLogs>(),
        entry::<interrupt::Interrupt>(),
        entry::<resume::Resume>(),
        entry::<checkpoints::ListCheckpoints>(),
        entry::<checkpoints::RestoreSession>(),
        entry::<destroy::Destroy>(),
        entry::<spawn::Spawn>(),
        entry::<tasks::start::StartTask>(),
        entry::<tasks::get::GetTask>(),
        entry::<tasks::wait::WaitTask>(),
        entry::<tasks::cancel::CancelTask>(),
        entry::<tasks::list::ListTasks>(),
    ]
});

/// Those that read and write files of this host.
static HOST: LazyLock<[Named; 1]> = LazyLock::new(|| [entry::<transfer::Transfer>()]);

type Named = (&'static str, Arc<Entry>);

fn entry<T: Tool>() -> Named {
    (T::SPEC.name, Arc::new(Entry::of::<T>()))
}
