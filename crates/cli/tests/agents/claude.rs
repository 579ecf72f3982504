//! The real Claude Code as a client: the program of the session image, run on this host.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use testkit::model::{ApiRequest, ModelServer, Script};
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::world::{World, inherited, private_dir, text};
use super::{Result, engine};

const IMAGE: &str = "cofferdam-session:latest";
/// Where the image has it.
const INSIDE: &str = "/opt/cofferdam/bin/claude";
/// The version that the image is built with.
const VERSION: &str = include_str!("../../../../images/session/claude-code.version");
/// No conversation of these tests takes longer.
const LIMIT: Duration = Duration::from_secs(180);
/// The key of the outer agent, which has a provider of its own.
const KEY: &str = "key-of-the-outer-agent";

/// What came of a conversation.
pub(crate) struct Conversation {
    /// Each request to the model.
    pub(crate) requests: Vec<ApiRequest>,
    /// What it printed, line by line.
    pub(crate) lines: Vec<Value>,
}

impl Conversation {
    /// What the model was told by the tool that it called `number`th, from 0.
    pub(crate) fn told(&self, number: usize) -> Result<Value> {
        let request = self.requests.get(number + 1).ok_or("the model was asked again")?;
        let [result] = &request.tool_results()[..] else {
            return Err(format!("one result was expected: {:?}", request.tool_results()).into());
        };
        serde_json::from_str(result).map_err(|_| format!("this is no structured result: {result}").into())
    }

    /// The last line: how it ended.
    pub(crate) fn end(&self) -> Result<&Value> {
        let last = self.lines.last().filter(|line| line["type"] == "result");
        last.ok_or_else(|| format!("it ends without a result: {:?}", self.lines.last()).into())
    }
}

/// Lets the agent do what `prompt` says, with these MCP servers and nothing else, and with a model that follows `script`.
///
/// Everything that it prints, writes below its home directory and tells its model is searched for the world's key.
pub(crate) async fn converse(
    world: &World,
    servers: &Value,
    prompt: &str,
    script: Script,
) -> Result<Conversation> {
    let model = ModelServer::start(script).await?;
    let home = private_dir("cofferdam-outer-")?;
    let project = home.path().join("project");
    std::fs::create_dir(&project)?;
    // Apart from what is searched: the key stands in it, as it does in a user's own configuration.
    let config = private_dir("cofferdam-config-")?;
    let servers_file = config.path().join("mcp.json");
    std::fs::write(&servers_file, servers.to_string())?;
    let output = world.record("out");
    let mut child = Command::new(program().await?)
        .args(["-p", prompt, "--output-format", "stream-json", "--verbose"])
        .args(["--strict-mcp-config", "--mcp-config", &text(&servers_file)])
        .args(["--tools", "", "--allowedTools", "mcp__cofferdam"])
        .env_clear()
        .envs(environment(home.path(), &model.url()))
        .current_dir(&project)
        .stdin(Stdio::null())
        .stdout(File::create(&output)?)
        .stderr(File::create(world.record("err"))?)
        .kill_on_drop(true)
        .spawn()?;
    let ended = tokio::time::timeout(LIMIT, child.wait()).await;
    let status = ended.map_err(|_| "the outer agent does not come to an end")??;
    let said = std::fs::read_to_string(&output)?;
    if !status.success() {
        return Err(format!("the outer agent ends with {status}: {said}").into());
    }
    let requests = model.requests();
    expect_no_key(world, home.path(), &requests)?;
    let lines = said
        .lines()
        .map(serde_json::from_str)
        .collect::<std::result::Result<_, _>>()?;
    assert_eq!(
        model.unused_steps(),
        0,
        "the model was asked for everything: {said}"
    );
    let requests = model.conversation();
    model.shutdown().await;
    Ok(Conversation { requests, lines })
}

fn expect_no_key(world: &World, home: &Path, requests: &[ApiRequest]) -> Result<()> {
    for request in requests {
        assert_eq!(
            request.credential(),
            Some(KEY),
            "its own key goes to its own provider"
        );
        assert!(
            !world.key.is_in(&request.body),
            "the key is in a request of the outer agent"
        );
        assert!(!world.key.is_in(format!("{:?}", request.headers).as_bytes()));
    }
    let found = world.key.files_in(home)?;
    assert_eq!(
        found,
        Vec::<PathBuf>::new(),
        "the key is in the outer agent's files"
    );
    Ok(())
}

fn environment(home: &Path, model: &str) -> Vec<(&'static str, String)> {
    let mut environment = vec![
        ("HOME", text(home)),
        ("TMPDIR", text(home)),
        ("ANTHROPIC_BASE_URL", model.to_owned()),
        ("ANTHROPIC_API_KEY", KEY.to_owned()),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".to_owned()),
        ("DISABLE_AUTOUPDATER", "1".to_owned()),
        // All tools are there from the start, as a script cannot search for them.
        ("ENABLE_TOOL_SEARCH", "false".to_owned()),
    ];
    environment.extend(inherited(&["PATH"]));
    environment
}

/// The program, copied out of the image once and kept below the target directory.
async fn program() -> Result<&'static Path> {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    let path = PROGRAM.get_or_try_init(|| async {
        let version = VERSION.trim();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("claude-{version}"));
        if says(&path, version).await {
            return Ok(path);
        }
        copy_out(&path).await?;
        if says(&path, version).await {
            return Ok(path);
        }
        let error = format!("{IMAGE} has another version than {version}: run `cargo xtask image`");
        Err(Box::<dyn std::error::Error + Send + Sync>::from(error))
    });
    path.await.map(PathBuf::as_path)
}

async fn says(program: &Path, version: &str) -> bool {
    let output = Command::new(program).arg("--version").output().await;
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).starts_with(version))
}

/// Under another name first, so that a copy that was broken off is never taken for the program.
async fn copy_out(path: &Path) -> Result<()> {
    let coming = path.with_file_name(format!("claude-{}.part", std::process::id()));
    let container = engine::docker(&["create", "--network", "none", IMAGE]).await?;
    let copied = engine::docker(&["cp", &format!("{container}:{INSIDE}"), &text(&coming)]).await;
    engine::docker(&["rm", &container]).await?;
    copied?;
    std::fs::rename(&coming, path)?;
    Ok(())
}
