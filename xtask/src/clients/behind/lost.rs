//! What passes when the fixture is asked directly and not through the gateway, and why that is as it should be.
//!
//! The list is exact, as the other one is. `docs/conformance.md` shows it.

use super::super::fixture::Era;
use super::super::suites::Suite;

/// A reason, and the checks that it is the reason for, as `scenario/check`, or one name where both have the same.
#[derive(Debug)]
pub(in super::super) struct Lost {
    /// Why.
    pub(in super::super) reason: &'static str,
    /// Checks of the newer suite, whatever the fixture knows.
    pub(in super::super) newer: &'static [&'static str],
    /// Checks of the newer suite that get lost only where the fixture does not know its revision.
    pub(in super::super) newer_from_older: &'static [&'static str],
    /// Checks of both suites that get lost only where the fixture knows the newer revision.
    pub(in super::super) both_from_newer: &'static [&'static str],
}

impl Lost {
    /// The checks of a suite, asked of a fixture of an era.
    pub(super) fn of(&self, suite: Suite, era: Era) -> impl Iterator<Item = (&'static str, &'static str)> {
        let where_so = |so: bool, checks: &'static [&'static str]| if so { checks } else { &[] };
        let newer = suite == Suite::Newer;
        [
            where_so(newer, self.newer),
            where_so(newer && era == Era::Older, self.newer_from_older),
            where_so(era == Era::Newer, self.both_from_newer),
        ]
        .into_iter()
        .flatten()
        .map(|name| name.split_once('/').unwrap_or((name, name)))
    }
}

/// The list.
pub(in super::super) const LOST: &[Lost] = &[
    Lost {
        reason: "In the middle of a call the fixture can ask its client only in revision 2025-11-25. Over the newer one, which the \
                 gateway prefers, these tools of it answer that they cannot.",
        newer: &[],
        newer_from_older: &[],
        both_from_newer: &[
            "elicitation-sep1034-defaults/elicitation-sep1034-boolean-default",
            "elicitation-sep1034-defaults/elicitation-sep1034-enum-default",
            "elicitation-sep1034-defaults/elicitation-sep1034-general",
            "elicitation-sep1034-defaults/elicitation-sep1034-integer-default",
            "elicitation-sep1034-defaults/elicitation-sep1034-number-default",
            "elicitation-sep1034-defaults/elicitation-sep1034-string-default",
            "elicitation-sep1330-enums/elicitation-sep1330-general",
            "elicitation-sep1330-enums/elicitation-sep1330-legacy-enumnames",
            "elicitation-sep1330-enums/elicitation-sep1330-titled-multi",
            "elicitation-sep1330-enums/elicitation-sep1330-titled-single",
            "elicitation-sep1330-enums/elicitation-sep1330-untitled-multi",
            "elicitation-sep1330-enums/elicitation-sep1330-untitled-single",
            "tools-call-elicitation",
            "tools-call-sampling",
        ],
    },
    Lost {
        reason: "No session is asked for directories (roots) by a server outside of it, which would take an agent's word for what it \
                 may open on the host.",
        newer: &[
            "input-required-result-basic-list-roots/sep-2322-list-roots-complete",
            "input-required-result-basic-list-roots/sep-2322-list-roots-incomplete",
            "input-required-result-multiple-input-requests/sep-2322-multiple-inputs-complete",
            "input-required-result-multiple-input-requests/sep-2322-multiple-inputs-incomplete",
        ],
        newer_from_older: &[],
        both_from_newer: &[],
    },
    Lost {
        reason: "To a server of revision 2025-11-25 the gateway says once, for all sessions, what its clients can do; and a question of \
                 such a server has no key.",
        newer: &[],
        newer_from_older: &[
            "input-required-result-basic-elicitation/sep-2322-elicitation-complete",
            "input-required-result-basic-elicitation/sep-2322-elicitation-incomplete",
            "input-required-result-capability-check/sep-2322-respect-client-capabilities",
            "server-stateless/sep-2575-missing-capability-http-400",
            "server-stateless/sep-2575-server-rejects-undeclared-capability",
        ],
        both_from_newer: &[],
    },
    Lost {
        reason: "A server that breaks off its stream does that to the gateway, which takes it up again; the session's stream goes on.",
        newer: &["server-sse-polling/server-sse-disconnect-resume"],
        newer_from_older: &[],
        both_from_newer: &[],
    },
    Lost {
        reason: "The fixture says that its lists changed when they did not. The gateway looks, and tells of changes alone.",
        newer: &[
            "server-stateless/sep-2575-server-sends-prompts-list-changed-on-subscription",
            "server-stateless/sep-2575-server-sends-tools-list-changed-on-subscription",
        ],
        newer_from_older: &[],
        both_from_newer: &[],
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_check_has_one_reason() {
        for suite in Suite::ALL {
            for era in Era::ALL {
                let all: Vec<_> = LOST.iter().flat_map(|lost| lost.of(suite, era)).collect();
                let distinct: BTreeSet<_> = all.iter().collect();
                assert_eq!(all.len(), distinct.len());
            }
        }
    }
}
