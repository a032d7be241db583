//! What can be told of a machine: one table, from which the columns of `list`, the lines of `status` and the names that
//! `--columns` takes are derived.

use registry::{Addresses, IdRange, KernelProcesses, LeaderIdentity, Record, is_alive};

use crate::failure::Failure;
use crate::machine::{Machine, record_path};
use crate::table::{Table, Value};

/// One thing that is told of a machine.
#[derive(Debug)]
pub struct Column {
    /// What it is called, in `--columns` and above the column.
    pub name: &'static str,
    /// What it says.
    pub about: &'static str,
    of: fn(&Machine) -> Value,
}

/// All columns.
pub const COLUMNS: [Column; 23] = [
    Column { name: "machine", about: "its name", of: |m| Value::Text(m.record.name.to_string()) },
    Column { name: "class", about: "container or vm", of: |m| Value::Text(m.record.class.to_string()) },
    Column {
        name: "state",
        about: "running; opening: its unit is being started; closing: its leader is gone",
        of: |m| Value::Text(m.state().to_owned()),
    },
    Column { name: "service", about: "what started it", of: |m| Value::text(m.record.service.as_deref()) },
    Column {
        name: "leader",
        about: "the process that leads it",
        of: |m| process(m.record.leader.map(|leader| leader.pid)),
    },
    Column {
        name: "supervisor",
        about: "the process that registered it, while that runs",
        of: |m| process(supervisor(&m.record)),
    },
    Column { name: "owner", about: "the uid that registered it", of: |m| Value::number(m.record.uid) },
    Column {
        name: "since",
        about: "when it was registered, in UTC",
        of: |m| m.record.realtime.map_or(Value::None, |time| Value::Text(utc(time))),
    },
    Column {
        name: "id",
        about: "the machine id inside",
        of: |m| m.record.id.map_or(Value::None, |id| Value::Text(id.to_string())),
    },
    Column {
        name: "unit",
        about: "the systemd unit it is in",
        of: |m| Value::text(m.record.unit.as_deref()),
    },
    Column {
        name: "subgroup",
        about: "its control group below the unit, where it is not all of it",
        of: |m| Value::text(m.record.subgroup.as_deref()),
    },
    Column { name: "cgroup", about: "its control group", of: |m| Value::text(m.record.cgroup.as_deref()) },
    Column {
        name: "root",
        about: "its root directory on the host, as its registrar says",
        of: |m| Value::text(m.record.root.as_deref()),
    },
    Column {
        name: "interfaces",
        about: "the host's network interfaces that lead to it",
        of: |m| interfaces(&m.record.interfaces),
    },
    Column { name: "uid-map", about: "its uids, inside:outside:count", of: |m| map(&m.record.uid_map) },
    Column { name: "gid-map", about: "its gids, inside:outside:count", of: |m| map(&m.record.gid_map) },
    Column { name: "vsock-cid", about: "its AF_VSOCK id", of: |m| Value::number(m.record.vsock_cid) },
    Column {
        name: "ssh-address",
        about: "where its SSH server is reached",
        of: |m| Value::text(m.record.ssh_address.as_deref()),
    },
    Column {
        name: "ssh-key",
        about: "the private key for it",
        of: |m| Value::text(m.record.ssh_private_key_path.as_deref()),
    },
    Column {
        name: "control-address",
        about: "the Varlink address of its manager",
        of: |m| Value::text(m.record.control_address.as_deref()),
    },
    Column {
        name: "record",
        about: "the file that says all this",
        of: |m| Value::Text(record_path(m.registry, &m.record.name).display().to_string()),
    },
    Column {
        name: "registry",
        about: "system; or user, where it is registered with the calling user's own daemon",
        of: |m| Value::text(Some(if m.registry.user().is_some() { "user" } else { "system" })),
    },
    Column {
        name: "addresses",
        about: "its addresses; 'host': those of the host",
        of: |m| addresses(&m.record.addresses),
    },
];

/// The columns that `list` shows where none are asked for.
pub const USUAL: [&str; 6] = ["machine", "class", "state", "service", "leader", "addresses"];

/// The columns with these names, in this order.
///
/// # Errors
/// There is none of one of the names, or none is named.
pub fn chosen(names: &[String]) -> Result<Vec<&'static Column>, Failure> {
    names
        .iter()
        .map(|name| {
            let found = COLUMNS.iter().find(|column| column.name == name);
            found.ok_or_else(|| {
                let all: Vec<_> = COLUMNS.iter().map(|column| column.name).collect();
                Failure::with_hint(
                    format!("there is no column '{}'", name.escape_debug()),
                    format!("there are: {}", all.join(", ")),
                )
            })
        })
        .collect()
}

/// What these columns say of these machines.
pub fn table(columns: &[&'static Column], machines: &[Machine]) -> Table {
    Table {
        titles: columns.iter().map(|column| column.name).collect(),
        rows: machines
            .iter()
            .map(|machine| columns.iter().map(|column| (column.of)(machine)).collect())
            .collect(),
    }
}

/// Who registered a machine by hand is gone soon after.
fn supervisor(record: &Record) -> Option<i32> {
    let supervisor = record.supervisor?;
    let identity = LeaderIdentity {
        pid: supervisor.pid,
        pidfd_id: supervisor.pidfd_id.unwrap_or(0),
        start_time: 0,
        pid_namespace: record.pid_namespace.unwrap_or(0),
    };
    is_alive(&identity, &KernelProcesses).then_some(supervisor.pid)
}

fn process(pid: Option<i32>) -> Value {
    Value::number(pid.and_then(|pid| u64::try_from(pid).ok()))
}

fn map(ranges: &[IdRange]) -> Value {
    if ranges.is_empty() {
        return Value::None;
    }
    let texts = ranges.iter().map(|range| format!("{}:{}:{}", range.inside, range.outside, range.count));
    Value::List(texts.collect())
}

/// By their names; one that is not there any more by its number.
fn interfaces(indexes: &[u32]) -> Value {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};
    if indexes.is_empty() {
        return Value::None;
    }
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok();
    let name = |&index: &u32| {
        let name = socket.as_ref().and_then(|socket| netdevice::index_to_name(socket, index).ok());
        name.unwrap_or_else(|| index.to_string())
    };
    Value::List(indexes.iter().map(name).collect())
}

fn addresses(addresses: &Addresses) -> Value {
    match addresses {
        Addresses::Unknown => Value::None,
        Addresses::SharedWithHost => Value::Text("host".to_owned()),
        Addresses::Listed(list) => Value::List(list.iter().map(ToString::to_string).collect()),
    }
}

/// A time of `CLOCK_REALTIME`, in microseconds, as ISO 8601 has it. The days are counted as in the proleptic Gregorian
/// calendar, in years that begin in March.
fn utc(microseconds: u64) -> String {
    let seconds = microseconds / 1_000_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days.saturating_add(719_468);
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let part = (5 * of_year + 2) / 153;
    let day = of_year - (153 * part + 2) / 5 + 1;
    let month = if part < 10 { part + 3 } else { part - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second % 3600 / 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::calls::RegistryFiles;
    use registry::{Class, MachineName};

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds * 1_000_000), text);
        }
    }

    #[test]
    fn the_usual_columns_are_columns() {
        let usual: Vec<String> = USUAL.iter().map(ToString::to_string).collect();
        assert_eq!(chosen(&usual).unwrap().len(), USUAL.len());
        assert!(chosen(&["os".to_owned()]).unwrap_err().to_string().contains("no column 'os'"));
    }

    #[test]
    fn a_record_is_told_whole() {
        let mut record = Record::new(MachineName::new(b"web").unwrap(), Class::Container);
        record.addresses = Addresses::Listed(
            (2..200).map(|n| registry::Address::parse(format!("10.0.0.{n}").as_bytes()).unwrap()).collect(),
        );
        record.uid_map = vec![IdRange { inside: 0, outside: 655_360, count: 65_536 }];
        let machine = Machine { record, is_alive: false, registry: RegistryFiles::SYSTEM };
        let all: Vec<_> = COLUMNS.iter().collect();
        let table = table(&all, &[machine]);
        let cell = |name: &str| {
            let at = COLUMNS.iter().position(|column| column.name == name).unwrap();
            table.rows[0][at].clone()
        };
        assert_eq!(cell("state"), Value::Text("closing".into()));
        assert_eq!(cell("uid-map"), Value::List(vec!["0:655360:65536".into()]));
        let Value::List(addresses) = cell("addresses") else { panic!("no list") };
        assert_eq!((addresses.len(), addresses[197].as_str()), (198, "10.0.0.199"));
    }
}
