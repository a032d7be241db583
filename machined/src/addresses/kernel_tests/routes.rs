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

/// What is found, as soon as it is what is expected: the kernel looks at an interface some time after its other end has come up.
fn settled<T: PartialEq>(find: impl Fn() -> T, expected: &T) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let found = find();
        if found == *expected || Instant::now() > deadline {
            return found;
        }
        std::thread::yield_now();
    }
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
            let found = settled(|| namespaces.route_to(ip(address), None), &expected);
            assert_eq!(found, expected, "{address}");
        }
        for (address, expected) in [("fe80::2", over(None)), ("fe80::1", Route::Own)] {
            let found = settled(|| namespaces.route_to(ip(address), Some(ifindex)), &expected);
            assert_eq!(found, expected, "{address}");
        }
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
        let lengths = || (seen().peers.len(), seen().interfaces.len());
        assert_eq!(settled(lengths, &(1, 1)), (1, 1));
        let found = seen();
        host_ip("link add br0 type bridge\nlink set ve master br0");
        assert_eq!(settled(|| seen().interfaces.len(), &2), 2);
        host_ip("link set ve nomaster");
        assert_eq!(settled(|| seen().interfaces, &found.interfaces), found.interfaces);
        host_ip("link delete ve");
        assert_eq!(settled(lengths, &(0, 0)), (0, 0));
    });
}
