//! The keys that sign.
//!
//! ```text
//! <keys>/
//!   mcp-signing.key            0600, 32 bytes: the private key that signs now
//!   mcp-<key id>.pub           0600, every public key that ever signed: what it signed still verifies
//!   mcp-signing.lock
//! ```
//!
//! The id of a key is derived from the public key, so that no other key can go by its name. Taking the `.pub` away takes
//! back the trust in everything that key signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{SECRET_KEY_LENGTH, SigningKey, VerifyingKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use session_core::error::{Error, ErrorKind, Result};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::catalog::Catalog;
use crate::digest::{canonical, hex, to_value};
use crate::files::{Dir, PRIVATE_FILE, Refusal, Trust, refused};

const OPERATION: &str = "use the keys that sign configurations";
const PRIVATE: &str = "mcp-signing.key";
const LOCK: &str = "mcp-signing.lock";
const MAX_BYTES: usize = 4 << 10;
/// Bytes of the hash in a key's id.
const ID_BYTES: usize = 16;

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// Its id, derived from it: `ed25519-` and 32 hexadecimal digits.
    pub key_id: String,
    /// When it was made.
    pub created: Timestamp,
    /// The key, in base64.
    pub public_key: String,
    /// Whether it was made by this call.
    pub is_new: bool,
}

/// A public key as it is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    key_id: String,
    created: Timestamp,
    public_key: String,
}

/// The private key with what is said about it. Erased when dropped.
pub(super) struct Signer {
    pub(super) key: SigningKey,
    pub(super) info: KeyInfo,
}

impl Catalog {
    /// Makes the key that signs, if there is none or another is wanted. What former keys signed still verifies.
    ///
    /// # Errors
    /// `StateDirRefused` for a key that is damaged, somebody else's or open to others; `HostIo`, `Busy`.
    pub fn initialize_keys(&self, overwrite: bool) -> Result<KeyInfo> {
        Ok(self.signer(overwrite)?.info)
    }

    pub(super) fn signer(&self, overwrite: bool) -> Result<Signer> {
        let dir = Dir::make(OPERATION, &self.paths().keys, Trust::Private)?;
        let _guard = dir.lock(LOCK)?;
        if !overwrite && let Some(key) = read_private(&dir)? {
            return known(&dir, key);
        }
        let seed = Zeroizing::new(rand::random::<[u8; SECRET_KEY_LENGTH]>());
        let key = SigningKey::from_bytes(&seed);
        // First the public key: what is signed can be verified, also after a crash in between.
        let mut info = keep_public(&dir, &key.verifying_key())?;
        dir.replace(PRIVATE, seed.as_ref(), PRIVATE_FILE)?;
        info.is_new = true;
        Ok(Signer { key, info })
    }

    /// The public key of this id.
    pub(super) fn verifying_key(&self, key_id: &str) -> Result<VerifyingKey> {
        let unknown = || {
            Error::new(
                ErrorKind::NotFound,
                OPERATION,
                "it is signed with a key that is not among ours",
            )
            .with_context("keys", self.paths().keys.display())
            .with_hint("publish it again with `cofferdam mcp publish`, if it is meant to be ours")
        };
        if !is_id(key_id) {
            return Err(unknown());
        }
        let dir = Dir::open(OPERATION, &self.paths().keys, Trust::Private)?.ok_or_else(unknown)?;
        let (key, _) = read_public(&dir, key_id)?.ok_or_else(unknown)?;
        Ok(key)
    }
}

/// The private key's info; its public half is kept again if somebody lost it.
fn known(dir: &Dir, key: SigningKey) -> Result<Signer> {
    let public = key.verifying_key();
    let info = match read_public(dir, &key_id(&public))? {
        Some((_, info)) => info,
        None => keep_public(dir, &public)?,
    };
    Ok(Signer { key, info })
}

fn read_private(dir: &Dir) -> Result<Option<SigningKey>> {
    let Some((bytes, _)) = dir.read(PRIVATE, MAX_BYTES)? else {
        return Ok(None);
    };
    let bytes = Zeroizing::new(bytes);
    match <&[u8; SECRET_KEY_LENGTH]>::try_from(bytes.as_slice()) {
        Ok(seed) => Ok(Some(SigningKey::from_bytes(seed))),
        Err(_) => Err(refused(OPERATION, &dir.path().join(PRIVATE), Refusal::Damaged)),
    }
}

fn read_public(dir: &Dir, key_id: &str) -> Result<Option<(VerifyingKey, KeyInfo)>> {
    let name = public_name(key_id);
    let Some((bytes, _)) = dir.read(&name, MAX_BYTES)? else {
        return Ok(None);
    };
    understand(&bytes, key_id)
        .map(Some)
        .ok_or_else(|| refused(OPERATION, &dir.path().join(&name), Refusal::Damaged))
}

fn understand(bytes: &[u8], wanted: &str) -> Option<(VerifyingKey, KeyInfo)> {
    let kept: Kept = serde_json::from_slice(bytes).ok()?;
    let raw = STANDARD.decode(&kept.public_key).ok()?;
    let key = VerifyingKey::from_bytes(raw.as_slice().try_into().ok()?).ok()?;
    (key_id(&key) == wanted && kept.key_id == wanted).then_some((
        key,
        KeyInfo {
            key_id: kept.key_id,
            created: kept.created,
            public_key: kept.public_key,
            is_new: false,
        },
    ))
}

fn keep_public(dir: &Dir, key: &VerifyingKey) -> Result<KeyInfo> {
    let kept = Kept {
        key_id: key_id(key),
        created: Timestamp::now(),
        public_key: STANDARD.encode(key.as_bytes()),
    };
    dir.replace(
        &public_name(&kept.key_id),
        &canonical(&to_value(&kept)),
        PRIVATE_FILE,
    )?;
    Ok(KeyInfo {
        key_id: kept.key_id,
        created: kept.created,
        public_key: kept.public_key,
        is_new: false,
    })
}

fn key_id(key: &VerifyingKey) -> String {
    format!("ed25519-{}", hex(&Sha256::digest(key.as_bytes())[..ID_BYTES]))
}

/// Whether a text can be the id of a key; it becomes part of the name of a file.
fn is_id(text: &str) -> bool {
    text.strip_prefix("ed25519-").is_some_and(|digits| {
        digits.len() == 2 * ID_BYTES && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn public_name(key_id: &str) -> String {
    format!("mcp-{key_id}.pub")
}
