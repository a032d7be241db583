//! What the name of a virtual machine resolves to, out of all that is said of its addresses.
//!
//! What its registrar gave counts before leases of DHCP, for each family of addresses; whom the kernel has met counts only
//! where there is neither. Leases and neighbours are the machine's only where the host's own route leads straight to them over
//! an interface of the machine's, or its bridge. What the host itself has, or another machine by a better source, is never its.

use std::net::IpAddr;

use registry::{Address, AddressSource, Addresses, Resolution};

use crate::addresses::route::Route;

/// So many addresses of one source are told at the most: a guest may have any number.
pub(in crate::addresses) const MOST: usize = 16;

/// What is said of a machine's addresses.
#[derive(Debug, Default)]
pub(in crate::addresses) struct Said {
    /// By its registrar, in that one's order.
    pub(in crate::addresses) given: Vec<Address>,
    /// By DHCP servers, the one that ends last first.
    pub(in crate::addresses) leases: Vec<IpAddr>,
    /// By the kernel, each with the interface on which it was met.
    pub(in crate::addresses) neighbours: Vec<Address>,
}

impl Said {
    /// All of them.
    pub(in crate::addresses) fn ips(&self) -> impl Iterator<Item = IpAddr> {
        let ips = |addresses: &[Address]| addresses.iter().map(|address| address.ip).collect::<Vec<_>>();
        ips(&self.given).into_iter().chain(self.leases.iter().copied()).chain(ips(&self.neighbours))
    }
}

/// Families of addresses that do not stand for each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Four,
    Six,
    SixOfALink,
}

fn family(ip: IpAddr) -> Family {
    match ip {
        IpAddr::V4(_) => Family::Four,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Family::SixOfALink,
        IpAddr::V6(_) => Family::Six,
    }
}

/// Whether an address is no machine's whatever the routes are.
pub(in crate::addresses) fn is_nobodys(ip: IpAddr) -> bool {
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    is_broadcast || ip.is_multicast() || ip.is_loopback() || ip.is_unspecified()
}

/// Decides. `ways` are the machine's interfaces on the host and their bridges; `rival` is the best source by which another
/// machine has an address.
pub(in crate::addresses) fn decide(
    said: &Said,
    ways: &[u32],
    mut route: impl FnMut(&Address) -> Route,
    rival: impl Fn(IpAddr) -> Option<AddressSource>,
) -> Resolution {
    let mut told: Vec<(Address, AddressSource)> = Vec::new();
    let mut is_reached = true;
    let lease = |&ip: &IpAddr| Address { ip, scope_id: 0 };
    let given = said.given.iter().copied().map(|address| (address, AddressSource::Given));
    let leases = said.leases.iter().map(lease).map(|address| (address, AddressSource::Lease));
    let neighbours = said.neighbours.iter().copied().map(|address| (address, AddressSource::Neighbour));
    for (address, source) in given.chain(leases).chain(neighbours) {
        let is_outdone = told.iter().any(|(other, better)| {
            *better < source && (source == AddressSource::Neighbour || family(other.ip) == family(address.ip))
        });
        let is_told = || told.iter().any(|(other, _)| *other == address);
        let count = told.iter().filter(|(_, other)| *other == source).count();
        let is_full = source != AddressSource::Given && count >= MOST;
        let is_rivals = || match (rival(address.ip), source) {
            (None, _) => false,
            // Whoever registered it was asked, and what is an interface's is seen to be.
            (Some(other), AddressSource::Given) => other == AddressSource::Interface,
            (Some(other), source) => other < source,
        };
        if is_outdone || is_full || is_nobodys(address.ip) || is_told() || is_rivals() {
            continue;
        }
        let is_straight = match route(&address) {
            Route::Own => continue,
            Route::Over { ifindex, gateway } => ways.contains(&ifindex) && gateway.is_none(),
            Route::None => false,
        };
        if source == AddressSource::Given {
            is_reached &= is_straight;
        } else if !is_straight {
            continue;
        }
        told.push((address, source));
    }
    is_reached &= told.iter().any(|(_, source)| *source != AddressSource::Neighbour);
    let (addresses, from): (_, Vec<_>) = told.into_iter().unzip();
    Resolution { addresses: Addresses::Listed(addresses), from: from.as_slice().into(), is_reached }
}

#[cfg(test)]
mod tests {
    use super::*;
    use AddressSource::{Given, Interface, Lease, Neighbour};

    fn address(text: &str) -> Address {
        Address::parse(text.as_bytes()).unwrap()
    }

    fn said(given: &[&str], leases: &[&str], neighbours: &[&str]) -> Said {
        let addresses = |list: &[&str]| list.iter().map(|text| address(text)).collect::<Vec<_>>();
        Said {
            given: addresses(given),
            leases: addresses(leases).iter().map(|address| address.ip).collect(),
            neighbours: addresses(neighbours),
        }
    }

    /// On a host that is 10.0.0.1/24, fd00::1/64 and fe80::1 on bridge 7, and has a router at 192.168.1.1.
    fn decided(said: &Said, rivals: &[(&str, AddressSource)]) -> (String, bool) {
        let route = |address: &Address| match address.ip.to_string().as_str() {
            "10.0.0.1" | "fd00::1" | "fe80::1" | "10.0.0.255" => Route::Own,
            text if text.starts_with("10.0.0.")
                || text.starts_with("fd00::")
                || text.starts_with("fe80::") =>
            {
                Route::Over { ifindex: 7, gateway: None }
            }
            text if text.starts_with("10.0.9.") => Route::None,
            _ => Route::Over { ifindex: 2, gateway: "192.168.1.1".parse().ok() },
        };
        let rival =
            |ip: IpAddr| rivals.iter().find(|(text, _)| text.parse() == Ok(ip)).map(|(_, source)| *source);
        let Resolution { addresses, from, is_reached } = decide(said, &[5, 7], route, rival);
        let Addresses::Listed(list) = addresses else { panic!() };
        assert_eq!(list.len(), from.len());
        let told = list.iter().zip(&*from).map(|(address, source)| format!("{address}={}", source.name()));
        (told.collect::<Vec<_>>().join(" "), is_reached)
    }

    #[test]
    fn what_is_given_counts_before_leases_and_these_before_neighbours() {
        let all = said(&["10.0.0.5"], &["10.0.0.6", "fd00::6"], &["10.0.0.7", "fd00::7", "fe80::7%7"]);
        assert_eq!(decided(&all, &[]), ("10.0.0.5=given fd00::6=lease".into(), true));
        let leased = said(&[], &["10.0.0.6"], &["10.0.0.7", "fd00::7"]);
        assert_eq!(decided(&leased, &[]), ("10.0.0.6=lease".into(), true));
        let met = said(&[], &[], &["10.0.0.7", "fd00::7", "fe80::7%7"]);
        assert_eq!(
            decided(&met, &[]),
            ("10.0.0.7=neighbour fd00::7=neighbour fe80::7%7=neighbour".into(), false)
        );
        assert_eq!(decided(&Said::default(), &[]), (String::new(), false));
    }

    #[test]
    fn what_the_host_has_is_no_machines_whoever_says_so() {
        let own = [
            "10.0.0.1",
            "fd00::1",
            "fe80::1%7",
            "127.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "0.0.0.0",
            "::1",
            "10.0.0.255",
        ];
        for said in [said(&own, &[], &[]), said(&[], &own, &[]), said(&[], &[], &own)] {
            assert_eq!(decided(&said, &[]), (String::new(), false), "{said:?}");
        }
    }

    #[test]
    fn only_what_is_given_may_be_elsewhere_and_does_not_lead_back_then() {
        let elsewhere = ["10.0.9.5", "203.0.113.5", "192.168.1.7"];
        assert_eq!(decided(&said(&[], &elsewhere, &[]), &[]), (String::new(), false));
        assert_eq!(decided(&said(&[], &[], &elsewhere), &[]), (String::new(), false));
        assert_eq!(
            decided(&said(&elsewhere, &[], &[]), &[]),
            ("10.0.9.5=given 203.0.113.5=given 192.168.1.7=given".into(), false)
        );
    }

    #[test]
    fn what_another_machine_has_by_a_better_source_is_its() {
        let rivals = |source| [("10.0.0.5", source)];
        let by = |said: &Said, source| decided(said, &rivals(source)).0;
        let (given, lease, met) =
            (said(&["10.0.0.5"], &[], &[]), said(&[], &["10.0.0.5"], &[]), said(&[], &[], &["10.0.0.5"]));
        for (said, source, is_told) in [
            (&given, Interface, false),
            (&given, Given, true),
            (&given, Lease, true),
            (&given, Neighbour, true),
            (&lease, Interface, false),
            (&lease, Given, false),
            (&lease, Lease, true),
            (&lease, Neighbour, true),
            (&met, Interface, false),
            (&met, Given, false),
            (&met, Lease, false),
            (&met, Neighbour, true),
        ] {
            assert_eq!(!by(said, source).is_empty(), is_told, "{said:?} {source:?}");
        }
    }

    #[test]
    fn a_guest_with_any_number_of_addresses_has_some_of_them() {
        let many: Vec<_> = (0..3000_u32).map(|n| format!("fd00::{:x}", n + 2)).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(decided(&said(&[], &[], &many), &[]).0.split(' ').count(), MOST);
        assert_eq!(decided(&said(&[], &many, &[]), &[]).0.split(' ').count(), MOST);
    }
}
