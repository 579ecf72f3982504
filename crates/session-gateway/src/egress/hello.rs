//! For whom a TLS handshake is, read from the first bytes of a tunnel without taking part in it.
//!
//! The parser is rustls': it reads a hello across records and fragments as a server does, refuses what it does not
//! understand, and is bounded. A handshake without a server name cannot be told to be for the host that was judged, so it
//! does not pass; every client of this age that asks for a host by name sends one.

use std::fmt;

use rustls::server::Acceptor;

/// The type of a TLS record that carries a handshake.
const HANDSHAKE: u8 = 0x16;
/// More than any hello has, with post-quantum key shares and a session ticket.
const MAX_HELLO: usize = 32 * 1024;
/// A fatal alert `unrecognized_name`: what a TLS client understands as "not this host".
pub(crate) const ALERT: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 112];

/// What the first bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Not decided yet.
    More,
    /// A TLS handshake for this name, in lower case.
    Tls(String),
    /// A TLS handshake for nobody, or one that no server would understand.
    BadTls,
    /// Something else.
    NotTls,
}

/// Looks at the first bytes of a connection as they come.
pub(crate) struct HelloReader {
    acceptor: Acceptor,
    fed: usize,
}

impl HelloReader {
    pub(crate) fn new() -> Self {
        Self {
            acceptor: Acceptor::default(),
            fed: 0,
        }
    }

    /// Takes what came next. Not to be called again once it decided.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Seen {
        if self.fed == 0 && bytes.first().is_some_and(|first| *first != HANDSHAKE) {
            return Seen::NotTls;
        }
        while !bytes.is_empty() {
            let Ok(read @ 1..) = self.acceptor.read_tls(&mut bytes) else {
                return Seen::BadTls;
            };
            self.fed += read;
            match self.acceptor.accept() {
                Ok(Some(accepted)) => {
                    let name = accepted.client_hello().server_name().map(str::to_ascii_lowercase);
                    return name.map_or(Seen::BadTls, Seen::Tls);
                }
                Ok(None) if self.fed > MAX_HELLO => return Seen::BadTls,
                Ok(None) => {}
                Err(_) => return Seen::BadTls,
            }
        }
        Seen::More
    }
}

impl fmt::Debug for HelloReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HelloReader")
            .field("fed", &self.fed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    fn hello(name: &'static str, max_fragment: Option<usize>) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.max_fragment_size = max_fragment;
        let name = ServerName::try_from(name).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    fn read(bytes: &[u8], split: usize) -> Seen {
        let mut reader = HelloReader::new();
        for piece in bytes.chunks(split.max(1)) {
            match reader.push(piece) {
                Seen::More => {}
                seen => return seen,
            }
        }
        Seen::More
    }

    #[test]
    fn a_hello_is_read_however_it_is_cut() {
        let whole = hello("Example.com", None);
        let fragmented = hello("Example.com", Some(64));
        assert!(fragmented.len() > whole.len());
        for split in [1, 2, 3, 5, 7, 64, 4096] {
            for bytes in [&whole, &fragmented] {
                assert_eq!(read(bytes, split), Seen::Tls("example.com".to_owned()));
            }
        }
        assert_eq!(read(&whole[..whole.len() - 1], 10), Seen::More);
    }

    #[test]
    fn a_hello_for_nobody_is_bad() {
        assert_eq!(read(&hello("127.0.0.1", None), 4096), Seen::BadTls);
    }

    #[test]
    fn other_protocols_are_told_apart() {
        for text in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"SSH-2.0-x\r\n",
            &[0x80, 0x2e, 1, 3, 1],
            &[0x15, 3, 3],
        ] {
            assert_eq!(read(text, 4096), Seen::NotTls);
        }
        assert_eq!(read(&[0x16, 3, 1, 0, 4, 2, 0, 0, 0], 4096), Seen::BadTls);
        assert_eq!(read(b"\x16garbage that goes on and on", 4096), Seen::BadTls);
    }

    #[test]
    fn a_hello_without_an_end_is_given_up() {
        // Handshake records of one hello that announces almost 64 KiB.
        let mut endless = vec![0x16, 3, 1, 0x10, 0, 1, 0, 0xf0, 0];
        endless.resize(5 + 0x1000, 0);
        for _ in 0..20 {
            endless.extend([0x16, 3, 1, 0x10, 0]);
            endless.resize(endless.len() + 0x1000, 0);
        }
        assert_eq!(read(&endless, 4096), Seen::BadTls);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_give_a_name_that_is_not_there(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
            tls in any::<bool>(),
            split in 1_usize..64,
        ) {
            if tls {
                bytes.splice(0..0, [0x16, 3, 1]);
            }
            if let Seen::Tls(name) = read(&bytes, split) {
                let lower = bytes.to_ascii_lowercase();
                prop_assert!(lower.windows(name.len()).any(|window| window == name.as_bytes()));
            }
        }

        #[test]
        fn a_damaged_hello_gives_its_name_or_none(at in 0_usize..200, to in any::<u8>()) {
            let mut bytes = hello("example.com", None);
            let at = at % bytes.len();
            bytes[at] = to;
            if let Seen::Tls(name) = read(&bytes, 4096) {
                let there = bytes.to_ascii_lowercase();
                prop_assert!(there.windows(name.len()).any(|window| window == name.as_bytes()));
            }
        }
    }
}
