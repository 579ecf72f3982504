//! Credentials from the cache that `aws sso login` leaves in the home directory.
//!
//! AWS's crate finds that cache by `HOME` and the service by `AWS_ENDPOINT_URL_SSO`, and a process has one environment. So
//! each case runs in a process of its own: this very program, asked for the one ignored test below.

use std::path::Path;
use std::process::Stdio;

use hyper::Request;
use session_gateway::model::AwsSources;
use testkit::model::{AwsGate, ModelServer, Script, Surface};

use crate::bedrock::{REGION, SECRET, config_at, error_of, invoke};
use crate::support::{Fixture, Provider, json};

const START_URL: &str = "https://scripted.awsapps.com/start";
/// The names of cached tokens: the SHA-1 of the address above, or of the name of an `sso-session`.
const CACHED: &str = "81c41ef7a93d7352f9a4300ba1217a32da5c66d5.json";
const CACHED_SESSION: &str = "e460ecf101daf4f10acff1ae5e54abb7df6501f8.json";
const LOGIN: &str = "canary-sso-login-token";
const SESSION: &str = "canary-sso-session-token";

#[tokio::test]
async fn a_login_of_sso_s_signs_and_one_that_ran_out_is_told() {
    let gate = AwsGate::new(REGION).accept("ASIACANARYSSO", SECRET, Some(SESSION));
    let script = Script::new().say("hello").forever();
    let bedrock = ModelServer::start_as(Surface::Bedrock(gate), script)
        .await
        .unwrap();
    let portal = Provider::start(async |request: Request<_>| {
        let query = request.uri().query().unwrap_or_default();
        assert!(query.contains("role_name=the-role") && query.contains("account_id=123456789012"), "{query}");
        if request.headers()["x-amz-sso_bearer_token"] == LOGIN {
            json(
                200,
                r#"{"roleCredentials":{"accessKeyId":"ASIACANARYSSO","secretAccessKey":"canary/secret+access/key",
                "sessionToken":"canary-sso-session-token","expiration":4102444800000}}"#,
            )
        } else {
            let mut answer = json(401, r#"{"message":"Session token not found or invalid"}"#);
            let kind = "UnauthorizedException".parse().unwrap();
            answer.headers_mut().insert("x-amzn-errortype", kind);
            answer
        }
    })
    .await;
    let by_address = format!(
        "[profile work]\nsso_start_url = {START_URL}\nsso_region = eu-west-1\n\
         sso_account_id = 123456789012\nsso_role_name = the-role\n"
    );
    let by_session = format!(
        "[profile work]\nsso_session = work-session\nsso_account_id = 123456789012\nsso_role_name = the-role\n\
         [sso-session work-session]\nsso_start_url = {START_URL}\nsso_region = eu-west-1\n"
    );
    for (config, cached, login, ends, expected) in [
        (&by_address, CACHED, LOGIN, "2099-01-01T00:00:00Z", "200"),
        (&by_session, CACHED_SESSION, LOGIN, "2099-01-01T00:00:00Z", "200"),
        (
            &by_session,
            CACHED_SESSION,
            LOGIN,
            "2020-01-01T00:00:00Z",
            "credential_expired",
        ),
        (
            &by_address,
            CACHED,
            "another-login",
            "2099-01-01T00:00:00Z",
            "credential_expired",
        ),
        (
            &by_address,
            "absent.json",
            LOGIN,
            "2099-01-01T00:00:00Z",
            "credential_unusable",
        ),
    ] {
        let home = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = home.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(".aws/config", config);
        write(
            &format!(".aws/sso/cache/{cached}"),
            &format!(
                r#"{{"accessToken":"{login}","expiresAt":"{ends}","region":"eu-west-1","startUrl":"{START_URL}"}}"#
            ),
        );
        write("bedrock", &bedrock.url());
        write("expected", expected);
        let case = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sso::one_case", "--ignored", "--nocapture"])
            .env("HOME", home.path())
            .env("AWS_ENDPOINT_URL_SSO", portal.base.to_string())
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let said = [case.stdout, case.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(
            case.status.success() && said.contains("1 passed"),
            "{expected}: {said}"
        );
    }
    assert_eq!(portal.seen().len(), 3, "a login that ran out is not presented");
}

#[tokio::test]
#[ignore = "run by the test above, with a home directory of its own"]
async fn one_case() {
    // What went wrong is for the reader of the failure.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let home = std::env::home_dir().unwrap();
    let read = |name: &str| std::fs::read_to_string(Path::new(&home).join(name)).unwrap();
    let sources = AwsSources {
        profile: Some("work".to_owned()),
        config_file: Some(home.join(".aws/config")),
        ..AwsSources::default()
    };
    let fixture = Fixture::with(config_at(&read("bedrock"), sources), None).await;
    let response = fixture
        .send(invoke("eu.anthropic.claude-opus-5-5", "invoke"))
        .await;
    let refusal = response.headers().get("x-cofferdam-refusal");
    let got = refusal.map_or(response.status().as_str().to_owned(), |refusal| {
        refusal.to_str().unwrap().to_owned()
    });
    assert_eq!(got, read("expected"));
    if got != "200" {
        let (status, _, message) = error_of(response).await;
        assert_eq!(status, 401);
        assert!(
            message.contains("aws") && !message.contains("canary"),
            "{message}"
        );
    }
}
