//! Which of a machine's addresses are its own in the eyes of the host, and which of them the host reaches it at.
//!
//! What a container's root puts on its interfaces is a claim. An address that the host itself has, or sends to many, is no
//! machine's. One is *reached* if the host's own route for it leads over an interface of the machine's, or the bridge that one
//! is a port of, and to the machine: straight, or through a router that is the machine itself. (Over a bridge may also be the
//! way to everybody, by the router of its network.) If there are any such, the name resolves to those alone.

use std::net::IpAddr;

use super::list::InterfaceAddress;
use super::order::{Peer, Resolved, resolve_order};
use super::route::Route;

/// So many addresses are looked at, the best first: each costs a question to the kernel, and a machine may have any number.
const MAX_ASKED: usize = 1024;

/// The host's interfaces that are a machine's.
#[derive(Debug, Default)]
pub(super) struct Ways {
    /// Those with the other end in the machine.
    pub(super) peers: Vec<Peer>,
    /// Those, the registered ones, and the bridges that any of them is a port of.
    pub(super) interfaces: Vec<u32>,
}

/// What a machine's name resolves to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reach {
    /// The addresses, in order.
    pub(super) addresses: Vec<Resolved>,
    /// Whether the host reaches the machine at them.
    pub(super) is_reached: bool,
    /// The interfaces over which the host's routes for any of the machine's addresses lead, each once.
    pub(super) over: Vec<u32>,
}

/// Asks for the route to each address, the best first, and decides.
pub(super) fn reach(
    list: &[InterfaceAddress],
    ways: &Ways,
    mut route: impl FnMut(IpAddr, Option<u32>) -> Route,
) -> Reach {
    let (mut reached, mut others, mut over) = (Vec::new(), Vec::new(), Vec::new());
    let is_the_machines = |ip: IpAddr| list.iter().any(|address| address.address == ip);
    for resolved in resolve_order(list, &ways.peers).into_iter().take(MAX_ASKED) {
        let is_of_a_link = matches!(resolved.address, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let route = if is_nobodys(resolved.address) {
            Route::Own
        // Without the link there is no telling.
        } else if is_of_a_link && resolved.scope_id.is_none() {
            Route::None
        } else {
            route(resolved.address, resolved.scope_id)
        };
        match route {
            Route::Own => {}
            Route::Over { ifindex, gateway } => {
                over.push(ifindex);
                let leads_there = ways.interfaces.contains(&ifindex) && gateway.is_none_or(is_the_machines);
                if leads_there { &mut reached } else { &mut others }.push(resolved);
            }
            Route::None => others.push(resolved),
        }
    }
    over.sort_unstable();
    over.dedup();
    let is_reached = !reached.is_empty();
    Reach { addresses: if is_reached { reached } else { others }, is_reached, over }
}

/// Whether an address is no machine's whatever the routes are.
fn is_nobodys(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    is_broadcast || address.is_multicast() || address.is_loopback() || address.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(ifindex: u32, text: &str) -> InterfaceAddress {
        let address: IpAddr = text.parse().unwrap();
        let is_of_a_link = matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local());
        InterfaceAddress { ifindex, address, scope: if is_of_a_link { 253 } else { 0 }, flags: 0 }
    }

    /// A host whose routes are these, each with the interface and perhaps a gateway.
    fn decided(list: &[InterfaceAddress], routes: &[(&str, u32, &str)]) -> (String, bool, Vec<u32>) {
        let ways =
            Ways { peers: vec![Peer { host_ifindex: 7, container_ifindex: 2 }], interfaces: vec![7, 20] };
        let route = |ip: IpAddr, over: Option<u32>| {
            let found = routes.iter().find(|(address, ..)| address.parse::<IpAddr>().unwrap() == ip);
            match found {
                None => Route::None,
                Some((_, 0, _)) => Route::Own,
                Some((_, ifindex, gateway)) => {
                    assert!(over.is_none_or(|over| over == *ifindex));
                    Route::Over { ifindex: *ifindex, gateway: gateway.parse().ok() }
                }
            }
        };
        let reach = reach(list, &ways, route);
        let text: Vec<_> = reach.addresses.iter().map(|resolved| resolved.address.to_string()).collect();
        (text.join(" "), reach.is_reached, reach.over)
    }

    #[test]
    fn what_the_host_has_itself_is_no_machines() {
        let list = [address(2, "10.77.1.2"), address(3, "172.17.0.1"), address(2, "10.77.1.1")];
        let own = [("172.17.0.1", 0, ""), ("10.77.1.1", 0, "")];
        assert_eq!(decided(&list, &own), ("10.77.1.2".into(), false, vec![]));
        assert_eq!(decided(&list[1..], &own), (String::new(), false, vec![]));
        for nobodys in ["127.0.0.77", "224.0.0.1", "255.255.255.255", "0.0.0.0", "::", "::1", "ff02::1"] {
            let routes = [(nobodys, 7, "")];
            assert_eq!(decided(&[address(2, nobodys)], &routes), (String::new(), false, vec![]), "{nobodys}");
        }
    }

    #[test]
    fn what_the_host_reaches_is_all_there_is() {
        let list = [address(3, "172.17.0.1"), address(2, "10.77.1.2"), address(2, "192.0.2.53")];
        let reached = ("10.77.1.2", 7, "");
        assert_eq!(decided(&list, &[reached]), ("10.77.1.2".into(), true, vec![7]));
        assert_eq!(
            decided(&list, &[reached, ("192.0.2.53", 2, "192.168.1.1")]),
            ("10.77.1.2".into(), true, vec![2, 7])
        );
        assert_eq!(
            decided(&list, &[("10.77.1.2", 20, "")]),
            ("10.77.1.2".into(), true, vec![20]),
            "a bridge"
        );
        // Where it reaches none, any may be meant.
        let (all, is_reached, _) = decided(&list, &[("192.0.2.53", 2, "192.168.1.1")]);
        assert_eq!((all.split(' ').count(), is_reached), (3, false));
    }

    #[test]
    fn a_router_on_the_way_has_to_be_the_machine() {
        let list = [address(2, "10.77.1.2"), address(3, "10.88.0.1"), address(3, "8.8.8.8")];
        let routes = [("10.77.1.2", 20, ""), ("10.88.0.1", 20, "10.77.1.2"), ("8.8.8.8", 20, "10.77.1.254")];
        assert_eq!(decided(&list, &routes), ("10.77.1.2 10.88.0.1".into(), true, vec![20]));
    }

    #[test]
    fn an_address_of_a_link_is_asked_for_on_that_link() {
        let list = [address(2, "fe80::2"), address(3, "fe80::3")];
        assert_eq!(
            decided(&list, &[("fe80::2", 7, ""), ("fe80::3", 7, "")]),
            ("fe80::2".into(), true, vec![7])
        );
        assert_eq!(decided(&list[1..], &[("fe80::3", 7, "")]), ("fe80::3".into(), false, vec![]));
    }

    #[test]
    fn a_machine_with_any_number_of_addresses_costs_no_more_than_many() {
        let list: Vec<_> = (0..4096_u32)
            .map(|number| address(2, &format!("10.1.{}.{}", number / 256, number % 256)))
            .collect();
        let mut asked = 0;
        let reach = reach(&list, &Ways::default(), |_, _| {
            asked += 1;
            Route::None
        });
        assert_eq!((asked, reach.addresses.len()), (MAX_ASKED, MAX_ASKED));
    }
}
