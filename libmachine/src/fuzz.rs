//! Any text of the kernel's or of the registry's: no panic, and both readers of a record say the same.

use fuzzing::Target;
use registry::{Class, IdKind, MachineName, Record};

use crate::ControlGroup;
use crate::record::Field;
use crate::snapshot::Snapshot;
use crate::suggest::suggest;
use crate::unit_name::{is_slice, is_unit, unescape};

macro_rules! corpus {
    ($name:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/fuzz/", $name)
    };
}

#[test]
fn any_text_is_a_control_group_or_none() {
    let words =
        ["0::", "/", ".slice", ".scope", ".service", "machine.slice", "payload", "\n", "..", "name=systemd:"];
    Target { corpus: corpus!("cgroup"), words: &words, longest: 1024 }.run(|text| {
        let init = ControlGroup::parse(b"0::/init.scope\n").unwrap();
        for text in [text, &[b"0::/", text, b"\n"].concat()] {
            let Some(group) = ControlGroup::parse(text) else { continue };
            assert!(group.path().starts_with('/') && !group.path().contains('\n'), "{group:?}");
            if let Some(place) = group.unit(&init) {
                assert!(is_unit(place.unit.as_bytes()) && !is_slice(place.unit.as_bytes()), "{place:?}");
                assert!(group.path().ends_with(&place.subgroup), "{place:?}");
            }
            let _ = group.unit(&group);
        }
        let _ = (unescape(text), is_slice(text), is_unit(text));
        if let Ok(name) = suggest(text) {
            assert!(MachineName::new(name.as_bytes()).is_ok());
        }
    });
}

#[test]
fn any_text_is_a_snapshot_where_it_is_a_record() {
    let words =
        ["LEADER=", "CLASS=", "ADDRESSES=", "UIDMAP=", "NETIF=", "\n", "10.0.0.1", "0:100000:65536", "host"];
    let name = MachineName::new(b"web").unwrap();
    Target { corpus: corpus!("snapshot"), words: &words, longest: 4096 }.run(|text| {
        let (record, snapshot) = (Record::parse(&name, text), Snapshot::parse(&name, text));
        if let (Ok(record), Ok(snapshot)) = (&record, &snapshot) {
            match snapshot.id_map(IdKind::User) {
                // Of a machine without a user namespace.
                Ok([]) => assert_eq!(record.uid_map.len(), 1),
                Ok(map) => assert_eq!(map, &*record.uid_map),
                Err(_) => assert!(record.uid_map.is_empty() || record.class == Class::Vm),
            }
            assert_eq!(snapshot.text(Field::Unit).is_some(), record.unit.is_some(), "{record:?}");
        }
    });
}
