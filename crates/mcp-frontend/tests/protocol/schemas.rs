//! The tools as clients see them.

use serde_json::{Value, json};

use crate::support::operator::Operator;

async fn tools() -> Vec<Value> {
    let mut world = Operator::new().world().await;
    let listed = world.client.request("tools/list", json!({})).await;
    let tools = listed["result"]["tools"].as_array().unwrap().clone();
    world.end().await;
    tools
}

#[tokio::test]
async fn every_tool_is_as_it_was() {
    for tool in tools().await {
        let text = serde_json::to_string_pretty(&tool).unwrap();
        insta::assert_snapshot!(tool["name"].as_str().unwrap(), text);
    }
}

#[tokio::test]
async fn the_existing_names_and_arguments_are_there() {
    let tools = tools().await;
    let existing: &[(&str, &[&str])] = &[
        (
            "create_session",
            &[
                "projectPath",
                "sessionName",
                "apiKey",
                "useBedrock",
                "awsRegion",
                "awsAccessKeyId",
                "awsSecretAccessKey",
                "awsSessionToken",
                "bedrockModel",
                "bedrockSmallModel",
                "mcpMounts",
                "mcpConfig",
                "strictPermissions",
            ],
        ),
        ("execute_in_session", &["sessionId", "prompt", "tools"]),
        ("list_sessions", &[]),
        ("destroy_session", &["sessionId"]),
        (
            "transfer_files",
            &["sessionId", "direction", "sourcePath", "destPath"],
        ),
        ("execute_command", &["sessionId", "command"]),
        ("get_session_logs", &["sessionId", "tail"]),
        (
            "spawn_claude_container",
            &[
                "taskDescription",
                "repositoryUrl",
                "ref",
                "projectPath",
                "apiKey",
                "timeoutSeconds",
                "memory",
            ],
        ),
    ];
    for (name, arguments) in existing {
        let tool = tools
            .iter()
            .find(|tool| tool["name"] == *name)
            .unwrap_or_else(|| panic!("{name}"));
        for argument in *arguments {
            assert!(
                tool["inputSchema"]["properties"][argument].is_object(),
                "{name}.{argument}"
            );
        }
    }
    assert_eq!(tools.len(), 33);
}

#[tokio::test]
async fn schemas_are_plain() {
    for tool in tools().await {
        let name = &tool["name"];
        for schema in ["inputSchema", "outputSchema"] {
            assert_eq!(tool[schema]["type"], "object", "{name}");
            let text = tool[schema].to_string();
            for odd in ["$ref", "\"format\"", "\"null\"", "$defs"] {
                assert!(!text.contains(odd), "{name} {schema} has {odd}: {text}");
            }
        }
        assert!(
            tool["outputSchema"]["properties"]["warnings"].is_object(),
            "{name}"
        );
        let description = tool["description"].as_str().unwrap();
        assert!(
            description.len() < 400,
            "{name}: {} characters",
            description.len()
        );
        for hint in [
            "readOnlyHint",
            "destructiveHint",
            "idempotentHint",
            "openWorldHint",
        ] {
            assert!(tool["annotations"][hint].is_boolean(), "{name} {hint}");
        }
        let reads = tool["annotations"]["readOnlyHint"] == true;
        assert!(
            !(reads && tool["annotations"]["destructiveHint"] == true),
            "{name}"
        );
    }
}
