//! What sessions reach and use: asked for, shown, decided.

use serde_json::json;
use session_core::activity::Activity;
use session_core::budget::{Budget, Spending, Spent};
use session_core::egress::{AllowEntry, EgressDecision};
use session_core::error::ErrorKind;

use crate::support::fake::{Fake, Step};
use crate::support::{User, fixtures, snapshot};

/// A session with hosts and a budget, at work and denied something.
fn doors() -> Fake {
    let mut fake = Fake::new();
    fake.sessions = vec![
        fixtures::session('f', Some("fix-it"), json!({"state": "busy"})),
        fixtures::ready('a', Some("review")),
    ];
    let session = &mut fake.sessions[0];
    session.allow = ["npm", "docs.example.com", "*.example.org:8443", "debian"]
        .iter()
        .map(|entry| entry.parse::<AllowEntry>().unwrap())
        .collect();
    session.budget = Budget {
        cost_microusd: Some(5_000_000),
        tokens: Some(100_000),
        ..Budget::default()
    };
    fake.spent = Spent {
        session: Spending {
            requests: 12,
            input_tokens: 1000,
            output_tokens: 2000,
            cache_read_tokens: 7000,
            cache_creation_tokens: 10,
            cost_microusd: 400_000,
            model_ms: 125_000,
        },
        today: Spending {
            cost_microusd: 12_340_000,
            ..Spending::default()
        },
    };
    fake.activity = Some(Activity::WaitingForModel { silent_ms: 12_000 });
    fake.waiting_hosts = vec![fixtures::waiting('f', "files.example.org")];
    fake.stored = (1..)
        .zip(fixtures::doors())
        .map(|(seq, kind)| fixtures::event(fixtures::session_id('f'), seq, None, kind))
        .collect();
    fake
}

fn decided(user: &User) -> Vec<String> {
    let calls = user.fake.calls();
    let decisions = calls
        .iter()
        .filter_map(|call| call.strip_prefix("decide_egress "));
    decisions.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_session_gets_the_hosts_the_budget_and_the_models_that_were_asked_for() {
    let user = User::new(Fake::new());
    let made = |line: &'static str| {
        let user = &user;
        async move {
            let outcome = user.runs(line).await;
            assert_eq!(outcome.code, 0, "{line}: {}", outcome.stderr());
            outcome.lines().remove(0)
        }
    };
    let info = made(
        "create --json --allow npm --allow *.Example.com:8443 --budget-usd 2.50 --budget-tokens 1000 \
         --budget-requests 7 --budget-minutes 1.5 --small-model tiny",
    )
    .await;
    assert_eq!(info["network"], "sealed");
    assert_eq!(info["allow"], json!(["npm", "*.example.com:8443"]));
    assert_eq!(
        info["budget"],
        json!({"cost_microusd": 2_500_000, "tokens": 1000, "requests": 7, "model_ms": 90_000})
    );
    assert_eq!(info["small_model"], "tiny");
    assert_eq!(
        made("create --json --network allow --allow git").await["allow"],
        json!(["git"])
    );
    let sealed = made("create --json").await;
    assert!(sealed.get("allow").is_none() && sealed.get("budget").is_none());
    assert_eq!(made("create --json --network open").await["network"], "open");
    // A clone does not need the open network: its host is allowed, or the way out explains itself.
    let clone = made("create --json --clone https://git.example.com/x --allow git.example.com").await;
    assert_eq!(
        (&clone["network"], &clone["workspace"]["kind"]),
        (&json!("sealed"), &json!("clone"))
    );
}

#[tokio::test]
async fn run_says_what_the_session_may_reach() {
    let user = User::new(Fake::working());
    let outcome = user.runs_args(&["run", "--allow", "npm", "Make it work"]).await;
    let stderr = outcome.stderr();
    assert!(stderr.starts_with("session f1d4fae0 allow npm, copy"), "{stderr}");
}

#[tokio::test]
async fn the_table_and_the_close_look_show_hosts_budget_use_and_activity() {
    let user = User::new(doors());
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\b\d+[smhd] +", "[AGE] ");
    settings.add_filter(r"AGE +", "AGE ");
    let outcome = user.runs("ls").await;
    settings.bind(|| snapshot!("ls_doors", user, outcome));
    let outcome = user.runs("inspect fix-it").await;
    snapshot!("inspect_doors", user, outcome);
    let all = user.runs("inspect --json fix-it").await.lines().remove(0);
    assert_eq!(
        all["activity"],
        json!({"kind": "waiting_for_model", "silent_ms": 12_000})
    );
    assert_eq!(all["usage"]["cost_microusd"], 400_000);
    assert_eq!(all["egress_requests"][0]["rule"], "files.example.org:443");
}

#[tokio::test]
async fn only_those_that_work_are_asked_what_they_do() {
    let user = User::new(doors().failing("inspect", ErrorKind::EngineUnavailable));
    let outcome = user.runs("ls").await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr());
    assert!(outcome.stdout().contains("busy   "), "{}", outcome.stdout());
    let asked = user.fake.calls();
    let asked = asked.iter().filter(|call| call.starts_with("inspect ")).count();
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn the_log_shows_what_was_reached_denied_and_decided() {
    let user = User::new(doors());
    let outcome = user.runs("egress log fix-it").await;
    snapshot!("egress_log", user, outcome);
    let lines = user.runs("egress log --json fix-it").await.lines();
    let kinds: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "egress_allowed",
            "egress_denied",
            "egress_denied",
            "egress_denied",
            "egress_decided"
        ]
    );
    assert_eq!(lines[1]["reason"], "not_allowed");
}

#[tokio::test]
async fn the_log_goes_on_with_one_session_or_with_all() {
    let mut fake = doors();
    fake.turn = fixtures::doors().into_iter().map(Step::Event).collect();
    let user = User::new(fake);
    let outcome = user.runs("egress log -f --json fix-it").await;
    assert_eq!((outcome.code, outcome.lines().len()), (0, 10));
    let after = user.fake.stored.len();
    assert!(
        user.fake
            .calls()
            .contains(&format!("events {} {after}", fixtures::session_id('f')))
    );

    // Following all ends with its reader.
    let mut fake = doors();
    fake.turn = fixtures::doors().into_iter().map(Step::Event).collect();
    let mut user = User::new(fake);
    user.stdout_limit = Some(1200);
    let outcome = user.runs("egress log -f").await;
    assert_eq!(outcome.code, 141, "{}", outcome.stderr());
    let text = outcome.stdout();
    assert!(
        text.lines()
            .all(|line| line.starts_with("f1d4fae0 ") || line.starts_with("a1d4fae0 "))
    );
    assert!(
        text.contains("denied: files.example.org:443 (not_allowed)"),
        "{text}"
    );
}

#[tokio::test]
async fn what_waits_is_listed_for_people_and_for_programs() {
    let mut fake = doors();
    fake.waiting_hosts
        .push(fixtures::waiting('a', "other.example.net"));
    let user = User::new(fake);
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\b\d+[smhd]\b", "[AGE]");
    settings.add_filter(r"FIRST +", "FIRST ");
    settings.add_filter(r"\[AGE\] +", "[AGE] ");
    let outcome = user.runs("egress pending").await;
    settings.bind(|| snapshot!("egress_pending", user, outcome));
    let lines = user.runs("egress pending --json review").await.lines();
    assert_eq!(lines.len(), 1);
    assert_eq!(
        (&lines[0]["event"], &lines[0]["rule"], &lines[0]["times"]),
        (
            &json!("egress_request"),
            &json!("other.example.net:443"),
            &json!(1234)
        )
    );
    let mut fake = doors();
    fake.waiting_hosts.clear();
    let outcome = User::new(fake).runs("egress pending").await;
    assert_eq!((outcome.code, outcome.stdout()), (0, String::new()));
    assert!(outcome.stderr().contains("no host waits"));
}

#[tokio::test]
async fn decisions_are_for_the_one_session_or_for_all() {
    let user = User::new(doors());
    let session = fixtures::session_id('f');
    let one = format!("Some(SessionId({session}))");
    let of = |line: &str, whom: &str| {
        let whom = if whom == "all" { "None" } else { one.as_str() };
        format!("{whom} {line}")
    };
    let mut expected = Vec::new();
    for (line, whom, call) in [
        ("egress approve fix-it example.com", "one", "example.com true"),
        (
            "egress deny fix-it *.example.com:80",
            "one",
            "*.example.com:80 false",
        ),
        (
            "egress approve fix-it example.com --for-all",
            "all",
            "example.com true",
        ),
        ("egress deny all example.com", "all", "example.com false"),
    ] {
        let outcome = user.runs(line).await;
        assert_eq!(outcome.code, 0, "{line}: {}", outcome.stderr());
        expected.push(of(call, whom));
    }
    let decided = decided(&user);
    // How an id is written for a developer is not what is judged here.
    let plain = |call: &String| call.contains(&session.to_string());
    assert_eq!(decided.len(), expected.len());
    for (call, expected) in decided.iter().zip(&expected) {
        assert_eq!(plain(call), expected.starts_with("Some"), "{call}");
        let words = |call: &str| {
            call.rsplitn(3, ' ')
                .take(2)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(call), words(expected));
    }
    let said = user.runs("egress deny fix-it example.com").await;
    assert_eq!(said.stdout(), "");
    assert!(
        said.stderr()
            .starts_with("example.com is refused for session f1d4fae0")
    );
    let line = user
        .runs("egress approve --json all example.com")
        .await
        .lines()
        .remove(0);
    assert_eq!(
        line,
        json!({"event": "egress_decided", "rule": "example.com", "allow": true, "at": "2026-01-02T03:04:05Z"})
    );
}

#[tokio::test]
async fn an_approval_that_changes_nothing_says_so() {
    let mut fake = doors();
    fake.decisions = vec![EgressDecision {
        session: None,
        rule: "*.example.com".parse().unwrap(),
        allow: false,
        at: fixtures::start(),
    }];
    let user = User::new(fake);
    let said = user.runs("egress approve fix-it www.example.com:443").await;
    assert!(
        said.stderr()
            .contains("cofferdam egress approve all '*.example.com'"),
        "{}",
        said.stderr()
    );
    for line in [
        "egress approve fix-it example.org",
        "egress approve all *.example.com",
        "egress deny fix-it www.example.com",
    ] {
        let said = user.runs(line).await;
        assert!(!said.stderr().contains("stronger"), "{}", said.stderr());
    }
}

#[tokio::test]
async fn the_rule_may_be_left_out_when_one_request_waits_and_nothing_is_guessed() {
    let user = User::new(doors());
    let outcome = user.runs("egress approve fix-it").await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr());
    assert!(decided(&user)[0].ends_with("files.example.org:443 true"));
    // The other session waits for nothing.
    let outcome = user.runs("egress approve review").await;
    assert_eq!(outcome.code, 2);
    assert!(
        outcome.stderr().contains("no request waits"),
        "{}",
        outcome.stderr()
    );

    let mut fake = doors();
    fake.waiting_hosts
        .push(fixtures::waiting('f', "evil.example.net"));
    let user = User::new(fake);
    for line in [
        "egress approve fix-it",
        "egress deny fix-it",
        "egress approve all",
    ] {
        let outcome = user.runs(line).await;
        assert_eq!(outcome.code, 2, "{line}");
        let stderr = outcome.stderr();
        assert!(
            stderr.contains("several") && stderr.contains("evil.example.net:443"),
            "{stderr}"
        );
    }
    assert_eq!(decided(&user), Vec::<String>::new());
    // The same host for two sessions is one rule.
    let mut fake = doors();
    fake.waiting_hosts
        .push(fixtures::waiting('a', "files.example.org"));
    let user = User::new(fake);
    assert_eq!(user.runs("egress approve all").await.code, 0);
}

#[tokio::test]
async fn rules_say_where_they_come_from() {
    let mut fake = doors();
    fake.decisions = vec![EgressDecision {
        session: None,
        rule: "tracker.example.com".parse().unwrap(),
        allow: false,
        at: fixtures::start(),
    }];
    let user = User::new(fake);
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\b\d+[smhd]\b", "[AGE]");
    let outcome = user.runs("egress rules").await;
    settings.bind(|| snapshot!("egress_rules", user, outcome));
    let lines = user.runs("egress rules --json fix-it").await.lines();
    assert_eq!(lines.len(), 5);
    assert_eq!(
        lines[0],
        json!({"event": "egress_rule", "rule": "tracker.example.com", "allow": false, "source": "decided",
               "at": "2026-01-02T03:04:05Z"})
    );
    assert_eq!(
        (&lines[1]["rule"], &lines[1]["source"]),
        (&json!("npm"), &json!("created"))
    );
}

#[tokio::test]
async fn use_is_shown_of_one_and_of_all() {
    let user = User::new(doors());
    let outcome = user.runs("usage fix-it").await;
    snapshot!("usage_of_one", user, outcome);
    let all = user.runs("usage --json").await.lines().remove(0);
    assert_eq!((&all["event"], all.get("session")), (&json!("usage"), None));
    assert_eq!(all["today"]["cost_microusd"], 12_340_000);
    assert!(user.fake.calls().contains(&"usage None".to_owned()));
    assert_eq!(user.runs("usage nothing-like-it").await.code, 3);
}

#[tokio::test]
async fn who_follows_a_turn_is_told_of_its_doors() {
    let mut fake = Fake::new();
    fake.turn = fixtures::doors().into_iter().map(Step::Event).collect();
    fake.turn.push(Step::End(fixtures::outcome(
        session_core::turn::TurnStatus::Succeeded,
    )));
    let user = User::new(fake);
    let outcome = user.runs("prompt fix-it go").await;
    snapshot!("prompt_doors", user, outcome);
    let verbose = user.runs("-v prompt fix-it go").await.stderr();
    assert!(
        verbose.contains("reached: registry.example.com:443 (*.example.com)"),
        "{verbose}"
    );
}
