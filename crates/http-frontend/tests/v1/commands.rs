//! Commands in one request, and detached ones steered by others.

use axum::body::Body;
use axum::http::Method;
use serde_json::json;
use testkit::memory::Exit;

use crate::support::House;

#[tokio::test]
async fn a_command_answers_with_its_output_and_its_end() {
    let house = House::new().await;
    let id = house.session().await;
    let commands = format!("/v1/sessions/{id}/commands");
    let run = async |body| house.admin.post(&commands, body).await;

    let hello = run(json!({"argv": ["echo", "hello"]})).await;
    assert_eq!(hello.status, 200, "{hello:?}");
    assert_eq!(hello.json()["stdout"], "hello\n");
    assert_eq!(hello.json()["exit"]["code"], 0);
    assert_eq!(hello.json()["truncated"], false);

    let read = run(json!({"argv": ["cat"], "stdin": "what goes in"})).await;
    assert_eq!(read.json()["stdout"], "what goes in");
    let bytes = run(json!({"argv": ["cat"], "stdin": {"base64": "AP8="}})).await;
    assert_eq!(bytes.json()["stdout_base64"], "AP8=");
    let argument = run(json!({"argv": ["echo", {"base64": "/w=="}]})).await;
    assert_eq!(argument.json()["stdout_base64"], "/wo=");
    let left = run(json!({"argv": ["true"], "stdin": "x".repeat(4 << 20)})).await;
    assert_eq!(
        left.json()["exit"]["code"],
        0,
        "a program need not read its input"
    );

    let failed = run(json!({"argv": ["false"]})).await;
    assert_eq!(
        (failed.status.as_u16(), &failed.json()["exit"]["code"]),
        (200, &json!(1))
    );
    let absent = run(json!({"argv": ["no-such-program"]})).await;
    assert_eq!(
        (absent.status.as_u16(), &absent.json()["exit"]["cause"]),
        (200, &json!("not_found"))
    );
    let cut = run(json!({"argv": ["sleep", "60"], "time_limit_ms": 50})).await;
    assert_eq!(cut.json()["exit"]["cause"], "timed_out");
    let open = run(json!({"argv": ["cat"], "stdin": true})).await;
    assert_eq!(open.status, 400, "nobody could write to it");
}

#[tokio::test]
async fn a_flood_of_output_is_cut_and_read_to_its_end() {
    let house = House::new().await;
    let id = house.session().await;
    let body = json!({"argv": ["head", "-c", "5000000", "/dev/zero"]});
    let flood = house
        .admin
        .post(&format!("/v1/sessions/{id}/commands"), body)
        .await
        .json();
    assert_eq!(flood["truncated"], true);
    assert_eq!(flood["stdout"].as_str().unwrap().len(), 1 << 20);
    assert_eq!(flood["exit"]["code"], 0);
    assert_eq!(flood["exit"]["output_bytes"], 5_000_000);
}

#[tokio::test]
async fn a_detached_command_is_followed_fed_and_signalled_by_others() {
    let house = House::new().await;
    let id = house.session().await;
    let commands = format!("/v1/sessions/{id}/commands");
    let started = house
        .admin
        .post(&commands, json!({"argv": ["cat"], "stdin": true, "detach": true}))
        .await;
    assert_eq!(started.status, 202, "{started:?}");
    let command = format!("{commands}/{}", started.json()["command"].as_str().unwrap());
    let mut notices = house.admin.follow(&format!("{command}/events"), None).await;
    for (text, query) in [("one ", ""), ("two", "?eof=true")] {
        let request = house
            .admin
            .request(Method::POST, &format!("{command}/stdin{query}"));
        let request = request.header("content-type", "application/octet-stream");
        let written = house.admin.send(request.body(Body::from(text)).unwrap()).await;
        assert_eq!(written.status, 204, "{written:?}");
    }
    let (mut read, mut at) = (String::new(), 0);
    let exit = loop {
        let notice = notices.next().await.unwrap();
        match notice.name.as_str() {
            "output" => {
                assert_eq!(notice.data["offset"], at);
                read.push_str(notice.data["data"].as_str().unwrap());
                at = notice.id;
            }
            "exited" => break notice.data,
            other => panic!("{other}"),
        }
    };
    assert_eq!(read, "one two");
    assert_eq!(exit["exit"]["code"], 0);
    assert!(notices.next().await.is_none());

    let started = house
        .admin
        .post(&commands, json!({"argv": ["sleep", "60"], "detach": true}))
        .await;
    let command = format!("{commands}/{}", started.json()["command"].as_str().unwrap());
    let signalled = house
        .admin
        .post(&format!("{command}/signal"), json!({"signal": 15}))
        .await;
    assert_eq!(signalled.status, 204, "{signalled:?}");
    let unknown = house
        .admin
        .post(&format!("{command}/signal"), json!({"signal": 64}))
        .await;
    assert_eq!(
        (unknown.status.as_u16(), unknown.code().as_str()),
        (400, "invalid_argument")
    );
    let mut notices = house
        .admin
        .follow(&format!("{command}/events?offset=0"), None)
        .await;
    assert_eq!(notices.next().await.unwrap().data["exit"]["signal"], 15);
}

#[tokio::test]
async fn a_command_ends_with_the_connection_that_waits_for_it() {
    let house = House::new().await;
    let id = house.session().await;
    let (began, mut begun) = tokio::sync::mpsc::channel(1);
    house.site.memory.program("long", move |_| {
        let began = began.clone();
        async move {
            let _ = began.send(()).await;
            std::future::pending::<Exit>().await
        }
    });
    let (admin, commands) = (house.admin.clone(), format!("/v1/sessions/{id}/commands"));
    let asking = tokio::spawn(async move { admin.post(&commands, json!({"argv": ["long"]})).await });
    begun.recv().await.unwrap();
    asking.abort();
    // The program's closure goes when the process is ended, and with it the last sender.
    house.site.memory.program("long", |_| async { Exit::OK });
    tokio::time::timeout(crate::support::SOON, async {
        while begun.recv().await.is_some() {}
    })
    .await
    .unwrap();
}
