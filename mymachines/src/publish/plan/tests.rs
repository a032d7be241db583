use super::*;

const NOW: u64 = 1000;

fn name(text: &str) -> DnsName {
    DnsName::new(text).unwrap()
}

fn host(text: &str) -> Host {
    Host::new(text).unwrap()
}

/// A zone in which alpha, who plans, and beta are known until 1500, and omega has expired.
fn view(lines: &str, reverse: &str) -> View {
    let soa = |zone: &str| format!("{zone}. 60 IN SOA ns. root. 7 60 60 60 60\n");
    let hosts = ["alpha", "beta", "omega"].map(|host| {
        let expires = if host == "omega" { 900 } else { 1500 };
        let ownership = Ownership { id: 1, run: 2, expires };
        format!("{host}._mymachines.z. 30 IN TXT \"{ownership}\"\n")
    });
    let read = |zone: &str, lines: &str| {
        Zone::read(&name(zone), &format!("{}{lines}{}", soa(zone), soa(zone))).unwrap()
    };
    View {
        host: host("alpha"),
        zone: read("z", &format!("{}{lines}", hosts.concat())),
        reverse: vec![read("9.10.in-addr.arpa", reverse)],
    }
}

fn record(name: &str, host: &str, address: &str) -> String {
    format!("{name}.z. 30 IN A {address}\n{name}.z. 30 IN TXT \"mymachines host={host}\"\n")
}

fn pointer(address: &str, name: &str) -> String {
    format!("{}. 30 IN PTR {name}.\n", DnsName::of_address(address.parse().unwrap()))
}

fn wanted(names: &[(&str, &[&str])]) -> Wanted {
    let names = names.iter().map(|(text, addresses)| {
        (name(text), addresses.iter().map(|address| address.parse().unwrap()).collect())
    });
    Wanted { names: names.collect(), complaints: BTreeSet::new() }
}

/// All that is done until nothing is left to do.
fn done(view: &mut View, wanted: Option<&Wanted>) -> (String, Vec<String>) {
    let mut text = String::new();
    loop {
        let plan = plan(view, wanted, &BTreeSet::new(), NOW);
        if plan.updates.is_empty() {
            return (text, plan.complaints.into_iter().collect());
        }
        for update in &plan.updates {
            text.push_str(&script(update, view, 30));
            update.changes.iter().for_each(|change| view.apply(change));
        }
    }
}

const ALPHA: &str = "prereq yxrrset alpha._mymachines.z. IN TXT \"mymachines id=0000000000000001 run=0000000000000002 expires=1500\"\n";
const OMEGA: &str = "prereq yxrrset omega._mymachines.z. IN TXT \"mymachines id=0000000000000001 run=0000000000000002 expires=900\"\n";

#[test]
fn a_new_machine_gets_its_name_and_its_address_leads_to_it() {
    let mut view = view("", "");
    view.zone.nodes.remove(&name("omega._mymachines.z"));
    let (text, complaints) = done(&mut view, Some(&wanted(&[("web.z", &["10.9.0.2", "2001:db8::2"])])));
    let expected = format!(
        "zone z.\n{ALPHA}prereq nxdomain web.z.\n\
         update add web.z. 30 IN A 10.9.0.2\nupdate add web.z. 30 IN AAAA 2001:db8::2\n\
         update add web.z. 30 IN TXT \"mymachines host=alpha\"\nsend\n\
         zone 9.10.in-addr.arpa.\nprereq nxrrset 2.0.9.10.in-addr.arpa. IN PTR\n\
         update add 2.0.9.10.in-addr.arpa. 30 IN PTR web.z.\nsend\n"
    );
    assert_eq!((text, complaints), (expected, vec![]));
}

#[test]
fn what_is_as_wanted_is_left_alone() {
    let mut view = view(&record("web", "alpha", "10.9.0.2"), &pointer("10.9.0.2", "web.z"));
    view.zone.nodes.remove(&name("omega._mymachines.z"));
    assert_eq!(done(&mut view, Some(&wanted(&[("web.z", &["10.9.0.2"])]))), (String::new(), vec![]));
    assert_eq!(done(&mut view, None), (String::new(), vec![]));
}

#[test]
fn a_machine_that_goes_is_removed_and_its_pointer_first() {
    let mut view = view(&record("web", "alpha", "10.9.0.2"), &pointer("10.9.0.2", "web.z"));
    view.zone.nodes.remove(&name("omega._mymachines.z"));
    let (text, _) = done(&mut view, Some(&wanted(&[])));
    let expected = format!(
        "zone 9.10.in-addr.arpa.\nprereq yxrrset 2.0.9.10.in-addr.arpa. IN PTR web.z.\n\
         update delete 2.0.9.10.in-addr.arpa. IN PTR\nsend\n\
         zone z.\n{ALPHA}prereq yxrrset web.z. IN TXT \"mymachines host=alpha\"\n\
         update delete web.z. IN A\nupdate delete web.z. IN AAAA\nupdate delete web.z. IN TXT\nsend\n"
    );
    assert_eq!(text, expected);
}

#[test]
fn an_address_that_moves_leads_to_its_new_name() {
    let names = record("a", "alpha", "10.9.0.2") + &record("b", "alpha", "10.9.0.3");
    let mut view = view(&names, &pointer("10.9.0.2", "a.z"));
    done(&mut view, Some(&wanted(&[("a.z", &["10.9.0.3"]), ("b.z", &["10.9.0.2"])])));
    let leads = |address: &str| {
        view.reverse[0].nodes[&DnsName::of_address(address.parse().unwrap())].pointer().cloned()
    };
    assert_eq!((leads("10.9.0.2"), leads("10.9.0.3")), (Some(name("b.z")), Some(name("a.z"))));
}

#[test]
fn who_comes_second_is_told_and_changes_nothing() {
    let mut view = view(
        &(record("web", "beta", "10.9.0.2") + "www.z. 30 IN A 10.9.0.9\n"),
        &(pointer("10.9.0.2", "web.z") + &pointer("10.9.0.4", "printer.example")),
    );
    view.zone.nodes.remove(&name("omega._mymachines.z"));
    let before = view.clone();
    let (text, complaints) =
        done(&mut view, Some(&wanted(&[("web.z", &["10.9.0.3"]), ("www.z", &["10.9.0.3"])])));
    assert_eq!((text.as_str(), &view), ("", &before));
    assert_eq!(complaints.len(), 2);
    assert!(complaints[0].contains("the host beta came first"), "{complaints:?}");
    assert!(complaints[1].starts_with("www.z is left out: the zone has records"), "{complaints:?}");
    let (text, complaints) = done(&mut view, Some(&wanted(&[("x.z", &["10.9.0.2", "10.9.0.4"])])));
    assert!(text.contains("update add x.z.") && !text.contains("PTR"), "{text}");
    assert!(complaints[0].contains("leads to web.z") && complaints[1].contains("leads to printer.example"));
}

#[test]
fn what_an_expired_host_has_is_removed_if_it_is_expired_still() {
    let names = record("db", "omega", "10.9.0.5") + &record("web", "beta", "10.9.0.2");
    let mut view = view(&names, &(pointer("10.9.0.5", "db.z") + &pointer("10.9.0.2", "web.z")));
    let (text, complaints) = done(&mut view, None);
    let expected = format!(
        "zone 9.10.in-addr.arpa.\nprereq yxrrset 5.0.9.10.in-addr.arpa. IN PTR db.z.\n\
         update delete 5.0.9.10.in-addr.arpa. IN PTR\nsend\n\
         zone z.\n{ALPHA}{OMEGA}prereq yxrrset db.z. IN TXT \"mymachines host=omega\"\n\
         update delete db.z. IN A\nupdate delete db.z. IN AAAA\nupdate delete db.z. IN TXT\nsend\n\
         zone z.\n{ALPHA}{OMEGA}update delete omega._mymachines.z. IN TXT\nsend\n"
    );
    assert_eq!((text, complaints), (expected, vec![]));
    assert!(view.zone.nodes.contains_key(&name("web.z")));
}

#[test]
fn a_name_of_a_host_that_is_not_there_is_removed_if_it_is_not_there_still() {
    let mut view = view(&record("db", "gone", "10.9.0.5"), "");
    view.zone.nodes.remove(&name("omega._mymachines.z"));
    let (text, _) = done(&mut view, None);
    assert!(text.contains("prereq nxdomain gone._mymachines.z.\n"), "{text}");
    assert!(text.contains("update delete db.z. IN A\n"), "{text}");
}

#[test]
fn the_name_of_an_expired_host_can_be_had() {
    let mut view = view(&record("web", "omega", "10.9.0.5"), "");
    let (text, complaints) = done(&mut view, Some(&wanted(&[("web.z", &["10.9.0.6"])])));
    assert_eq!(complaints, [""; 0]);
    assert!(text.find("update delete web.z. IN TXT").unwrap() < text.find("prereq nxdomain web.z.").unwrap());
}

#[test]
fn a_pointer_to_nothing_is_taken_over() {
    let mut view = view("", &pointer("10.9.0.2", "old.z"));
    let (text, _) = done(&mut view, Some(&wanted(&[("web.z", &["10.9.0.2"])])));
    assert!(text.contains("prereq yxrrset 2.0.9.10.in-addr.arpa. IN PTR old.z.\n"), "{text}");
}

#[test]
fn many_changes_go_in_few_updates_of_bounded_size() {
    let mut view = view("", "");
    view.zone.nodes.remove(&name("omega._mymachines.z"));
    let names: Vec<String> = (0..1000).map(|number| format!("m{number}.z")).collect();
    let pairs: Vec<(&str, &[&str])> = names.iter().map(|name| (name.as_str(), &["10.9.0.2"][..])).collect();
    let plan = plan(&view, Some(&wanted(&pairs)), &BTreeSet::new(), NOW);
    assert_eq!(plan.updates.len(), 9);
    assert_eq!(plan.updates.iter().map(|update| update.changes.len()).sum::<usize>(), 1000);
    for update in &plan.updates {
        assert!(script(update, &view, 30).len() < 60_000);
    }
    let (_, complaints) = done(&mut view, Some(&wanted(&pairs)));
    assert_eq!(complaints, [""; 0]);
}

#[test]
fn what_is_postponed_is_left_alone() {
    let view = view("", "");
    let postponed = [name("web.z"), name("omega._mymachines.z")].into();
    let plan = plan(&view, Some(&wanted(&[("web.z", &["10.9.0.2"])])), &postponed, NOW);
    assert_eq!(plan.updates, []);
}

#[test]
fn a_host_says_until_when_it_publishes() {
    let view = view("", "");
    let (before, after) =
        (Ownership { id: 1, run: 2, expires: 1500 }, Ownership { id: 1, run: 3, expires: 1600 });
    let text = own_script(&view, Some(before), Some(after), 30).unwrap();
    let expected = format!(
        "zone z.\n{ALPHA}update delete alpha._mymachines.z. IN TXT\n\
         update add alpha._mymachines.z. 30 IN TXT \"mymachines id=0000000000000001 run=0000000000000003 expires=1600\"\nsend\n"
    );
    assert_eq!(text, expected);
    let first = own_script(&view, None, Some(after), 30).unwrap();
    assert!(first.starts_with("zone z.\nprereq nxdomain alpha._mymachines.z.\nupdate add "), "{first}");
    assert_eq!(view.next_expiry(), Some(900));
}
