//! What the core asks for is what the core is asked for at the other end of the wire.

mod requests;

use proptest::prelude::*;
use secrecy::ExposeSecret;
use session_core::command::CommandRequest;
use session_core::egress::DecideEgress;
use session_core::error::{Error, ErrorKind};
use session_core::gateway::ProviderAccount;
use session_core::session::{CreateSession, PromptRequest};
use session_core::terminal::OpenTerminal;

use http_api::{
    CommandBody, CreateSessionBody, DecideEgressBody, Octets, OpenTerminalBody, OutputFrame, Problem,
    PromptBody,
};

/// Over the wire and back.
fn carried<T: serde::Serialize + serde::de::DeserializeOwned>(body: T) -> T {
    let text = serde_json::to_vec(&body).expect("it can be carried");
    serde_json::from_slice(&text).expect("it can be carried")
}

/// Everything of a request, its secrets among it.
fn told(request: &CreateSession) -> String {
    let secrets = request.account.as_ref().map(|account| match account {
        ProviderAccount::ApiKey(key) => key.expose_secret().to_owned(),
        ProviderAccount::Bedrock(account) => account.credentials.as_ref().map_or_else(String::new, |one| {
            let token = one.session_token.as_ref().map(|token| token.expose_secret());
            format!("{} {token:?}", one.secret_access_key.expose_secret())
        }),
    });
    format!("{request:?} {secrets:?}")
}

proptest! {
    #[test]
    fn a_session_that_is_asked_for_arrives_whole(request in requests::create()) {
        let body = carried::<CreateSessionBody>(CreateSessionBody::try_from(request.clone()).unwrap());
        prop_assert_eq!(told(&CreateSession::from(body)), told(&request));
    }

    #[test]
    fn a_prompt_arrives_whole(request in requests::prompt()) {
        let body = carried(PromptBody::from(request.clone()));
        prop_assert_eq!(format!("{:?}", PromptRequest::from(body)), format!("{request:?}"));
    }

    #[test]
    fn a_command_arrives_byte_for_byte(request in requests::command()) {
        let body = carried(CommandBody::from(request.clone()));
        let (arrived, data): (CommandRequest, _) = body.into_request();
        prop_assert_eq!(arrived, request);
        prop_assert_eq!(data, None);
    }

    #[test]
    fn a_terminal_and_a_decision_arrive_whole(terminal in requests::terminal(), decision in requests::decision()) {
        let body = carried(OpenTerminalBody::from(terminal.clone()));
        prop_assert_eq!(OpenTerminal::from(body), terminal);
        let body = carried(DecideEgressBody::from(decision.clone()));
        prop_assert_eq!(DecideEgress::from(body), decision);
    }

    #[test]
    fn an_error_arrives_as_it_was(error in requests::error()) {
        let problem: Problem = carried(Problem::from(&error));
        let arrived = Error::from(problem);
        prop_assert_eq!(arrived.kind(), error.kind());
        prop_assert_eq!(arrived.to_string(), error.to_string());
        prop_assert_eq!(format!("{arrived:?}"), format!("{error:?}"));
        prop_assert_eq!(arrived.hint(), error.hint());
    }

    #[test]
    fn bytes_are_the_same_in_both_forms(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        prop_assert_eq!(carried(Octets(bytes.clone())), Octets(bytes.clone()));
        let object = serde_json::json!({"base64": Octets::base64(&bytes)});
        prop_assert_eq!(serde_json::from_value::<Octets>(object).unwrap(), Octets(bytes));
    }

    #[test]
    fn a_frame_of_output_arrives_as_it_was(frame in requests::output()) {
        prop_assert_eq!(OutputFrame::decode(frame.encode()).unwrap(), frame);
    }

    #[test]
    fn what_is_no_frame_of_output_is_an_error_and_no_panic(message in prop::collection::vec(any::<u8>(), 0..16)) {
        let fits = message.len() >= OutputFrame::HEADER && matches!(message[0], 1 | 2);
        match OutputFrame::decode(message.into()) {
            Ok(_) => prop_assert!(fits),
            Err(error) => {
                prop_assert!(!fits);
                prop_assert_eq!(error.kind(), ErrorKind::LinkLost);
            }
        }
    }
}
