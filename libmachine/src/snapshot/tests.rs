use super::*;
use std::{format, vec};

fn parse(text: &str) -> Result<Snapshot, Errno> {
    Snapshot::parse(&MachineName::new(b"web").unwrap(), text.as_bytes())
}

#[test]
fn all_of_a_record_is_in_its_snapshot() {
    let machine = parse(
        "# This is private data. Do not parse.\nNAME=web\nUID=1000\nSCOPE=machine-web.scope\nSUBGROUP=payload\n\
         SERVICE=\"a b\"\nROOT=/var/lib/machines/web\nID=0123456789abcdef0123456789abcdef\nLEADER=42\n\
         LEADER_PIDFDID=7\nSUPERVISOR=41\nSUPERVISOR_PIDFDID=6\nCLASS=container\nREALTIME=1700000000000000\n\
         MONOTONIC=12345\nNETIF=\" 2 3\"\nVSOCK_CID=5\nSSH_ADDRESS=vsock/5\nSSH_PRIVATE_KEY_PATH=/key\n\
         CONTROL_ADDRESS=/run/x\nCGROUP=/machine.slice/machine-web.scope\nCGROUPID=99\nUIDMAP=0:100000:65536\n\
         GIDMAP=0:200000:65536\nADDRESSES=\"10.0.0.2 fe80::1%5\"\nX-MINE=kept\n",
    )
    .unwrap();
    for (field, text) in [
        (Field::Class, "container"),
        (Field::Service, "a b"),
        (Field::Unit, "machine-web.scope"),
        (Field::Subgroup, "payload"),
        (Field::Root, "/var/lib/machines/web"),
        (Field::SshAddress, "vsock/5"),
        (Field::SshPrivateKeyPath, "/key"),
        (Field::ControlAddress, "/run/x"),
        (Field::ControlGroup, "/machine.slice/machine-web.scope"),
    ] {
        assert_eq!(machine.text(field), Some(text.as_bytes()), "{field:?}");
    }
    for (number, value) in [
        (Number::Owner, 1000),
        (Number::Supervisor, 41),
        (Number::SupervisorPidfdId, 6),
        (Number::Realtime, 1_700_000_000_000_000),
        (Number::Monotonic, 12345),
        (Number::VsockCid, 5),
        (Number::ControlGroupId, 99),
    ] {
        assert_eq!(machine.number(number), Some(value), "{number:?}");
    }
    assert_eq!(machine.leader(), Some(42));
    assert_eq!(machine.interfaces(), [2, 3]);
    assert_eq!(machine.id(), MachineId::parse(b"0123456789abcdef0123456789abcdef").unwrap());
    let addresses = [b"10.0.0.2".as_slice(), b"fe80::1%5"].map(|text| Address::parse(text).unwrap());
    assert_eq!(machine.addresses(), Ok(&addresses[..]));
    assert_eq!(machine.address_source(0), None);
    assert_eq!(machine.id_map(IdKind::User).unwrap(), [IdRange::parse(b"0:100000:65536").unwrap()]);
    assert_eq!(machine.id_map(IdKind::Group).unwrap(), [IdRange::parse(b"0:200000:65536").unwrap()]);
}

#[test]
fn what_a_record_lacks_its_snapshot_lacks() {
    let machine = parse("CLASS=vm\nSERVICE=x\nSERVICE=\nVSOCK_CID=4294967295\n").unwrap();
    assert_eq!(machine.text(Field::Service), None);
    assert_eq!(machine.text(Field::Class), Some(&b"vm"[..]));
    assert_eq!(machine.number(Number::VsockCid), None);
    assert_eq!(machine.leader(), None);
    assert_eq!(machine.addresses(), Err(Errno::NODATA));
    assert_eq!(machine.open_leader().err(), Some(Errno::NODATA));
    assert!(!machine.is_alive());
    assert_eq!(parse("CLASS=vm\nADDRESSES=host\n").unwrap().addresses(), Err(Errno::NONET));
    assert_eq!(parse("CLASS=vm\nADDRESSES=\n").unwrap().addresses(), Ok(&[][..]));
}

#[test]
fn a_damaged_record_makes_no_snapshot() {
    for text in [
        "",
        "LEADER=1\n",
        "CLASS=vm",
        "CLASS=vm\nUID=x\n",
        "CLASS=vm\nID=x\n",
        "CLASS=vm\nREALTIME=-1\n",
        "NAME=db\nCLASS=vm\n",
    ] {
        assert_eq!(parse(text).err(), Some(Errno::BADMSG), "{text}");
    }
}

#[test]
fn the_leader_of_a_living_machine_is_opened() {
    let me = std::process::id();
    let machine = parse(&std::format!("CLASS=container\nLEADER={me}\nSUPERVISOR={me}\n")).unwrap();
    assert!(machine.is_alive() && machine.open_leader().is_ok() && machine.open_supervisor().is_ok());
    let other = parse(&std::format!(
        "CLASS=container\nLEADER={me}\nLEADER_PIDFDID=1\nSUPERVISOR={me}\nSUPERVISOR_PIDFDID=1\n"
    ));
    let other = other.unwrap();
    assert!(!other.is_alive());
    assert_eq!(other.open_leader().err(), Some(Errno::SRCH));
    assert_eq!(other.open_supervisor().err(), Some(Errno::SRCH));
}

#[test]
fn every_record_of_the_original_makes_a_snapshot() {
    let mut seen = 0;
    for version in ["257", "262"] {
        let directory = std::format!("{}/../registry/testdata/golden/{version}", env!("CARGO_MANIFEST_DIR"));
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let Ok(name) = MachineName::new(path.file_name().unwrap().as_encoded_bytes()) else { continue };
            if path.extension().is_some_and(|extension| extension == "json" || extension == "txt") {
                continue;
            }
            let text = std::fs::read(&path).unwrap();
            let machine = Snapshot::parse(&name, &text).unwrap();
            let record = registry::Record::parse(&name, &text).unwrap();
            let same = |field, text: &Option<std::string::String>| {
                assert_eq!(machine.text(field), text.as_deref().map(str::as_bytes), "{name} {field:?}");
            };
            same(Field::Service, &record.service);
            same(Field::Unit, &record.unit);
            same(Field::Subgroup, &record.subgroup);
            same(Field::Root, &record.root);
            same(Field::SshAddress, &record.ssh_address);
            same(Field::SshPrivateKeyPath, &record.ssh_private_key_path);
            same(Field::ControlAddress, &record.control_address);
            assert_eq!(machine.text(Field::Class), Some(record.class.name().as_bytes()));
            assert_eq!(machine.id(), record.id);
            assert_eq!(machine.leader(), record.leader.map(|leader| leader.pid));
            assert_eq!(machine.number(Number::Realtime), record.realtime);
            assert_eq!(machine.number(Number::Monotonic), record.monotonic);
            assert_eq!(machine.number(Number::VsockCid), record.vsock_cid.map(u64::from));
            assert_eq!(machine.number(Number::Owner), record.uid.map(u64::from));
            let supervisor = record.supervisor.map(|process| u64::try_from(process.pid).unwrap());
            assert_eq!(machine.number(Number::Supervisor), supervisor);
            let interfaces = machine.interfaces().iter().map(|&index| u32::try_from(index).unwrap());
            assert!(interfaces.eq(record.interfaces.iter().copied()));
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn a_machine_without_a_user_namespace_has_no_map_and_the_ids_of_the_host() {
    use crate::owner::{id_inside, id_on_host};
    let map = |text: &str| parse(text).unwrap().id_map(IdKind::User).map(<[IdRange]>::len);
    assert_eq!(map("CLASS=container\nUIDMAP=0:0:4294967295\n"), Ok(0));
    assert_eq!(map("CLASS=container\nUIDMAP=0:0:4294967294\n"), Ok(1));
    assert_eq!(map("CLASS=container\n"), Err(Errno::NODATA));
    assert_eq!(map("CLASS=vm\n"), Err(Errno::NXIO), "its users are not on the host");
    let machine = parse("CLASS=container\nUIDMAP=0:0:4294967295\nGIDMAP=0:0:4294967295\n").unwrap();
    assert_eq!(id_on_host(&machine, IdKind::User, 1000), Ok(1000));
    assert_eq!(id_inside(&machine, IdKind::Group, 0), Ok(0));
    assert_eq!(id_on_host(&machine, IdKind::User, u32::MAX), Err(Errno::NXIO));
}

#[test]
fn a_leader_has_an_incarnation_with_and_without_pidfd_ids() {
    let incarnation = |text: &str| parse(&std::format!("CLASS=vm\n{text}")).unwrap().incarnation();
    assert_eq!(incarnation("LEADER=42\nLEADER_PIDFDID=7\nLEADER_STARTTIME=9\n"), Some(7));
    assert_eq!(incarnation("LEADER=42\nLEADER_STARTTIME=9\n"), Some((9 << 22) | 42));
    assert_eq!(incarnation("LEADER=42\n"), None);
    assert_eq!(incarnation("LEADER_PIDFDID=7\n"), None);
}

#[test]
fn a_leader_of_another_namespace_is_not_said_to_be_gone() {
    let me = std::process::id();
    let own = SeenProcesses.pid_namespace().unwrap();
    let record = |pid: u32, id: u64, namespace: u64| {
        let text = std::format!("CLASS=vm\nLEADER={pid}\nLEADER_PIDFDID={id}\nPIDNS={namespace}\n");
        parse(&text).unwrap()
    };
    let id = status(open_process(i32::try_from(me).unwrap()).unwrap().borrow()).unwrap().inode;
    // Its number is nobody's here, or another process's.
    for elsewhere in [record(0x7fff_fff0, 7, own + 1), record(me, id + 1, own + 1)] {
        assert_eq!(elsewhere.open_leader().err(), Some(Errno::REMOTE));
        assert_eq!(elsewhere.runs(), Err(Errno::REMOTE));
        assert!(elsewhere.is_alive());
    }
    assert_eq!(record(0x7fff_fff0, 7, own).runs(), Ok(false));
    assert_eq!(record(me, id, own).runs(), Ok(true));
    assert_eq!(
        record(me, id, own + 1).runs(),
        Ok(true),
        "a pidfd with this id is the leader's wherever it was had"
    );
}

#[test]
fn an_address_says_where_it_is_known_from() {
    let sources = |from: &str| {
        let machine = parse(&format!("CLASS=vm\nADDRESSES=\"10.0.0.2 10.0.0.3 fe80::1%5\"\n{from}")).unwrap();
        [0, 1, 2, 3].map(|place| machine.address_source(place))
    };
    use AddressSource::{Given, Lease, Neighbour};
    // The last word is that of all that follow; none is of an address that is not there.
    let expected = [Some(Given), Some(Lease), Some(Lease), None];
    assert_eq!(sources("ADDRESSES_FROM=\"given lease\"\n"), expected);
    assert_eq!(
        sources("ADDRESSES_FROM=neighbour\n"),
        [Some(Neighbour), Some(Neighbour), Some(Neighbour), None]
    );
    // A word of a later version, and no word at all.
    assert_eq!(sources("ADDRESSES_FROM=\"given agent\"\n"), [None; 4]);
    assert_eq!(sources(""), [None; 4]);
    let of_the_host = parse("CLASS=container\nADDRESSES=host\nADDRESSES_FROM=interface\n").unwrap();
    assert_eq!(of_the_host.address_source(0), None);
}

#[test]
fn interfaces_that_were_found_lead_to_it_as_well() {
    let interfaces =
        |text: &str| parse(&format!("CLASS=vm\n{text}")).map(|machine| machine.interfaces().to_vec());
    assert_eq!(interfaces("NETIF_FOUND=\"7 2\"\nNETIF=\"2 3\"\n"), Ok(vec![2, 3, 7]));
    assert_eq!(interfaces("NETIF_FOUND=9\n"), Ok(vec![9]));
    assert_eq!(interfaces("NETIF_FOUND=tap0\n"), Err(Errno::BADMSG));
}
