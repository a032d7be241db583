use super::*;
use registry::{Address, Class, Process};

fn machine(name: &str, pid: i32) -> Record {
    let mut record = Record::new(MachineName::new(name.as_bytes()).unwrap(), Class::Container);
    record.leader = Some(Process { pid, pidfd_id: None });
    record
}

fn listed(addresses: &[&str]) -> Addresses {
    Addresses::Listed(addresses.iter().map(|text| Address::parse(text.as_bytes()).unwrap()).collect())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_machine_is_found_by_name_leader_unit_and_group_until_it_is_removed() {
    let mut machines = Machines::default();
    let mut record = machine("web", 7);
    record.unit = Some("web.service".into());
    record.cgroup = Some("/machine.slice/web.service".into());
    let (key, effects) = machines.insert(record.clone());
    assert_eq!(effects, [Effect::Publish(key), Effect::LinkUnit("web.service".into(), record.name)]);
    assert_eq!(machines.by_name(&record.name), Some(key));
    assert_eq!(machines.by_leader(7), Some(key));
    assert_eq!(machines.by_unit("web.service"), Some(key));
    assert_eq!(machines.by_group("/machine.slice/web.service/payload/x"), Some(key));
    assert_eq!(machines.by_group("/machine.slice/web.services"), None);

    let (removed, effects) = machines.remove(key).unwrap();
    assert_eq!(removed, record);
    assert_eq!(effects, [Effect::Withdraw(record.name), Effect::UnlinkUnit("web.service".into())]);
    assert!(
        machines.is_empty() && machines.by_name(&record.name).is_none() && machines.by_leader(7).is_none()
    );
    assert!(machines.by_unit("web.service").is_none());
    assert!(machines.by_group("/machine.slice/web.service").is_none());
    assert!(machines.remove(key).is_none());
}

#[test]
fn name_leader_and_unit_belong_to_one_machine_alone() {
    let mut machines = Machines::default();
    let mut first = machine("web", 7);
    first.unit = Some("web.service".into());
    let (key, _) = machines.insert(first);
    assert_eq!(machines.conflict(&machine("web", 8)), Some(Conflict::Name(key)));
    assert_eq!(machines.conflict(&machine("db", 7)), Some(Conflict::Leader(key)));
    let mut same_unit = machine("db", 8);
    same_unit.unit = Some("web.service".into());
    assert_eq!(machines.conflict(&same_unit), Some(Conflict::Unit(key)));
    same_unit.subgroup = Some("payload".into());
    assert_eq!(machines.conflict(&same_unit), Some(Conflict::Unit(key)), "systemd-nspawn's own subgroup");
    same_unit.subgroup = Some("machine.slice/db".into());
    assert_eq!(machines.conflict(&same_unit), None, "in a subgroup many share a unit");
    assert_eq!(machines.conflict(&machine("db", 8)), None);
}

#[test]
fn a_machine_in_a_subgroup_neither_owns_nor_gives_up_the_unit() {
    let mut machines = Machines::default();
    let mut nested = machine("nested", 8);
    (nested.unit, nested.subgroup) = (Some("user@1000.service".into()), Some("machine.slice/nested".into()));
    let (key, effects) = machines.insert(nested.clone());
    assert_eq!(effects, [Effect::Publish(key)]);
    assert_eq!(machines.by_unit("user@1000.service"), None);
    assert_eq!(machines.remove(key).unwrap().1, [Effect::Withdraw(nested.name)]);
}

#[test]
fn an_address_is_indexed_while_one_machine_alone_has_it() {
    let mut machines = Machines::default();
    let mut a = machine("a", 1);
    a.addresses = listed(&["10.0.0.1", "fe80::1%5"]);
    let a_name = a.name;
    let (a, effects) = machines.insert(a);
    assert_eq!(
        effects,
        [
            Effect::Publish(a),
            Effect::IndexAddress(ip("10.0.0.1"), a_name),
            Effect::IndexAddress(ip("fe80::1"), a_name)
        ]
    );
    let mut b = machine("b", 2);
    b.addresses = listed(&["10.0.0.1"]);
    let b_name = b.name;
    let (b, effects) = machines.insert(b);
    assert_eq!(effects, [Effect::Publish(b), Effect::UnindexAddress(ip("10.0.0.1"))]);
    assert_eq!(machines.index().collect::<Vec<_>>(), [(ip("fe80::1"), a_name)]);

    let effects = machines.set_addresses(a, listed(&["10.0.0.9"]));
    assert_eq!(
        effects,
        [
            Effect::Publish(a),
            Effect::IndexAddress(ip("10.0.0.1"), b_name),
            Effect::UnindexAddress(ip("fe80::1")),
            Effect::IndexAddress(ip("10.0.0.9"), a_name)
        ]
    );
    assert!(machines.set_addresses(a, listed(&["10.0.0.9"])).is_empty(), "nothing new");
    assert_eq!(
        machines.remove(b).unwrap().1,
        [Effect::Withdraw(b_name), Effect::UnindexAddress(ip("10.0.0.1"))]
    );
}

#[test]
fn a_walk_through_all_machines_survives_their_removal() {
    let mut machines = Machines::default();
    let keys: Vec<_> = (1..5).map(|pid| machines.insert(machine(&format!("m{pid}"), pid)).0).collect();
    let (first, _) = machines.after(None).unwrap();
    assert_eq!(first, keys[0]);
    machines.remove(keys[0]);
    machines.remove(keys[1]);
    assert_eq!(machines.after(Some(first)).map(|(key, _)| key), Some(keys[2]));
    assert_eq!(machines.after(Some(keys[3])).map(|(key, _)| key), None);
    assert_eq!(machines.iter().count(), 2);
}
