//! Which endpoints there are: `https://`, and `http://` for this machine alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::Uri;
use hyper::http::uri::Scheme;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rustls::pki_types::ServerName;

use super::super::life::Reason;
use crate::egress::address::AddressJudge;
use crate::egress::target::Host;
use crate::mcp::call::FailureCause;

/// What `private = true` opens: this machine and private networks. Metadata services stay closed, see the judge.
const PRIVATE: [IpNet; 7] = [
    v4(127, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(172, 16, 0, 0, 12),
    v4(192, 168, 0, 0, 16),
    v4(100, 64, 0, 0, 10),
    v6(Ipv6Addr::LOCALHOST, 128),
    v6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
];

/// Where `localhost` is, whatever a name server says (RFC 6761).
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6(address: Ipv6Addr, prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(address, prefix))
}

/// Which addresses may be dialled.
pub(super) fn judge(private: bool) -> AddressJudge {
    AddressJudge::new(if private { PRIVATE.to_vec() } else { Vec::new() })
}

/// An endpoint, read in one way only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) secure: bool,
    pub(super) host: HostPlace,
    pub(super) port: u16,
}

/// A host, and how its addresses are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostPlace {
    Name(Host),
    /// `localhost`, or an address.
    Addresses(String, Vec<IpAddr>),
}

impl Place {
    /// # Errors
    /// What is not an endpoint that may be reached. `private`: whether it may be on this machine or near it.
    pub(super) fn read(uri: &Uri, private: bool) -> Result<Self, Reason> {
        let authority = uri.authority().ok_or_else(|| refuse("its address has no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("its address holds a user, which belongs into a header"));
        }
        let secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(refuse("its address is none of http or https")),
        };
        let host = host(authority.host())?;
        if !secure
            && !matches!(&host, HostPlace::Addresses(_, addresses) if addresses.iter().all(is_loopback))
        {
            return Err(refuse("http:// is for this machine alone; use https://"));
        }
        let near = matches!(&host, HostPlace::Addresses(_, addresses)
            if addresses.iter().any(|address| !judge(private).permits(*address)));
        if near {
            return Err(closed());
        }
        let port = match (authority.port_u16(), authority.port(), secure) {
            (Some(port), ..) if port != 0 => port,
            (None, None, true) => 443,
            (None, None, false) => 80,
            _ => return Err(refuse("its address has no proper port")),
        };
        Ok(Self { secure, host, port })
    }

    /// For whom a certificate has to be.
    pub(super) fn server_name(&self) -> Option<ServerName<'static>> {
        match &self.host {
            HostPlace::Name(name) => ServerName::try_from(name.as_str().to_owned()).ok(),
            HostPlace::Addresses(text, _) => ServerName::try_from(text.clone()).ok(),
        }
    }
}

fn host(text: &str) -> Result<HostPlace, Reason> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(HostPlace::Addresses(bare.to_owned(), vec![address]));
    }
    // The last part alone decides, also of `a.localhost`.
    let name = text.to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    if name == "localhost" || name.ends_with(".localhost") {
        return Ok(HostPlace::Addresses(name.to_owned(), LOOPBACK.to_vec()));
    }
    Host::read(text)
        .map(HostPlace::Name)
        .map_err(|_| refuse("its address is no plain host name"))
}

fn is_loopback(address: &IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn refuse(told: &str) -> Reason {
    (FailureCause::Forbidden, told.to_owned())
}

/// An address that is closed.
pub(super) fn closed() -> Reason {
    refuse(
        "its address is on this machine, in a private network or reserved; an operator allows that with `private = true`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str, private: bool) -> Result<Place, String> {
        let uri = url.parse::<Uri>().map_err(|error| error.to_string())?;
        Place::read(&uri, private).map_err(|(cause, detail)| format!("{cause:?}: {detail}"))
    }

    #[test]
    fn public_endpoints_are_https() {
        let place = read("https://Docs.Example.com./mcp?x=1", false).unwrap();
        assert_eq!((place.secure, place.port), (true, 443));
        assert!(matches!(&place.host, HostPlace::Name(name) if name.as_str() == "docs.example.com"));
        assert_eq!(read("https://example.com:8443", false).unwrap().port, 8443);
        assert!(read("https://93.184.216.34/mcp", false).is_ok());
        for url in [
            "http://example.com/mcp",
            "http://93.184.216.34/",
            "ftp://example.com/",
            "/mcp",
            "https://user:pw@example.com/",
            "https://example.com:0/",
            "https://127.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://exa%6dple.com/",
        ] {
            assert!(read(url, true).is_err(), "{url}");
        }
    }

    #[test]
    fn this_machine_and_its_networks_are_for_private_ones() {
        for url in [
            "http://127.0.0.1:9000/mcp",
            "http://localhost:9000/mcp",
            "http://[::1]:9000/mcp",
            "https://app.localhost/",
            "https://10.1.2.3/mcp",
            "https://[fd00::1]/mcp",
            "https://[::ffff:10.0.0.1]/",
        ] {
            assert!(read(url, true).is_ok(), "{url}");
            assert!(read(url, false).is_err(), "{url}");
        }
        for url in [
            "https://169.254.169.254/latest",
            "https://[fd00:ec2::254]/",
            "https://0.0.0.0/",
            "https://100.100.100.200/",
            "http://10.0.0.1/",
        ] {
            assert!(read(url, true).is_err(), "{url}");
        }
    }
}
