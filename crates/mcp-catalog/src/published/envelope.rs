//! What is signed, as bytes: the pre-authentication encoding of DSSE.
//!
//! It binds the type and the length of what follows, so that a signature for one purpose never holds for another.
//! <https://github.com/secure-systems-lab/dsse/blob/master/protocol.md>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

const TYPE: &str = "application/vnd.cofferdam.mcp-artifact.v1+json";

/// The signature, in base64.
pub(super) fn sign(key: &SigningKey, body: &[u8]) -> String {
    STANDARD.encode(key.sign(&encode(body)).to_bytes())
}

/// Whether the signature holds.
pub(super) fn holds(key: &VerifyingKey, body: &[u8], signature: &str) -> bool {
    let bytes = STANDARD.decode(signature).ok();
    let signature = bytes.and_then(|bytes| Signature::from_slice(&bytes).ok());
    signature.is_some_and(|signature| key.verify_strict(&encode(body), &signature).is_ok())
}

fn encode(body: &[u8]) -> Vec<u8> {
    let mut encoded = format!("DSSEv1 {} {TYPE} {} ", TYPE.len(), body.len()).into_bytes();
    encoded.extend_from_slice(body);
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_that_of_the_standard() {
        // The form of the standard's own example, with our type.
        assert_eq!(
            encode(b"hello world"),
            b"DSSEv1 46 application/vnd.cofferdam.mcp-artifact.v1+json 11 hello world"
        );
    }
}
