//! `whois`: whose a process, an id or an address is.

use std::io;
use std::net::IpAddr;

use libmachine::Errno;
use registry::{IdKind, KernelFiles, KernelProcesses, mapped_id_by_name};

use crate::cli;
use crate::failure::{FAILED, Failure, NOT_FOUND};
use crate::table::{Table, Value};

/// What a number may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Process,
    User,
    Group,
}

/// Tells which machine subjects belong to.
///
/// # Errors
/// The output cannot be written.
pub fn whois(options: &cli::Whois) -> Result<u8, Failure> {
    let kinds: &[Kind] = match (options.pid, options.uid, options.gid) {
        (true, ..) => &[Kind::Process],
        (_, true, _) => &[Kind::User],
        (.., true) => &[Kind::Group],
        _ => &[Kind::Process, Kind::User, Kind::Group],
    };
    let (mut rows, mut code) = (Vec::new(), 0);
    for subject in &options.subjects {
        match find(subject, kinds) {
            Ok(found) if found.is_empty() => {
                eprintln!("mymachines: '{}' belongs to no machine", subject.escape_debug());
                code = NOT_FOUND;
            }
            Ok(found) => rows.extend(found),
            Err(reason) => {
                eprintln!("mymachines: {reason}");
                code = code.max(FAILED);
            }
        }
    }
    let table = Table { titles: vec!["subject", "kind", "machine", "inside", "name"], rows };
    table.write(&mut io::stdout().lock(), options.output.format, !options.output.no_legend)?;
    Ok(code)
}

/// The rows that there are for a subject.
fn find(subject: &str, kinds: &[Kind]) -> Result<Vec<Vec<Value>>, String> {
    if let Ok(number) = subject.parse::<u32>() {
        let mut rows = Vec::new();
        for kind in kinds {
            rows.extend(of_number(*kind, number)?);
        }
        return Ok(rows);
    }
    // A link-local address may come with its interface, which the index does not have.
    if let Ok(ip) = subject.split('%').next().unwrap_or_default().parse::<IpAddr>() {
        let found = none_if_unknown(libmachine::machine_of_address(ip), subject)?;
        return Ok(found
            .map(|machine| row(subject, "address", machine.name().as_str(), None))
            .into_iter()
            .collect());
    }
    let mut rows = Vec::new();
    for (kind, word) in [(IdKind::User, "user"), (IdKind::Group, "group")] {
        let found = mapped_id_by_name(&KernelFiles, &KernelProcesses, kind, subject.as_bytes());
        let found = found.map_err(|error| format!("'{}': cannot tell: {error:?}", subject.escape_debug()))?;
        rows.extend(
            found.map(|id| row(subject, word, id.machine.as_str(), Some((id.inside, id.name.as_str())))),
        );
    }
    Ok(rows)
}

fn of_number(kind: Kind, number: u32) -> Result<Option<Vec<Value>>, String> {
    let subject = number.to_string();
    match kind {
        Kind::Process => {
            let machines = match libmachine::machines_of_pid(number) {
                // Outside of the caller's cgroup namespace.
                Err(Errno::SRCH | Errno::UNATCH) => None,
                other => none_if_unknown(other, &subject)?,
            };
            let path = machines.filter(|machines| !machines.is_empty()).map(|machines| {
                let names: Vec<_> = machines.iter().map(|machine| machine.name().as_str()).collect();
                names.join("/")
            });
            Ok(path.map(|path| row(&subject, "process", &path, None)))
        }
        Kind::User | Kind::Group => {
            let (kind, word) =
                if kind == Kind::User { (IdKind::User, "user") } else { (IdKind::Group, "group") };
            let found = none_if_unknown(libmachine::machine_of_id(kind, number), &subject)?;
            Ok(found.map(|id| row(&subject, word, id.machine().as_str(), Some((id.inside(), id.name())))))
        }
    }
}

fn none_if_unknown<T>(result: Result<T, Errno>, subject: &str) -> Result<Option<T>, String> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NXIO | Errno::NOTUNIQ) => Ok(None),
        Err(Errno::BADMSG) => {
            Err(format!("'{subject}': the record that decides is damaged (mymachines list says which)"))
        }
        Err(errno) => Err(format!("'{subject}': {}", io::Error::from_raw_os_error(errno.0))),
    }
}

fn row(subject: &str, kind: &str, machine: &str, id: Option<(u32, &str)>) -> Vec<Value> {
    vec![
        Value::Text(subject.to_owned()),
        Value::Text(kind.to_owned()),
        Value::Text(machine.to_owned()),
        Value::number(id.map(|(inside, _)| inside)),
        id.map_or(Value::None, |(_, name)| Value::Text(name.to_owned())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_the_host_is_in_no_machine() {
        let own = std::process::id();
        assert_eq!(of_number(Kind::Process, own), Ok(None));
        assert_eq!(find("4294967294", &[Kind::Process]), Ok(vec![]));
    }

    #[test]
    fn what_is_no_subject_belongs_to_nobody() {
        for subject in ["", "web", "vu-", "-1", "1.2.3"] {
            assert_eq!(find(subject, &[Kind::Process, Kind::User, Kind::Group]), Ok(vec![]), "{subject}");
        }
    }
}
