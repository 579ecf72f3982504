//! What a caller may choose about the way to a server.

/// How a server on a port is reached. The default trusts the certificates that this host trusts.
#[derive(Debug, Clone, Default)]
pub struct ConnectOptions {
    pub(crate) certificates: Option<Vec<u8>>,
    pub(crate) plain_text: bool,
}

impl ConnectOptions {
    /// Trusts these certificates (PEM) and no others.
    #[must_use]
    pub fn trust_only(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.certificates = Some(pem.into());
        self
    }

    /// Sends a token without encryption, also to another host. Only for a way that something else encrypts.
    #[must_use]
    pub fn allow_plain_text(mut self) -> Self {
        self.plain_text = true;
        self
    }
}
