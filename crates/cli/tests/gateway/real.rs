//! Servers from npm and PyPI, each used by the real agent in a sealed session.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use testkit::fixtures;
use testkit::model::Script;

use super::published::{npm, pypi};
use super::shell::Shell;
use super::told::told;
use super::world::{World, private_dir, text};
use super::{Result, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test(
            "filesystem_and_memory_from_npm_are_used_in_the_seal",
            Script::new,
            files_and_memory,
        ),
        test("everything_from_npm_is_used_in_the_seal", Script::new, everything),
        test(
            "fetch_git_and_time_from_pypi_are_used_in_the_seal",
            Script::new,
            fetch_git_and_time,
        ),
    ]
}

/// One after the other calls these tools, and answers with what the agent's model was told by each.
async fn called(world: &World, shell: &Shell<'_>, calls: &[(&str, Value)]) -> Result<Vec<String>> {
    let script = calls.iter().fold(Script::new(), |script, (tool, arguments)| {
        script.tool(format!("mcp__gw__{tool}"), arguments.clone())
    });
    world.model.set_script(script.say("Done."));
    let session = shell.create(&["--empty"]).await?;
    let ended = shell.ok(&["prompt", &session, "Use the tools."]).await?;
    assert_eq!(ended, "Done.");
    shell.ok(&["rm", &session]).await?;
    let told = told(world);
    assert_eq!(told.len(), calls.len(), "each call has one result: {told:?}");
    Ok(told)
}

async fn files_and_memory(world: Arc<World>) -> Result<()> {
    let dir = private_dir("cofferdam-files-")?;
    std::fs::write(dir.path().join("note.txt"), "Written on the host.\n")?;
    let memory = dir.path().join("memory.jsonl");
    let servers = [
        npm("filesystem")?.declared("fs", &[&text(dir.path())]),
        npm("memory")?.declared("memory", &[]),
        format!("env = {{ MEMORY_FILE_PATH = {memory:?} }}\n"),
        "[profiles.default]\nservers = [\"fs\", \"memory\"]\n".to_owned(),
    ];
    let shell = Shell::new(&world, &servers.concat())?;
    let entity = json!({ "name": "seal", "entityType": "idea", "observations": ["It holds."] });
    let told = called(
        &world,
        &shell,
        &[
            (
                "fs__read_text_file",
                json!({ "path": dir.path().join("note.txt") }),
            ),
            (
                "fs__write_file",
                json!({ "path": dir.path().join("new.txt"), "content": "From inside.\n" }),
            ),
            ("memory__create_entities", json!({ "entities": [entity] })),
            ("memory__search_nodes", json!({ "query": "holds" })),
            ("fs__read_text_file", json!({ "path": "/etc/hostname" })),
        ],
    )
    .await?;
    assert!(told[0].contains("Written on the host."), "{}", told[0]);
    assert_eq!(
        std::fs::read_to_string(dir.path().join("new.txt"))?,
        "From inside.\n"
    );
    assert!(told[3].contains("It holds."), "{}", told[3]);
    assert!(std::fs::read_to_string(&memory)?.contains("It holds."));
    assert!(
        told[4].contains("denied"),
        "what the server refuses is told: {}",
        told[4]
    );
    Ok(())
}

async fn everything(world: Arc<World>) -> Result<()> {
    let servers = [
        npm("everything")?.declared("all", &[]),
        "[profiles.default]\nservers = [\"all\"]\n".to_owned(),
    ];
    let shell = Shell::new(&world, &servers.concat())?;
    let told = called(
        &world,
        &shell,
        &[
            ("all__echo", json!({ "message": "through the seal" })),
            ("all__get-sum", json!({ "a": 19, "b": 23 })),
            ("all__get-structured-content", json!({ "location": "Chicago" })),
            (
                "all__trigger-long-running-operation",
                json!({ "duration": 2, "steps": 4 }),
            ),
            ("all__get-env", json!({})),
        ],
    )
    .await?;
    assert!(told[0].contains("Echo: through the seal"), "{}", told[0]);
    assert!(told[1].contains("42"), "{}", told[1]);
    assert!(told[2].contains("temperature"), "{}", told[2]);
    assert!(told[3].contains("completed"), "{}", told[3]);
    let environment: Value = serde_json::from_str(&told[4])?;
    let names: Vec<_> = environment
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect();
    let known = ["HOME", "LANG", "PATH", "TMPDIR", "USER"];
    assert!(
        names.iter().all(|name| known.contains(name)),
        "a program gets nothing else: {names:?}"
    );
    Ok(())
}

async fn fetch_git_and_time(world: Arc<World>) -> Result<()> {
    let repository = fixtures::buggy_calculator()?;
    let page = page("<html><body><p>Seen from the host.</p></body></html>")?;
    let servers = [
        pypi("fetch")?.declared("fetch", &["--allow-private-ips", "--ignore-robots-txt"]),
        pypi("git")?.declared("git", &["--repository", &text(repository.path())]),
        pypi("time")?.declared("time", &["--local-timezone", "UTC"]),
        "[profiles.default]\nservers = [\"fetch\", \"git\", \"time\"]\n".to_owned(),
    ];
    let shell = Shell::new(&world, &servers.concat())?;
    let noon = json!({ "source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo" });
    let told = called(
        &world,
        &shell,
        &[
            ("fetch__fetch", json!({ "url": page })),
            (
                "git__git_log",
                json!({ "repo_path": repository.path(), "max_count": 1 }),
            ),
            (
                "git__git_log",
                json!({ "repo_path": Path::new("/"), "max_count": 1 }),
            ),
            ("time__convert_time", noon),
        ],
    )
    .await?;
    assert!(told[0].contains("Seen from the host."), "{}", told[0]);
    assert!(told[1].contains("Commit: "), "{}", told[1]);
    assert!(!told[2].contains("Commit: "), "{}", told[2]);
    assert!(told[3].contains("+9.0h"), "{}", told[3]);
    Ok(())
}

/// A page at an address of this host's loopback, for as long as the process lives.
fn page(html: &'static str) -> Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            // Whoever breaks off misses the page, and its test sees that.
            let _served = serve(&connection, html);
        }
    });
    Ok(format!("http://{address}/"))
}

fn serve(mut connection: &TcpStream, html: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(connection).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let length = html.len();
    write!(
        connection,
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{html}"
    )
}
