//! What the policy says of keeping work.

use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use session_core::checkpoint::CheckpointPolicy;

use crate::parse::{parse_duration, parse_size};

/// When sessions' work is kept, and for how long; what is left out is as it is without a policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpoints {
    /// Whether any are taken without being asked for.
    pub automatic: Option<bool>,
    /// How often while a turn runs, such as "3m".
    #[serde(deserialize_with = "span")]
    pub every: Option<Duration>,
    /// The longest patch, such as "256m".
    #[serde(deserialize_with = "bytes")]
    pub max_patch: Option<u64>,
    /// How many of a living session stay.
    #[serde(deserialize_with = "at_least_one")]
    pub keep: Option<usize>,
    /// How long the last one of a session that has ended stays, such as "30d".
    #[serde(deserialize_with = "span")]
    pub keep_ended: Option<Duration>,
    /// How much those of one session may have, such as "1g".
    #[serde(deserialize_with = "bytes")]
    pub max_session: Option<u64>,
    /// How much all of them may have, such as "16g".
    #[serde(deserialize_with = "bytes")]
    pub max_total: Option<u64>,
    /// What stays free on the disk, such as "1g".
    #[serde(deserialize_with = "bytes")]
    pub reserve: Option<u64>,
}

impl Checkpoints {
    /// The policy.
    pub fn policy(&self) -> CheckpointPolicy {
        let usual = CheckpointPolicy::default();
        CheckpointPolicy {
            automatic: self.automatic.unwrap_or(usual.automatic),
            every: self.every.unwrap_or(usual.every),
            max_bytes: self.max_patch.unwrap_or(usual.max_bytes),
            keep: self.keep.unwrap_or(usual.keep),
            keep_ended: self.keep_ended.unwrap_or(usual.keep_ended),
            session_bytes: self.max_session.unwrap_or(usual.session_bytes),
            total_bytes: self.max_total.unwrap_or(usual.total_bytes),
            reserve_bytes: self.reserve.unwrap_or(usual.reserve_bytes),
        }
    }
}

pub(super) fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map(Some).map_err(D::Error::custom)
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_size(&text).map(Some).map_err(D::Error::custom)
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    match usize::deserialize(deserializer)? {
        0 => Err(D::Error::custom(
            "none at all would stay: use `automatic = false` to take none",
        )),
        number => Ok(Some(number)),
    }
}

#[cfg(test)]
mod tests {
    use crate::operator::OperatorPolicy;

    use super::*;

    #[test]
    fn what_is_left_out_is_as_usual() {
        let usual = CheckpointPolicy::default();
        assert_eq!(Checkpoints::default().policy(), usual);
        let text = "[checkpoints]\nautomatic = false\nevery = \"90s\"\nmax_patch = \"1m\"\nkeep = 3\nkeep_ended = \"1d\"\n\
                    max_session = \"2m\"\nmax_total = \"3g\"\nreserve = \"4m\"";
        let said = OperatorPolicy::parse(text).unwrap().checkpoints.policy();
        let expected = CheckpointPolicy {
            automatic: false,
            every: Duration::from_secs(90),
            max_bytes: 1 << 20,
            keep: 3,
            keep_ended: Duration::from_secs(86_400),
            session_bytes: 2 << 20,
            total_bytes: 3 << 30,
            reserve_bytes: 4 << 20,
        };
        assert_eq!(said, expected);
        let one = OperatorPolicy::parse("[checkpoints]\nkeep = 3").unwrap();
        assert_eq!(one.checkpoints.policy(), CheckpointPolicy { keep: 3, ..usual });
    }

    #[test]
    fn what_does_not_hold_is_refused() {
        for text in [
            "keep = 0",
            "every = \"soon\"",
            "max_patch = \"-1\"",
            "max_total = \"much\"",
            "often = true",
            "every = \"0s\"",
        ] {
            assert!(
                OperatorPolicy::parse(&format!("[checkpoints]\n{text}")).is_err(),
                "{text}"
            );
        }
    }
}
