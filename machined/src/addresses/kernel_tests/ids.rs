//! Namespaces by identity and by id, and the other ends of links.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::process::Command;

use super::sandbox::{Container, host_ip, on_a_host, skipped};
use crate::addresses::namespace::{PeerLink, identity};
use crate::addresses::{Error, Namespaces, Place};

fn ifindex(netns: Option<u32>, name: &str) -> u32 {
    let mut command = match netns {
        Some(pid) => {
            let mut command = Command::new("nsenter");
            command.args([&format!("--net=/proc/{pid}/ns/net"), "ip"]);
            command
        }
        None => Command::new("ip"),
    };
    let output = command.args(["-o", "link", "show", name]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(':').next().unwrap().parse().unwrap()
}

#[test]
fn an_identity_is_of_the_namespace_not_of_the_descriptor() {
    on_a_host(|namespaces| {
        let (one, other) = (Container::new(), Container::new());
        let id = identity(one.netns().as_fd()).unwrap();
        assert_eq!(id, identity(one.netns().as_fd()).unwrap());
        assert_ne!(id, identity(other.netns().as_fd()).unwrap());
        assert_ne!(id, namespaces.own_id());
        let link = std::fs::read_link(format!("/proc/{}/ns/net", one.pid())).unwrap();
        assert_eq!(link.to_str().unwrap(), format!("net:[{}]", id.ino()));
        assert_eq!(identity(one.pidfd().as_fd()), Err(Error::NotANamespace));
    });
}

#[test]
fn a_namespace_keeps_its_id_and_no_two_share_one() {
    on_a_host(|namespaces| {
        let containers: Vec<_> = (0..20).map(|_| Container::new()).collect();
        let ids: Vec<_> = containers.iter().map(|container| container.nsid(namespaces)).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 20);
        assert!(ids.is_sorted());
        assert_eq!(ids, containers.iter().map(|container| container.nsid(namespaces)).collect::<Vec<_>>());
    });
}

#[test]
fn a_new_daemon_gets_past_the_ids_of_the_old_one() {
    on_a_host(|namespaces| {
        let containers: Vec<_> = (0..20).map(|_| Container::new()).collect();
        let mut ids: HashSet<_> = containers.iter().map(|container| container.nsid(namespaces)).collect();
        // It met none of the old ones before.
        let restarted = Namespaces::open().unwrap();
        for _ in 0..2 {
            let container = Container::new();
            assert!(ids.insert(container.nsid(&restarted)));
        }
    });
}

#[test]
fn ids_are_not_used_again() {
    on_a_host(|namespaces| {
        let first = Container::new().nsid(namespaces);
        let second = Container::new().nsid(namespaces);
        assert!(first < second);
    });
}

#[test]
fn the_daemons_own_namespace_is_the_host() {
    on_a_host(|namespaces| {
        let own = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        assert_eq!(namespaces.look_into(own.as_fd(), false), Ok((Place::Host, Vec::new())));
        let container = Container::new();
        let netns = identity(container.netns().as_fd()).unwrap();
        let place = namespaces.look_into(container.netns().as_fd(), false).unwrap().0;
        assert_eq!(place, Place::Private { netns, nsid: Some(container.nsid(namespaces)) });
    });
}

#[test]
fn the_other_end_of_a_veth_is_found() {
    on_a_host(|namespaces| {
        let container = Container::new();
        host_ip(&format!("link add ve-a index 40 type veth peer name host0 netns {}\n", container.pid()));
        let expected = PeerLink {
            container_ifindex: ifindex(Some(container.pid()), "host0"),
            nsid: container.nsid(namespaces),
        };
        assert_eq!(namespaces.peer_of(40), Ok(Some(expected)));
        assert_eq!(ifindex(None, "ve-a"), 40);
    });
}

#[test]
fn what_has_no_other_end_in_a_container_has_none() {
    on_a_host(|namespaces| {
        host_ip("link add ve-a index 40 type veth peer name ve-b index 41\n");
        assert_eq!(namespaces.peer_of(1), Ok(None), "the loopback interface");
        assert_eq!(namespaces.peer_of(40), Ok(None), "a veth with both ends here");
        assert_eq!(namespaces.peer_of(4711), Ok(None), "no interface");
        for kind in ["macvlan", "ipvlan", "vlan"] {
            let id = if kind == "vlan" { "id 5" } else { "" };
            let added = Command::new("ip")
                .args(format!("link add link ve-a name {kind}0 index 50 type {kind} {id}").split_whitespace())
                .output()
                .unwrap();
            if !added.status.success() {
                skipped(
                    &what_has_no_other_end_in_a_container_has_none,
                    &format!("{kind} is not in this kernel"),
                );
                continue;
            }
            assert_eq!(namespaces.peer_of(50), Ok(None), "{kind}");
            host_ip(&format!("link del {kind}0\n"));
        }
    });
}
