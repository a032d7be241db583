//! `whois`: whose a process, an id or an address is.

use std::io;
use std::net::IpAddr;

use libmachine::Errno;
use registry::calls::SeenProcesses;
use registry::{IdKind, LookupError, mapped_id_by_name};

use crate::cli;
use crate::failure::Failure;
use crate::machine::registries;
use crate::table::{Table, Value};

/// What a number may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Process,
    User,
    Group,
}

/// What is known of a subject: a row for each thing that it is, or why one is not known.
type Answers = Vec<Result<Vec<Value>, Failure>>;

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
        let mut answers = find(subject, kinds);
        if answers.is_empty() {
            answers.push(Err(Failure::NotFound(format!("{} belongs to no machine", quoted(subject)))));
        }
        let is_known = answers.iter().any(Result::is_ok);
        for answer in answers {
            match answer {
                Ok(row) => rows.push(row),
                Err(failure) => {
                    failure.print();
                    // It is something else, of a machine.
                    let counts = !(is_known && matches!(failure, Failure::NotFound(_)));
                    code = code.max(if counts { failure.code() } else { 0 });
                }
            }
        }
    }
    let table = Table { titles: vec!["subject", "kind", "machine", "inside", "name"], rows };
    table.write(&mut io::stdout().lock(), options.output.format, !options.output.no_legend)?;
    Ok(code)
}

fn find(subject: &str, kinds: &[Kind]) -> Answers {
    let found: Vec<_> = if let Ok(number) = subject.parse::<u32>() {
        kinds.iter().map(|kind| of_number(*kind, number)).collect()
    // A link-local address may come with its interface, which the index does not have.
    } else if let Ok(ip) = subject.split('%').next().unwrap_or_default().parse::<IpAddr>() {
        vec![of_address(subject, ip)]
    } else {
        [IdKind::User, IdKind::Group].map(|kind| of_name(kind, subject)).into()
    };
    found.into_iter().filter_map(Result::transpose).collect()
}

fn of_address(subject: &str, ip: IpAddr) -> Result<Option<Vec<Value>>, Failure> {
    let found = none_if_unknown(libmachine::machine_of_address(ip), subject, "address", "addresses")?;
    Ok(found.map(|machine| row(subject, "address", machine.name().as_str(), None)))
}

fn of_name(kind: IdKind, subject: &str) -> Result<Option<Vec<Value>>, Failure> {
    for registry in registries() {
        let found = mapped_id_by_name(&registry, &SeenProcesses, kind, subject.as_bytes());
        let found = none_if_unknown(found.map_err(errno), subject, word(kind), map(kind))?;
        if let Some(id) = found.flatten() {
            let inside = Some((id.inside, id.name.as_str()));
            return Ok(Some(row(subject, word(kind), id.machine.as_str(), inside)));
        }
    }
    Ok(None)
}

fn of_number(kind: Kind, number: u32) -> Result<Option<Vec<Value>>, Failure> {
    let subject = number.to_string();
    let kind = match kind {
        Kind::Process => return of_process(number, &subject),
        Kind::User => IdKind::User,
        Kind::Group => IdKind::Group,
    };
    let found = none_if_unknown(libmachine::machine_of_id(kind, number), &subject, word(kind), map(kind))?;
    Ok(found.map(|id| row(&subject, word(kind), id.machine().as_str(), Some((id.inside(), id.name())))))
}

fn of_process(number: u32, subject: &str) -> Result<Option<Vec<Value>>, Failure> {
    let machines = match libmachine::machines_of_pid(number) {
        // Outside of the caller's cgroup namespace.
        Err(Errno::SRCH | Errno::UNATCH) => None,
        other => none_if_unknown(other, subject, "process", "leader")?,
    };
    Ok(machines.filter(|machines| !machines.is_empty()).map(|machines| {
        let names: Vec<_> = machines.iter().map(|machine| machine.name().as_str()).collect();
        row(subject, "process", &names.join("/"), None)
    }))
}

const fn word(kind: IdKind) -> &'static str {
    match kind {
        IdKind::User => "user",
        IdKind::Group => "group",
    }
}

/// The column of `list` that says which ids a machine has.
const fn map(kind: IdKind) -> &'static str {
    match kind {
        IdKind::User => "uid-map",
        IdKind::Group => "gid-map",
    }
}

const fn errno(error: LookupError) -> Errno {
    match error {
        LookupError::Shared => Errno::NOTUNIQ,
        LookupError::Damaged => Errno::BADMSG,
        LookupError::Unreadable(errno) => Errno(errno),
    }
}

/// What was found of a subject, as what it was looked up; `None` if it is no machine's. The column of `list` says why
/// it is that of several.
fn none_if_unknown<T>(
    result: Result<T, Errno>,
    subject: &str,
    word: &str,
    column: &str,
) -> Result<Option<T>, Failure> {
    let subject = quoted(subject);
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NXIO) => Ok(None),
        Err(Errno::NOTUNIQ) => Err(Failure::NotFound(format!(
            "{word} {subject} belongs to several machines, and so to none (mymachines list --columns machine,{column})"
        ))),
        Err(Errno::BADMSG) => Err(Failure::with_hint(
            format!("{word} {subject}: the record that decides is damaged"),
            "mymachines list says which",
        )),
        Err(errno) => Err(Failure::with_hint(
            format!("{word} {subject}: {}", io::Error::from_raw_os_error(errno.0)),
            "mymachines doctor says whether something is wrong with the registry",
        )),
    }
}

fn quoted(subject: &str) -> String {
    format!("'{}'", subject.escape_debug())
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
    use crate::failure::{FAILED, NOT_FOUND};

    #[test]
    fn a_process_of_the_host_is_in_no_machine() {
        let own = std::process::id();
        assert!(of_number(Kind::Process, own).unwrap().is_none());
        assert!(find("4294967294", &[Kind::Process]).is_empty());
    }

    #[test]
    fn what_is_no_subject_belongs_to_nobody() {
        for subject in ["", "web", "vu-", "-1", "1.2.3"] {
            assert!(find(subject, &[Kind::Process, Kind::User, Kind::Group]).is_empty(), "{subject}");
        }
    }

    #[test]
    fn why_it_is_not_known_is_said_in_words() {
        let told = |error| {
            let failure = none_if_unknown::<()>(Err(errno(error)), "vu-a-1", "user", "uid-map").unwrap_err();
            (failure.code(), failure.to_string())
        };
        assert_eq!(
            told(LookupError::Shared),
            (
                NOT_FOUND,
                "user 'vu-a-1' belongs to several machines, and so to none (mymachines list --columns machine,uid-map)"
                    .into()
            )
        );
        assert_eq!(
            told(LookupError::Damaged),
            (FAILED, "user 'vu-a-1': the record that decides is damaged".into())
        );
        assert_eq!(
            told(LookupError::Unreadable(libc::EACCES)),
            (FAILED, "user 'vu-a-1': Permission denied (os error 13)".into())
        );
    }
}
