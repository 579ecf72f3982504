//! Links: where the ids in an answer lead to.

use serde_json::{Map, Value, json};

/// An answer, and the operations that its ids are for.
struct From {
    operation: &'static str,
    path: &'static str,
    status: &'static str,
    /// Parameters of the operations that are linked to, and where they come from.
    parameters: &'static [(&'static str, &'static str)],
    to: &'static [&'static str],
}

const SESSION: (&str, &str) = ("session", "$request.path.session");

const LINKS: &[From] = &[
    From {
        operation: "post",
        path: "/v1/sessions",
        status: "201",
        parameters: &[("session", "$response.body#/id")],
        to: &[
            "get_session",
            "inspect_session",
            "pause_session",
            "resume_session",
            "interrupt_session",
            "renew_lease",
            "checkpoint",
            "list_checkpoints",
            "restore_session",
            "list_turns",
            "prompt",
            "list_events",
            "follow_events",
            "run_command",
            "download_files",
            "upload_files",
            "diff",
            "list_terminals",
            "open_terminal",
            "usage",
            "list_egress_requests",
            "list_egress_decisions",
            "list_mcp_servers",
            "destroy_session",
        ],
    },
    From {
        operation: "post",
        path: "/v1/sessions/{session}/checkpoints",
        status: "201",
        parameters: &[SESSION, ("checkpoint", "$response.body#/id")],
        to: &["get_checkpoint_patch"],
    },
    From {
        operation: "post",
        path: "/v1/sessions/{session}/turns",
        status: "202",
        parameters: &[SESSION, ("turn", "$response.body#/id")],
        to: &["get_turn", "interrupt_turn"],
    },
    From {
        operation: "post",
        path: "/v1/sessions/{session}/commands",
        status: "202",
        parameters: &[SESSION, ("command", "$response.body#/command")],
        to: &["follow_command", "signal_command", "write_stdin"],
    },
    From {
        operation: "post",
        path: "/v1/sessions/{session}/terminals",
        status: "201",
        parameters: &[SESSION, ("terminal", "$response.body#/id")],
        to: &["close_terminal"],
    },
    From {
        operation: "post",
        path: "/v1/tokens",
        status: "201",
        parameters: &[("name", "$response.body#/name")],
        to: &["revoke_token"],
    },
];

/// Adds them to the answers.
pub(super) fn add(description: &mut Value) {
    for from in LINKS {
        let parameters: Map<String, Value> = from
            .parameters
            .iter()
            .map(|(name, source)| ((*name).to_owned(), json!(source)))
            .collect();
        let links: Map<String, Value> = from
            .to
            .iter()
            .map(|to| {
                (
                    (*to).to_owned(),
                    json!({"operationId": to, "parameters": parameters}),
                )
            })
            .collect();
        let answers = &mut description["paths"][from.path][from.operation]["responses"];
        answers[from.status]["links"] = links.into();
    }
}
