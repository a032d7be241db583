use super::*;
use registry::{Address, AddressSource, Addresses, Class, IdKind, IdList, IdRange, Process, Resolution};

/// The table, without what it says of the case index: that has tests of its own (names.rs), and every machine is in it.
#[derive(Default)]
struct Table(Machines);

impl std::ops::Deref for Table {
    type Target = Machines;
    fn deref(&self) -> &Machines {
        &self.0
    }
}

impl std::ops::DerefMut for Table {
    fn deref_mut(&mut self) -> &mut Machines {
        &mut self.0
    }
}

impl Table {
    fn insert(&mut self, record: Record) -> (Key, Vec<Effect>) {
        let (key, effects) = self.0.insert(record);
        (key, but_names(effects))
    }

    fn remove(&mut self, key: Key) -> Option<(Record, Vec<Effect>)> {
        self.0.remove(key).map(|(record, effects)| (record, but_names(effects)))
    }
}

fn but_names(mut effects: Vec<Effect>) -> Vec<Effect> {
    effects.retain(|effect| !matches!(effect, Effect::IndexName(_)));
    effects
}

fn machine(name: &str, pid: i32) -> Record {
    let mut record = Record::new(MachineName::new(name.as_bytes()).unwrap(), Class::Container);
    record.leader = Some(Process { pid, pidfd_id: None });
    record.is_reached = true;
    // A part of a unit, so that it is in no index of units, groups and leaders.
    (record.unit, record.subgroup) = (Some("user@1.service".into()), Some(name.into()));
    record
}

fn resolved(addresses: &[&str], is_reached: bool) -> Resolution {
    Resolution {
        addresses: listed(addresses),
        from: [AddressSource::Interface].as_slice().into(),
        is_reached,
    }
}

fn listed(addresses: &[&str]) -> Addresses {
    Addresses::Listed(addresses.iter().map(|text| Address::parse(text.as_bytes()).unwrap()).collect())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_machine_is_found_by_name_leader_unit_and_group_until_it_is_removed() {
    let mut machines = Table::default();
    let mut record = machine("web", 7);
    (record.unit, record.subgroup) = (Some("web.service".into()), None);
    record.cgroup = Some("/machine.slice/web.service".into());
    let (key, effects) = machines.insert(record.clone());
    let group = String::from("/machine.slice/web.service");
    assert_eq!(
        effects,
        [
            Effect::Publish(key),
            Effect::LinkUnit("web.service".into(), record.name),
            Effect::IndexGroup(group.clone(), record.name)
        ]
    );
    assert_eq!(machines.groups().collect::<Vec<_>>(), [(group.as_str(), record.name)]);
    assert_eq!(machines.by_name(&record.name), Some(key));
    assert_eq!(machines.by_leader(7), Some(key));
    assert_eq!(machines.by_unit("web.service"), Some(key));
    assert_eq!(machines.by_group("/machine.slice/web.service/payload/x"), Some(key));
    assert_eq!(machines.by_group("/machine.slice/web.services"), None);

    let (removed, effects) = machines.remove(key).unwrap();
    assert_eq!(removed, record);
    assert_eq!(
        effects,
        [
            Effect::Withdraw(record.name),
            Effect::UnlinkUnit("web.service".into()),
            Effect::UnindexGroup(group)
        ]
    );
    assert_eq!(machines.groups().count(), 0);
    assert!(
        machines.len() == 0 && machines.by_name(&record.name).is_none() && machines.by_leader(7).is_none()
    );
    assert!(machines.by_unit("web.service").is_none());
    assert!(machines.by_group("/machine.slice/web.service").is_none());
    assert!(machines.remove(key).is_none());
}

#[test]
fn a_control_group_that_two_machines_share_is_neithers_until_one_goes() {
    let mut machines = Table::default();
    let in_group = |name, pid| {
        let mut record = machine(name, pid);
        record.unit = Some("user@1.service".into());
        record.subgroup = Some("app".into());
        record.cgroup = Some("/user.slice/user@1.service/app".into());
        record
    };
    let group = || String::from("/user.slice/user@1.service/app");
    let (web, _) = machines.insert(in_group("web", 7));
    let (db, effects) = machines.insert(in_group("db", 8));
    let leaders = [Effect::IndexLeaderOnly(7), Effect::IndexLeaderOnly(8)];
    assert_eq!(effects, [&[Effect::Publish(db)][..], &leaders, &[Effect::UnindexGroup(group())]].concat());
    let name_of = |machines: &Table, key| machines.get(key).unwrap().name;
    let of_leaders = |machines: &Table| [7, 8, 9].map(|pid| machines.leader_only(pid));
    assert_eq!(of_leaders(&machines), [Some(name_of(&machines, web)), Some(name_of(&machines, db)), None]);
    let (third, effects) = machines.insert(in_group("third", 9));
    assert_eq!(effects, [Effect::Publish(third), Effect::IndexLeaderOnly(9)]);
    assert_eq!(machines.leaders_only().count(), 3);
    assert_eq!(machines.leader_ended(third), [Effect::IndexLeaderOnly(9)]);
    assert_eq!(machines.leaders_only().count(), 2);
    machines.remove(third);
    assert_eq!((machines.by_group(&group()), machines.groups().count()), (None, 0));
    let (gone, effects) = machines.remove(db).unwrap();
    let web_name = machines.get(web).unwrap().name;
    assert_eq!(
        effects,
        [
            Effect::IndexLeaderOnly(8),
            Effect::Withdraw(gone.name),
            Effect::IndexGroup(group(), web_name),
            Effect::IndexLeaderOnly(7)
        ]
    );
    assert_eq!(machines.by_group(&group()), Some(web));
    assert_eq!(machines.leaders_only().count(), 0);
}

#[test]
fn of_a_users_machine_that_may_not_say_whose_its_group_is_the_leader_is_known() {
    let mut machines = Table::default();
    let mut record = machine("web", 7);
    (record.unit, record.subgroup) = (Some("a.service".into()), None);
    (record.cgroup, record.uid) = (Some("/system.slice/a.service".into()), Some(1000));
    let (key, effects) = machines.insert(record.clone());
    assert_eq!(effects, [Effect::Publish(key), Effect::IndexLeaderOnly(7)]);
    assert_eq!(machines.leaders_only().collect::<Vec<_>>(), [(7, record.name)]);
    let (_, effects) = machines.remove(key).unwrap();
    assert!(effects.contains(&Effect::IndexLeaderOnly(7)), "{effects:?}");
    assert_eq!(machines.leader_only(7), None);
}

#[test]
fn name_leader_and_unit_belong_to_one_machine_alone() {
    let mut machines = Table::default();
    let mut first = machine("web", 7);
    (first.unit, first.subgroup) = (Some("web.service".into()), None);
    let (key, _) = machines.insert(first);
    assert_eq!(machines.conflict(&machine("web", 8)), Some(Conflict::Name(key)));
    assert_eq!(machines.conflict(&machine("db", 7)), Some(Conflict::Leader(key)));
    let mut same_unit = machine("db", 8);
    (same_unit.unit, same_unit.subgroup) = (Some("web.service".into()), None);
    assert_eq!(machines.conflict(&same_unit), Some(Conflict::Unit(key)));
    same_unit.subgroup = Some("payload".into());
    assert_eq!(machines.conflict(&same_unit), Some(Conflict::Unit(key)), "systemd-nspawn's own subgroup");
    same_unit.subgroup = Some("machine.slice/db".into());
    assert_eq!(machines.conflict(&same_unit), None, "in a subgroup many share a unit");
    assert_eq!(machines.conflict(&machine("db", 8)), None);
}

#[test]
fn a_machine_in_a_subgroup_neither_owns_nor_gives_up_the_unit() {
    let mut machines = Table::default();
    let mut nested = machine("nested", 8);
    (nested.unit, nested.subgroup) = (Some("user@1000.service".into()), Some("machine.slice/nested".into()));
    let (key, effects) = machines.insert(nested.clone());
    assert_eq!(effects, [Effect::Publish(key)]);
    assert_eq!(machines.by_unit("user@1000.service"), None);
    assert_eq!(machines.remove(key).unwrap().1, [Effect::Withdraw(nested.name)]);
}

#[test]
fn a_users_machine_is_in_no_index_of_names_addresses_and_groups() {
    let mut machines = Table::default();
    let mut record = machine("github.com", 7);
    record.uid = Some(1000);
    record.addresses = listed(&["10.0.0.1"]);
    record.uid_map = vec![IdRange::parse(b"0:1048576:65536").unwrap()];
    record.unit = Some("shared.service".into());
    record.cgroup = Some("/system.slice/shared.service/user-1000.slice".into());
    record.subgroup = Some("user-1000.slice".into());
    let (key, effects) = machines.insert(record.clone());
    // But that who leads it does so.
    assert_eq!(effects, [Effect::Publish(key), Effect::IndexLeaderOnly(7)]);
    assert_eq!(machines.set_addresses(key, resolved(&["10.0.0.2"], true)), [Effect::Publish(key)]);
    assert_eq!(machines.index().count() + machines.groups().count() + machines.units().count(), 0);
    // Nor does it make what another one has ambiguous.
    let mut public = machine("web", 8);
    public.addresses = listed(&["10.0.0.2"]);
    let name = public.name;
    let (web, effects) = machines.insert(public);
    assert_eq!(effects, [Effect::Publish(web), Effect::IndexAddress(ip("10.0.0.2"), name)]);
    assert_eq!(machines.remove(key).unwrap().1, [Effect::IndexLeaderOnly(7), Effect::Withdraw(record.name)]);

    // An administrator's word is enough.
    record.is_public = true;
    let (key, effects) = machines.insert(record.clone());
    assert!(effects.contains(&Effect::IndexAddress(ip("10.0.0.1"), record.name)), "{effects:?}");
    assert_eq!((machines.groups().count(), machines.id_lists(IdKind::User).count()), (1, 1));
    machines.remove(key);
}

#[test]
fn a_users_unit_leads_to_the_users_machine_below_the_users_own_slice_alone() {
    for (slices, subgroup, leads) in [
        ("/user.slice/user-1000.slice", None, true),
        ("/user.slice/user-1000.slice/user-1000-apps.slice", None, true),
        ("/user.slice/user-1000.slice", Some("payload"), true),
        ("/user.slice/user-1001.slice", None, false),
        ("/user.slice/user-10000.slice", None, false),
        ("/machine.slice", None, false),
        ("", None, false),
    ] {
        let mut machines = Table::default();
        let mut record = machine("web", 7);
        (record.uid, record.unit) = (Some(1000), Some("box.scope".into()));
        record.subgroup = subgroup.map(str::to_owned);
        record.cgroup = Some([slices, "box.scope"].into_iter().chain(subgroup).collect::<Vec<_>>().join("/"));
        let (key, effects) = machines.insert(record.clone());
        let linked = effects.contains(&Effect::LinkUnit("box.scope".into(), record.name));
        let indexed = machines.groups().count() == 1 && machines.units().count() == 1;
        assert_eq!((linked, indexed), (leads, leads), "{:?}", record.cgroup);
        machines.remove(key);
        assert_eq!(machines.groups().count(), 0);
    }
}

#[test]
fn a_name_for_everybody_takes_the_place_of_a_users_own() {
    let mut machines = Table::default();
    let owned = |name, pid, uid| {
        let mut record = machine(name, pid);
        record.uid = uid;
        record
    };
    let (key, _) = machines.insert(owned("web", 7, Some(1000)));
    assert_eq!(machines.conflict(&owned("web", 8, Some(1001))), Some(Conflict::Name(key)));
    assert_eq!(machines.conflict(&owned("web", 8, Some(1000))), Some(Conflict::Name(key)));
    assert_eq!(machines.conflict(&owned("web", 8, Some(0))), None);
    assert_eq!(machines.conflict(&owned("web", 7, Some(0))), Some(Conflict::Leader(key)));
    machines.remove(key);
    // With the unit that goes by the name; no other's unit is taken.
    let in_scope = |name, pid, uid| {
        let mut record = owned(name, pid, uid);
        (record.unit, record.subgroup) = (Some("machine-web.scope".into()), None);
        record
    };
    let (key, _) = machines.insert(in_scope("web", 7, Some(1000)));
    assert_eq!(machines.conflict(&in_scope("web", 8, Some(0))), None);
    assert_eq!(machines.giving_way(&in_scope("web", 8, Some(0))), Some(key));
    assert_eq!(machines.conflict(&in_scope("db", 8, Some(0))), Some(Conflict::Unit(key)));
    assert_eq!(machines.conflict(&in_scope("web", 8, Some(1001))), Some(Conflict::Name(key)));
    assert_eq!(machines.giving_way(&in_scope("web", 8, Some(1001))), None);
    machines.remove(key);
    let (key, _) = machines.insert(owned("web", 7, Some(0)));
    assert_eq!(machines.conflict(&owned("web", 8, Some(0))), Some(Conflict::Name(key)));
    assert_eq!(machines.conflict(&owned("web", 8, Some(1000))), Some(Conflict::Name(key)));
}

#[test]
fn an_address_is_indexed_while_one_machine_alone_has_it() {
    let mut machines = Table::default();
    let mut a = machine("a", 1);
    a.addresses = listed(&["10.0.0.1", "fd00::1"]);
    let a_name = a.name;
    let (a, effects) = machines.insert(a);
    assert_eq!(
        effects,
        [
            Effect::Publish(a),
            Effect::IndexAddress(ip("10.0.0.1"), a_name),
            Effect::IndexAddress(ip("fd00::1"), a_name)
        ]
    );
    let mut b = machine("b", 2);
    b.addresses = listed(&["10.0.0.1"]);
    let b_name = b.name;
    let (b, effects) = machines.insert(b);
    assert_eq!(effects, [Effect::Publish(b), Effect::IndexSharedAddress(ip("10.0.0.1"))]);
    assert_eq!(machines.index().collect::<Vec<_>>(), [(ip("10.0.0.1"), None), (ip("fd00::1"), Some(a_name))]);

    let effects = machines.set_addresses(a, resolved(&["10.0.0.9"], true));
    assert_eq!(
        effects,
        [
            Effect::Publish(a),
            Effect::IndexAddress(ip("10.0.0.1"), b_name),
            Effect::UnindexAddress(ip("fd00::1")),
            Effect::IndexAddress(ip("10.0.0.9"), a_name)
        ]
    );
    assert!(machines.set_addresses(a, resolved(&["10.0.0.9"], true)).is_empty(), "nothing new");
    assert_eq!(
        machines.remove(b).unwrap().1,
        [Effect::Withdraw(b_name), Effect::UnindexAddress(ip("10.0.0.1"))]
    );
}

#[test]
fn an_address_leads_to_a_machine_only_where_the_host_reaches_it_there() {
    let mut machines = Table::default();
    let mut record = machine("web", 1);
    (record.addresses, record.is_reached) = (listed(&["10.0.0.1", "fe80::1%5"]), false);
    let name = record.name;
    let (key, effects) = machines.insert(record);
    assert_eq!(effects, [Effect::Publish(key)]);
    // What is of one link may be anybody's on another, and who asks says no link.
    let effects = machines.set_addresses(key, resolved(&["10.0.0.1", "fe80::1%5"], true));
    assert_eq!(effects, [Effect::Publish(key), Effect::IndexAddress(ip("10.0.0.1"), name)]);
    assert_eq!(
        machines.set_addresses(key, resolved(&["10.0.0.1"], false)),
        [Effect::Publish(key), Effect::UnindexAddress(ip("10.0.0.1"))]
    );
}

#[test]
fn a_neighbour_is_in_no_index() {
    let mut machines = Table::default();
    let (key, _) = machines.insert(machine("vm", 1));
    let mut resolution = resolved(&["10.0.0.1", "10.0.0.2", "fd00::1"], true);
    resolution.from =
        [AddressSource::Given, AddressSource::Lease, AddressSource::Neighbour].as_slice().into();
    machines.set_addresses(key, resolution);
    let indexed: Vec<_> = machines.index().map(|(ip, _)| ip).collect();
    assert_eq!((indexed.len(), indexed.contains(&ip("fd00::1"))), (2, false));
}

#[test]
fn a_reserved_name_is_led_to_by_no_address() {
    let mut machines = Table::default();
    let hosts = |text: &str| Reserved::new(["server"], text);
    assert!(machines.set_reserved(hosts("10.1.1.1 mail\n")).is_empty());
    let mut record = machine("mail", 1);
    record.addresses = listed(&["10.0.0.1"]);
    let name = record.name;
    let (key, effects) = machines.insert(record);
    assert_eq!(effects, [Effect::Publish(key)]);
    assert_eq!(machines.set_reserved(hosts("")), [Effect::IndexAddress(ip("10.0.0.1"), name)]);
    assert_eq!(machines.set_reserved(hosts("10.0.0.1 mail\n")), []);
    assert_eq!(machines.set_reserved(Reserved::new(["mail"], "")), [Effect::UnindexAddress(ip("10.0.0.1"))]);
    let mut server = machine("server", 2);
    server.addresses = listed(&["10.0.0.1"]);
    let (server, effects) = machines.insert(server);
    assert_eq!(effects.len(), 2, "{effects:?}");
    assert_eq!(machines.remove(key).unwrap().1, [Effect::Withdraw(name)]);
    assert_eq!(machines.set_reserved(hosts("")), [Effect::UnindexAddress(ip("10.0.0.1"))]);
    assert_eq!(machines.remove(server).unwrap().1.len(), 1);
}

fn map(text: &str) -> Vec<IdRange> {
    text.split_whitespace().map(|range| IdRange::parse(range.as_bytes()).unwrap()).collect()
}

fn mapped(name: &str, pid: i32, uids: &str, gids: &str) -> Record {
    let mut record = machine(name, pid);
    (record.uid_map, record.gid_map) = (map(uids), map(gids));
    record
}

fn users(page: u16) -> Effect {
    Effect::IndexIds(IdKind::User, IdList::Page(page))
}

fn groups(page: u16) -> Effect {
    Effect::IndexIds(IdKind::Group, IdList::Page(page))
}

fn list(machines: &Machines, page: u16) -> Option<String> {
    machines.id_list(IdKind::User, IdList::Page(page))
}

#[test]
fn the_pages_of_a_map_list_its_ranges() {
    let mut machines = Table::default();
    let (a, effects) = machines.insert(mapped("a", 1, "0:100000:65536 70000:300000:1", "0:200000:10"));
    assert_eq!(effects, [Effect::Publish(a), users(1), users(2), users(4), groups(3)]);
    assert_eq!(list(&machines, 1).as_deref(), Some("100000:65536:0:a;"));
    assert_eq!(list(&machines, 4).as_deref(), Some("300000:1:70000:a;"));
    assert_eq!(machines.id_list(IdKind::Group, IdList::Page(3)).as_deref(), Some("200000:10:0:a;"));
    assert_eq!(list(&machines, 3), None);
    let (b, effects) = machines.insert(mapped("b", 2, "0:165536:65536", ""));
    assert_eq!(effects, [Effect::Publish(b), users(2), users(3)]);
    assert_eq!(list(&machines, 2).as_deref(), Some("100000:65536:0:a;165536:65536:0:b;"));
    assert_eq!(machines.id_lists(IdKind::User).count(), 4);
    let effects = machines.remove(a).unwrap().1;
    let withdrawn = Effect::Withdraw(MachineName::new(b"a").unwrap());
    assert_eq!(effects, [users(1), users(2), users(4), groups(3), withdrawn], "no entry outlives the record");
    assert_eq!((list(&machines, 1), list(&machines, 4)), (None, None));
    assert_eq!(list(&machines, 2).as_deref(), Some("165536:65536:0:b;"));
    machines.remove(b);
    assert_eq!(machines.id_lists(IdKind::User).count() + machines.id_lists(IdKind::Group).count(), 0);
}

#[test]
fn a_list_names_the_leaders_whose_pidfds_have_identities() {
    let mut machines = Table::default();
    let mut record = mapped("a", 4, "0:100000:10", "");
    record.leader = Some(Process { pid: 4, pidfd_id: Some(77) });
    machines.insert(record);
    machines.insert(mapped("b", 5, "0:100010:10", ""));
    assert_eq!(list(&machines, 1).as_deref(), Some("100000:10:0:a:4:77;100010:10:0:b;"));
}

#[test]
fn ids_of_the_host_and_maps_of_virtual_machines_are_not_indexed() {
    let mut machines = Table::default();
    let (a, effects) = machines.insert(mapped("a", 1, "0:0:4294967295", "0:1000:1 1:65000:1000"));
    assert_eq!(effects, [Effect::Publish(a), groups(1)]);
    let mut vm = mapped("vm", 2, "0:100000:65536", "0:100000:65536");
    vm.class = Class::Vm;
    let (vm, effects) = machines.insert(vm);
    assert_eq!(effects, [Effect::Publish(vm)]);
    assert_eq!(machines.set_maps(vm, map("0:200000:65536"), Vec::new()), [Effect::Publish(vm)]);
}

#[test]
fn a_machine_of_millions_of_ids_is_in_the_wide_list_and_in_the_pages_of_others() {
    let wide = || Effect::IndexIds(IdKind::User, IdList::Wide);
    let mut machines = Table::default();
    let (web, _) = machines.insert(mapped("web", 1, "0:2000000:10", ""));
    let (far, _) = machines.insert(mapped("far", 2, "0:4000000000:10", ""));
    let (big, effects) = machines.insert(mapped("big", 3, "0:1000000:3000000000", ""));
    assert_eq!(effects, [Effect::Publish(big), users(30), wide()]);
    assert_eq!(list(&machines, 30).as_deref(), Some("2000000:10:0:web;1000000:3000000000:0:big;"));
    assert_eq!(machines.id_list(IdKind::User, IdList::Wide).as_deref(), Some("1000000:3000000000:0:big;"));
    machines.remove(web);
    assert_eq!(list(&machines, 30), None, "nobody else is there, so that the wide list is read");
    let (web, _) = machines.insert(mapped("web", 1, "0:2000000:10", ""));
    assert_eq!(machines.remove(big).unwrap().1[..2], [users(30), wide()]);
    assert_eq!(list(&machines, 30).as_deref(), Some("2000000:10:0:web;"));
    assert_eq!(machines.id_list(IdKind::User, IdList::Wide), None);
    machines.remove(web);
    machines.remove(far);
    let (_, effects) = machines.insert(mapped("edge", 4, "0:65536:16777216", ""));
    assert_eq!(effects.len(), 1 + 256, "256 pages are not too many");
    let (many, effects) =
        machines.insert(mapped("many", 5, "0:4000000000:8388608 8388608:3000000000:8388609", ""));
    assert_eq!(effects, [Effect::Publish(many), wide()], "together they are");
}

#[test]
fn of_many_machines_with_the_same_range_two_are_named() {
    let mut machines = Table::default();
    let keys: Vec<_> = (1..=10_000)
        .map(|pid| {
            let (key, effects) = machines.insert(mapped(&format!("m{pid}"), pid, "0:100000:10", ""));
            assert_eq!(effects.len(), if pid <= 2 { 2 } else { 1 }, "{pid}");
            key
        })
        .collect();
    assert_eq!(list(&machines, 1).as_deref(), Some("100000:10:0:m1;100000:10:0:m2;"));
    assert_eq!(machines.remove(keys[7]).unwrap().1.len(), 1);
    assert_eq!(machines.remove(keys[0]).unwrap().1[..1], [users(1)]);
    assert_eq!(list(&machines, 1).as_deref(), Some("100000:10:0:m2;100000:10:0:m3;"));
}

#[test]
fn maps_that_are_written_later_are_taken_in() {
    let mut machines = Table::default();
    let (key, effects) = machines.insert(mapped("a.b", 1, "", ""));
    assert_eq!(effects, [Effect::Publish(key)]);
    let alias = Alias::of(&machines.get(key).unwrap().name);
    let effects = machines.set_maps(key, map("0:100000:10"), Vec::new());
    assert_eq!(effects, [Effect::Publish(key), Effect::IndexAlias(alias), users(1)]);
    let effects = machines.set_maps(key, map("0:100000:10"), map("0:100000:10"));
    assert_eq!(effects, [Effect::Publish(key), Effect::IndexAlias(alias), users(1), groups(1)]);
    assert!(machines.set_maps(key, map("0:100000:10"), map("0:100000:10")).is_empty(), "nothing new");
    assert_eq!(machines.get(key).unwrap().gid_map, map("0:100000:10"));
    assert!(machines.set_maps(Key::of_number(77), Vec::new(), Vec::new()).is_empty());
}

#[test]
fn an_alias_stands_for_the_only_machine_that_needs_it() {
    let mut machines = Table::default();
    let (short, _) = machines.insert(mapped("short", 1, "0:100000:65536", ""));
    assert_eq!(machines.aliases().count(), 0);
    let (dotted, effects) = machines.insert(mapped("a.b", 2, "0:200000:65536", ""));
    let name = machines.get(dotted).unwrap().name;
    let alias = Alias::of(&name);
    assert_eq!(effects, [Effect::Publish(dotted), Effect::IndexAlias(alias), users(3), users(4)]);
    assert_eq!(machines.alias(&alias), Some(&name));
    let (namesake, effects) = machines.insert(machine(alias.as_str(), 3));
    assert_eq!(effects, [Effect::Publish(namesake), Effect::IndexAlias(alias)]);
    assert_eq!(machines.alias(&alias), None, "it is a machine's own name");
    assert_eq!(machines.remove(namesake).unwrap().1[1..], [Effect::IndexAlias(alias)]);
    assert_eq!(machines.alias(&alias), Some(&name));
    assert_eq!(machines.remove(dotted).unwrap().1[..3], [Effect::IndexAlias(alias), users(3), users(4)]);
    assert_eq!((machines.alias(&alias), machines.aliases().count()), (None, 0));
    machines.remove(short);
    // Twenty-two bytes and five digits make a user name, six do not; without ids of its own nothing needs one.
    for (name, uids, needs) in [
        ("name-of-twenty-two-byt", "0:100000:65536", false),
        ("name-of-twenty-two-byt", "0:100000:100001", true),
        ("a.b", "0:0:4294967295", false),
    ] {
        let (key, _) = machines.insert(mapped(name, 4, uids, ""));
        assert_eq!(machines.aliases().count() == 1, needs, "{name} {uids}");
        machines.remove(key);
    }
}

#[test]
fn two_machines_with_one_alias_have_none() {
    // Found by search: both hashes begin with 585c0a4a.
    let mut machines = Table::default();
    let (first, _) = machines.insert(mapped("m42124.example.com", 1, "0:100000:10", ""));
    let alias = Alias::of(&machines.get(first).unwrap().name);
    assert!(machines.alias(&alias).is_some());
    let (second, effects) = machines.insert(mapped("m109059.example.com", 2, "0:200000:10", ""));
    assert_eq!(effects[1], Effect::IndexAlias(alias));
    assert_eq!(machines.alias(&alias), None);
    machines.remove(second);
    assert_eq!(machines.alias(&alias).map(MachineName::as_str), Some("m42124.example.com"));
}

#[test]
fn a_walk_through_all_machines_survives_their_removal() {
    let mut machines = Table::default();
    let keys: Vec<_> = (1..5).map(|pid| machines.insert(machine(&format!("m{pid}"), pid)).0).collect();
    let (first, _) = machines.after(None).unwrap();
    assert_eq!(first, keys[0]);
    machines.remove(keys[0]);
    machines.remove(keys[1]);
    assert_eq!(machines.after(Some(first)).map(|(key, _)| key), Some(keys[2]));
    assert_eq!(machines.after(Some(keys[3])).map(|(key, _)| key), None);
    assert_eq!(machines.iter().count(), 2);
}

#[test]
fn a_machine_whose_leader_has_ended_is_known_by_name_and_unit_alone() {
    let mut machines = Table::default();
    let mut record = machine("web", 7);
    (record.unit, record.subgroup) = (Some("machine-web.scope".into()), None);
    record.cgroup = Some("/machine.slice/machine-web.scope".into());
    record.addresses = listed(&["10.0.0.1"]);
    record.uid_map = map("0:100000:65536");
    let (key, _) = machines.insert(record.clone());
    let effects = machines.leader_ended(key);
    assert!(effects.contains(&Effect::UnindexAddress(ip("10.0.0.1"))), "{effects:?}");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Publish(_) | Effect::Withdraw(_))));
    assert!(machines.has_ended(key) && machines.leader_ended(key).is_empty(), "once");
    assert_eq!((machines.by_leader(7), machines.holders(IdKind::User, 100_000).count()), (None, 0));
    assert_eq!(machines.by_name(&record.name), Some(key));
    assert_eq!(machines.by_group("/machine.slice/machine-web.scope/below"), Some(key));
    assert_eq!(machines.set_addresses(key, resolved(&["10.0.0.2"], true)), []);
    assert_eq!(machines.set_maps(key, map("0:200000:10"), map("0:200000:10")), []);

    // The number of its leader is another one's by now.
    let (heir, _) = machines.insert(machine("other", 7));
    let (old, effects) = machines.remove(key).unwrap();
    assert_eq!(old.leader, record.leader, "it is still told who led it");
    assert!(effects.contains(&Effect::UnlinkUnit("machine-web.scope".into())));
    assert_eq!(machines.by_leader(7), Some(heir));
    assert!(!machines.has_ended(key));
}

#[test]
fn a_machine_that_was_left_over_by_an_earlier_run_is_in_no_index_either() {
    let mut machines = Table::default();
    let (heir, _) = machines.insert(machine("other", 7));
    let mut record = machine("web", 7);
    (record.unit, record.subgroup) = (Some("machine-web.scope".into()), None);
    record.addresses = listed(&["10.0.0.1"]);
    let (key, _) = machines.insert_ended(record.clone());
    assert_eq!((machines.by_leader(7), machines.index().count()), (Some(heir), 0));
    assert_eq!(machines.get(key), Some(&record));
    assert!(machines.has_ended(key));
}

#[test]
fn a_machine_without_unit_and_group_is_found_by_its_leader_alone() {
    let mut machines = Table::default();
    let alone = |name, pid| Record { unit: None, subgroup: None, ..machine(name, pid) };
    let (lone, effects) = machines.insert(alone("lone", 7));
    let name = machines.get(lone).unwrap().name;
    assert_eq!(effects, [Effect::Publish(lone), Effect::IndexLeader(7, name)]);
    let mut in_group = alone("web", 8);
    in_group.cgroup = Some("/machines/web".into());
    let mut in_unit = alone("db", 9);
    in_unit.unit = Some("db.service".into());
    machines.insert(in_group);
    machines.insert(in_unit);
    assert_eq!([7, 8, 9].map(|pid| machines.by_leader_alone(pid)), [Some(lone), None, None]);
    assert_eq!(machines.lone_leaders().collect::<Vec<_>>(), [(7, name)]);
    let (_, effects) = machines.remove(lone).unwrap();
    assert_eq!(effects, [Effect::Withdraw(name), Effect::UnindexLeader(7)]);
    assert!(machines.by_leader_alone(7).is_none() && machines.lone_leaders().next().is_none());
}

#[test]
fn the_machines_of_a_user_are_counted() {
    let mut machines = Table::default();
    let of = |name, pid, uid| {
        let mut record = machine(name, pid);
        record.uid = Some(uid);
        record
    };
    let (one, _) = machines.insert(of("one", 1, 1000));
    machines.insert(of("two", 2, 1000));
    machines.insert(of("other", 3, 1001));
    machines.leader_ended(one);
    assert_eq!((machines.count_of(1000), machines.count_of(1001), machines.count_of(0)), (2, 1, 0));
    machines.remove(one);
    machines.remove(one);
    assert_eq!(machines.count_of(1000), 1);
}
