//! Clients are told about the server, and nothing of theirs is lost.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::User;
use crate::support::fake::Fake;

fn at_home() -> (User, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let mut user = User::new(Fake::new());
    user.environment
        .insert("HOME".to_owned(), home.path().to_str().unwrap().to_owned());
    (user, home)
}

fn server() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_cofferdam-mcp")).to_owned()
}

fn backups(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.to_str().unwrap().contains(".cofferdam-backup-"))
        .collect()
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[tokio::test]
async fn the_snippet_names_the_program_beside_this_one() {
    let (user, _home) = at_home();
    for (client, key) in [
        ("claude-desktop", "mcpServers"),
        ("claude-code", "mcpServers"),
        ("cursor", "mcpServers"),
        ("vscode", "servers"),
    ] {
        let outcome = user.runs(&format!("config {client}")).await;
        assert_eq!((outcome.code, outcome.stderr().as_str()), (0, ""));
        let snippet: Value = serde_json::from_str(&outcome.stdout()).unwrap();
        assert_eq!(snippet[key]["cofferdam"]["command"], server().to_str().unwrap());
        assert_eq!(snippet[key]["cofferdam"]["args"], json!([]));
    }
    let outcome = user.runs("config cursor --state-dir some/where").await;
    let snippet: Value = serde_json::from_str(&outcome.stdout()).unwrap();
    let args = &snippet["mcpServers"]["cofferdam"]["args"];
    assert_eq!(*args, json!(["--state-dir", "/work/project/some/where"]));
    assert_eq!(user.fake.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn each_client_has_its_file_and_the_second_time_nothing_happens() {
    let (user, home) = at_home();
    let application = if cfg!(target_os = "macos") {
        "Library/Application Support"
    } else {
        ".config"
    };
    for (client, file) in [
        (
            "claude-desktop",
            format!("{application}/Claude/claude_desktop_config.json"),
        ),
        ("claude-code", ".claude.json".to_owned()),
        ("cursor", ".cursor/mcp.json".to_owned()),
        ("vscode", format!("{application}/Code/User/mcp.json")),
    ] {
        let outcome = user.runs(&format!("config {client} --write")).await;
        assert_eq!(outcome.code, 0, "{}", outcome.stderr());
        let file = home.path().join(file);
        let written = fs::read_to_string(&file).unwrap();
        assert!(
            written.contains("cofferdam-mcp") && !written.contains("canary"),
            "{written}"
        );
        let again = user.runs(&format!("config {client} --write")).await;
        assert!(again.stderr().starts_with("already there"), "{}", again.stderr());
        assert_eq!(fs::read_to_string(&file).unwrap(), written);
        assert_eq!(backups(file.parent().unwrap()), Vec::<PathBuf>::new());
    }
}

#[tokio::test]
async fn what_others_wrote_stays_and_is_kept_beside() {
    let (user, home) = at_home();
    let file = home.path().join("settings.json");
    let before = "{\n  // mine\n  \"mcpServers\": { \"other\": { \"env\": { \"TOKEN\": \"theirs\" } } }\n}\n";
    fs::write(&file, before).unwrap();
    let line = format!("--json config cursor --write --file {}", file.display());
    let outcome = user.runs(&line).await;
    assert_eq!((outcome.code, outcome.stderr().as_str()), (0, ""));
    let told = &outcome.lines()[0];
    assert_eq!(told["status"], "merged");
    let [backup] = &backups(home.path())[..] else {
        panic!("one backup")
    };
    assert_eq!(told["backup"], backup.to_str().unwrap());
    assert_eq!(fs::read_to_string(backup).unwrap(), before);
    let after = fs::read_to_string(&file).unwrap();
    assert!(after.contains("// mine") && after.contains("theirs") && after.contains("cofferdam-mcp"));
    assert_eq!(user.runs(&line).await.lines()[0]["status"], "already_there");
    assert_eq!(backups(home.path()).len(), 1);
}

#[tokio::test]
async fn what_is_not_understood_is_not_touched() {
    let (user, home) = at_home();
    let file = home.path().join("settings.json");
    for bad in ["{", "[]", "{\"mcpServers\": []}", "{\"mcpServers\": {}} trailing"] {
        fs::write(&file, bad).unwrap();
        let outcome = user
            .runs(&format!("config cursor --write --file {}", file.display()))
            .await;
        assert_eq!(outcome.code, 2, "{bad}: {}", outcome.stderr());
        assert_eq!(fs::read_to_string(&file).unwrap(), bad);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "{bad}");
    }
}

#[tokio::test]
async fn what_is_missing_is_said() {
    let (mut user, home) = at_home();
    assert_eq!(user.runs("config emacs").await.code, 2);
    assert_eq!(user.runs("config cursor --file x").await.code, 2);
    user.program = home.path().join("cofferdam");
    let outcome = user.runs("config cursor").await;
    assert_eq!(outcome.code, 11, "{}", outcome.stderr());
    assert!(outcome.stderr().contains("cargo install"), "{}", outcome.stderr());
    let (mut user, _home) = at_home();
    user.environment.remove("HOME");
    assert_eq!(user.runs("config cursor --write").await.code, 2);
}

#[tokio::test]
async fn only_a_dotfile_that_is_a_link_leads_elsewhere() {
    let (user, home) = at_home();
    let real = home.path().join("dotfiles.json");
    fs::write(&real, "{}").unwrap();
    std::os::unix::fs::symlink("dotfiles.json", home.path().join(".claude.json")).unwrap();
    assert_eq!(user.runs("config claude-code --write").await.code, 0);
    assert!(home.path().join(".claude.json").is_symlink());
    assert!(read(&real)["mcpServers"]["cofferdam"].is_object());
}
