//! Which addresses no session may reach, even by a name that is allowed.
//!
//! A name's owner decides what it resolves to, so an allowed name is no reason to reach the host itself, its networks, or
//! the cloud's metadata service. IPv6 is judged the other way round, by what is open, because its closed part is far
//! larger; forms that carry an IPv4 address in them are as closed as that one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

/// What is closed in IPv4. The ranges for documentation are not: nothing is there, or somebody's test network.
const CLOSED: [Ipv4Net; 14] = [
    net(0, 0, 0, 0, 8),          // this network, unspecified
    net(10, 0, 0, 0, 8),         // private
    net(100, 64, 0, 0, 10),      // carriers' NAT
    net(127, 0, 0, 0, 8),        // loopback
    net(168, 63, 129, 16, 32),   // the platform service of a cloud
    net(169, 254, 0, 0, 16),     // link-local, most metadata services
    net(172, 16, 0, 0, 12),      // private
    net(192, 0, 0, 0, 24),       // protocol assignments, one more metadata service
    net(192, 88, 99, 0, 24),     // 6to4 relays
    net(192, 168, 0, 0, 16),     // private
    net(198, 18, 0, 0, 15),      // benchmarks inside a network
    net(224, 0, 0, 0, 4),        // multicast
    net(240, 0, 0, 0, 4),        // reserved
    net(255, 255, 255, 255, 32), // broadcast
];

/// Where clouds keep credentials for whoever asks. Opening the network around one does not open these.
const METADATA: [IpAddr; 6] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

const fn net(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

/// Judges addresses.
#[derive(Debug, Clone, Default)]
pub(crate) struct AddressJudge {
    /// Networks that the operator opened.
    opened: Vec<IpNet>,
}

impl AddressJudge {
    pub(crate) fn new(opened: Vec<IpNet>) -> Self {
        Self { opened }
    }

    /// Whether a session may reach the address.
    pub(crate) fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.is_opened(address) || !is_closed(address)
    }

    /// Whether the operator opened it.
    pub(crate) fn is_opened(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let alone = METADATA.contains(&address) || carries_metadata(address);
        let opens =
            |net: &IpNet| net.contains(&address) && (!alone || net.prefix_len() == net.max_prefix_len());
        self.opened.iter().any(opens)
    }
}

/// Whether a metadata service stands in the address where translators and tunnels look for one.
fn carries_metadata(address: IpAddr) -> bool {
    let IpAddr::V6(address) = address else {
        return false;
    };
    let [first, second, third, .., high, low] = address.segments();
    let carried = [
        Some(ipv4(high, low)),
        (first == 0x2002).then(|| ipv4(second, third)),
    ];
    carried
        .into_iter()
        .flatten()
        .any(|carried| METADATA.contains(&IpAddr::V4(carried)))
}

fn is_closed(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_closed_v4(address),
        IpAddr::V6(address) => is_closed_v6(address),
    }
}

fn is_closed_v4(address: Ipv4Addr) -> bool {
    CLOSED.iter().any(|net| net.contains(&address))
}

fn is_closed_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let [.., high, low] = segments;
    let last = ipv4(high, low);
    match segments {
        // NAT64 by its well-known prefix: the network makes this connection to the embedded address.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_closed_v4(last),
        // Teredo carries its server, and its client with every bit turned.
        [0x2001, 0, high, low, ..] => {
            is_closed_v4(ipv4(high, low)) || is_closed_v4(Ipv4Addr::from(!u32::from(last)))
        }
        // 6to4.
        [0x2002, high, low, ..] => is_closed_v4(ipv4(high, low)),
        // ISATAP, below any prefix.
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => is_closed_v4(last) || !is_global_unicast(address),
        _ => !is_global_unicast(address),
    }
}

/// What is assigned to be reached from anywhere. Compatible and mapped addresses, unique local and link-local ones,
/// multicast, loopback, local NAT64 and whatever else there is are outside.
fn is_global_unicast(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xe000 == 0x2000
}

fn ipv4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn permits(opened: &[&str], address: &str) -> bool {
        let opened = opened.iter().map(|net| net.parse().unwrap()).collect();
        AddressJudge::new(opened).permits(address.parse().unwrap())
    }

    #[test]
    fn private_local_and_metadata_addresses_are_closed() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fc00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "5f00::1",
        ] {
            assert!(!permits(&[], address), "{address}");
        }
    }

    #[test]
    fn addresses_inside_addresses_are_closed_too() {
        for address in [
            "::ffff:127.0.0.1",             // mapped
            "::ffff:169.254.169.254",       // mapped
            "::127.0.0.1",                  // compatible
            "::ffff:0:10.0.0.1",            // translated
            "64:ff9b::10.0.0.1",            // NAT64
            "64:ff9b:1::8.8.8.8",           // local NAT64
            "2002:7f00:1::1",               // 6to4 of 127.0.0.1
            "2002:a9fe:a9fe::",             // 6to4 of the metadata service
            "2001:0:7f00:1::",              // Teredo, its server
            "2001:0:808:808:0:0:f5ff:fffe", // Teredo, its client 10.0.0.1
            "2600::5efe:10.0.0.1",          // ISATAP
            "2600::200:5efe:10.0.0.1",
        ] {
            assert!(!permits(&[], address), "{address}");
        }
    }

    #[test]
    fn the_rest_is_open_documentation_too() {
        for address in [
            "8.8.8.8",
            "203.0.113.80",
            "198.51.100.1",
            "192.0.2.1",
            "100.63.255.255",
            "172.32.0.1",
            "::ffff:8.8.8.8",
            "2606:4700::1111",
            "2001:db8::1",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ] {
            assert!(permits(&[], address), "{address}");
        }
    }

    #[test]
    fn the_operator_opens_networks_and_metadata_by_its_address_alone() {
        assert!(permits(&["10.0.0.0/8"], "10.1.2.3"));
        assert!(permits(&["10.0.0.0/8"], "::ffff:10.1.2.3"));
        assert!(!permits(&["10.0.0.0/8"], "192.168.0.1"));
        assert!(permits(&["fd00::/8"], "fd12::1"));
        assert!(!permits(&["0.0.0.0/0", "::/0"], "169.254.169.254"));
        assert!(!permits(&["fd00::/8"], "fd00:ec2::254"));
        for carrier in [
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(!permits(&["::/0"], carrier), "{carrier}");
        }
        assert!(permits(&["64:ff9b::/96"], "64:ff9b::10.0.0.1"));
        assert!(permits(&["169.254.169.254/32"], "169.254.169.254"));
    }

    proptest! {
        /// What IPv4 closes is closed in every form that carries it.
        #[test]
        fn no_form_of_a_closed_address_is_open(
            closed in proptest::sample::select(CLOSED.to_vec()),
            within in any::<u32>(),
            tail in any::<u64>(),
        ) {
            let bits = u32::from(closed.network()) | (within & u32::from(closed.hostmask()));
            let address = Ipv4Addr::from(bits);
            prop_assert!(is_closed_v4(address));
            let judge = AddressJudge::default();
            let (high, low) = ((bits >> 16) as u16, bits as u16);
            let (turned_high, turned_low) = ((!bits >> 16) as u16, !bits as u16);
            let tail: [u16; 4] = std::array::from_fn(|index| (tail >> (16 * index)) as u16);
            for form in [
                address.to_ipv6_mapped(),
                address.to_ipv6_compatible(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, tail[0], tail[1], tail[2], tail[3], 0),
                Ipv6Addr::new(0x2001, 0, high, low, tail[0], tail[1], tail[2], tail[3]),
                Ipv6Addr::new(0x2001, 0, tail[0], tail[1], tail[2], tail[3], turned_high, turned_low),
                Ipv6Addr::new(0x2a00, tail[0], tail[1], tail[2], 0, 0x5efe, high, low),
            ] {
                prop_assert!(!judge.permits(IpAddr::V6(form)), "{form}");
            }
        }
    }
}
