//! What this machine knows about reaching package sources, handed to a build: its certificates, mirrors and proxies.
//!
//! It is asked from the machine's own tools, so a build works wherever `apt`, `npm` and `pip` work. A credential never
//! goes in: only certificates are taken from a bundle, and an address that holds a password is left out, with a notice.

use std::path::Path;
use std::time::Duration;

use xtask::process::{Tool, available};
use xtask::reporter::Reporter;
use xtask::workspace;

use self::address::Address;

pub(crate) mod address;
pub(crate) mod mirror;

/// Where a build finds these files.
const INSIDE: &str = "/tmp/build/host";
/// Where systems keep the certificates that they trust, unless the environment says otherwise.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Docker hands these to a build without writing them into the image's history.
const PROXIES: [&str; 6] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];
/// The settings of this machine's apt that a build needs, too.
const APT_SETTINGS: [&str; 6] = [
    "Acquire::Check-Date ",
    "Acquire::Check-Valid-Until ",
    "Acquire::Retries ",
    "Acquire::http::Proxy ",
    "Acquire::https::Proxy ",
    "Acquire::ForceIPv4 ",
];
const PATIENCE: Duration = Duration::from_secs(15);

/// The files for `host/` in a build context.
#[derive(Debug, Default)]
pub(crate) struct HostFiles {
    certificates: String,
    mirror: String,
    apt: String,
    npm_registry: Option<Address>,
    pip_index: Option<Address>,
    proxies: Vec<(&'static str, String)>,
}

impl HostFiles {
    /// Asks this machine. What cannot be found out is left to the defaults of the tools inside.
    pub(crate) fn gather(reporter: &Reporter) -> Self {
        let proxies = PROXIES
            .iter()
            .filter_map(|name| workspace::env(name).map(|value| (*name, value)));
        Self {
            certificates: certificates(),
            mirror: mirror::of_this_machine()
                .map(|mirror| mirror.sources("@CODENAME@"))
                .unwrap_or_default(),
            apt: apt_settings(&ask("apt-config", &["dump"]).unwrap_or_default()),
            npm_registry: npm_registry().and_then(|text| usable("npm registry", &text, reporter)),
            pip_index: pip_index().and_then(|text| usable("Python package index", &text, reporter)),
            proxies: proxies.collect(),
        }
    }

    /// Writes the files.
    pub(crate) fn write(&self, dir: &Path) -> std::io::Result<()> {
        std::fs::create_dir(dir)?;
        let ca = (!self.certificates.is_empty()).then(|| format!("{INSIDE}/ca.crt"));
        let lines = |lines: Vec<Option<String>>| lines.into_iter().flatten().collect::<String>();
        std::fs::write(dir.join("ca.crt"), &self.certificates)?;
        std::fs::write(dir.join("mirror"), &self.mirror)?;
        let apt = ca
            .as_ref()
            .map(|ca| format!("Acquire::https::CAInfo \"{ca}\";\n"));
        std::fs::write(dir.join("apt.conf"), lines(vec![Some(self.apt.clone()), apt]))?;
        let pip = lines(vec![
            Some(
                "[global]\ntimeout = 60\ndisable-pip-version-check = true\nroot-user-action = ignore\n"
                    .to_owned(),
            ),
            ca.as_ref().map(|ca| format!("cert = {ca}\n")),
            self.pip_index
                .as_ref()
                .map(|index| format!("index-url = {index}\n")),
        ]);
        std::fs::write(dir.join("pip.conf"), pip)?;
        let npm = lines(vec![
            Some("audit=false\nfund=false\nupdate-notifier=false\n".to_owned()),
            ca.as_ref().map(|ca| format!("cafile={ca}\n")),
            self.npm_registry
                .as_ref()
                .map(|registry| format!("registry={registry}\n")),
        ]);
        std::fs::write(dir.join("npmrc"), npm)
    }

    /// The flags of `docker build`. A proxy goes by name, so that its value (a password, perhaps) is in no argument.
    pub(crate) fn build_flags(&self) -> Vec<String> {
        let proxies = self
            .proxies
            .iter()
            .flat_map(|(name, _)| ["--build-arg".to_owned(), (*name).to_owned()]);
        let mut flags: Vec<_> = proxies.collect();
        let proxies = self
            .proxies
            .iter()
            .filter_map(|(_, value)| Address::parse_with_password(value));
        let sources = self.npm_registry.iter().chain(&self.pip_index).cloned();
        // What listens on this machine's loopback is not there in a network of the build's own.
        if proxies.chain(sources).any(|address| address.is_loopback()) {
            flags.extend(["--network".to_owned(), "host".to_owned()]);
        }
        flags
    }
}

fn usable(what: &str, text: &str, reporter: &Reporter) -> Option<Address> {
    let address = Address::parse(text);
    if address.is_none() {
        reporter.notice(&format!(
            "This machine's {what} is not used inside the build: its address is no plain http(s) one or holds a password."
        ));
    }
    address
}

fn certificates() -> String {
    let named = ["SSL_CERT_FILE", "CURL_CA_BUNDLE"]
        .into_iter()
        .filter_map(workspace::env);
    let candidates = named.chain(BUNDLES.map(str::to_owned));
    let bundles = candidates.filter_map(|path| std::fs::read(path).ok());
    let mut certificates = bundles.map(|bundle| only_certificates(&String::from_utf8_lossy(&bundle)));
    certificates.find(|bundle| !bundle.is_empty()).unwrap_or_default()
}

/// A bundle can hold anything, even a private key that somebody put there; an image gets the certificates.
fn only_certificates(bundle: &str) -> String {
    let mut kept = String::new();
    let mut inside = false;
    for line in bundle.lines().map(str::trim_end) {
        inside |= line == "-----BEGIN CERTIFICATE-----";
        if inside {
            kept.push_str(line);
            kept.push('\n');
        }
        inside &= line != "-----END CERTIFICATE-----";
    }
    kept
}

/// The lines of `apt-config dump` that say how packages are reached.
fn apt_settings(dump: &str) -> String {
    let wanted = dump
        .lines()
        .filter(|line| APT_SETTINGS.iter().any(|setting| line.starts_with(setting)));
    wanted
        .filter(|line| !line.contains('@'))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn npm_registry() -> Option<String> {
    let named = workspace::env("NPM_CONFIG_REGISTRY").or_else(|| workspace::env("npm_config_registry"));
    named.or_else(|| ask("npm", &["config", "get", "registry"]))
}

fn pip_index() -> Option<String> {
    let named = workspace::env("PIP_INDEX_URL").or_else(|| workspace::env("UV_DEFAULT_INDEX"));
    let asked = || {
        ["pip3", "pip"]
            .into_iter()
            .find_map(|pip| ask(pip, &["config", "get", "global.index-url"]))
    };
    named.or_else(asked)
}

/// A tool's answer, if the tool is there and has one.
fn ask(tool: &str, args: &[&str]) -> Option<String> {
    if !available(tool) {
        return None;
    }
    let answer = Tool::new(tool).args(args).limit(PATIENCE).output().ok()?.stdout;
    let answer = answer.trim();
    (!answer.is_empty() && answer != "undefined").then(|| answer.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certificates_leave_a_bundle() {
        let bundle = "# a\n-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n\
                      -----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n\
                      -----BEGIN CERTIFICATE-----\r\nBB\r\n-----END CERTIFICATE-----\r\n";
        let kept = only_certificates(bundle);
        assert!(!kept.contains("SECRET") && !kept.contains('#'), "{kept}");
        assert_eq!(kept.matches("BEGIN CERTIFICATE").count(), 2);
        assert_eq!(kept.matches("END CERTIFICATE").count(), 2);
    }

    #[test]
    fn of_apt_only_what_reaches_packages_and_no_password() {
        let dump = "APT::Architecture \"amd64\";\nAcquire::Check-Date \"false\";\nAcquire \"\";\n\
                    Acquire::http::Proxy \"http://me:secret@proxy:3128\";\nAcquire::https::Proxy \"http://proxy:3128\";\n";
        assert_eq!(
            apt_settings(dump),
            "Acquire::Check-Date \"false\";\nAcquire::https::Proxy \"http://proxy:3128\";\n"
        );
    }

    #[test]
    fn files_name_only_what_is_known() {
        let dir = tempfile::tempdir().expect("a directory");
        let host = dir.path().join("host");
        HostFiles::default().write(&host).expect("written");
        let npmrc = std::fs::read_to_string(host.join("npmrc")).expect("npmrc");
        assert!(
            !npmrc.contains("registry") && !npmrc.contains("cafile"),
            "{npmrc}"
        );

        let files = HostFiles {
            certificates: "x".to_owned(),
            pip_index: Address::parse("https://index.example/simple"),
            ..HostFiles::default()
        };
        let host = dir.path().join("other");
        files.write(&host).expect("written");
        let pip = std::fs::read_to_string(host.join("pip.conf")).expect("pip.conf");
        assert!(
            pip.contains("index-url = https://index.example/simple\n"),
            "{pip}"
        );
        assert!(pip.contains("cert = /tmp/build/host/ca.crt\n"), "{pip}");
    }

    #[test]
    fn a_proxys_password_is_in_no_argument() {
        let proxied = |value: &str| HostFiles {
            proxies: vec![("https_proxy", value.to_owned())],
            ..HostFiles::default()
        };
        assert_eq!(
            proxied("http://me:secret@proxy:1").build_flags(),
            ["--build-arg", "https_proxy"]
        );
        assert_eq!(
            proxied("http://me:secret@127.0.0.1:1").build_flags(),
            ["--build-arg", "https_proxy", "--network", "host"]
        );
    }
}
