//! `egress approve` and `egress deny`.

use serde::Serialize;
use session_core::api::SessionApi;
use session_core::egress::{DecideEgress, EgressDecision, HostPattern, HostRule};
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::SessionId;

use crate::args::DecideArgs;
use crate::console::Console;
use crate::exit::ExitStatus;
use crate::{render, target};

/// What stands for every session.
const ALL: &str = "all";
const OPERATION: &str = "decide about hosts";

/// A decision, as a JSON line.
#[derive(Debug, Serialize)]
struct Decided<'a> {
    event: &'static str,
    #[serde(flatten)]
    decision: &'a EgressDecision,
}

/// Decides, and says what was decided.
pub(super) async fn decide(
    args: &DecideArgs,
    allow: bool,
    api: &dyn SessionApi,
    console: &Console,
) -> Result<ExitStatus> {
    let named = if args.session == ALL {
        None
    } else {
        Some(target::find(api, &args.session).await?)
    };
    let rule = match &args.rule {
        Some(rule) => rule.clone(),
        None => only_request(named.as_ref(), api).await?,
    };
    let session = named.filter(|_| !args.for_all);
    let decision = api.decide_egress(DecideEgress { session, rule, allow }).await?;
    let printer = &console.printer;
    if printer.json() {
        printer.object(&Decided {
            event: "egress_decided",
            decision: &decision,
        })?;
    } else {
        printer.note(sentence(&decision));
        if let Some(stronger) = stronger(&decision, api).await? {
            printer.note(still_refused(&stronger));
        }
    }
    Ok(ExitStatus::SUCCESS)
}

fn sentence(decision: &EgressDecision) -> String {
    let whom = match &decision.session {
        Some(session) => format!("session {}", render::short(session)),
        None => "every session".to_owned(),
    };
    let rule = &decision.rule;
    if decision.allow {
        format!("{rule} is allowed for {whom} from the next connection on")
    } else {
        format!("{rule} is refused for {whom} from the next connection on, whatever else allows it")
    }
}

/// A refusal that stands beside an approval and is stronger: of the same hosts, by another rule or for every session.
async fn stronger(approval: &EgressDecision, api: &dyn SessionApi) -> Result<Option<EgressDecision>> {
    if !approval.allow {
        return Ok(None);
    }
    let rule = &approval.rule;
    let is_stronger = |other: &EgressDecision| {
        let replaced = other.session == approval.session && other.rule == *rule;
        let holds = other.session.is_none() || other.session == approval.session;
        let covers = other.rule == *rule
            || match rule.host() {
                HostPattern::Exact(host) => rule
                    .port()
                    .map_or(vec![443, 80], |port| vec![port])
                    .into_iter()
                    .any(|port| other.rule.matches(host, port)),
                HostPattern::Below(_) => false,
            };
        !other.allow && !replaced && holds && covers
    };
    let standing = api.egress_decisions(approval.session.as_ref()).await?;
    Ok(standing.into_iter().find(is_stronger))
}

fn still_refused(refusal: &EgressDecision) -> String {
    let rule = &refusal.rule;
    let (whom, session) = match &refusal.session {
        Some(session) => ("this session", session.to_string()),
        None => ("every session", ALL.to_owned()),
    };
    format!(
        "but {rule} is refused for {whom}, and a refusal is stronger: take it back with cofferdam egress approve \
         {session} '{rule}'"
    )
}

/// The rule of the one request that waits. Of several, none is the obvious one: nothing is decided by guessing.
async fn only_request(session: Option<&SessionId>, api: &dyn SessionApi) -> Result<HostRule> {
    const SHOWN: usize = 5;
    let requests = api.egress_requests(session).await?;
    let mut rules: Vec<HostRule> = requests.into_iter().map(|request| request.rule).collect();
    rules.sort();
    rules.dedup();
    match rules.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "no request waits, so the rule has to be named",
        )
        .with_hint("write it after the session: example.com, *.example.com or example.com:8443")),
        several => {
            let mut shown: Vec<_> = several.iter().take(SHOWN).map(ToString::to_string).collect();
            if several.len() > SHOWN {
                shown.push("…".to_owned());
            }
            Err(Error::new(
                ErrorKind::InvalidArgument,
                OPERATION,
                "several requests wait, so the rule has to be named",
            )
            .with_context("waiting", shown.join(" "))
            .with_hint("`cofferdam egress pending` shows them"))
        }
    }
}
