//! Dumps of real namespaces.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::os::fd::AsFd;
use std::time::Instant;

use super::sandbox::{Container, on_a_host};
use crate::addresses::list::MAX_ADDRESSES;
use crate::addresses::{Error, InterfaceAddress, Nsid, Place};

fn texts(addresses: &[InterfaceAddress]) -> Vec<String> {
    addresses.iter().map(|address| address.address.to_string()).collect()
}

#[test]
fn a_new_namespace_has_no_address_and_that_is_no_error() {
    on_a_host(|namespaces| {
        let container = Container::new();
        assert_eq!(namespaces.dump(container.netns().as_fd()), Ok(vec![]));
        container.ip("link set lo up\n");
        assert_eq!(
            namespaces.dump(container.netns().as_fd()),
            Ok(vec![]),
            "127.0.0.1 and ::1 are of the host"
        );
    });
}

#[test]
fn a_dump_is_of_the_container_and_leaves_the_thread_at_home() {
    on_a_host(|namespaces| {
        super::sandbox::host_ip("addr add 10.9.9.9/24 dev lo\n");
        let container = Container::new();
        container.ip("addr add 10.1.2.3/24 dev lo\naddr add 2001:db8::5/64 dev lo nodad\n");
        for fd in [container.netns(), container.pidfd()] {
            assert_eq!(texts(&namespaces.dump(fd.as_fd()).unwrap()), ["10.1.2.3", "2001:db8::5"]);
        }
        assert_eq!(texts(&namespaces.dump_host().unwrap()), ["10.9.9.9"]);
    });
}

#[test]
fn three_hundred_addresses_are_all_there_and_sorted() {
    on_a_host(|namespaces| {
        let container = Container::new();
        let mut batch = String::new();
        for i in 0..150 {
            writeln!(batch, "addr add 10.0.{}.1/24 dev lo", 149 - i).unwrap();
            writeln!(batch, "addr add 2001:db8:{:x}::1/64 dev lo nodad", 149 - i).unwrap();
        }
        container.ip(&batch);
        let addresses = namespaces.dump(container.netns().as_fd()).unwrap();
        assert_eq!(addresses.len(), 300);
        assert!(addresses.is_sorted_by_key(|address| (address.address.is_ipv6(), address.address)));
        assert_eq!(addresses.iter().map(|address| address.address).collect::<HashSet<_>>().len(), 300);
    });
}

#[test]
fn a_container_with_too_many_addresses_gets_some_of_them() {
    on_a_host(|namespaces| {
        let container = Container::new();
        let mut batch = String::new();
        for i in 0..MAX_ADDRESSES + 500 {
            writeln!(batch, "addr add 10.{}.{}.1/32 dev lo", i / 256, i % 256).unwrap();
        }
        container.ip(&batch);
        let addresses = namespaces.dump(container.netns().as_fd()).unwrap();
        assert_eq!(addresses.len(), MAX_ADDRESSES);
    });
}

#[test]
fn a_dump_by_id_is_the_same_as_one_from_inside() {
    on_a_host(|namespaces| {
        super::sandbox::host_ip("addr add 10.9.9.9/24 dev lo\n");
        let (full, some, none) = (Container::new(), Container::new(), Container::new());
        let many: String = (0..MAX_ADDRESSES + 500)
            .map(|i| format!("addr add 10.{}.{}.1/32 dev lo\n", i / 256, i % 256))
            .collect();
        full.ip(&many);
        some.ip("addr add 10.1.2.3/24 dev lo\naddr add 2001:db8::5/64 dev lo nodad\n");
        // The one with too many comes first and in between: what is left of its dump concerns nobody else.
        for container in [&full, &some, &full, &none, &some] {
            let netns = container.netns();
            let nsid = namespaces.nsid_of(netns.as_fd()).unwrap();
            let by_id = namespaces.dump_by_id(netns.as_fd(), nsid).unwrap();
            assert_eq!(by_id.len(), namespaces.dump(netns.as_fd()).unwrap().len());
            if !std::ptr::eq(container, &raw const full) {
                assert_eq!(by_id, namespaces.dump(netns.as_fd()).unwrap());
            }
        }
    });
}

#[test]
fn the_first_look_names_and_dumps_whatever_the_namespace_is_called() {
    on_a_host(|namespaces| {
        super::sandbox::host_ip("addr add 10.9.9.9/24 dev lo\n");
        let (new, named, crowded, taken) =
            (Container::new(), Container::new(), Container::new(), Container::new());
        let many: String = (0..MAX_ADDRESSES + 500)
            .map(|i| format!("addr add 10.{}.{}.1/32 dev lo\n", i / 256, i % 256))
            .collect();
        crowded.ip(&many);
        for (container, byte) in [(&new, 1), (&named, 2), (&taken, 3)] {
            container.ip(&format!("addr add 10.0.0.{byte}/24 dev lo\n"));
        }
        let id_of_named = named.nsid(namespaces);
        // Another daemon has given away the id that is next.
        let other = Container::new();
        let next = Nsid::new(id_of_named.as_raw() + 2).unwrap();
        other.ip("addr add 10.0.0.4/24 dev lo\n");
        let status = std::process::Command::new("ip")
            .args(["netns", "set", &format!("/proc/{}/ns/net", other.pid()), &next.as_raw().to_string()])
            .status();
        let is_taken = status.is_ok_and(|status| status.success());
        for container in [&new, &taken, &named, &crowded] {
            let (place, list) = namespaces.look_into(container.netns().as_fd(), false).unwrap();
            let Place::Private { nsid: Some(nsid), .. } = place else { panic!("{place:?}") };
            assert_eq!(nsid, container.nsid(namespaces));
            assert!(!is_taken || nsid != next);
            let inside = namespaces.dump(container.netns().as_fd()).unwrap();
            assert_eq!(list.len(), inside.len());
            assert!(list == inside || list.len() == MAX_ADDRESSES);
        }
    });
}

#[test]
fn deprecated_and_tentative_addresses_are_not_listed() {
    on_a_host(|namespaces| {
        let container = Container::new();
        // Duplicate detection does not end while the link is down.
        container.ip("link add eth0 type veth peer name eth1\n\
                      addr add 10.0.0.1/24 dev eth0\n\
                      addr add 10.0.0.2/24 dev eth0 valid_lft 1000 preferred_lft 0\n\
                      addr add 2001:db8::1/64 dev eth0 nodad\n\
                      addr add 2001:db8::2/64 dev eth0 nodad valid_lft 1000 preferred_lft 0\n\
                      addr add 2001:db8::3/64 dev eth0\n");
        assert_eq!(texts(&namespaces.dump(container.netns().as_fd()).unwrap()), ["10.0.0.1", "2001:db8::1"]);
    });
}

#[test]
fn of_a_point_to_point_link_our_end_is_listed() {
    on_a_host(|namespaces| {
        let container = Container::new();
        container.ip("addr add 10.0.0.1 peer 10.0.0.2 dev lo\n\
                      addr add 2001:db8::1 peer 2001:db8::2 dev lo nodad\n");
        assert_eq!(texts(&namespaces.dump(container.netns().as_fd()).unwrap()), ["10.0.0.1", "2001:db8::1"]);
    });
}

#[test]
fn scopes_are_as_configured_and_host_scope_is_not_listed() {
    on_a_host(|namespaces| {
        let container = Container::new();
        container.ip("addr add 10.0.0.1/24 dev lo scope link\n\
                      addr add 10.0.1.1/24 dev lo scope host\n\
                      addr add 10.0.2.1/24 dev lo scope site\n\
                      addr add 10.0.3.1/24 dev lo\n\
                      addr add fe80::7/64 dev lo nodad\n");
        let addresses = namespaces.dump(container.netns().as_fd()).unwrap();
        let scopes: Vec<_> = addresses.iter().map(|address| address.scope).collect();
        assert_eq!(texts(&addresses), ["10.0.3.1", "10.0.2.1", "10.0.0.1", "fe80::7"]);
        assert_eq!(scopes, [0, 200, 253, 253]);
    });
}

#[test]
fn a_namespace_whose_last_process_died_can_be_dumped_while_it_is_open() {
    on_a_host(|namespaces| {
        let mut container = Container::new();
        container.ip("addr add 10.1.2.3/24 dev lo\n");
        let (netns, pidfd) = (container.netns(), container.pidfd());
        container.end();
        assert_eq!(texts(&namespaces.dump(netns.as_fd()).unwrap()), ["10.1.2.3"]);
        assert_eq!(namespaces.dump(pidfd.as_fd()), Err(Error::NamespaceGone));
    });
}

#[test]
fn a_user_namespaced_container_can_be_dumped() {
    on_a_host(|namespaces| {
        let container = Container::with_user_namespace();
        container.ip("addr add 10.1.2.3/24 dev lo\n");
        assert_eq!(texts(&namespaces.dump(container.pidfd().as_fd()).unwrap()), ["10.1.2.3"]);
    });
}

#[test]
fn a_descriptor_of_something_else_cannot_be_dumped() {
    on_a_host(|namespaces| {
        let file = std::fs::File::open("/proc/self/status").unwrap();
        assert!(namespaces.dump(file.as_fd()).is_err());
        let uts = std::fs::File::open("/proc/self/ns/uts").unwrap();
        assert!(namespaces.dump(uts.as_fd()).is_err());
        assert_eq!(namespaces.dump_host(), Ok(vec![]));
    });
}

#[test]
#[ignore = "a measurement: cargo test --release -- --ignored --nocapture costs"]
fn what_a_dump_costs() {
    on_a_host(|namespaces| {
        for count in [0, 1, 4, 20, 300] {
            let container = Container::new();
            let batch = (0..count).fold(String::new(), |mut batch, i| {
                writeln!(batch, "addr add 10.{}.{}.1/24 dev lo", i / 256, i % 256).unwrap();
                batch
            });
            container.ip(&batch);
            let fd = container.pidfd();
            let mut times: Vec<_> = (0..2000)
                .map(|_| {
                    let start = Instant::now();
                    let _ = namespaces.dump(fd.as_fd()).unwrap();
                    start.elapsed()
                })
                .collect();
            times.sort();
            eprintln!("{count} addresses: p50 {:?} p99 {:?}", times[1000], times[1980]);
        }
        let containers: Vec<_> = (0..50).map(|_| Container::new()).collect();
        let start = Instant::now();
        for container in &containers {
            let _ = container.nsid(namespaces);
        }
        eprintln!("first nsid_of: {:?}", start.elapsed() / 50);
        let start = Instant::now();
        for container in &containers {
            let _ = container.nsid(namespaces);
        }
        eprintln!("second nsid_of: {:?}", start.elapsed() / 50);
    });
}
