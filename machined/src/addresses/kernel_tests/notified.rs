//! What the kernel says of real namespaces.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SendFlags, SocketType, sendto, socket};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::sandbox::{Container, host_ip, on_a_host, skipped};
use crate::addresses::message::Request;
use crate::addresses::rtnetlink::{GROUP_IPV4_IFADDR, RTM_NEWADDR};
use crate::addresses::{Error, Namespaces, Notification, Notifications, Nsid, Origin, Tracker, Watch};

const DEADLINE: Duration = Duration::from_secs(60);

/// Runs `test` on a host, with a socket of `bytes`. Says SKIPPED where there can be none.
fn on_host_with(bytes: Option<usize>, test: impl Send + AsyncFnOnce(&Namespaces, Notifications)) {
    on_a_host(|namespaces| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            match bytes.map_or_else(Notifications::open, Notifications::with_buffer) {
                Ok(notifications) => test(namespaces, notifications).await,
                Err(error) => skipped(&test, &error.to_string()),
            }
        });
    });
}

async fn until(
    notifications: &mut Notifications,
    wanted: impl Fn(Notification) -> bool,
) -> Vec<Notification> {
    let mut seen = Vec::new();
    let waited = tokio::time::timeout(DEADLINE, async {
        while !seen.last().copied().is_some_and(&wanted) {
            seen.push(notifications.next().await.unwrap());
        }
    });
    assert!(waited.await.is_ok(), "not notified; only of {seen:?}");
    seen
}

fn changed(nsid: Nsid) -> Notification {
    Notification::Changed(Origin::Peer(nsid))
}

#[test]
fn a_change_in_a_container_is_heard() {
    on_host_with(None, async |namespaces, mut notifications| {
        for container in [Container::new(), Container::with_user_namespace()] {
            let nsid = container.nsid(namespaces);
            container.ip("addr add 10.1.2.3/24 dev lo\n");
            until(&mut notifications, |notification| notification == changed(nsid)).await;
            assert_eq!(namespaces.dump(container.netns().as_fd()).unwrap().len(), 1);
            container.ip("addr add 2001:db8::1/64 dev lo nodad\n");
            until(&mut notifications, |notification| notification == changed(nsid)).await;
            container.ip("addr del 10.1.2.3/24 dev lo\n");
            until(&mut notifications, |notification| notification == changed(nsid)).await;
        }
    });
}

#[test]
fn a_change_on_the_host_is_its_own() {
    on_host_with(None, async |_, mut notifications| {
        host_ip("addr add 10.1.2.3/24 dev lo\n");
        let own = Notification::Changed(Origin::Own);
        assert_eq!(until(&mut notifications, |notification| notification == own).await, [own]);
    });
}

#[test]
fn a_namespace_that_ends_is_heard_after_its_last_change() {
    on_host_with(None, async |namespaces, mut notifications| {
        let mut container = Container::new();
        let nsid = container.nsid(namespaces);
        container.ip("addr add 10.1.2.3/24 dev lo\n");
        container.end();
        let gone = Notification::NamespaceGone(nsid);
        let seen = until(&mut notifications, |notification| notification == gone).await;
        assert_eq!(seen.first(), Some(&changed(nsid)));
    });
}

#[test]
fn a_dump_does_not_keep_a_namespace() {
    on_host_with(None, async |namespaces, mut notifications| {
        let mut container = Container::new();
        let nsid = container.nsid(namespaces);
        namespaces.dump(container.pidfd().as_fd()).unwrap();
        container.end();
        let gone = Notification::NamespaceGone(nsid);
        until(&mut notifications, |notification| notification == gone).await;
    });
}

#[test]
fn what_did_not_fit_is_an_overrun() {
    on_host_with(Some(4096), async |namespaces, mut notifications| {
        let container = Container::new();
        let nsid = container.nsid(namespaces);
        let batch = (0..300).fold(String::new(), |mut batch, i| {
            writeln!(batch, "addr add 10.{}.{}.1/24 dev lo", i / 256, i % 256).unwrap();
            batch
        });
        container.ip(&batch);
        until(&mut notifications, |notification| notification == Notification::Overrun).await;
        // It goes on afterwards.
        let mut left = 0;
        while notifications.try_next().unwrap().is_some() {
            left += 1;
        }
        assert!(left < 300);
        container.ip("addr add 10.9.9.9/24 dev lo\n");
        until(&mut notifications, |notification| notification == changed(nsid)).await;
    });
}

#[test]
fn the_ids_of_a_container_are_none_of_ours() {
    on_host_with(None, async |namespaces, mut notifications| {
        let container = Container::new();
        let nsid = container.nsid(namespaces);
        // The container calls another namespace by an id of its own, the lowest; and that one ends.
        let mut inner = Container::new();
        container.ip(&format!("link add ve-a type veth peer name ve-b netns {}\n", inner.pid()));
        inner.end();
        // Its id goes before its end of the pair, and with that ours.
        let deadline = Instant::now() + DEADLINE;
        while container.has_link("ve-a") {
            assert!(Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
        container.ip("addr add 10.9.9.9/24 dev lo\n");
        let seen = until(&mut notifications, |notification| notification == changed(nsid)).await;
        let gone = seen.iter().filter(|seen| matches!(seen, Notification::NamespaceGone(_)));
        assert_eq!(gone.count(), 0, "{seen:?}");
    });
}

#[test]
fn what_a_container_sends_to_the_group_is_not_heard() {
    on_host_with(None, async |namespaces, mut notifications| {
        let container = Container::new();
        let nsid = container.nsid(namespaces);
        let forged =
            Request { kind: RTM_NEWADDR, flags: 0, header: &[2, 8, 0, 0, 1, 0, 0, 0], attributes: &[] };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let netns = container.netns();
                move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                let socket = socket(AddressFamily::NETLINK, SocketType::RAW, None).unwrap();
                let group = SocketAddrNetlink::new(0, GROUP_IPV4_IFADDR);
                // Netlink also hands it to the kernel, which refuses it.
                let _ = sendto(&socket, &forged.encode(1), SendFlags::empty(), &group);
            });
        });
        assert_eq!(notifications.try_next(), Ok(None));
        container.ip("addr add 10.1.2.3/24 dev lo\n");
        assert_eq!(until(&mut notifications, |_| true).await, [changed(nsid)]);
        assert_eq!(notifications.try_next(), Ok(None));
    });
}

#[test]
fn two_hundred_namespaces_are_all_followed() {
    on_host_with(None, async |namespaces, mut notifications| {
        let containers: Vec<_> = (0..200).map(|_| Container::new()).collect();
        let mut tracker = Tracker::new(Watch::Notifications);
        for (machine, container) in containers.iter().enumerate() {
            let place = namespaces.look_into(container.netns().as_fd(), false).unwrap().0;
            tracker.joined(machine, place, Instant::now());
        }
        while !tracker.due(Instant::now()).is_empty() {}
        for (machine, container) in containers.iter().enumerate() {
            container.ip(&format!("addr add 10.1.0.{machine}/24 dev lo\n"));
        }
        let mut missing: BTreeSet<_> = (0..200).collect();
        let followed = tokio::time::timeout(DEADLINE, async {
            while !missing.is_empty() {
                let deadline = tracker.next_deadline().unwrap_or_else(|| Instant::now() + DEADLINE);
                tokio::select! {
                    notification = notifications.next() => tracker.notification(notification.unwrap(), Instant::now()),
                    () = tokio::time::sleep_until(deadline.into()) => {}
                }
                for netns in tracker.due(Instant::now()) {
                    assert!(!tracker.wants_nsid(netns));
                    for machine in tracker.machines_in(netns) {
                        let addresses = namespaces.dump(containers[machine].pidfd().as_fd()).unwrap();
                        assert_eq!(addresses.len(), 1);
                        assert_eq!(addresses[0].address.to_string(), format!("10.1.0.{machine}"));
                        missing.remove(&machine);
                    }
                }
            }
        });
        assert!(followed.await.is_ok(), "never due: {missing:?}");
    });
}

#[test]
fn a_flood_is_heard_but_seldom_due() {
    on_host_with(None, async |namespaces, mut notifications| {
        let container = Container::with_user_namespace();
        let mut tracker = Tracker::new(Watch::Notifications);
        let place = namespaces.look_into(container.netns().as_fd(), false).unwrap().0;
        tracker.joined(0, place, Instant::now());
        let _ = tracker.due(Instant::now());
        let start = Instant::now();
        container.ip(&"addr add 10.1.2.3/24 dev lo\naddr del 10.1.2.3/24 dev lo\n".repeat(5000));
        container.ip("addr add 10.9.9.9/24 dev lo\n");
        let mut heard = 0;
        let mut dumps = 0;
        let mut last = Vec::new();
        let settled = tokio::time::timeout(DEADLINE, async {
            while last.len() != 1 || tracker.next_deadline().is_some() {
                let deadline = tracker.next_deadline().unwrap_or_else(|| Instant::now() + DEADLINE);
                tokio::select! {
                    notification = notifications.next() => {
                        tracker.notification(notification.unwrap(), Instant::now());
                        heard += 1;
                    }
                    () = tokio::time::sleep_until(deadline.into()) => {}
                }
                for _ in tracker.due(Instant::now()) {
                    dumps += 1;
                    last = namespaces.dump(container.pidfd().as_fd()).unwrap();
                }
            }
        });
        assert!(settled.await.is_ok(), "heard {heard}, dumped {dumps}");
        assert_eq!(last[0].address.to_string(), "10.9.9.9");
        let most = 2 + start.elapsed().as_millis() / 250;
        assert!(dumps <= most, "{dumps} dumps in {:?}", start.elapsed());
    });
}

#[test]
fn without_the_capability_the_caller_is_told_to_poll() {
    on_a_host(|_| {
        let set = rustix::thread::capabilities(None).unwrap();
        let mut reduced = set;
        reduced.effective.remove(rustix::thread::CapabilitySet::NET_BROADCAST);
        rustix::thread::set_capabilities(None, reduced).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(async { Notifications::open().err() });
        assert!(matches!(error, Some(Error::NotPermitted { .. })), "{error:?}");
    });
}
