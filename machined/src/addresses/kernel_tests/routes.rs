//! Where the host's routes lead, as the kernel says it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::sandbox::{Container, host_ip, on_a_host};
use crate::addresses::host::{HostNetwork, ways};
use crate::addresses::links::Links;
use crate::addresses::route::Route;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_route_leads_to_the_host_over_an_interface_or_nowhere() {
    on_a_host(|namespaces| {
        let container = Container::new();
        host_ip(&format!("link add ve type veth peer name host0 netns {}\n", container.pid()));
        host_ip(
            "link set lo up\nlink set ve addrgenmode none up\naddress add 10.1.0.1/24 dev ve\naddress add fd00::1/64 dev ve nodad",
        );
        container.ip("link set host0 up\naddress add fe80::2/64 dev host0 nodad\n");
        host_ip(
            "address add fe80::1/64 dev ve nodad\nroute add 10.9.0.0/16 via 10.1.0.2\nroute add unreachable 10.8.0.0/16",
        );
        host_ip("route add 10.7.0.1/32 via inet6 fe80::2 dev ve");
        let mut links = Links::default();
        namespaces.dump_links(&mut links).unwrap();
        let nsid = container.nsid(namespaces);
        let (ifindex, _) = links.ends(nsid).next().unwrap();
        let over = |gateway: Option<&str>| Route::Over { ifindex, gateway: gateway.map(ip) };
        // The kernel looks at an interface some time after its other end has come up, and the address is its own only then.
        let deadline = Instant::now() + Duration::from_secs(60);
        while namespaces.route_to(ip("fd00::1"), None) != Route::Own && Instant::now() < deadline {
            std::thread::yield_now();
        }
        for (address, expected) in [
            ("10.1.0.2", over(None)),
            ("fd00::2", over(None)),
            ("10.9.1.1", over(Some("10.1.0.2"))),
            ("10.7.0.1", over(Some("fe80::2"))),
            ("10.1.0.1", Route::Own),
            ("10.1.0.255", Route::Own),
            ("127.0.0.53", Route::Own),
            ("::1", Route::Own),
            ("fd00::1", Route::Own),
            ("10.8.0.1", Route::None),
            ("192.0.2.1", Route::None),
            ("2001:db8::1", Route::None),
        ] {
            assert_eq!(namespaces.route_to(ip(address), None), expected, "{address}");
        }
        assert_eq!(namespaces.route_to(ip("fe80::2"), Some(ifindex)), over(None));
        assert_eq!(namespaces.route_to(ip("fe80::1"), Some(ifindex)), Route::Own);
        assert_eq!(namespaces.route_to(ip("fe80::2"), Some(99_999)), Route::None);
    });
}

#[test]
fn the_ends_of_pairs_and_their_bridges_are_heard_of() {
    on_a_host(|namespaces| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _runtime = runtime.enter();
        let host = HostNetwork::open().unwrap();
        let container = Container::new();
        let nsid = container.nsid(namespaces);
        let seen = || {
            while !host.catch_up() {}
            host.links(|links| namespaces.dump_links(links), |links| ways(links, Some(nsid), &[]))
        };
        assert_eq!(seen().peers, []);
        // Begun here, as some do, and moved when it is up.
        host_ip("link add ve type veth peer name host0\nlink set ve up\nlink set host0 up");
        host_ip(&format!("link set host0 netns {}", container.pid()));
        container.ip("link set host0 up");
        let found = seen();
        assert_eq!((found.peers.len(), found.interfaces.len()), (1, 1));
        host_ip("link add br0 type bridge\nlink set ve master br0");
        assert_eq!(seen().interfaces.len(), 2);
        host_ip("link set ve nomaster");
        assert_eq!(seen().interfaces, found.interfaces);
        host_ip("link delete ve");
        assert_eq!((seen().peers, seen().interfaces), (vec![], vec![]));
    });
}
