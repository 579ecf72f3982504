//! Whether a host may be reached. Pure: the rules of the session, of the operator, and what people decided.

use std::collections::BTreeMap;

use session_core::egress::{AllowEntry, EgressDecision, HostRule, PresetName};
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::SessionId;

use super::target::Host;

/// What a session may reach without anybody being asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy(Vec<HostRule>);

/// What is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict<'a> {
    /// A rule allows it.
    Allowed(&'a HostRule),
    /// A person refused it.
    Refused(&'a EgressDecision),
    /// Nothing names it.
    NotAllowed,
}

impl Policy {
    /// The rules of a session: its own, those of the presets that it names, and those that hold for every session.
    ///
    /// # Errors
    /// `InvalidArgument` for a preset that does not exist.
    pub(crate) fn new(
        allow: &[AllowEntry],
        presets: &BTreeMap<PresetName, Vec<HostRule>>,
        always: &[HostRule],
    ) -> Result<Self> {
        let mut rules = Vec::new();
        for entry in allow {
            match entry {
                AllowEntry::Rule(rule) => rules.push(rule.clone()),
                AllowEntry::Preset(name) => match presets.get(name) {
                    Some(preset) => rules.extend_from_slice(preset),
                    None => return Err(unknown_preset(name, presets)),
                },
            }
        }
        rules.extend_from_slice(always);
        Ok(Self(rules))
    }

    /// Judges a host. A refusal by a person is stronger than everything that allows.
    pub(crate) fn judge<'a>(
        &'a self,
        session: &SessionId,
        decisions: &'a [EgressDecision],
        host: &Host,
        port: u16,
    ) -> Verdict<'a> {
        let host = host.as_str();
        let decided = |allow: bool| {
            let holds = |decision: &&EgressDecision| {
                decision.allow == allow
                    && decision.session.is_none_or(|of| of == *session)
                    && decision.rule.matches(host, port)
            };
            decisions.iter().find(holds)
        };
        if let Some(decision) = decided(false) {
            return Verdict::Refused(decision);
        }
        let listed = self.0.iter().find(|rule| rule.matches(host, port));
        match listed.or_else(|| decided(true).map(|decision| &decision.rule)) {
            Some(rule) => Verdict::Allowed(rule),
            None => Verdict::NotAllowed,
        }
    }
}

fn unknown_preset(name: &PresetName, presets: &BTreeMap<PresetName, Vec<HostRule>>) -> Error {
    let known: Vec<&str> = presets.keys().map(PresetName::as_str).collect();
    let hint = if known.is_empty() {
        "no preset is configured here; name hosts instead, for example example.com:443".to_owned()
    } else {
        format!(
            "presets here are {}; hosts are named like example.com:443",
            known.join(", ")
        )
    };
    Error::new(
        ErrorKind::InvalidArgument,
        "admit the session to the egress door",
        "this preset of hosts does not exist",
    )
    .with_context("preset", name)
    .with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn rule(text: &str) -> HostRule {
        text.parse().unwrap()
    }

    fn entries(texts: &[&str]) -> Vec<AllowEntry> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn presets() -> BTreeMap<PresetName, Vec<HostRule>> {
        let npm = "npm".parse().unwrap();
        let git = "git".parse().unwrap();
        BTreeMap::from([
            (npm, vec![rule("registry.example:4873")]),
            (git, vec![rule("git.example")]),
        ])
    }

    fn decision(session: Option<SessionId>, text: &str, allow: bool) -> EgressDecision {
        EgressDecision {
            session,
            rule: rule(text),
            allow,
            at: Timestamp::UNIX_EPOCH,
        }
    }

    fn host(text: &str) -> Host {
        Host::read(text).unwrap()
    }

    #[test]
    fn an_empty_list_means_nothing() {
        let policy = Policy::new(&[], &presets(), &[]).unwrap();
        let session = SessionId::new();
        assert_eq!(
            policy.judge(&session, &[], &host("git.example"), 443),
            Verdict::NotAllowed
        );
    }

    #[test]
    fn rules_presets_and_what_always_holds_allow() {
        let always = [rule("always.example:443")];
        let policy = Policy::new(&entries(&["npm", "*.own.example"]), &presets(), &always).unwrap();
        let session = SessionId::new();
        for (name, port, by) in [
            ("a.own.example", 443, Some("*.own.example")),
            ("registry.example", 4873, Some("registry.example:4873")),
            ("registry.example", 443, None),
            ("always.example", 443, Some("always.example:443")),
            ("git.example", 443, None),
            ("own.example", 443, None),
        ] {
            let expected = by.map(rule);
            let expected = expected.as_ref().map_or(Verdict::NotAllowed, Verdict::Allowed);
            assert_eq!(
                policy.judge(&session, &[], &host(name), port),
                expected,
                "{name}:{port}"
            );
        }
    }

    #[test]
    fn people_allow_and_their_refusals_beat_everything() {
        let policy = Policy::new(&entries(&["listed.example"]), &presets(), &[]).unwrap();
        let (own, other) = (SessionId::new(), SessionId::new());
        let decisions = [
            decision(Some(own), "new.example:443", true),
            decision(None, "all.example:443", true),
            decision(None, "listed.example", false),
            decision(None, "*.all.example", true),
            decision(Some(other), "all.example:443", false),
        ];
        let judge = |session, name| policy.judge(session, &decisions, &host(name), 443);
        assert!(matches!(judge(&own, "new.example"), Verdict::Allowed(_)));
        assert_eq!(judge(&other, "new.example"), Verdict::NotAllowed);
        assert!(matches!(judge(&own, "all.example"), Verdict::Allowed(_)));
        assert!(matches!(judge(&other, "all.example"), Verdict::Refused(_)));
        assert_eq!(judge(&own, "listed.example"), Verdict::Refused(&decisions[2]));
    }

    #[test]
    fn an_unknown_preset_is_refused_with_the_known_ones() {
        let error = Policy::new(&entries(&["pypi"]), &presets(), &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.hint().unwrap().contains("git, npm"));
        let error = Policy::new(&entries(&["pypi"]), &BTreeMap::new(), &[]).unwrap_err();
        assert!(error.hint().unwrap().contains("no preset"));
    }

    fn any_rule() -> impl Strategy<Value = HostRule> {
        "(\\*\\.)?[ab]\\.(c|d)\\.e(:(80|443|22))?".prop_map(|text| rule(&text))
    }

    proptest! {
        /// Allowed exactly when nobody refused it and something allows it, in whatever order things stand.
        #[test]
        fn a_verdict_is_what_the_rules_say(
            listed in proptest::collection::vec(any_rule(), 0..4),
            decided in proptest::collection::vec((any_rule(), any::<bool>(), 0_u8..3), 0..4),
            name in "([ab]\\.)?[ab]\\.(c|d)\\.e",
            port in prop_oneof![Just(80_u16), Just(443), Just(22), Just(8080)],
        ) {
            let (own, other) = (SessionId::new(), SessionId::new());
            let of = |whose: u8| [None, Some(own), Some(other)][usize::from(whose)];
            let decisions: Vec<_> = decided
                .iter()
                .map(|(rule, allow, whose)| decision(of(*whose), &rule.to_string(), *allow))
                .collect();
            let allow: Vec<_> = listed.iter().cloned().map(AllowEntry::Rule).collect();
            let policy = Policy::new(&allow, &BTreeMap::new(), &[]).unwrap();
            let says = |wanted: bool| decided.iter().any(|(rule, allow, whose)| {
                *allow == wanted && *whose != 2 && rule.matches(&name, port)
            });
            let listed = listed.iter().any(|rule| rule.matches(&name, port));
            match policy.judge(&own, &decisions, &host(&name), port) {
                Verdict::Refused(decision) => prop_assert!(says(false) && decision.rule.matches(&name, port)),
                Verdict::Allowed(rule) => {
                    prop_assert!(!says(false) && (listed || says(true)) && rule.matches(&name, port));
                }
                Verdict::NotAllowed => prop_assert!(!says(false) && !says(true) && !listed),
            }
        }
    }
}
