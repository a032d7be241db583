use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use registry::{Class, MachineName};

use super::decide::MOST;
use super::lease::Lease;
use super::*;

const BRIDGE: u32 = 9;
const ONE: u32 = 21;
const TWO: u32 = 22;
/// An interface of a machine's that is in no bridge.
const ROUTED: u32 = 30;

fn mac(last: u8) -> Mac {
    Mac::new(&[0x52, 0x54, 0, 0, 0, last]).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A host with 10.0.0.1/24 on its bridge, and 10.7.0.1/24 on the interface that is in none.
#[derive(Default)]
struct World {
    ports: RefCell<HashMap<Mac, u32>>,
    neighbours: RefCell<HashMap<u32, Vec<Neighbour>>>,
    dumps: RefCell<usize>,
}

impl Host for World {
    fn route(&self, address: &Address) -> Route {
        match address.ip.to_string().as_str() {
            "10.0.0.1" | "10.7.0.1" => Route::Own,
            text if text.starts_with("10.0.0.") => Route::Over { ifindex: BRIDGE, gateway: None },
            text if text.starts_with("10.7.0.") => Route::Over { ifindex: ROUTED, gateway: None },
            _ if address.scope_id != 0 => Route::Over { ifindex: address.scope_id, gateway: None },
            _ => Route::Over { ifindex: 2, gateway: Some(ip("192.168.1.1")) },
        }
    }

    fn bridge_of(&self, ifindex: u32) -> Option<u32> {
        [ONE, TWO].contains(&ifindex).then_some(BRIDGE)
    }

    fn port_of(&self, bridge: u32, mac: Mac) -> Option<u32> {
        self.ports.borrow().get(&mac).copied().filter(|_| bridge == BRIDGE)
    }

    fn neighbours(&self, ifindex: u32) -> Vec<Neighbour> {
        *self.dumps.borrow_mut() += 1;
        self.neighbours.borrow().get(&ifindex).cloned().unwrap_or_default()
    }
}

/// What the daemon would have: the machines, and what their names resolve to.
struct Scene {
    vms: Vms<u32>,
    world: World,
    resolved: BTreeMap<u32, Resolution>,
    begin: Instant,
    passed: u64,
}

impl Scene {
    fn new() -> Self {
        let (vms, world, resolved) = (Vms::default(), World::default(), BTreeMap::new());
        Self { vms, world, resolved, begin: Instant::now(), passed: 0 }
    }

    fn at(&self) -> Moment {
        let now = self.begin + Duration::from_secs(self.passed);
        Moment { now, realtime: 1_000_000 + self.passed }
    }

    fn join(&mut self, key: u32, interfaces: &[u32]) {
        self.join_as(key, interfaces, |_| ());
    }

    fn join_as(&mut self, key: u32, interfaces: &[u32], change: impl FnOnce(&mut Record)) {
        let mut record = Record::new(MachineName::new(format!("vm{key}").as_bytes()).unwrap(), Class::Vm);
        record.uid = Some(0);
        record.interfaces = interfaces.to_vec();
        change(&mut record);
        self.vms.joined(key, &record, self.at().now);
    }

    fn lease(&mut self, leases: &[(&str, u8, u64)]) {
        let lease = |&(text, last, ends): &(&str, u8, u64)| Lease {
            ip: ip(text),
            mac: Some(mac(last)),
            ends: Some(1_000_000 + ends).filter(|_| ends != 0),
        };
        let entry = |lease| Entry { on: None, lease };
        self.written(leases.iter().map(lease).map(entry).collect());
    }

    /// All that is written down.
    fn written(&mut self, new: Vec<Entry>) {
        self.vms.set_leases(Changes { is_whole: true, gone: Vec::new(), new });
    }

    fn is_behind(&self, last: u8, port: u32) {
        self.world.ports.borrow_mut().insert(mac(last), port);
    }

    fn met(&self, device: u32, neighbours: &[(&str, u8)]) {
        let neighbours = neighbours.iter().map(|&(text, last)| Neighbour { ip: ip(text), mac: mac(last) });
        self.world.neighbours.borrow_mut().insert(device, neighbours.collect());
    }

    /// Lets time pass, does what is due, and returns what a name resolves to.
    fn told(&mut self, seconds: u64, key: u32) -> String {
        self.passed += seconds;
        let at = self.at();
        self.vms.begin(&self.world, at);
        loop {
            let resolved = &self.resolved;
            let rival = |key: u32, ip: IpAddr| {
                let others = resolved.iter().filter(|(other, _)| **other != key);
                let sources = others.filter_map(|(_, resolution)| {
                    let Addresses::Listed(list) = &resolution.addresses else { return None };
                    let place = list.iter().position(|address| address.ip == ip)?;
                    source_at(&resolution.from, place).filter(|source| *source != AddressSource::Neighbour)
                });
                sources.min()
            };
            match self.vms.step(&self.world, at, rival) {
                Step::Nothing => break,
                Step::Some => {}
                Step::Decided(key, resolution) => {
                    self.resolved.insert(key, resolution);
                }
            }
        }
        let Some(Resolution { addresses: Addresses::Listed(list), from, .. }) = self.resolved.get(&key)
        else {
            return "unknown".into();
        };
        let told = list.iter().zip(&**from).map(|(address, source)| format!("{address}={}", source.name()));
        told.collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn a_lease_is_the_machines_behind_whose_port_its_hardware_address_is() {
    let mut scene = Scene::new();
    scene.join(1, &[ONE]);
    scene.join(2, &[TWO]);
    scene.is_behind(1, ONE);
    scene.is_behind(2, TWO);
    scene.lease(&[("10.0.0.11", 1, 0), ("10.0.0.12", 2, 0), ("10.0.0.13", 3, 0)]);
    assert_eq!(scene.told(0, 1), "10.0.0.11=lease");
    assert_eq!(scene.told(0, 2), "10.0.0.12=lease");
    scene.lease(&[("10.0.0.14", 1, 0)]);
    assert_eq!(scene.told(0, 1), "10.0.0.14=lease");
    assert_eq!(scene.told(0, 2), "", "it was given back");
}

#[test]
fn a_lease_counts_until_it_ends_and_while_it_is_on_the_link() {
    let mut scene = Scene::new();
    scene.join(1, &[ONE]);
    scene.is_behind(1, ONE);
    scene.lease(&[("10.0.0.11", 1, 60), ("192.0.2.1", 1, 0), ("10.7.0.5", 1, 0), ("10.0.0.1", 1, 0)]);
    assert_eq!(scene.told(59, 1), "10.0.0.11=lease");
    assert_eq!(scene.vms.next_end(), Some(1_000_060));
    assert_eq!(scene.told(1, 1), "");
}

#[test]
fn a_lease_that_was_there_before_the_guest_spoke_is_found_when_it_speaks() {
    let mut scene = Scene::new();
    scene.lease(&[("10.0.0.11", 1, 0)]);
    scene.join(1, &[ONE]);
    assert_eq!(scene.told(0, 1), "");
    scene.is_behind(1, ONE);
    assert_eq!(scene.told(1, 1), "10.0.0.11=lease");
}

#[test]
fn on_an_interface_in_no_bridge_all_that_is_leased_is_the_machines() {
    let mut scene = Scene::new();
    scene.join(1, &[ROUTED]);
    let lease = Lease { ip: ip("10.7.0.5"), mac: None, ends: None };
    let elsewhere = Lease { ip: ip("10.0.0.5"), mac: None, ends: None };
    scene.written([lease, elsewhere].map(|lease| Entry { on: Some(ROUTED), lease }).into());
    assert_eq!(scene.told(0, 1), "10.7.0.5=lease");
}

#[test]
fn neighbours_are_looked_at_only_while_nothing_better_is_known() {
    let mut scene = Scene::new();
    scene.join(1, &[ONE]);
    scene.join(2, &[]);
    scene.is_behind(1, ONE);
    scene.met(BRIDGE, &[("10.0.0.11", 1), ("fe80::11", 1), ("10.0.0.40", 7)]);
    assert_eq!(scene.told(0, 1), "10.0.0.11=neighbour fe80::11%9=neighbour");
    let dumps = |scene: &Scene| *scene.world.dumps.borrow();
    assert_eq!((dumps(&scene), scene.vms.next_deadline().is_some()), (1, true));
    scene.lease(&[("10.0.0.12", 1, 0)]);
    assert_eq!(scene.told(0, 1), "10.0.0.12=lease");
    scene.told(10, 2);
    scene.vms.take_searches(scene.at().now);
    scene.told(10, 2);
    scene.vms.take_searches(scene.at().now);
    scene.vms.take_searches(scene.at().now + Duration::from_secs(60));
    assert_eq!((dumps(&scene), scene.vms.next_deadline()), (1, None), "nothing is due any more");
    assert_eq!(scene.told(60, 2), "unknown", "one of which nothing leads there");
}

#[test]
fn all_machines_of_a_bridge_are_looked_at_together_and_less_and_less_often() {
    let mut scene = Scene::new();
    scene.join(1, &[ONE]);
    scene.join(2, &[TWO]);
    let mut times = Vec::new();
    for second in 0..60 {
        let before = *scene.world.dumps.borrow();
        scene.told(u64::from(second != 0), 1);
        if *scene.world.dumps.borrow() != before {
            times.push(second);
        }
    }
    assert_eq!(times, [0, 1, 3, 7, 15, 30, 45]);
    assert_eq!(*scene.world.dumps.borrow(), times.len(), "one for both machines");
}

#[test]
fn a_guest_that_says_it_has_anothers_leased_address_does_not_get_it() {
    let mut scene = Scene::new();
    scene.join(1, &[ONE]);
    scene.join(2, &[TWO]);
    scene.is_behind(1, ONE);
    scene.is_behind(2, TWO);
    scene.lease(&[("10.0.0.11", 1, 0)]);
    // ARP: 10.0.0.11 and the host's own address are at the liar's hardware address.
    scene.met(BRIDGE, &[("10.0.0.11", 2), ("10.0.0.1", 2), ("192.0.2.7", 2), ("10.0.0.22", 2)]);
    assert_eq!(scene.told(0, 1), "10.0.0.11=lease");
    assert_eq!(scene.told(1, 2), "10.0.0.22=neighbour");
    assert_eq!(scene.told(15, 1), "10.0.0.11=lease");
}

#[test]
fn a_guest_that_sends_with_anothers_hardware_address_does_not_get_its_lease() {
    let mut scene = Scene::new();
    scene.join(1, &[ONE]);
    scene.join(2, &[TWO]);
    scene.is_behind(1, ONE);
    scene.lease(&[("10.0.0.11", 1, 0)]);
    assert_eq!(scene.told(0, 1), "10.0.0.11=lease");
    // The bridge believes the liar.
    scene.is_behind(1, TWO);
    scene.lease(&[("10.0.0.11", 1, 60)]);
    assert_eq!(scene.told(1, 1), "10.0.0.11=lease");
    assert_eq!(scene.told(15, 2), "");
}

#[test]
fn a_guest_with_3000_addresses_has_16_and_leaves_others_theirs() {
    let mut scene = Scene::new();
    scene.join(1, &[ONE]);
    scene.join(2, &[TWO]);
    scene.is_behind(1, ONE);
    scene.is_behind(2, TWO);
    scene.met(BRIDGE, &[("10.0.0.11", 1)]);
    assert_eq!(scene.told(0, 1), "10.0.0.11=neighbour");
    // The kernel has no room for anybody else's any more.
    let flood: Vec<_> = (0..3000_u32).map(|n| format!("10.0.0.{}", 20 + n % 200)).collect();
    let flood: Vec<_> = flood.iter().map(|text| (text.as_str(), 2)).collect();
    scene.met(BRIDGE, &flood);
    assert_eq!(scene.told(15, 2).split(' ').count(), MOST);
    assert_eq!(scene.told(15, 1), "10.0.0.11=neighbour");
    assert_eq!(scene.told(3600, 1), "", "an hour of silence");
}

#[test]
fn an_address_that_was_met_elsewhere_since_is_elsewhere() {
    let mut scene = Scene::new();
    scene.join(1, &[ONE]);
    scene.join(2, &[TWO]);
    scene.is_behind(1, ONE);
    scene.is_behind(2, TWO);
    scene.met(BRIDGE, &[("10.0.0.11", 1)]);
    scene.told(0, 1);
    scene.met(BRIDGE, &[("10.0.0.11", 2)]);
    assert_eq!((scene.told(15, 1), scene.told(0, 2)), (String::new(), "10.0.0.11=neighbour".into()));
}

#[test]
fn what_is_given_counts_at_once_and_until_it_is_taken_back() {
    let mut scene = Scene::new();
    scene.join(1, &[]);
    assert_eq!(scene.told(0, 1), "unknown");
    let given =
        ["10.0.0.11", "203.0.113.5", "fe80::5%9"].map(|text| Address::parse(text.as_bytes()).unwrap());
    scene.vms.give(1, given.to_vec());
    assert_eq!(scene.told(0, 1), "10.0.0.11=given 203.0.113.5=given fe80::5%9=given");
    scene.vms.give(1, vec![]);
    assert_eq!(scene.told(0, 1), "unknown");
}

#[test]
fn a_restart_loses_nothing_though_the_guests_are_silent() {
    let mut scene = Scene::new();
    scene.join_as(1, &[ONE], |record| {
        let list = ["203.0.113.5", "fd00::5"].map(|text| Address::parse(text.as_bytes()).unwrap());
        let from = [AddressSource::Given, AddressSource::Lease].as_slice().into();
        record.resolve_to(Resolution {
            addresses: Addresses::Listed(list.to_vec()),
            from,
            is_reached: false,
        });
    });
    scene.join_as(2, &[TWO], |record| {
        let list = vec![Address { ip: ip("10.0.0.12"), scope_id: 0 }];
        let from = [AddressSource::Lease].as_slice().into();
        record.resolve_to(Resolution { addresses: Addresses::Listed(list), from, is_reached: true });
    });
    scene.join_as(3, &[ROUTED], |record| {
        let list = vec![Address { ip: ip("10.7.0.3"), scope_id: 0 }];
        let from = [AddressSource::Neighbour].as_slice().into();
        record.resolve_to(Resolution { addresses: Addresses::Listed(list), from, is_reached: false });
    });
    assert_eq!(scene.told(0, 2), "10.0.0.12=lease", "nobody has read yet what is leased");
    // No bridge knows anybody's hardware address.
    scene.lease(&[("10.0.0.12", 2, 0), ("10.0.0.99", 9, 0)]);
    assert_eq!(scene.told(0, 1), "203.0.113.5=given");
    assert_eq!(scene.told(0, 2), "10.0.0.12=lease");
    assert_eq!(scene.told(0, 3), "10.7.0.3=neighbour");
}

#[test]
fn interfaces_are_found_only_where_nobody_told_and_no_user_could_lie() {
    let mut scene = Scene::new();
    scene.join(1, &[]);
    scene.join(2, &[TWO]);
    scene.join_as(3, &[], |record| record.uid = Some(1000));
    let mut searched = Vec::new();
    for second in 0..20 {
        let due = scene.vms.take_searches(scene.begin + Duration::from_secs(second));
        searched.extend(due.into_iter().map(|key| (second, key)));
    }
    assert_eq!(searched, [(0, 1), (1, 1), (5, 1)]);
    scene.is_behind(1, ONE);
    scene.lease(&[("10.0.0.11", 1, 0)]);
    assert!(scene.vms.found(1, &[ONE], scene.at().now));
    assert!(!scene.vms.found(1, &[ONE], scene.at().now), "nothing new");
    assert_eq!(scene.told(0, 1), "10.0.0.11=lease");
}

#[test]
fn a_port_that_a_user_claims_is_whose_it_is_otherwise() {
    let mut scene = Scene::new();
    scene.join_as(1, &[ONE], |record| record.uid = Some(1000));
    scene.is_behind(1, ONE);
    scene.lease(&[("10.0.0.11", 1, 0)]);
    assert_eq!(scene.told(0, 1), "10.0.0.11=lease");
    scene.join(2, &[ONE]);
    assert_eq!((scene.told(1, 2), scene.told(0, 1)), ("10.0.0.11=lease".into(), String::new()));
    scene.vms.left(2);
    scene.resolved.remove(&2);
    assert_eq!(scene.told(1, 1), "10.0.0.11=lease", "nobody else says so any more");
    scene.vms.left(1);
    assert!(scene.vms.is_empty() && !scene.vms.want_leases() && scene.vms.next_deadline().is_none());
}

#[test]
fn what_was_leased_before_counts_no_more_when_it_is_not_written_down() {
    let mut scene = Scene::new();
    scene.join_as(1, &[ONE], |record| {
        let list = vec![Address { ip: ip("10.0.0.12"), scope_id: 0 }];
        let from = [AddressSource::Lease].as_slice().into();
        record.resolve_to(Resolution { addresses: Addresses::Listed(list), from, is_reached: true });
    });
    assert_eq!(scene.told(0, 1), "10.0.0.12=lease");
    scene.lease(&[]);
    assert_eq!(scene.told(0, 1), "");
}

#[test]
fn what_was_refused_because_of_another_machine_is_told_when_that_gives_it_up() {
    let mut scene = Scene::new();
    let has = |addresses: &[&str]| Resolution {
        addresses: Addresses::Listed(
            addresses.iter().map(|text| Address { ip: ip(text), scope_id: 0 }).collect(),
        ),
        from: [AddressSource::Interface].as_slice().into(),
        is_reached: true,
    };
    // A container.
    scene.resolved.insert(7, has(&["10.0.0.11"]));
    scene.join(1, &[ONE]);
    scene.is_behind(1, ONE);
    scene.lease(&[("10.0.0.11", 1, 0)]);
    assert_eq!(scene.told(0, 1), "");
    scene.resolved.insert(7, has(&["10.0.0.70"]));
    scene.vms.rival_changed(7, &[ip("10.0.0.70")]);
    assert_eq!(scene.told(0, 1), "10.0.0.11=lease");
    scene.resolved.insert(7, has(&["10.0.0.11"]));
    scene.vms.rival_changed(7, &[ip("10.0.0.11")]);
    assert_eq!(scene.told(0, 1), "");
    scene.resolved.remove(&7);
    scene.vms.rival_changed(7, &[]);
    assert_eq!(scene.told(0, 1), "10.0.0.11=lease");
    scene.vms.left(1);
    assert!(scene.vms.considered.is_empty() && scene.vms.outdone.is_empty());
}

#[test]
fn a_lease_that_was_read_for_machines_that_are_gone_is_read_anew() {
    let mut scene = Scene::new();
    scene.join(1, &[ONE]);
    scene.is_behind(1, ONE);
    scene.lease(&[("10.0.0.11", 1, 0)]);
    scene.told(0, 1);
    scene.vms.left(1);
    assert!(!scene.vms.want_leases());
    scene.join(2, &[ONE]);
    assert_eq!(scene.told(0, 2), "", "nobody has read yet what is leased");
    scene.lease(&[("10.0.0.11", 1, 0)]);
    assert_eq!(scene.told(0, 2), "10.0.0.11=lease");
}
