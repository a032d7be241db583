use super::*;
use crate::{IdKind, Item, RecordScan, RecordSink};

fn name() -> MachineName {
    MachineName::new(b"web").unwrap()
}

const FULL: &str = "\
# This is private data. Do not parse.
NAME=web
UID=1000
SCOPE=machine-web.scope
SUBGROUP=/payload
SCOPE_JOB=/org/freedesktop/systemd1/job/7
SERVICE=\"my svc\"
ROOT=\"/a \\\"b\\\"\"
ID=0123456789abcdef0123456789abcdef
LEADER=42
LEADER_PIDFDID=77
SUPERVISOR=41
SUPERVISOR_PIDFDID=76
CLASS=vm
REALTIME=1790000000000000
MONOTONIC=5000000
NETIF=\" 2 3\"
VSOCK_CID=1234
SSH_ADDRESS=vsock/1234
SSH_PRIVATE_KEY_PATH=/run/key
CONTROL_ADDRESS=/run/control
LEADER_STARTTIME=9
PIDNS=4026531836
CGROUP=/machine.slice/machine-web.scope
CGROUPID=1234
PUBLIC=1
UIDMAP=\"0:100000:65536 65536:1000:1\"
GIDMAP=0:100000:65536
REACHED=1
NETIF_FOUND=\"7 8\"
ADDRESSES_FROM=\"lease neighbour\"
ADDRESSES=\"10.0.0.2 fe80::1%5 fe80::2%5\"
FUTURE=\"some thing\"
";

#[test]
fn a_record_with_every_key_survives_a_round_trip() {
    let record = Record::parse(&name(), FULL.as_bytes()).unwrap();
    assert_eq!(record.emit(), FULL);
    assert_eq!(record.leader, Some(Process { pid: 42, pidfd_id: Some(77) }));
    assert_eq!(record.supervisor, Some(Process { pid: 41, pidfd_id: Some(76) }));
    assert_eq!(record.interfaces, [2, 3]);
    assert_eq!(record.root.as_deref(), Some("/a \"b\""));
    assert_eq!(record.unknown, [("FUTURE".to_owned(), "some thing".to_owned())]);
    assert_eq!(record.uid_map.len(), 2);
    assert_eq!(*record.interfaces_found, [7, 8]);
    assert_eq!(*record.addresses_from, [AddressSource::Lease, AddressSource::Neighbour]);
}

#[test]
fn the_sources_of_addresses_that_are_alike_are_one_word() {
    use AddressSource::{Given, Interface, Lease};
    let line = |from: &[AddressSource], count: u8| {
        let mut record = Record::new(name(), Class::Vm);
        let addresses = (0..count).map(|last| Address { ip: [10, 0, 0, last].into(), scope_id: 0 });
        (record.addresses, record.addresses_from) = (Addresses::Listed(addresses.collect()), from.into());
        let text = record.emit();
        assert_eq!(Record::parse(&name(), text.as_bytes()).unwrap().emit(), text);
        text.lines().find_map(|line| line.strip_prefix("ADDRESSES_FROM=")).map(str::to_owned)
    };
    assert_eq!(line(&[], 2), None);
    assert_eq!(line(&[Interface], 0), None);
    assert_eq!(line(&[Interface], 1).as_deref(), Some("interface"));
    assert_eq!(line(&[Interface; 3], 3).as_deref(), Some("interface"));
    assert_eq!(line(&[Given, Lease, Lease], 3).as_deref(), Some("\"given lease\""));
    assert_eq!(line(&[Given, Given, Lease], 2).as_deref(), Some("given"), "more sources than addresses");
}

#[test]
fn a_source_of_a_later_version_leaves_all_unknown_and_the_machine_there() {
    let text = "NAME=web\nCLASS=vm\nADDRESSES_FROM=\"lease oracle\"\nADDRESSES=\"10.0.0.1 10.0.0.2\"\n";
    let record = Record::parse(&name(), text.as_bytes()).unwrap();
    assert_eq!(*record.addresses_from, []);
    assert!(matches!(record.addresses, Addresses::Listed(list) if list.len() == 2));
}

#[test]
fn every_truncation_is_an_error_or_a_record_never_a_crash() {
    for end in 0..FULL.len() {
        let cut = FULL.as_bytes().get(..end).unwrap();
        if let Ok(record) = Record::parse(&name(), cut) {
            assert_eq!(cut.last(), Some(&b'\n'));
            assert_eq!(record.class, Class::Vm);
        }
    }
}

#[test]
fn a_damaged_record_says_what_is_wrong() {
    for (text, reason) in [
        ("", "it is cut off"),
        ("CLASS=container", "it is cut off"),
        ("LEADER=1\n", "it has no CLASS"),
        ("CLASS=host\n", "CLASS cannot be 'host'"),
        ("CLASS=vm\nLEADER=0\n", "LEADER cannot be '0'"),
        ("CLASS=vm\nLEADER=-1\n", "LEADER cannot be '-1'"),
        ("CLASS=vm\nNETIF=0\n", "NETIF cannot be '0'"),
        ("CLASS=vm\nUIDMAP=0:0\n", "UIDMAP cannot be '0:0'"),
        ("CLASS=vm\nADDRESSES=1.2.3\n", "ADDRESSES cannot be '1.2.3'"),
        ("CLASS=vm\nID=7\n", "ID cannot be '7'"),
        ("NAME=other\nCLASS=vm\n", "it is of machine 'other'"),
        ("CLASS=vm\nROOT=\0\n", "it has a zero byte"),
    ] {
        let error = Record::parse(&name(), text.as_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            std::format!("record of machine 'web' is damaged: {reason}"),
            "{text:?}"
        );
    }
    assert!(Record::parse(&name(), b"CLASS=vm\nROOT=\xff\n").is_err());
}

/// What the NSS module would take from a record that is not damaged: its addresses, uid map and gid map.
fn scanned(text: &[u8]) -> (Vec<Address>, Vec<IdRange>, Vec<IdRange>) {
    #[derive(Default)]
    struct Lists(Vec<Address>, Vec<IdRange>, Vec<IdRange>);
    impl RecordSink for Lists {
        fn take(&mut self, item: Item) {
            match item {
                Item::Addresses => self.0.clear(),
                Item::Address(address) => self.0.push(address),
                Item::Map(IdKind::User) => self.1.clear(),
                Item::Map(IdKind::Group) => self.2.clear(),
                Item::Range(IdKind::User, range) => self.1.push(range),
                Item::Range(IdKind::Group, range) => self.2.push(range),
            }
        }
    }
    let mut lists = Lists::default();
    let mut scan = RecordScan::new(name(), &mut lists);
    scan.feed(text);
    assert!(scan.finish().is_some(), "{}", String::from_utf8_lossy(text));
    (lists.0, lists.1, lists.2)
}

#[test]
fn random_damage_never_crashes_and_agrees_with_the_lookups_about_lists() {
    let mut seed = 7_u64;
    let mut next = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(seed >> 33).unwrap()
    };
    // What runs in Miri takes a thousand times as long.
    for _ in 0..if cfg!(miri) { 100 } else { 20_000 } {
        let mut text = FULL.as_bytes().to_vec();
        for _ in 0..1 + next() % 4 {
            let at = next() % text.len();
            match next() % 3 {
                0 => text[at] = u8::try_from(next() % 256).unwrap(),
                1 => drop(text.remove(at)),
                _ => text.insert(at, b"\"\\\n= '%:"[next() % 8]),
            }
        }
        if let Ok(record) = Record::parse(&name(), &text) {
            let again = Record::parse(&name(), record.emit().as_bytes()).unwrap();
            assert_eq!(again, record, "{}", String::from_utf8_lossy(&text));
            let (addresses, uid_map, gid_map) = scanned(&text);
            if let Addresses::Listed(listed) = record.addresses {
                assert_eq!(addresses, listed, "{}", String::from_utf8_lossy(&text));
            }
            let maps = (record.uid_map, record.gid_map);
            assert_eq!((uid_map, gid_map), maps, "{}", String::from_utf8_lossy(&text));
        }
    }
}
