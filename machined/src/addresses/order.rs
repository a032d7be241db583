//! What a machine's name resolves to: which address comes first, and on which link.
//!
//! The best is what the host can reach, then what is wider, then what RFC 6724 prefers:
//!
//! 1. an address on the container-side end of one of the machine's registered host interfaces, before any other: a
//!    container's own bridges, such as docker0, have addresses that mean nothing to the host, or something else;
//! 2. global, then site, then link scope; 169.254/16 is link scope, whatever it was configured with (RFC 6724, 3.2);
//! 3. the higher precedence in the default policy table of RFC 6724, 2.1: global IPv6 (40), IPv4 (35), 6to4 (30),
//!    Teredo (5), unique local IPv6 (3), and the deprecated ranges (1). So a container with a public IPv6 address is
//!    reached by it, and one whose IPv6 address is unique to its site by IPv4;
//! 4. the interface, then the bytes, so that the answer is always the same.
//!
//! Nothing is dropped but doubles. glibc sorts again for getaddrinfo, by the same table among other rules; the order
//! is what every other reader gets, and what glibc keeps between equals.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};

use super::InterfaceAddress;
use super::list::RT_SCOPE_LINK;

/// A host interface of a machine, and its other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The interface, numbered by the host's namespace.
    pub host_ifindex: u32,
    /// The other end, numbered by the container's namespace.
    pub container_ifindex: u32,
}

/// What a name resolves to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resolved {
    /// The address.
    pub address: IpAddr,
    /// The host interface to reach it on, for an IPv6 link-local address, if it is known.
    pub scope_id: Option<u32>,
}

/// Puts a machine's addresses into the order in which its name resolves to them.
pub fn resolve_order(addresses: &[InterfaceAddress], peers: &[Peer]) -> Vec<Resolved> {
    let mut ranked: Vec<_> = addresses.iter().map(|address| (rank(address, peers), address)).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut seen = HashSet::new();
    let resolved = ranked.iter().map(|(_, address)| resolve(address, peers));
    resolved.filter(|resolved| seen.insert(*resolved)).collect()
}

fn peer_of<'a>(address: &InterfaceAddress, peers: &'a [Peer]) -> Option<&'a Peer> {
    peers.iter().find(|peer| peer.container_ifindex == address.ifindex)
}

fn resolve(address: &InterfaceAddress, peers: &[Peer]) -> Resolved {
    let scope_id = match address.address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => peer_of(address, peers).map(|peer| peer.host_ifindex),
        _ => None,
    };
    Resolved { address: address.address, scope_id }
}

/// The smaller, the better.
fn rank(address: &InterfaceAddress, peers: &[Peer]) -> (bool, u8, u8, u32, IpAddr) {
    let unreached = peer_of(address, peers).is_none();
    (unreached, scope(address), 50 - precedence(address.address), address.ifindex, address.address)
}

fn scope(address: &InterfaceAddress) -> u8 {
    match address.address {
        IpAddr::V4(v4) if v4.is_link_local() => address.scope.max(RT_SCOPE_LINK),
        _ => address.scope,
    }
}

/// The default policy table of RFC 6724, 2.1, longest prefix first.
const PRECEDENCE: [(Ipv6Addr, u32, u8); 9] = [
    (Ipv6Addr::LOCALHOST, 128, 50),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 35),
    (Ipv6Addr::UNSPECIFIED, 96, 1),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, 5),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 30),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, 1),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, 1),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, 3),
    (Ipv6Addr::UNSPECIFIED, 0, 40),
];

fn precedence(address: IpAddr) -> u8 {
    let address = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let common = |prefix: &Ipv6Addr| (prefix.to_bits() ^ address.to_bits()).leading_zeros();
    PRECEDENCE
        .iter()
        .find(|(prefix, bits, _)| common(prefix) >= *bits)
        .map_or(40, |(_, _, precedence)| *precedence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(ifindex: u32, text: &str, scope: u8) -> InterfaceAddress {
        InterfaceAddress { ifindex, address: text.parse().unwrap(), scope, flags: 0 }
    }

    fn order(addresses: &[InterfaceAddress], peers: &[Peer]) -> Vec<String> {
        let text = |resolved: &Resolved| match resolved.scope_id {
            Some(scope_id) => format!("{}%{scope_id}", resolved.address),
            None => resolved.address.to_string(),
        };
        let forward: Vec<_> = resolve_order(addresses, peers).iter().map(text).collect();
        let reversed: Vec<_> = addresses.iter().rev().copied().collect();
        assert_eq!(forward, resolve_order(&reversed, peers).iter().map(text).collect::<Vec<_>>());
        forward
    }

    const HOST0: Peer = Peer { host_ifindex: 17, container_ifindex: 2 };

    #[test]
    fn an_inner_bridge_comes_last_but_is_not_dropped() {
        let addresses =
            [address(3, "172.17.0.1", 0), address(2, "192.168.1.5", 0), address(3, "2001:db8::1", 0)];
        assert_eq!(order(&addresses, &[HOST0]), ["192.168.1.5", "2001:db8::1", "172.17.0.1"]);
        let linked = [address(3, "172.17.0.1", 0), address(2, "fe80::5", 253)];
        assert_eq!(order(&linked, &[HOST0]), ["fe80::5%17", "172.17.0.1"]);
    }

    #[test]
    fn global_comes_before_site_before_link() {
        let addresses = [
            address(2, "fe80::5", 253),
            address(2, "169.254.3.4", 0),
            address(2, "fec0::1", 200),
            address(2, "10.0.0.1", 0),
        ];
        assert_eq!(order(&addresses, &[]), ["10.0.0.1", "fec0::1", "fe80::5", "169.254.3.4"]);
    }

    #[test]
    fn families_are_ordered_by_the_policy_table() {
        let addresses = [
            address(2, "fd00::1", 0),
            address(2, "2001:0:1::1", 0),
            address(2, "10.0.0.1", 0),
            address(2, "2001:db8::1", 0),
            address(2, "2002:a00:1::1", 0),
        ];
        let expected = ["2001:db8::1", "10.0.0.1", "2002:a00:1::1", "2001:0:1::1", "fd00::1"];
        assert_eq!(order(&addresses, &[HOST0]), expected);
    }

    #[test]
    fn a_scope_id_is_for_ipv6_link_local_addresses_on_a_known_peer() {
        let other = Peer { host_ifindex: 18, container_ifindex: 4 };
        let addresses = [
            address(2, "fe80::1", 253),
            address(3, "fe80::1", 253),
            address(4, "fe80::1", 253),
            address(2, "169.254.0.1", 253),
        ];
        assert_eq!(
            order(&addresses, &[HOST0, other]),
            ["fe80::1%17", "fe80::1%18", "169.254.0.1", "fe80::1"]
        );
        assert_eq!(order(&addresses, &[]), ["fe80::1", "169.254.0.1"]);
    }

    #[test]
    fn the_precedences_are_those_of_the_rfc() {
        let table =
            [("::1", 50), ("2a00::1", 40), ("1.2.3.4", 35), ("2002::1", 30), ("2001::1", 5), ("fd12::1", 3)];
        for (text, expected) in
            table.into_iter().chain([("::5", 1), ("fec0::1", 1), ("3ffe::1", 1), ("fe80::1", 40)])
        {
            assert_eq!(precedence(text.parse().unwrap()), expected, "{text}");
        }
    }
}
