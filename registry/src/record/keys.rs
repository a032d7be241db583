//! How the value of each key is read into a record, and how it is written.

use super::{
    Address, AddressSource, Addresses, Class, Display, IdRange, Key, MachineId, Process, Record, String,
    ToString, Vec, bad, parse_decimal, push_line,
};

/// Takes the value of a key into the record; says what is wrong with it if it cannot.
type Read = fn(&mut Record, &str) -> Option<()>;
/// The value of a key; `None` if the record has none, so that the line is left out.
type Write = fn(&Record) -> Option<String>;

struct Value {
    read: Read,
    write: Write,
}

/// Text, which is left out when it is empty.
macro_rules! text {
    ($field:ident) => {
        Value {
            read: |record, value| {
                record.$field = (!value.is_empty()).then(|| value.into());
                Some(())
            },
            write: |record| record.$field.clone(),
        }
    };
}

/// A number of the field's type.
macro_rules! number {
    ($field:ident) => {
        Value {
            read: |record, value| {
                record.$field = Some(number(value)?);
                Some(())
            },
            write: |record| record.$field.map(|number| number.to_string()),
        }
    };
}

/// What is so, or is not so and then left out. Only `1` says that it is.
macro_rules! flag {
    ($field:ident) => {
        Value {
            read: |record, value| {
                record.$field = value == "1";
                Some(())
            },
            write: |record| record.$field.then(|| "1".into()),
        }
    };
}

fn value(key: Key) -> Value {
    match key {
        Key::Name => Value {
            read: |record, value| (value == record.name.as_str()).then_some(()),
            write: |record| Some(record.name.to_string()),
        },
        Key::Uid => number!(uid),
        Key::Scope => text!(unit),
        Key::Subgroup => text!(subgroup),
        Key::ScopeJob => text!(scope_job),
        Key::Service => text!(service),
        Key::Root => text!(root),
        Key::Id => Value {
            read: |record, value| {
                record.id = MachineId::parse(value.as_bytes())?;
                Some(())
            },
            write: |record| record.id.map(|id| id.to_string()),
        },
        Key::Leader => Value {
            read: |record, value| read_pid(&mut record.leader, value),
            write: |record| record.leader.map(|leader| leader.pid.to_string()),
        },
        Key::LeaderPidfdId => Value {
            read: |record, value| read_pidfd_id(&mut record.leader, value),
            write: |record| record.leader.and_then(|leader| leader.pidfd_id).map(|id| id.to_string()),
        },
        Key::Supervisor => Value {
            read: |record, value| read_pid(&mut record.supervisor, value),
            write: |record| record.supervisor.map(|supervisor| supervisor.pid.to_string()),
        },
        Key::SupervisorPidfdId => Value {
            read: |record, value| read_pidfd_id(&mut record.supervisor, value),
            write: |record| record.supervisor.and_then(|process| process.pidfd_id).map(|id| id.to_string()),
        },
        Key::Class => Value {
            read: |record, value| {
                record.class = Class::from_name(value.as_bytes())?;
                Some(())
            },
            write: |record| Some(record.class.name().into()),
        },
        Key::Realtime => number!(realtime),
        Key::Monotonic => number!(monotonic),
        Key::Netif => Value {
            read: |record, value| {
                record.interfaces = list(value, ifindex)?;
                Some(())
            },
            // With a blank before each, as the original writes them.
            write: |record| {
                (!record.interfaces.is_empty())
                    .then(|| record.interfaces.iter().map(|index| std::format!(" {index}")).collect())
            },
        },
        Key::VsockCid => Value {
            read: |record, value| {
                // The original writes the wildcard for "none".
                record.vsock_cid = Some(number(value)?).filter(|&cid| cid != 0 && cid != u32::MAX);
                Some(())
            },
            write: |record| record.vsock_cid.map(|cid| cid.to_string()),
        },
        Key::SshAddress => text!(ssh_address),
        Key::SshPrivateKeyPath => text!(ssh_private_key_path),
        Key::ControlAddress => text!(control_address),
        Key::LeaderStartTime => number!(leader_start_time),
        Key::PidNamespace => number!(pid_namespace),
        Key::Cgroup => text!(cgroup),
        Key::CgroupId => number!(cgroup_id),
        Key::Public => flag!(is_public),
        Key::UidMap => Value {
            read: |record, value| {
                record.uid_map = list(value, |word| IdRange::parse(word.as_bytes()))?;
                Some(())
            },
            write: |record| (!record.uid_map.is_empty()).then(|| join(&record.uid_map)),
        },
        Key::GidMap => Value {
            read: |record, value| {
                record.gid_map = list(value, |word| IdRange::parse(word.as_bytes()))?;
                Some(())
            },
            write: |record| (!record.gid_map.is_empty()).then(|| join(&record.gid_map)),
        },
        Key::Reached => flag!(is_reached),
        Key::NetifFound => Value {
            read: |record, value| {
                record.interfaces_found = list(value, ifindex)?.into();
                Some(())
            },
            write: |record| (!record.interfaces_found.is_empty()).then(|| join(&record.interfaces_found)),
        },
        Key::AddressesFrom => Value {
            read: |record, value| {
                // Of a later version there may be others. That is no reason to lose a machine.
                let from = list(value, |word| AddressSource::from_name(word.as_bytes()));
                record.addresses_from = from.unwrap_or_default().as_slice().into();
                Some(())
            },
            write: |record| {
                let words: Vec<_> = record.shortest_sources().iter().map(|source| source.name()).collect();
                (!words.is_empty()).then(|| words.join(" "))
            },
        },
        Key::Addresses => Value {
            read: |record, value| {
                record.addresses = match value.trim_matches([' ', '\t', '\n', '\r']) {
                    "host" => Addresses::SharedWithHost,
                    value => Addresses::Listed(list(value, |word| Address::parse(word.as_bytes()))?),
                };
                Some(())
            },
            write: |record| match &record.addresses {
                Addresses::Unknown => None,
                Addresses::SharedWithHost => Some("host".into()),
                Addresses::Listed(addresses) => Some(join(addresses)),
            },
        },
    }
}

/// Takes a line into the record.
pub(super) fn read(record: &mut Record, key: &str, value: String) -> Result<(), String> {
    match Key::of(key.as_bytes()) {
        Some(known) => (self::value(known).read)(record, &value).ok_or_else(|| bad(key, &value)),
        None => {
            record.unknown.retain(|(other, _)| other != key);
            record.unknown.push((key.into(), value));
            Ok(())
        }
    }
}

/// Writes all lines that the record has.
pub(super) fn write(record: &Record, text: &mut String) {
    for &key in Key::ALL {
        if let Some(value) = (value(key).write)(record) {
            push_line(text, key.name(), &value);
        }
    }
}

fn ifindex(text: &str) -> Option<u32> {
    number(text).filter(|index| (1..=0x7fff_ffff).contains(index))
}

fn number<T: TryFrom<u64>>(text: &str) -> Option<T> {
    parse_decimal(text.as_bytes()).and_then(|number| T::try_from(number).ok())
}

fn list<T>(text: &str, parse: impl FnMut(&str) -> Option<T>) -> Option<Vec<T>> {
    text.split([' ', '\t', '\n', '\r']).filter(|word| !word.is_empty()).map(parse).collect()
}

fn join(items: &[impl Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// The pid and the id of a process come in either order.
fn read_pid(process: &mut Option<Process>, value: &str) -> Option<()> {
    let pid = number::<i32>(value).filter(|&pid| pid > 0)?;
    *process = Some(Process { pid, pidfd_id: process.and_then(|process| process.pidfd_id) });
    Some(())
}

fn read_pidfd_id(process: &mut Option<Process>, value: &str) -> Option<()> {
    let pidfd_id = Some(number::<u64>(value)?).filter(|&id| id != 0);
    *process = Some(Process { pid: process.map_or(0, |process| process.pid), pidfd_id });
    Some(())
}
