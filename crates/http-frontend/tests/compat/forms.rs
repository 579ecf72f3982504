//! Fields, defaults and status codes.

use serde_json::json;
use session_core::api::SessionApi;
use session_core::session::SessionFilter;

use crate::support::{House, is_time};

#[tokio::test]
async fn the_root_tells_what_there_is() {
    let house = House::new().await;
    let reply = house.get("/").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    for field in ["service", "version", "description"] {
        assert!(reply.body[field].is_string(), "{field}: {}", reply.body);
    }
    assert!(reply.body["uptime_ms"].is_u64());
    let endpoints = reply.body["endpoints"].as_object().unwrap();
    assert_eq!(endpoints.len(), 5);
    assert_eq!(endpoints["task"], "GET /claude-code/task/:taskId");
}

#[tokio::test]
async fn health_and_status_have_every_field() {
    let house = House::new().await;
    let health = house.get("/health").await;
    assert_eq!(health.status, 200);
    assert_eq!(health.body["status"], "healthy");
    assert_eq!(health.body["active_tasks"], 0);
    assert!(is_time(&health.body["timestamp"]), "{}", health.body);
    assert!(health.body["uptime_ms"].is_u64() && health.body["version"].is_string());
    assert!(health.body["service"].is_string());

    let status = house.get("/claude-code/status").await;
    assert_eq!(status.status, 200);
    assert_eq!(status.body["status"], "operational");
    assert_eq!(status.body["claude_code_version"], "2.1.0");
    assert_eq!(status.body["container_health"], "healthy");
    assert!(status.body["server_uptime_ms"].is_u64());
    assert!(is_time(&status.body["timestamp"]), "{}", status.body);
    for count in ["total", "running", "completed", "failed"] {
        assert_eq!(status.body["tasks"][count], 0, "{count}");
    }
}

#[tokio::test]
async fn what_is_not_there_says_what_is() {
    let house = House::new().await;
    for (method, path) in [
        ("GET", "/nothing"),
        ("GET", "/claude-code"),
        ("GET", "/claude-code/analyze"),
        ("POST", "/health"),
        ("DELETE", "/claude-code/task/x"),
        ("GET", "/claude-code/task/"),
        ("GET", "/v2"),
    ] {
        let reply = house.call(method, path).await;
        assert_eq!(reply.status, 404, "{method} {path}");
        assert_eq!(
            reply.body["error"], "Not Found",
            "{method} {path}: {}",
            reply.body
        );
        assert_eq!(
            reply.body["message"],
            format!("Endpoint {method} {path} not found")
        );
        assert_eq!(reply.body["available_endpoints"].as_array().unwrap().len(), 6);
    }
    let ours = house.get("/v1/nothing").await;
    assert_eq!(ours.status, 404);
    assert_eq!(ours.header("content-type"), Some("application/problem+json"));
    assert_eq!(ours.body["code"], "no_such_path");
}

#[tokio::test]
async fn a_task_that_is_not_there_is_not_found() {
    let house = House::new().await;
    for id in [
        "x",
        "00000000-0000-4000-8000-000000000000",
        "..%2F..",
        "%00",
        "' OR 1=1",
    ] {
        let reply = house
            .get(&format!("/claude-code/task/{}", id.replace(' ', "%20")))
            .await;
        assert_eq!(reply.status, 404, "{id}");
        assert_eq!(reply.body["error"], "Not Found");
        assert!(
            reply.body["message"].as_str().unwrap().contains("Task"),
            "{}",
            reply.body
        );
    }
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_a_bad_request() {
    let house = House::new().await;
    house.project("p", &[]);
    let task = |change: serde_json::Value| {
        let mut body = json!({ "task_description": "x", "project_path": "p" });
        for (key, value) in change.as_object().unwrap() {
            body[key] = value.clone();
        }
        ("/claude-code/execute", body)
    };
    let cases = [
        (
            ("/claude-code/execute", json!({})),
            "task_description is required",
        ),
        (
            ("/claude-code/execute", json!({ "task_description": "x" })),
            "project_path is required",
        ),
        (
            task(json!({ "task_description": "  " })),
            "task_description is required",
        ),
        (task(json!({ "project_path": null })), "project_path is required"),
        (
            task(json!({ "project_path": 7 })),
            "project_path must be a string",
        ),
        (
            task(json!({ "priority": "urgent" })),
            "priority must be one of: low, medium, high, critical",
        ),
        (task(json!({ "wait": "no" })), "wait must be true or false"),
        (("/claude-code/analyze", json!({})), "project_path is required"),
        (
            (
                "/claude-code/analyze",
                json!({ "project_path": "p", "analysis_type": "all" }),
            ),
            "analysis_type must be one of: structure, health, dependencies, issues",
        ),
        (
            ("/claude-code/analyze", json!([])),
            "the body must be a JSON object",
        ),
    ];
    for ((path, body), message) in cases {
        let reply = house.post(path, body.clone()).await;
        assert_eq!(reply.status, 400, "{body}: {}", reply.body);
        assert_eq!(reply.body, json!({ "error": "Bad Request", "message": message }));
    }
    let sessions = house
        .manager()
        .list(SessionFilter {
            all: true,
            ..Default::default()
        })
        .await;
    assert!(sessions.unwrap().is_empty(), "nothing was begun");
}

#[tokio::test]
async fn bodies_that_are_no_json_are_bad_requests_and_long_ones_too_large() {
    let house = House::with(|options| options.max_body = 64 << 10).await;
    let json = [("content-type", "application/json")];
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    for body in ["", "{", "nonsense", "{} {}", deep.as_str()] {
        let reply = house.raw("/claude-code/execute", &json, body.as_bytes()).await;
        assert_eq!(reply.status, 400, "{}", &body[..body.len().min(20)]);
        assert_eq!(reply.body["error"], "Bad Request");
        assert_eq!(reply.body.as_object().unwrap().len(), 2, "{}", reply.body);
    }
    // What a page of another site can send unasked is never read.
    let body = json!({ "task_description": "x", "project_path": "p" }).to_string();
    for (kind, status) in [("application/xml", 400), ("text/plain", 415)] {
        let headers = [("content-type", kind)];
        let reply = house.raw("/claude-code/execute", &headers, body.as_bytes()).await;
        assert_eq!(reply.status, status, "{kind}: {}", reply.body);
    }

    let long = vec![b' '; 200 << 10];
    let reply = house.raw("/claude-code/execute", &json, &long).await;
    assert_eq!(reply.status, 413);
    assert_eq!(reply.body["error"], "Payload Too Large");
}

#[tokio::test]
async fn a_server_without_it_has_none_of_it() {
    let house = House::with(|options| options.compat = None).await;
    for path in ["/", "/health", "/claude-code/status"] {
        let reply = house.get(path).await;
        assert_eq!(reply.status, 404, "{path}");
        assert_eq!(reply.body["code"], "no_such_path", "{path}");
    }
}
