//! What the suites ask of servers of another kind, and why that does not apply to ours.
//!
//! The list is exact: a check that fails and is not here fails the run, and so does one that is here and passes, or is gone.
//! `docs/conformance.md` shows it.

use super::suites::Suite;

/// A reason, and the checks that it is the reason for.
#[derive(Debug)]
pub(super) struct Exempt {
    /// Why these do not apply.
    pub(super) reason: &'static str,
    /// Checks that both suites have, as `scenario/check`, or one name where a scenario and its check have the same.
    pub(super) both: &'static [&'static str],
    /// Checks of the newer suite alone.
    pub(super) newer: &'static [&'static str],
}

impl Exempt {
    /// The checks of a suite.
    pub(super) fn of(&self, suite: Suite) -> impl Iterator<Item = (&'static str, &'static str)> {
        let newer = match suite {
            Suite::Older => &[],
            Suite::Newer => self.newer,
        };
        self.both
            .iter()
            .chain(newer)
            .map(|name| name.split_once('/').unwrap_or((name, name)))
    }
}

/// The list.
pub(super) const EXEMPT: &[Exempt] = &[
    Exempt {
        reason: "Prompts are not declared: the server has none.",
        both: &[
            "prompts-get-embedded-resource",
            "prompts-get-simple",
            "prompts-get-with-args",
            "prompts-get-with-image",
            "prompts-list",
        ],
        newer: &[
            "caching/sep-2549-prompts-list-caching-hints",
            "input-required-result-non-tool-request/sep-2322-non-tool-incomplete",
        ],
    },
    Exempt {
        reason: "Completion is not declared: there are no prompts, and sessions are found with `list_sessions`.",
        both: &["completion-complete"],
        newer: &[],
    },
    Exempt {
        reason: "Logging to the client is not declared: the log is the operator's, on stderr.",
        both: &["logging-set-level", "tools-call-with-logging"],
        newer: &[],
    },
    Exempt {
        reason: "Subscriptions to single resources are not declared; that the list changed is told.",
        both: &["resources-subscribe", "resources-unsubscribe"],
        newer: &[],
    },
    Exempt {
        reason: "No tool asks its client for anything (sampling, elicitation, roots): clients are agents, with nobody to ask.",
        both: &[
            "elicitation-sep1034-defaults/elicitation-sep1034-general",
            "elicitation-sep1330-enums/elicitation-sep1330-general",
            "tools-call-elicitation",
            "tools-call-sampling",
        ],
        newer: &[
            "input-required-result-basic-elicitation/sep-2322-elicitation-incomplete",
            "input-required-result-basic-list-roots/sep-2322-list-roots-incomplete",
            "input-required-result-basic-sampling/sep-2322-sampling-incomplete",
            "input-required-result-capability-check/sep-2322-respect-client-capabilities",
            "input-required-result-ignore-extra-params/sep-2322-ignore-unexpected-params",
            "input-required-result-missing-input-response/sep-2322-missing-response-rerequests",
            "input-required-result-multi-round/sep-2322-multi-round-r1",
            "input-required-result-multiple-input-requests/sep-2322-multiple-inputs-incomplete",
            "input-required-result-request-state/sep-2322-request-state-incomplete",
            "input-required-result-result-type/sep-2322-result-type-included",
            "input-required-result-tampered-state/sep-2322-reject-tampered-state",
            "tasks-mrtr-composition/sep-2663-mrtr-synchronous-before-task-creation",
            "tasks-mrtr-input/sep-2663-tasks-get-status-input-required",
            "tasks-mrtr-input/tasks-mrtr-partial-fulfillment",
            "tasks-mrtr-input/tasks-mrtr-tasks-update-resumes",
        ],
    },
    Exempt {
        reason: "No tool needs a capability of its client, the tasks extension included: each works for every client.",
        both: &[],
        newer: &[
            "server-stateless/sep-2575-missing-capability-http-400",
            "server-stateless/sep-2575-server-rejects-undeclared-capability",
            "tasks-required-task-error/sep-2663-server-returns-missing-capability-when-required",
        ],
    },
    Exempt {
        reason: "Tools answer with text and structured content, resources with text: there are no images, sounds or other bytes.",
        both: &[
            "resources-read-binary",
            "tools-call-audio",
            "tools-call-embedded-resource",
            "tools-call-image",
            "tools-call-mixed-content",
        ],
        newer: &[],
    },
    Exempt {
        reason: "No argument is mirrored into an HTTP header (`x-mcp-header`): what a session is asked stays out of proxies' logs.",
        both: &[],
        newer: &[
            "http-custom-header-server-validation/sep-2243-server-decode-base64",
            "http-custom-header-server-validation/sep-2243-server-no-xmcp-tool",
            "http-custom-header-server-validation/sep-2243-server-reject-invalid-param-chars",
            "http-custom-header-server-validation/sep-2243-server-reject-param-mismatch",
            "http-custom-header-server-validation/sep-2243-server-validate-param-match",
        ],
    },
    Exempt {
        reason: "It looks for what only the suite's own example server has: its words, its schema, a tool that crashes.",
        both: &[
            "json-schema-2020-12/json-schema-2020-12-tool-found",
            "resources-templates-read",
        ],
        newer: &[
            "tasks-lifecycle/sep-2663-tasks-get-status-failed",
            "tasks-request-headers/tasks-headers-tolerate-mcp-method-on-tools-call",
        ],
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_check_has_one_reason() {
        for suite in Suite::ALL {
            let all: Vec<_> = EXEMPT.iter().flat_map(|exempt| exempt.of(suite)).collect();
            let distinct: BTreeSet<_> = all.iter().collect();
            assert_eq!(all.len(), distinct.len());
        }
    }
}
