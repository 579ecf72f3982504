//! Signed labels: how we know our own things again.
//!
//! Whatever a runtime makes carries three labels: the session, the owner (one per state directory) and a signature
//! over both with a key that never leaves the state directory. The reconciler removes only what this signature proves
//! to be ours (I9); a forged or foreign label is somebody else's and is never touched.
//!
//! What a runtime makes for many sessions at once (helpers, the toolbox, derived images) carries three others, signed
//! for the names that it may bear.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::SessionId;

/// The label that names the session.
pub const SESSION: &str = "dev.cofferdam.session";
/// The label that names the owner, for listing.
pub const OWNER: &str = "dev.cofferdam.owner";
/// The label with the signature.
pub const SIGNATURE: &str = "dev.cofferdam.signature";

/// The label of what serves many sessions: the names that it may bear, parted by a space.
pub const HELPER: &str = "dev.cofferdam.helper";
/// Its owner. Not [`OWNER`]: what bears that one belongs to a session.
pub const HELPER_OWNER: &str = "dev.cofferdam.helper-owner";
/// The signature over both.
pub const HELPER_SIGNATURE: &str = "dev.cofferdam.helper-signature";

/// Names a state directory on an engine: a digest of its signing key, so it reveals nothing and cannot be chosen.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OwnerId(String);

impl OwnerId {
    /// 32 lower-case hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Signs the labels of one owner and recognises them.
#[derive(Clone)]
pub struct Signer {
    key: SecretSlice<u8>,
    owner: OwnerId,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// A signer with the key of a state directory, 32 random bytes.
    pub fn new(key: [u8; 32]) -> Self {
        let digest = Sha256::new()
            .chain_update(b"cofferdam owner\0")
            .chain_update(key)
            .finalize();
        let key: Vec<u8> = key.into();
        Self {
            key: key.into(),
            owner: OwnerId(hex(&digest[..16])),
        }
    }

    /// The owner whose labels these are.
    pub fn owner(&self) -> &OwnerId {
        &self.owner
    }

    /// The three labels of what belongs to `session`.
    pub fn labels(&self, session: &SessionId) -> BTreeMap<String, String> {
        BTreeMap::from([
            (SESSION.to_owned(), session.to_string()),
            (OWNER.to_owned(), self.owner.0.clone()),
            (
                SIGNATURE.to_owned(),
                hex(&self.mac(&session.to_string()).finalize().into_bytes()),
            ),
        ])
    }

    /// The session that `labels` prove to be ours; `None` when anything is missing, foreign or forged.
    pub fn verify(&self, labels: &BTreeMap<String, String>) -> Option<SessionId> {
        let session = labels.get(SESSION)?;
        let signature = unhex(labels.get(SIGNATURE)?)?;
        if labels.get(OWNER)? != &self.owner.0 {
            return None;
        }
        self.mac(session).verify_slice(&signature).ok()?;
        session.parse().ok()
    }

    /// The three labels of what serves many sessions and may bear `names`, none of which holds a space. They are worth
    /// nothing under another name: whoever copies them, or inherits them from an image, bears a name of their own.
    pub fn helper_labels(&self, names: &[&str]) -> BTreeMap<String, String> {
        let names = names.join(" ");
        let signature = hex(&self.helper_mac(&names).finalize().into_bytes());
        BTreeMap::from([
            (HELPER.to_owned(), names),
            (HELPER_OWNER.to_owned(), self.owner.0.clone()),
            (HELPER_SIGNATURE.to_owned(), signature),
        ])
    }

    /// Whether the labels of what bears `name` prove it to be ours; not when anything is missing, foreign or forged.
    pub fn verify_helper(&self, labels: &HashMap<String, String>, name: &str) -> bool {
        let (Some(names), Some(signature)) = (
            labels.get(HELPER),
            labels.get(HELPER_SIGNATURE).and_then(|text| unhex(text)),
        ) else {
            return false;
        };
        labels.get(HELPER_OWNER) == Some(&self.owner.0)
            && names.split(' ').any(|own| own == name)
            && self.helper_mac(names).verify_slice(&signature).is_ok()
    }

    fn mac(&self, session: &str) -> Hmac<Sha256> {
        self.mac_of("cofferdam label v1", session)
    }

    fn helper_mac(&self, names: &str) -> Hmac<Sha256> {
        self.mac_of("cofferdam helper label v1", names)
    }

    fn mac_of(&self, purpose: &str, what: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose_secret())
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        for part in [purpose, &self.owner.0, what] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn own_labels_verify_and_others_do_not() {
        let (ours, theirs) = (Signer::new([1; 32]), Signer::new([2; 32]));
        let session = SessionId::new();
        let labels = ours.labels(&session);
        assert_eq!(ours.verify(&labels), Some(session));
        assert_eq!(theirs.verify(&labels), None);

        let mut moved = labels.clone();
        moved.insert(SESSION.to_owned(), SessionId::new().to_string());
        assert_eq!(ours.verify(&moved), None, "a signature is for one session");
        let mut adopted = theirs.labels(&session);
        adopted.insert(OWNER.to_owned(), ours.owner().to_string());
        assert_eq!(ours.verify(&adopted), None, "an owner cannot be claimed");
    }

    fn marked(signer: &Signer) -> HashMap<String, String> {
        signer
            .helper_labels(&["cofferdam-prepare-1", "cofferdam-prepared:1"])
            .into_iter()
            .collect()
    }

    #[test]
    fn labels_of_a_helper_are_signed_for_its_names() {
        let (ours, theirs) = (Signer::new([1; 32]), Signer::new([2; 32]));
        let labels = marked(&ours);
        assert!(ours.verify_helper(&labels, "cofferdam-prepare-1"));
        assert!(ours.verify_helper(&labels, "cofferdam-prepared:1"));
        for other in [
            "cofferdam-prepare-2",
            "cofferdam-prepare",
            "",
            "cofferdam-prepare-1 cofferdam-prepared:1",
        ] {
            assert!(!ours.verify_helper(&labels, other), "{other}");
        }
        assert!(!theirs.verify_helper(&labels, "cofferdam-prepare-1"));
        let mut adopted = marked(&theirs);
        adopted.insert(HELPER_OWNER.to_owned(), ours.owner().to_string());
        assert!(!ours.verify_helper(&adopted, "cofferdam-prepare-1"), "claimed");
        let mut longer = labels.clone();
        longer.insert(HELPER.to_owned(), format!("{} mine", labels[HELPER]));
        assert!(!ours.verify_helper(&longer, "mine"), "one more name");
        for missing in [HELPER, HELPER_OWNER, HELPER_SIGNATURE] {
            let mut labels = labels.clone();
            labels.remove(missing);
            assert!(!ours.verify_helper(&labels, "cofferdam-prepare-1"), "{missing}");
        }
    }

    #[test]
    fn labels_of_a_session_make_no_helper_and_the_other_way_round() {
        let signer = Signer::new([1; 32]);
        let session = SessionId::new();
        let name = session.to_string();
        let of_session = signer.labels(&session);
        let as_helper = HashMap::from([
            (HELPER.to_owned(), name.clone()),
            (HELPER_OWNER.to_owned(), of_session[OWNER].clone()),
            (HELPER_SIGNATURE.to_owned(), of_session[SIGNATURE].clone()),
        ]);
        assert!(!signer.verify_helper(&as_helper, &name));
        let of_helper = signer.helper_labels(&[&name]);
        let as_session = BTreeMap::from([
            (SESSION.to_owned(), name),
            (OWNER.to_owned(), of_helper[HELPER_OWNER].clone()),
            (SIGNATURE.to_owned(), of_helper[HELPER_SIGNATURE].clone()),
        ]);
        assert_eq!(signer.verify(&as_session), None);
    }

    proptest! {
        #[test]
        fn forged_labels_of_helpers_never_verify(signature in ".{0,80}") {
            let signer = Signer::new([7; 32]);
            let mut labels = marked(&signer);
            labels.insert(HELPER_SIGNATURE.to_owned(), signature);
            prop_assert!(!signer.verify_helper(&labels, "cofferdam-prepare-1"));
        }

        #[test]
        fn forged_labels_never_verify(signature in ".{0,80}") {
            let signer = Signer::new([7; 32]);
            let mut labels = signer.labels(&SessionId::new());
            labels.insert(SIGNATURE.to_owned(), signature);
            prop_assert_eq!(signer.verify(&labels), None);
        }
    }
}
