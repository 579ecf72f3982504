//! The whole of it in one go: a real agent fixes a real bug in a sealed container, and every claim that we make about it is
//! checked before the eyes of the user.

mod claims;
mod death;
mod egress;
mod mcp;
mod seal;
mod secrets;
mod story;
mod traces;

use std::time::Instant;

use secrecy::SecretString;
use session_core::api::{SessionApi, SessionApiExt};
use session_core::command::{CommandOutput, CommandRequest};
use session_core::id::SessionId;
use session_core::session::{PromptRequest, SessionInfo};
use testkit::canary::Canary;
use testkit::fixtures::{self, Repository};
use testkit::model::ModelServer;
use xtask::error::{Context, Error, Result};
use xtask::reporter::{Reporter, seconds};
use xtask::tasks::DemoArgs;
use xtask::workspace;

use self::claims::Claims;
use self::mcp::Guarded;
use self::traces::Traces;
use crate::daemon::{Daemon, printed};
use crate::lab::{Provider, State};
use crate::raw::Engine;

/// How much of a command's output is looked at.
const OUTPUT_LIMIT: usize = 64 << 10;
const TEST: [&str; 3] = ["python3", "-m", "unittest"];

/// Everything that the demo has in hand.
struct Demo<'a> {
    reporter: &'a Reporter,
    engine: Engine,
    state: State,
    daemon: Daemon,
    /// The scripted model; with `--live` there is none.
    model: Option<ModelServer>,
    key: Canary,
    repository: Repository,
    servers: Guarded,
}

/// Runs the demo.
///
/// # Errors
/// When a step fails or a claim does not hold.
pub(crate) async fn run(args: &DemoArgs, host: &str, reporter: &Reporter) -> Result<()> {
    let started = Instant::now();
    let mut claims = Claims::new(reporter);
    let mut demo = Demo::prepare(args, host, reporter).await?;
    let told = demo.tell(&mut claims).await;
    let stopped = demo.expect_stopped(&mut claims).await;
    if let Some(model) = demo.model {
        model.shutdown().await;
    }
    told?;
    stopped?;
    claims.verdict()?;
    reporter.notice(&format!("\nEvery claim holds. {}", seconds(started.elapsed())));
    Ok(())
}

impl<'a> Demo<'a> {
    async fn prepare(args: &DemoArgs, host: &str, reporter: &'a Reporter) -> Result<Self> {
        reporter.notice("\nThe project and its model");
        let step = reporter.step("a small repository with a bug");
        let repository = fixtures::buggy_calculator().context(|| "cannot make the repository".to_owned())?;
        step.done("calc.py subtracts from the right");
        let (model, provider, key) = provider(args, reporter).await?;
        let step = reporter.step("an MCP server that wants a token");
        let state = State::new()?;
        let servers = Guarded::start(state.path()).await?;
        step.done("declared by the name of the variable that holds it");
        let variables = servers
            .variables(state.path())
            .into_iter()
            .chain(egress::policy(state.path())?);
        Ok(Self {
            reporter,
            engine: Engine::connect(host).await?,
            daemon: Daemon::new(state.path(), host, &provider, variables)?,
            state,
            model,
            key,
            repository,
            servers,
        })
    }

    async fn tell(&mut self, claims: &mut Claims<'_>) -> Result<()> {
        self.reporter.notice("\nA session");
        let session = self.create(claims).await?;
        let worked = self.work(&session, claims).await;
        // Whatever happened: what was created is destroyed.
        let traces = Traces::of(&mut self.engine, &session.id, self.state.path()).await;
        self.reporter.notice("\nThe end");
        let step = self.reporter.step("destroy");
        let destroyed = self.daemon.sessions().destroy(&session.id).await;
        destroyed.context(|| "cannot destroy the session".to_owned())?;
        step.done("");
        worked?;
        traces?.expect_gone(&mut self.engine, claims).await
    }

    /// By the command line, which starts the daemon for it.
    async fn create(&self, claims: &mut Claims<'_>) -> Result<SessionInfo> {
        let step = self
            .reporter
            .step("cofferdam create --name demo, with a copy of the repository");
        let workspace = self.repository.path().to_string_lossy();
        let create = ["create", "--name", "demo", "--copy", "--workspace", &workspace];
        let printed = self.daemon.run(create).await?;
        let id = printed.trim().parse::<SessionId>();
        let id = id.context(|| "`cofferdam create` printed no session".to_owned())?;
        let session = self.daemon.sessions().session(&id).await;
        let session = session.context(|| "the daemon does not know the session".to_owned())?;
        step.done("ready");
        let process = self.daemon.process().await?;
        let seen = format!("process {process}, which owns the state directory");
        claims.check("the command started the daemon", process != 0, &seen);
        self.expect_listed_by_curl(&id, claims).await?;
        Ok(session)
    }

    /// What a person can do with it without any program of ours.
    async fn expect_listed_by_curl(&self, session: &SessionId, claims: &mut Claims<'_>) -> Result<()> {
        let mut curl = tokio::process::Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--unix-socket"])
            .arg(self.daemon.socket())
            .arg("http://localhost/v1/sessions");
        let listed = printed(curl).await?;
        let listed: serde_json::Value =
            serde_json::from_str(&listed).context(|| "the list of sessions is no JSON".to_owned())?;
        let ids: Vec<_> = sessions_in(&listed).collect();
        claims.check(
            "curl on its socket lists the session",
            ids == [session.to_string()],
            &format!("{} of them", ids.len()),
        );
        Ok(())
    }

    async fn expect_stopped(&self, claims: &mut Claims<'_>) -> Result<()> {
        let process = self.daemon.process().await.ok();
        self.daemon.stop().await?;
        let seen = process
            .map(|process| format!("process {process}"))
            .unwrap_or_default();
        let gone = process.is_some() && !self.daemon.socket().exists();
        claims.check("the daemon is stopped, and its socket is gone", gone, &seen);
        Ok(())
    }

    async fn work(&mut self, session: &SessionInfo, claims: &mut Claims<'_>) -> Result<()> {
        self.test(&session.id, claims, "the test fails", false).await?;
        self.reporter.notice("\nThe seal");
        seal::check(
            self.daemon.sessions(),
            &mut self.engine,
            &session.id,
            self.model.as_ref(),
            claims,
        )
        .await?;
        self.prompt(&session.id, claims).await?;
        self.show_diff(&session.id, claims).await?;
        self.test(&session.id, claims, "the test passes", true).await?;
        self.reporter.notice("\nThe key, which the model was asked with");
        self.model_saw_the_key(claims);
        secrets::check(
            &self.key,
            self.daemon.sessions(),
            &mut self.engine,
            &session.id,
            self.state.path(),
            claims,
        )
        .await?;
        self.reporter.notice("\nA host that is not allowed");
        egress::check(self.daemon.sessions(), &session.id, self.reporter, claims).await?;
        self.reporter.notice("\nThe daemon's death");
        let model = self.model.as_ref();
        death::check(&self.daemon, &session.id, model, self.reporter, claims).await?;
        self.use_servers(&session.id, claims).await
    }

    async fn use_servers(&mut self, session: &SessionId, claims: &mut Claims<'_>) -> Result<()> {
        self.reporter.notice("\nAn MCP server, which has a secret");
        self.servers
            .check(
                self.daemon.sessions(),
                session,
                self.model.as_ref(),
                self.reporter,
                claims,
            )
            .await?;
        secrets::check(
            &self.servers.token,
            self.daemon.sessions(),
            &mut self.engine,
            session,
            self.state.path(),
            claims,
        )
        .await
    }

    async fn test(
        &self,
        session: &SessionId,
        claims: &mut Claims<'_>,
        what: &str,
        passes: bool,
    ) -> Result<()> {
        let output = run_inside(self.daemon.sessions(), session, CommandRequest::new(TEST)).await?;
        let last = String::from_utf8_lossy(&output.stderr);
        let last = last.trim().lines().last().unwrap_or_default().to_owned();
        claims.check(
            what,
            (output.exit.code == Some(0)) == passes,
            &format!("python3 -m unittest: {last}"),
        );
        Ok(())
    }

    async fn prompt(&self, session: &SessionId, claims: &mut Claims<'_>) -> Result<()> {
        self.reporter
            .notice(&format!("\nThe prompt: {}", fixtures::FIX_CALCULATOR_PROMPT));
        let request = PromptRequest {
            prompt: fixtures::FIX_CALCULATOR_PROMPT.to_owned(),
            ..PromptRequest::default()
        };
        let outcome = story::follow(self.daemon.sessions(), session, request, self.reporter).await?;
        let figures = format!(
            "{} answers of the model, {} + {} tokens, {:.1} s",
            outcome.model_calls,
            outcome.usage.input,
            outcome.usage.output,
            std::time::Duration::from_millis(outcome.duration_ms).as_secs_f64(),
        );
        match &outcome.failure {
            None => claims.check("the turn succeeds", true, &figures),
            Some(failure) => claims.check("the turn succeeds", false, &failure.error.message),
        }
        Ok(())
    }

    async fn show_diff(&self, session: &SessionId, claims: &mut Claims<'_>) -> Result<()> {
        self.reporter.notice("\nThe diff");
        let diff = self
            .daemon
            .sessions()
            .diff(session)
            .await
            .context(|| "cannot read the diff".to_owned())?;
        self.reporter.data(diff.patch.trim_end());
        let files: Vec<_> = diff.files.iter().map(|file| file.path.as_str()).collect();
        claims.check("one file is changed", files == ["calc.py"], &files.join(", "));
        Ok(())
    }

    /// Without this, that the key is nowhere inside would prove nothing.
    fn model_saw_the_key(&self, claims: &mut Claims<'_>) {
        let Some(model) = &self.model else { return };
        let requests = model.requests();
        let with_key = requests
            .iter()
            .filter(|request| request.credential() == Some(self.key.text()))
            .count();
        let detail = format!("in {with_key} of {} requests", requests.len());
        claims.check(
            "the model got it",
            with_key == requests.len() && with_key > 0,
            &detail,
        );
    }
}

fn sessions_in(listed: &serde_json::Value) -> impl Iterator<Item = &str> {
    listed
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|session| session["id"].as_str())
}

async fn provider(args: &DemoArgs, reporter: &Reporter) -> Result<(Option<ModelServer>, Provider, Canary)> {
    if args.live {
        let key = workspace::env("ANTHROPIC_API_KEY").ok_or_else(|| {
            Error::new("there is no key in ANTHROPIC_API_KEY")
                .hint("set it, or leave out --live: a scripted model costs nothing")
        })?;
        let url = workspace::env("ANTHROPIC_BASE_URL");
        reporter.notice("  the real model answers, and is paid for");
        let provider = Provider {
            url,
            key: SecretString::from(key.clone()),
        };
        return Ok((None, provider, Canary::of(key)));
    }
    let step = reporter.step("a scripted model behind the model proxy");
    let model = ModelServer::start(fixtures::fix_calculator_script()).await;
    let model = model.context(|| "cannot start the scripted model".to_owned())?;
    let key = Canary::new();
    let provider = Provider {
        url: Some(model.url()),
        key: SecretString::from(key.text()),
    };
    step.done(&format!(
        "{}, for a key that is to be found nowhere else",
        model.url()
    ));
    Ok((Some(model), provider, key))
}

/// Runs a command in the session to its end.
async fn run_inside(
    api: &dyn SessionApi,
    session: &SessionId,
    request: CommandRequest,
) -> Result<CommandOutput> {
    let ran = api.command_output(session, request, OUTPUT_LIMIT).await;
    ran.context(|| "cannot run a command in the session".to_owned())
}
