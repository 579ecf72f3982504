//! What the texts of the wire look like, as the description of the API tells it.

/// Standard base64, canonical: the bits that nobody reads are zero.
pub(crate) const BASE64: &str =
    r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";
/// The same of bytes without NUL: in no group of four is one of the three bytes zero.
pub(crate) const BASE64_NO_NUL: &str = concat!(
    "^((?!A[A-P]|.[AQgw][A-D]|..[AEIMQUYcgkosw048]A)[A-Za-z0-9+/]{4})*",
    "((?!A[A-P])[A-Za-z0-9+/][AQgw]==|(?!A[A-P]|.[AQgw][A-D])[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$"
);
