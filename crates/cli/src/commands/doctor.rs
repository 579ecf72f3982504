//! `doctor`: whether everything that sessions need is there, and which promise cannot be kept on this host.
//!
//! Each check says what it found and, unless all is well, what to do about it. Nothing is repaired.

use session_core::api::{SessionApi, SessionApiExt as _};
use session_core::command::CommandRequest;
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::{ImageRef, SessionId};
use session_core::runtime::Progress;
use session_core::session::CreateSession;

use super::mcp;
use crate::checks::{Check, Conclusions, Report};
use crate::compose::Backend;
use crate::console::Console;
use crate::daemon::connect::Wish;
use crate::exit::ExitStatus;
use crate::printer::Printer;
use crate::settings::Settings;
use crate::{render, sanitize};

/// Fewer open files than this do not carry a few busy sessions.
const MIN_FILES: u64 = 1024;
/// How much of a trial command's output is looked at, in bytes.
const TRIAL_OUTPUT: usize = 64 << 10;

/// What `doctor` looks at.
#[derive(Debug)]
pub struct DoctorSettings {
    /// The image to check; the default one when `None`.
    pub image: Option<ImageRef>,
    /// Make a session and look whether it is sealed.
    pub trial: bool,
    /// Make it in this process.
    pub embedded: bool,
}

/// Runs every check and prints it as soon as it is known.
///
/// # Errors
/// `HostIo` when standard output cannot be written. A check that fails is an outcome, not an error.
pub async fn doctor(
    doctor: &DoctorSettings,
    settings: &Settings,
    wish: Wish<'_>,
    backend: &dyn Backend,
    console: &Console,
) -> Result<ExitStatus> {
    let mut report = Report::new(&console.printer);
    report.add(state_dir(settings, backend))?;
    records(settings, backend, &mut report).await?;
    report.add(daemon(settings, backend).await)?;
    report.add(files())?;
    let engine_works = engine(settings, backend, &mut report).await?;
    let image_works = engine_works && image(doctor, settings, backend, &mut report).await?;
    report.add(provider(settings, backend))?;
    mcp::doctor(settings, &mut report).await?;
    report.add(git().await)?;
    if doctor.trial && image_works {
        report.printer.status(Some("making a session"));
        let tried = trial(doctor, settings, wish, backend).await;
        report.printer.status(None);
        report.add(tried.unwrap_or_else(|error| Check::failed("trial", &error)))?;
    }
    Ok(report.conclude(&Conclusions {
        ok: "all is well",
        warn: "sessions work here, with the limitations above",
        fail: "sessions do not work here before what is marked FAIL is put right",
    }))
}

fn state_dir(settings: &Settings, backend: &dyn Backend) -> Check {
    match backend.state_dir(settings) {
        Ok(()) => Check::ok("state", format!("{} is ours alone", settings.state_dir.display())),
        Err(error) => Check::failed("state", &error),
    }
}

/// Records that are well are nothing to tell of.
async fn records(settings: &Settings, backend: &dyn Backend, report: &mut Report<'_>) -> Result<()> {
    const CHECK: &str = "records";
    match backend.quarantined(settings).await {
        Ok(none) if none.is_empty() => Ok(()),
        Ok(aside) => {
            let sessions: std::collections::BTreeSet<String> = aside
                .iter()
                .filter_map(|record| record.session)
                .map(|session| session.to_string())
                .collect();
            let of = match sessions.len() {
                0 => String::new(),
                _ => format!(", of {}", sessions.into_iter().collect::<Vec<_>>().join(", ")),
            };
            report.add(Check::warn(
                CHECK,
                format!(
                    "{} could not be read and were put aside{of}",
                    render::count(aside.len() as u64, "record")
                ),
                Some(
                    "their containers are left alone; `cofferdam restore --backup FILE` brings a backup back",
                ),
            ))
        }
        Err(error) => report.add(Check::failed(CHECK, &error)),
    }
}

/// A daemon that does not run is nothing to worry about: it is started when it is needed.
async fn daemon(settings: &Settings, backend: &dyn Backend) -> Check {
    const CHECK: &str = "daemon";
    let ours = env!("CARGO_PKG_VERSION");
    match backend.daemon(&settings.state_dir).await {
        Ok(None) => Check::ok(CHECK, "none runs; one is started when it is needed"),
        Ok(Some(info)) => {
            let version = sanitize::one_line(&info.version);
            let message = format!(
                "process {}, version {version}, since {}",
                info.pid, info.started_at
            );
            if info.version == ours {
                return Check::ok(CHECK, message);
            }
            Check::warn(
                CHECK,
                format!("{message}; this is version {ours}"),
                Some("cofferdam serve --stop"),
            )
        }
        Err(error) => Check::failed(CHECK, &error),
    }
}

fn files() -> Check {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    match limit.current {
        Some(files) if files < MIN_FILES => Check::warn(
            "files",
            format!("only {files} files may be open at once"),
            Some("raise the limit with `ulimit -n 4096`"),
        ),
        Some(files) => Check::ok("files", format!("{files} files may be open at once")),
        None => Check::ok("files", "any number of files may be open at once"),
    }
}

async fn engine(settings: &Settings, backend: &dyn Backend, report: &mut Report<'_>) -> Result<bool> {
    match backend.engine(settings).await {
        Ok(health) => {
            report.add(Check::ok("engine", health.version))?;
            let kept = health.findings.is_empty();
            for finding in health.findings {
                report.add(Check::warn("seal", finding, None))?;
            }
            if kept {
                report.add(Check::ok(
                    "seal",
                    "this engine can keep every promise of isolation",
                ))?;
            }
            Ok(true)
        }
        Err(error) => {
            report.add(Check::failed("engine", &error))?;
            Ok(false)
        }
    }
}

/// Shows how far an image is in the changing line.
struct Shown<'a>(&'a Printer);

impl Progress for Shown<'_> {
    fn update(&self, message: &str) {
        self.0.status(Some(message));
        self.0.tick();
    }
}

async fn image(
    doctor: &DoctorSettings,
    settings: &Settings,
    backend: &dyn Backend,
    report: &mut Report<'_>,
) -> Result<bool> {
    let checked = match doctor
        .image
        .clone()
        .map_or_else(|| backend.default_image(settings), Ok)
    {
        Ok(image) => {
            let prepared = backend.image(settings, &image, &Shown(report.printer)).await;
            report.printer.status(None);
            prepared.map(|()| image)
        }
        Err(error) => Err(error),
    };
    match checked {
        Ok(image) => {
            report.add(Check::ok("image", format!("sessions can be made from {image}")))?;
            Ok(true)
        }
        Err(error) => {
            report.add(Check::failed("image", &error))?;
            Ok(false)
        }
    }
}

fn provider(settings: &Settings, backend: &dyn Backend) -> Check {
    let address = match backend.provider(settings) {
        Ok(address) => address,
        Err(error) => return Check::failed("provider", &error),
    };
    match &settings.credential {
        Some(credential) => Check::ok(
            "provider",
            format!("{address}, with the credential in {}", credential.variable),
        ),
        None => Check::warn(
            "provider",
            format!("{address}, without a credential: prompts cannot be answered"),
            Some("export ANTHROPIC_API_KEY=…; the key stays on this host"),
        ),
    }
}

async fn git() -> Check {
    let asked = tokio::process::Command::new("git")
        .arg("--version")
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    match asked {
        Ok(output) if output.status.success() => {
            Check::ok("git", String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        _ => Check::warn(
            "git",
            "git is not on this host: `run` cannot apply changes, it keeps them as patches",
            Some("install git"),
        ),
    }
}

/// Makes a session, looks at its network devices from inside, and destroys it.
async fn trial(
    doctor: &DoctorSettings,
    settings: &Settings,
    wish: Wish<'_>,
    backend: &dyn Backend,
) -> Result<Check> {
    let opened = if doctor.embedded {
        backend.open(settings).await?
    } else {
        backend.connect(wish).await?
    };
    let request = CreateSession {
        name: Some("doctor".to_owned()),
        image: doctor.image.clone(),
        ..CreateSession::default()
    };
    let checked = match opened.api.create(request).await {
        Ok(session) => {
            let looked = devices(opened.api.as_ref(), &session.id).await;
            let destroyed = opened.api.destroy(&session.id).await;
            looked.and_then(|devices| destroyed.map(|()| devices))
        }
        Err(error) => Err(error),
    };
    opened.close.await;
    judge_devices(&checked?)
}

async fn devices(api: &dyn SessionApi, session: &SessionId) -> Result<Vec<String>> {
    let request = CommandRequest::new(["cat", "/proc/net/dev"]);
    let output = api.command_output(session, request, TRIAL_OUTPUT).await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| sanitize::one_line(name).into_owned())
        .collect())
}

fn judge_devices(devices: &[String]) -> Result<Check> {
    // Tunnels that the kernel shows in every network namespace; they are down and lead nowhere.
    const IDLE: [&str; 9] = [
        "tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0",
    ];
    let others: Vec<&str> = devices
        .iter()
        .map(String::as_str)
        .filter(|device| *device != "lo" && !IDLE.contains(device))
        .collect();
    if devices.is_empty() || !others.is_empty() {
        return Err(Error::new(
            ErrorKind::EngineFailed,
            "try a session",
            "its container is not sealed as it should be",
        )
        .with_context("devices", others.join(" ")));
    }
    Ok(Check::ok(
        "trial",
        "a session was made, has no network device but lo, and was destroyed",
    ))
}
