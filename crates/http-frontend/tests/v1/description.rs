//! The description of the API: served, kept in docs/reference, and whole.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::House;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/openapi.json");

fn walk<'a>(value: &'a Value, found: &mut impl FnMut(&'a serde_json::Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            found(fields);
            fields.values().for_each(|value| walk(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| walk(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn what_is_served_is_what_is_kept() {
    let house = House::new().await;
    let served = house.admin.get("/v1/openapi.json").await;
    assert_eq!(served.header("content-type"), Some("application/json"));
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    assert!(
        served.json() == kept,
        "docs/reference/openapi.json is stale: run `cargo run -p http-frontend --example openapi -- write`"
    );
}

#[test]
fn every_reference_leads_somewhere_and_every_link_to_an_operation() {
    let description = http_frontend::description();
    let (mut dangling, mut ids, mut linked) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    walk(&description, &mut |fields| {
        if let Some(reference) = fields.get("$ref").and_then(Value::as_str)
            && description.pointer(reference.trim_start_matches('#')).is_none()
        {
            dangling.insert(reference.to_owned());
        }
        if let Some(id) = fields.get("operationId").and_then(Value::as_str) {
            match fields.contains_key("responses") {
                true => assert!(ids.insert(id), "{id} twice"),
                false => drop(linked.insert(id)),
            }
        }
    });
    assert_eq!(dangling, BTreeSet::new());
    assert!(linked.is_subset(&ids), "{linked:?}");
    assert!(ids.len() >= 40, "{}", ids.len());
}

#[test]
fn every_operation_says_how_it_fails_and_every_parameter_what_it_is() {
    let description = http_frontend::description();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let answers = operation["responses"].as_object().unwrap();
            for status in ["400", "401", "403", "404", "429", "500", "503"] {
                assert!(answers.contains_key(status), "{method} {path} {status}");
            }
            for (status, answer) in answers {
                let problem = &answer["content"]["application/problem+json"];
                let fails = status.starts_with(['4', '5']);
                assert_eq!(fails, problem.is_object(), "{method} {path} {status}");
                assert!(
                    answer["description"]
                        .as_str()
                        .is_some_and(|text| !text.is_empty())
                );
            }
            if operation.get("requestBody").is_some() {
                for status in ["408", "413", "415"] {
                    assert!(answers.contains_key(status), "{method} {path} {status}");
                }
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(
                    parameter["description"].is_string(),
                    "{method} {path} {parameter}"
                );
                assert!(parameter["schema"].is_object(), "{method} {path} {parameter}");
            }
        }
    }
}
