//! What every program in a session finds in its environment because of where it runs: the way out through the egress
//! door, and the certificates that its operator trusts. Pure.
//!
//! The caller's own variables go before these, so a session can do without any of them.

use std::collections::BTreeMap;

use crate::gateway::EGRESS_PORT;
use crate::runtime::{ContainerSpec, NetworkMode};
use crate::session::SessionInfo;

/// The hosts that no proxy is asked for: the doors, and what the session itself listens on.
pub(crate) const LOOPBACK: &str = "127.0.0.1,localhost,::1";

/// Where the operator's certificates are, below the home directory.
pub(crate) const CERTIFICATES: &str = ".cofferdam/ca-certificates.crt";

/// Programs disagree about the case; whoever sets one of a pair means both.
const PROXIES: [[&str; 2]; 2] = [["HTTP_PROXY", "http_proxy"], ["HTTPS_PROXY", "https_proxy"]];
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Under which names programs look for the certificates that they trust.
const TRUST: [&str; 7] = [
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "CURL_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
];

const GIT_COUNT: &str = "GIT_CONFIG_COUNT";
/// Far more than an environment holds.
const MAX_GIT_SETTINGS: usize = 10_000;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Ambient {
    /// Without a network of its own.
    sealed: bool,
    certificates: bool,
    /// git asks these hosts over plain HTTP, so that the egress door can add their credentials.
    plain_hosts: Vec<String>,
}

impl Ambient {
    /// What holds in a session; `credential_hosts` as in [`crate::gateway::Admission`].
    pub(crate) fn of(info: &SessionInfo, credential_hosts: &[String]) -> Self {
        let sealed = info.network == NetworkMode::Sealed;
        Self {
            sealed,
            certificates: info.certificates,
            plain_hosts: if sealed {
                credential_hosts.to_vec()
            } else {
                Vec::new()
            },
        }
    }

    /// What is around a program whose environment nobody else says anything about, without git's settings.
    pub(crate) fn variables(&self) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        self.add_variables(&mut env);
        env
    }

    /// Adds to an environment what its owner has not set.
    pub(crate) fn add_to(&self, env: &mut BTreeMap<String, String>) {
        self.add_variables(env);
        self.add_git(env);
    }

    fn add_variables(&self, env: &mut BTreeMap<String, String>) {
        if self.sealed {
            let door = format!("http://127.0.0.1:{EGRESS_PORT}");
            for pair in PROXIES {
                add_pair(env, pair, &door);
            }
            add_pair(env, NO_PROXY, LOOPBACK);
        }
        if self.certificates {
            let path = format!("{}/{CERTIFICATES}", ContainerSpec::HOME_DIR);
            for name in TRUST {
                env.entry(name.to_owned()).or_insert_with(|| path.clone());
            }
        }
    }

    /// Behind what the owner configures. One that git would not understand is left for git to complain about.
    fn add_git(&self, env: &mut BTreeMap<String, String>) {
        let settings = self.git_settings();
        let theirs = env.get(GIT_COUNT).map_or(Some(0), |count| {
            count.parse().ok().filter(|count| *count <= MAX_GIT_SETTINGS)
        });
        let (Some(first), false) = (theirs, settings.is_empty()) else {
            return;
        };
        let total = first + settings.len();
        for (number, (key, value)) in (first..).zip(settings) {
            env.insert(format!("GIT_CONFIG_KEY_{number}"), key);
            env.insert(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        env.insert(GIT_COUNT.to_owned(), total.to_string());
    }

    /// What git is configured to do, as keys and values.
    pub(crate) fn git_settings(&self) -> Vec<(String, String)> {
        self.plain_hosts
            .iter()
            .map(|host| {
                (
                    format!("url.http://{host}/.insteadOf"),
                    format!("https://{host}/"),
                )
            })
            .collect()
    }
}

fn add_pair(env: &mut BTreeMap<String, String>, pair: [&str; 2], value: &str) {
    if pair.iter().any(|name| env.contains_key(*name)) {
        return;
    }
    for name in pair {
        env.insert(name.to_owned(), value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ambient(sealed: bool, certificates: bool, hosts: &[&str]) -> Ambient {
        Ambient {
            sealed,
            certificates,
            plain_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        }
    }

    fn env(ambient: &Ambient, own: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut env = own
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        ambient.add_to(&mut env);
        env
    }

    #[test]
    fn a_sealed_session_s_way_out_is_the_egress_door_and_loopback_is_not_asked_through_it() {
        let env = env(&ambient(true, false, &[]), &[]);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            assert_eq!(env[name], "http://127.0.0.1:9102");
        }
        for name in NO_PROXY {
            assert_eq!(env[name], "127.0.0.1,localhost,::1");
        }
        assert_eq!(env.len(), 6);
    }

    #[test]
    fn an_open_session_has_a_way_of_its_own() {
        assert!(env(&ambient(false, false, &[]), &[]).is_empty());
    }

    #[test]
    fn what_the_owner_sets_in_one_spelling_is_not_overruled_by_the_other() {
        let env = env(
            &ambient(true, true, &[]),
            &[
                ("http_proxy", "http://own:1"),
                ("NO_PROXY", ""),
                ("PIP_CERT", "/own"),
            ],
        );
        assert_eq!(env["http_proxy"], "http://own:1");
        assert!(!env.contains_key("HTTP_PROXY"));
        assert_eq!(env["HTTPS_PROXY"], "http://127.0.0.1:9102");
        assert_eq!(env["NO_PROXY"], "");
        assert!(!env.contains_key("no_proxy"));
        assert_eq!(env["PIP_CERT"], "/own");
    }

    #[test]
    fn trust_is_named_as_each_program_looks_for_it() {
        let env = env(&ambient(false, true, &[]), &[]);
        assert_eq!(env.len(), TRUST.len());
        for name in TRUST {
            assert_eq!(env[name], "/home/agent/.cofferdam/ca-certificates.crt");
        }
    }

    #[test]
    fn git_s_own_settings_stay_and_ours_come_behind_them() {
        let ambient = ambient(true, false, &["git.example", "two.example"]);
        let got = env(&ambient, &[]);
        assert_eq!(got[GIT_COUNT], "2");
        assert_eq!(got["GIT_CONFIG_KEY_0"], "url.http://git.example/.insteadOf");
        assert_eq!(got["GIT_CONFIG_VALUE_0"], "https://git.example/");
        assert_eq!(got["GIT_CONFIG_KEY_1"], "url.http://two.example/.insteadOf");

        let own = [
            (GIT_COUNT, "1"),
            ("GIT_CONFIG_KEY_0", "user.name"),
            ("GIT_CONFIG_VALUE_0", "me"),
        ];
        let got = env(&ambient, &own);
        assert_eq!(got[GIT_COUNT], "3");
        assert_eq!(got["GIT_CONFIG_KEY_0"], "user.name");
        assert_eq!(got["GIT_CONFIG_KEY_2"], "url.http://two.example/.insteadOf");

        for nonsense in ["many", "-1", "18446744073709551615"] {
            let got = env(&ambient, &[(GIT_COUNT, nonsense)]);
            assert_eq!(got.len(), env(&ambient, &[(GIT_COUNT, "0")]).len() - 4);
            assert_eq!(got[GIT_COUNT], nonsense);
        }
    }
}
