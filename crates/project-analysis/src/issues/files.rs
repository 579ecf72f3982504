//! What a file's name alone tells: environments with secrets, keys, credentials of tools.

use super::Issues;
use super::patterns::{BadPattern, Severity};
use crate::project::File;

pub(super) fn look(file: &File, issues: &mut Issues) {
    let name = file.name().to_ascii_lowercase();
    if is_environment(&name) {
        add(
            file,
            issues,
            "env_file_committed",
            Severity::High,
            "an environment file that usually holds secrets",
        );
    }
    if matches!(name.as_str(), "id_rsa" | "id_dsa" | "id_ecdsa" | "id_ed25519") || name.ends_with(".ppk") {
        add(
            file,
            issues,
            "private_key_file",
            Severity::Critical,
            "the file name of a private key",
        );
    }
    if [".p12", ".pfx", ".jks", ".keystore", ".kdbx"]
        .iter()
        .any(|end| name.ends_with(end))
    {
        add(
            file,
            issues,
            "key_store_committed",
            Severity::High,
            "a store of keys or passwords",
        );
    }
    if matches!(
        name.as_str(),
        ".netrc" | ".pgpass" | ".htpasswd" | ".git-credentials" | ".pypirc" | ".npmrc.local"
    ) || file.path.ends_with(".aws/credentials")
        || file.path.ends_with(".docker/config.json")
    {
        add(
            file,
            issues,
            "credentials_file",
            Severity::High,
            "a file in which a tool keeps credentials",
        );
    }
    if file.mode & 0o002 != 0 {
        add(
            file,
            issues,
            "world_writable",
            Severity::Low,
            "everybody may write this file",
        );
    }
}

/// `.env` and its kin, but not the samples that show which variables there are.
fn is_environment(name: &str) -> bool {
    let sample = ["example", "sample", "template", "dist", "defaults", "schema"];
    (name == ".env" || name.starts_with(".env.")) && !sample.iter().any(|word| name.contains(word))
}

fn add(file: &File, issues: &mut Issues, id: &str, severity: Severity, title: &str) {
    issues.patterns.push(BadPattern {
        id: id.to_owned(),
        title: title.to_owned(),
        severity,
        path: file.path.clone(),
        line: None,
        text: None,
    });
}
