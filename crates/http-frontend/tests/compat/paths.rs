//! A `project_path` stays beneath the projects directory.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use serde_json::json;
use session_core::api::SessionApi;
use session_core::session::SessionFilter;

use crate::support::House;

#[tokio::test]
async fn no_path_leads_out_of_the_projects_directory() {
    let house = House::new().await;
    house.project("thing", &[("file.txt", "x")]);
    let outside = house.site.workspace("outside").unwrap();
    std::fs::create_dir(outside.join("sub")).unwrap();
    symlink(&outside, house.projects.join("link")).unwrap();
    symlink("../outside", house.projects.join("relative")).unwrap();
    symlink("..", house.projects.join("thing/up")).unwrap();
    symlink("../..", house.projects.join("thing/further")).unwrap();
    symlink("loop", house.projects.join("loop")).unwrap();
    symlink("/proc/self/root", house.projects.join("magic")).unwrap();
    let long = "a/".repeat(3000);
    let outside = outside.to_str().unwrap();
    for path in [
        "..",
        "../outside",
        "thing/../../outside",
        "thing/..",
        "./../projects/thing",
        "/",
        "/etc",
        outside,
        "link",
        "link/sub",
        "relative",
        "thing/further/outside",
        "loop",
        "magic",
        "magic/etc",
        "thing\0/x",
        "%2e%2e",
        "..%2foutside",
        "thing%00",
        "..\\outside",
        "absent",
        "thing/file.txt",
        "thing/file.txt/x",
        " ",
        long.as_str(),
    ] {
        for (call, more) in [
            ("/claude-code/analyze", "analysis_type"),
            ("/claude-code/execute", "task_description"),
        ] {
            let mut body = json!({ "project_path": path });
            body[more] = json!("structure");
            let reply = house.post(call, body).await;
            let shown = &path[..path.len().min(60)];
            assert_eq!(reply.status, 400, "{call} {shown}: {}", reply.body);
            assert_eq!(reply.body["error"], "Bad Request", "{call} {shown}");
            assert!(
                reply.body["message"]
                    .as_str()
                    .unwrap()
                    .starts_with("project_path"),
                "{}",
                reply.body
            );
            assert!(!reply.body.to_string().contains(outside) || path == outside);
        }
    }
    let all = SessionFilter {
        all: true,
        ..SessionFilter::default()
    };
    assert!(
        house.manager().list(all).await.unwrap().is_empty(),
        "nothing was made"
    );
}

#[tokio::test]
async fn a_link_that_stays_beneath_is_a_way() {
    let house = House::new().await;
    house.project("thing", &[("main.py", "print(1)\n")]);
    symlink("thing", house.projects.join("alias")).unwrap();
    for path in ["alias", "./alias/", "thing"] {
        let reply = house
            .post("/claude-code/analyze", json!({ "project_path": path }))
            .await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        assert_eq!(reply.body["results"]["coverage"]["files"], 1);
    }
}

/// Long enough for a whole request on any machine.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// Both kinds of answer were seen by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between the look at a path and its use somebody swaps a directory for a link: never is another directory worked in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_swapped_meanwhile_is_never_another_one() {
    let house = House::new().await;
    let project = house.project("thing", &[("inside.txt", "x")]);
    let outside = house.site.workspace("outside").unwrap();
    std::fs::write(outside.join("secret.py"), "print(1)\n").unwrap();
    let aside = house.projects.join("aside");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let swapping = std::thread::spawn(move || {
        // Without a rest no task may find the directory in place at each of its looks, and on a slow machine not in a short
        // one either.
        let mut rest = Duration::from_millis(20);
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            for _ in 0..50 {
                std::fs::rename(&project, &aside).unwrap();
                symlink(&outside, &project).unwrap();
                std::fs::remove_file(&project).unwrap();
                std::fs::rename(&aside, &project).unwrap();
            }
            std::thread::sleep(rest);
            rest = (rest * 2).min(LONGEST_REST);
        }
    });
    let (mut worked, mut refused) = (0, 0);
    let body = json!({ "task_description": "say", "project_path": "thing" });
    let began = Instant::now();
    for asked in 0.. {
        let reply = house.post("/claude-code/execute", body.clone()).await;
        worked += u32::from(reply.status == 200);
        refused += u32::from(reply.status != 200);
        // Both were seen, and often enough.
        if asked >= 40 && worked > 0 && refused > 0 {
            break;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "a directory that stayed was worked in {worked} times, one that was swapped refused {refused} times"
        );
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    swapping.join().unwrap();
    let calm = house.post("/claude-code/execute", body).await;
    assert_eq!(calm.status, 200, "the directory stays: {}", calm.body);
    let all = SessionFilter {
        all: true,
        ..SessionFilter::default()
    };
    for session in house.manager().list(all).await.unwrap() {
        let elsewhere = format!("{:?}", session.workspace).contains("outside");
        assert!(
            !elsewhere || session.turns == 0,
            "an agent worked elsewhere: {session:?}"
        );
    }
}
