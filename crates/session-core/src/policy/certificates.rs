//! Which certificates may be put into sessions: certificates, and nothing that must stay on the host.
//!
//! Bundles are put together by hand from files that lie next to private keys, so what is not a certificate is refused
//! and not skipped: whoever wrote it there did not mean what it says. Text between the parts, as tools write it, is left
//! out.

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};

const OPERATION: &str = "read the certificates for sessions";
const LABEL: &str = "CERTIFICATE";
/// Ten times what a system trusts as it comes.
const MAX_BYTES: usize = 4 << 20;

/// Judges a bundle in PEM form and gives back its certificates alone.
///
/// # Errors
/// `InvalidArgument` when there is none, when something in it is not a certificate, or when it is too large.
pub fn judge(bundle: &[u8]) -> Result<Bytes> {
    if bundle.len() > MAX_BYTES {
        return Err(refuse(
            "the bundle is too large",
            "leave out what the sessions need not trust",
        )
        .with_context("bytes", bundle.len())
        .with_context("limit", MAX_BYTES));
    }
    let text = std::str::from_utf8(bundle).map_err(|source| {
        refuse(
            "the bundle is not text",
            "convert it: openssl x509 -inform der -in FILE -out FILE.pem",
        )
        .with_source(source)
    })?;
    let (mut kept, mut open) = (String::with_capacity(text.len()), None);
    for (number, line) in text.lines().map(str::trim).enumerate() {
        let at = |error: Error| error.with_context("line", number + 1);
        match open {
            None => {
                if let Some(label) = marker(line, "-----BEGIN ") {
                    expect_certificate(label).map_err(at)?;
                    open = Some(kept.len());
                    push(&mut kept, line);
                }
            }
            Some(start) if marker(line, "-----END ") == Some(LABEL) => {
                if kept[start..].lines().count() < 2 {
                    return Err(at(broken()));
                }
                push(&mut kept, line);
                open = None;
            }
            Some(_) if is_base64(line) => push(&mut kept, line),
            Some(_) => return Err(at(broken())),
        }
    }
    if open.is_some() {
        return Err(broken());
    }
    if kept.is_empty() {
        return Err(refuse(
            "there is no certificate in the bundle",
            "name a file with BEGIN CERTIFICATE in it",
        ));
    }
    Ok(kept.into())
}

/// The label of a line that opens or closes a part.
fn marker<'l>(line: &'l str, start: &str) -> Option<&'l str> {
    line.strip_prefix(start)?.strip_suffix("-----")
}

fn expect_certificate(label: &str) -> Result<()> {
    match label {
        LABEL => Ok(()),
        key if key.contains("KEY") => Err(refuse(
            "there is a private key in the bundle, and no secret ever enters a session",
            "name a file with the certificates alone",
        )),
        _ => Err(refuse(
            "there is something other than certificates in the bundle",
            "name a file with the certificates alone",
        )),
    }
}

fn is_base64(line: &str) -> bool {
    !line.is_empty()
        && line
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
}

fn push(kept: &mut String, line: &str) {
    kept.push_str(line);
    kept.push('\n');
}

fn broken() -> Error {
    refuse(
        "a certificate in the bundle is damaged",
        "make the bundle anew from its parts",
    )
}

/// Nothing of the bundle is shown: what is in it by mistake may be secret.
fn refuse(message: &'static str, hint: &'static str) -> Error {
    Error::new(ErrorKind::InvalidArgument, OPERATION, message).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\nAA==\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\ncanary\n-----END EC PRIVATE KEY-----\n";

    #[test]
    fn certificates_come_through_and_remarks_do_not() {
        let bundle = format!("# the company's\n{ONE}\r\nsubject=CN = x\n{ONE}");
        assert_eq!(judge(bundle.as_bytes()).unwrap(), format!("{ONE}{ONE}"));
        let windows = ONE.replace('\n', "\r\n");
        assert_eq!(judge(windows.as_bytes()).unwrap(), ONE);
    }

    #[test]
    fn i3_a_bundle_with_a_key_in_it_is_refused_and_not_shown() {
        for bundle in [
            format!("{ONE}{KEY}"),
            format!("{KEY}{ONE}"),
            format!("{ONE}{}", KEY.replace("EC PRIVATE", "PRIVATE")),
            format!("{ONE}{}", KEY.replace("EC PRIVATE KEY", "OPENSSH PRIVATE KEY")),
            format!("  {KEY}{ONE}"),
        ] {
            let error = judge(bundle.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains("private key"), "{error}");
            assert!(!format!("{error:?}").contains("canary"));
        }
    }

    #[test]
    fn what_is_no_bundle_is_refused() {
        for bundle in [
            &b""[..],
            b"hello",
            b"\xff\xfe",
            b"-----BEGIN CERTIFICATE-----\nMIIB\n",
            b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
            b"-----BEGIN CERTIFICATE-----\nMI IB\n-----END CERTIFICATE-----\n",
            b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END X509 CRL-----\n",
            b"-----BEGIN CERTIFICATE-----\nMIIB\n-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
            b"-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n",
            &vec![b'\n'; MAX_BYTES + 1],
        ] {
            let error = judge(bundle).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.hint().is_some());
        }
    }

    proptest! {
        #[test]
        fn whatever_passes_is_certificates_alone_and_passes_again(
            parts in prop::collection::vec(
                prop_oneof![
                    Just(ONE.to_owned()),
                    Just(KEY.to_owned()),
                    "[ -~\n]{0,40}",
                    Just("-----BEGIN CERTIFICATE-----\n".to_owned()),
                    Just("-----END CERTIFICATE-----\n".to_owned()),
                ],
                0..6,
            )
        ) {
            if let Ok(kept) = judge(parts.concat().as_bytes()) {
                let text = std::str::from_utf8(&kept).unwrap();
                prop_assert!(!text.contains("PRIVATE KEY"));
                prop_assert!(text.starts_with("-----BEGIN CERTIFICATE-----\n"));
                prop_assert_eq!(judge(&kept).unwrap(), kept);
            }
        }
    }
}
