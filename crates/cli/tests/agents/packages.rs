//! Package managers in sealed sessions, by the real `cofferdam`: what presets let through, and how a denial is explained and
//! approved. What is installed comes from wherever this machine's own npm and pip take it.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::Value;
use testkit::model::Script;
use tokio::process::Command;

use super::world::{World, inherited};
use super::{Result, test};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_cofferdam");
/// Small, old, and without dependencies.
const NPM_PACKAGE: &str = "ms@2.1.3";
const PYPI_PACKAGE: &str = "six==1.16.0";
/// Where systems keep whom they trust; a network that looks into TLS is known there.
const BUNDLES: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];
/// What tells this machine's npm and pip where to go.
const SOURCES: [&str; 5] = [
    "NPM_CONFIG_REGISTRY",
    "PIP_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "SSL_CERT_FILE",
    "PIP_CERT",
];

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("npm_and_pip_install_through_their_presets", Script::new, presets),
        test(
            "a_denied_package_is_explained_and_approved",
            Script::new,
            approval,
        ),
    ]
}

/// The command line with this world's sessions, on a machine with a policy.
struct Shell<'a> {
    world: &'a World,
    policy: std::path::PathBuf,
}

impl<'a> Shell<'a> {
    fn new(world: &'a World) -> Result<Self> {
        let policy = world.record("toml");
        let bundle = BUNDLES.iter().find(|path| Path::new(path).is_file());
        let certificates = bundle.map(|path| format!("[network]\ncertificates = \"{path}\"\n"));
        std::fs::write(&policy, certificates.unwrap_or_default())?;
        Ok(Self { world, policy })
    }

    async fn run(&self, args: &[&str]) -> Result<Output> {
        Ok(Command::new(PROGRAM)
            .args(args)
            .env_clear()
            .envs(self.world.environment())
            .envs(inherited(&SOURCES))
            .env("COFFERDAM_POLICY", &self.policy)
            .current_dir("/")
            .output()
            .await?)
    }

    /// Runs a command that has to succeed, and answers with its standard output.
    async fn ok(&self, args: &[&str]) -> Result<String> {
        let output = self.run(args).await?;
        if !output.status.success() {
            return Err(format!("{args:?} failed: {}", said(&output)).into());
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

fn said(output: &Output) -> String {
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{stdout}\n{stderr}")
}

async fn presets(world: Arc<World>) -> Result<()> {
    let shell = Shell::new(&world)?;
    let npm =
        format!("npm install --no-audit --no-fund {NPM_PACKAGE} && test -f node_modules/ms/package.json");
    installs(&shell, "npm", &["npm", "--version"], &npm).await?;
    let pip =
        format!("python3 -m venv v && v/bin/pip install {PYPI_PACKAGE} && v/bin/python -c 'import six'");
    installs(&shell, "pypi", &["python3", "-m", "pip", "--version"], &pip).await
}

/// A session with the preset installs, and has no other way out. On a machine without the tool, the preset stands for
/// nothing, and says so.
async fn installs(shell: &Shell<'_>, preset: &str, tool: &[&str], script: &str) -> Result<()> {
    if !is_here(tool).await {
        let refused = shell.run(&["create", "--empty", "--allow", preset]).await?;
        assert!(
            !refused.status.success() && said(&refused).contains("[egress.presets]"),
            "{}",
            said(&refused)
        );
        return Ok(());
    }
    let session = shell.ok(&["create", "--empty", "--allow", preset]).await?;
    shell.ok(&["exec", &session, "--", "sh", "-c", script]).await?;
    let direct = "python3 -c \"import socket; socket.create_connection(('192.0.2.1', 443), 2)\"";
    let refused = shell.run(&["exec", &session, "--", "sh", "-c", direct]).await?;
    assert!(!refused.status.success(), "there is a way past the door");
    shell.ok(&["rm", &session]).await?;
    Ok(())
}

async fn is_here(argv: &[&str]) -> bool {
    let ran = Command::new(argv[0]).args(&argv[1..]).output().await;
    ran.is_ok_and(|output| output.status.success())
}

async fn approval(world: Arc<World>) -> Result<()> {
    let shell = Shell::new(&world)?;
    let session = shell.ok(&["create", "--empty"]).await?;
    let npm = format!("npm install --no-audit --no-fund --fetch-retries 0 {NPM_PACKAGE}");
    let denied = shell.run(&["exec", &session, "--", "sh", "-c", &npm]).await?;
    assert!(
        !denied.status.success(),
        "it was installed from nowhere: {}",
        said(&denied)
    );
    assert!(said(&denied).contains("403"), "{}", said(&denied));
    let waiting: Value = first_line(&shell.ok(&["egress", "pending", &session, "--json"]).await?)?;
    let rule = waiting["rule"]
        .as_str()
        .ok_or_else(|| format!("no rule in {waiting}"))?
        .to_owned();
    let explained = format!("http://{}/", rule.split(':').next().unwrap_or_default());
    let explained = shell
        .ok(&["exec", &session, "--", "curl", "--silent", &explained])
        .await?;
    let explained: Value = serde_json::from_str(&explained)?;
    let how = explained["error"]["how_to_allow"].as_str().unwrap_or_default();
    assert!(
        how.contains(&format!("cofferdam egress approve {session}")),
        "{explained}"
    );
    shell.ok(&["egress", "approve", &session, &rule]).await?;
    shell.ok(&["exec", &session, "--", "sh", "-c", &npm]).await?;
    let log = shell.ok(&["egress", "log", &session, "--json"]).await?;
    assert!(
        log.contains("egress_denied") && log.contains("egress_allowed"),
        "{log}"
    );
    shell.ok(&["rm", &session]).await?;
    Ok(())
}

fn first_line(text: &str) -> Result<Value> {
    let line = text.lines().next().ok_or("nothing waits for a decision")?;
    Ok(serde_json::from_str(line)?)
}
