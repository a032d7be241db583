//! The methods that translate users and groups.

use dbus_server::{Call, ErrorReply, Reply};
use registry::{Class, FIRST_MACHINE_ID, IdKind, is_valid_id};
use rustix::io::Errno;

use super::errors;
use super::path_of;
use super::subject::{name_of, target};
use crate::operations::{Operations, Target};

/// What the messages call ids of a kind.
struct Words {
    id: &'static str,
    capitalized: &'static str,
    range: &'static str,
    no_such_mapping: &'static str,
}

const fn words(kind: IdKind) -> Words {
    match kind {
        IdKind::User => Words {
            id: "user",
            capitalized: "User",
            range: "UID",
            no_such_mapping: "org.freedesktop.machine1.NoSuchUserMapping",
        },
        IdKind::Group => Words {
            id: "group",
            capitalized: "Group",
            range: "GID",
            no_such_mapping: "org.freedesktop.machine1.NoSuchGroupMapping",
        },
    }
}

fn check(kind: IdKind, id: u32) -> Result<(), ErrorReply> {
    if is_valid_id(id) {
        return Ok(());
    }
    Err(ErrorReply::invalid_args(format!("Invalid {} ID {id}", words(kind).id)))
}

/// `MapFromMachineUser`, `MapFromMachineGroup`.
pub(super) fn from_machine(operations: &Operations, call: &Call, kind: IdKind) -> Result<Reply, ErrorReply> {
    let (name, inside): (String, u32) = call.arguments()?;
    check(kind, inside)?;
    let key = match target(operations, &name)? {
        Target::Machine(key)
            if operations.record(key).is_some_and(|record| record.class == Class::Container) =>
        {
            key
        }
        _ => return Err(ErrorReply::invalid_args("Not supported for non-container machines.")),
    };
    let outside = operations.id_on_host(key, kind, inside).ok_or_else(|| {
        // The original has one name for both kinds here.
        let text = format!("Machine '{name}' has no matching {} mappings.", words(kind).id);
        ErrorReply::new(words(IdKind::User).no_such_mapping, text)
    })?;
    call.reply(&outside)
}

/// `MapToMachineUser`, `MapToMachineGroup`.
pub(super) fn to_machine(operations: &Operations, call: &Call, kind: IdKind) -> Result<Reply, ErrorReply> {
    let outside: u32 = call.arguments()?;
    check(kind, outside)?;
    let words = words(kind);
    if outside < FIRST_MACHINE_ID {
        let text = format!("{} {outside} belongs to host {} range", words.capitalized, words.range);
        return Err(ErrorReply::new(words.no_such_mapping, text));
    }
    let (key, inside) = operations.machine_of_id(kind, outside).ok_or_else(|| {
        ErrorReply::new(words.no_such_mapping, format!("No matching {} mapping for {outside}.", words.id))
    })?;
    if !is_valid_id(inside) {
        return Err(errors::bare(Errno::INVAL));
    }
    let name = name_of(operations, Target::Machine(key));
    call.reply(&(name.as_str(), path_of(&name), inside))
}
