//! Servers in containers: in the session's own, and in sealed ones beside it.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use testkit::model::Script;

use super::published::modules;
use super::shell::Shell;
use super::told::told;
use super::world::{World, private_dir, text};
use super::{Result, small, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("a_session_brings_a_server_that_runs_inside_it", Script::new, own),
        test(
            "servers_run_in_sealed_containers_of_their_own",
            Script::new,
            beside,
        ),
    ]
}

async fn own(world: Arc<World>) -> Result<()> {
    let project = private_dir("cofferdam-project-")?;
    small::put_into(project.path())?;
    let config = world.record("json");
    let program = format!("/workspace/{}", small::FILE);
    let servers = json!({ "mcpServers": { "own": { "command": "python3", "args": [program] } } });
    std::fs::write(&config, servers.to_string())?;
    let shell = Shell::new(&world, "")?;
    world
        .model
        .set_script(Script::new().tool("mcp__gw__own__where", json!({})).say("Done."));
    let session = shell
        .create(&[
            "--workspace",
            &text(project.path()),
            "--mcp-config",
            &text(&config),
        ])
        .await?;
    shell.ok(&["prompt", &session, "Where is it?"]).await?;
    let told: Value = serde_json::from_str(&told(&world)[0])?;
    let host = shell.ok(&["exec", &session, "--", "uname", "-n"]).await?;
    let user = shell.ok(&["exec", &session, "--", "id", "-u"]).await?;
    assert_eq!(
        (told["host"].as_str(), told["user"].to_string()),
        (Some(&*host), user)
    );
    shell.ok(&["rm", &session]).await?;
    Ok(())
}

async fn beside(world: Arc<World>) -> Result<()> {
    // Whoever works in a container is another user of this host.
    let dir = private_dir("cofferdam-small-")?;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
    small::put_into(dir.path())?;
    let servers = [
        "[servers.side]\ntransport = \"container\"\ncommand = \"python3\"\n",
        &format!("args = [\"/srv/{}\"]\n", small::FILE),
        &format!("mounts = [{{ source = {:?}, target = \"/srv\" }}]\n", dir.path()),
        "[servers.all]\ntransport = \"container\"\ncommand = \"node\"\n",
        "args = [\"/published/node_modules/@modelcontextprotocol/server-everything/dist/index.js\"]\n",
        &format!(
            "mounts = [{{ source = {:?}, target = \"/published/node_modules\" }}]\n",
            modules()
        ),
        "[profiles.default]\nservers = [\"side\", \"all\"]\n",
    ];
    let shell = Shell::new(&world, &servers.concat())?;
    let steps = Script::new()
        .tool("mcp__gw__side__where", json!({}))
        .tool("mcp__gw__all__echo", json!({ "message": "from beside" }));
    world.model.set_script(steps.say("Done."));
    let session = shell.create(&["--empty"]).await?;
    shell.ok(&["prompt", &session, "Where are they?"]).await?;
    let all = told(&world);
    let told: Value = serde_json::from_str(&all[0])?;
    let host = shell.ok(&["exec", &session, "--", "uname", "-n"]).await?;
    assert_ne!(told["host"].as_str(), Some(&*host), "it is another container");
    assert_ne!(told["user"], 0, "nobody is root");
    assert_eq!(told["devices"], json!(["lo"]), "it is sealed");
    assert!(all[1].contains("Echo: from beside"), "{}", all[1]);
    shell.ok(&["rm", &session]).await?;
    Ok(())
}
