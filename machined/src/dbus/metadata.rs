//! The methods that tell what is known of a machine.

use std::collections::HashMap;
use std::rc::Rc;

use dbus_server::{Call, ErrorReply, Reply, description};
use rustix::io::Errno;
use serde::{Serialize, Serializer};
use zbus::Fd;

use super::authority;
use super::errors;
use super::subject::{Subject, name_of, target_of};
use crate::addresses::family_and_octets;
use crate::error::Error;
use crate::operations::{Operations, Target, uid_shift};
use crate::os_release::Fields;

fn target(operations: &Operations, subject: Subject, call: &Call) -> Result<Target, ErrorReply> {
    target_of(operations, subject, || call.arguments())
}

/// `GetMachineAddresses`, `GetAddresses`.
pub(super) fn addresses(operations: &Operations, subject: Subject, call: &Call) -> Result<Reply, ErrorReply> {
    let target = target(operations, subject, call)?;
    let list = operations.addresses(target).map_err(|error| match error {
        Error::NotAvailable => {
            errors::not_supported("Requesting IP address data is only supported on container machines.")
        }
        Error::System { errno, .. } => {
            errors::with_text(errno, format!("Failed to get addresses: {}", description(errno)))
        }
        error => errors::of_operation(error, &name_of(operations, target)),
    })?;
    let pairs = list.iter().map(|address| {
        let (family, octets) = family_and_octets(address.address);
        (i32::from(family), octets)
    });
    let pairs: Vec<_> = pairs.collect();
    call.reply(&(pairs,))
}

/// `GetMachineSSHInfo`, `GetSSHInfo`.
pub(super) fn ssh_info(operations: &Operations, subject: Subject, call: &Call) -> Result<Reply, ErrorReply> {
    let record = match target(operations, subject, call)? {
        Target::Host => None,
        Target::Machine(key) => operations.record(key),
    };
    let info = record.and_then(|record| record.ssh_address.zip(record.ssh_private_key_path));
    call.reply(&info.ok_or_else(|| errors::bare(Errno::NOENT))?)
}

/// `GetMachineUIDShift`, `GetUIDShift`.
pub(super) fn shift(operations: &Operations, subject: Subject, call: &Call) -> Result<Reply, ErrorReply> {
    let target = target(operations, subject, call)?;
    let Target::Machine(key) = target else { return call.reply(&0_u32) };
    let record = operations.record(key).ok_or(Error::NoSuchMachine);
    let shift = record.and_then(|record| uid_shift(&record)).map_err(|error| match error {
        Error::NotAvailable => {
            errors::not_supported("UID/GID shift may only be determined for container machines.")
        }
        error => errors::of_operation(error, &name_of(operations, target)),
    })?;
    call.reply(&shift)
}

/// `GetMachineOSRelease`, `GetOSRelease`.
pub(super) async fn os_release(
    operations: Rc<Operations>,
    subject: Subject,
    call: Call,
) -> Result<Reply, ErrorReply> {
    let target = target(&operations, subject, &call)?;
    let authorized = authority::may(&operations, &call, target, "get_os_release").await?;
    // A container may take its time.
    let fields = call.turn.passing(operations.os_release(&authorized, target)).await;
    let fields = fields.map_err(|error| match error {
        Error::NotAvailable => {
            errors::not_supported("Requesting OS release data is only supported on container machines.")
        }
        Error::System { errno, .. } => {
            errors::with_text(errno, format!("Failed to get OS release: {}", description(errno)))
        }
        error => errors::of_operation(error, &name_of(&operations, target)),
    })?;
    call.reply(&Dictionary::of(&fields))
}

/// `OpenMachineRootDirectory`, `OpenRootDirectory`.
pub(super) async fn root_directory(
    operations: Rc<Operations>,
    subject: Subject,
    call: Call,
) -> Result<Reply, ErrorReply> {
    let target = target(&operations, subject, &call)?;
    let authorized = authority::may(&operations, &call, target, "open_root_directory").await?;
    let opened = call.turn.passing(operations.root_directory(&authorized, target)).await;
    let root = opened.map_err(|error| match error {
        Error::NotAvailable => {
            errors::not_supported("Opening the root directory is only supported on container machines.")
        }
        error => errors::of_operation(error, &name_of(&operations, target)),
    })?;
    call.reply(&Fd::from(root))
}

/// Fields in the order of their file; of those with the same key the last.
pub(super) struct Dictionary<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Dictionary<'a> {
    pub(super) fn of(fields: &'a Fields) -> Self {
        let mut entries: Vec<(&str, &str)> = Vec::with_capacity(fields.len());
        let mut places = HashMap::new();
        for (key, value) in fields {
            let place = *places.entry(key.as_str()).or_insert(entries.len());
            match entries.get_mut(place) {
                Some(entry) => entry.1 = value,
                None => entries.push((key, value)),
            }
        }
        Self(entries)
    }
}

impl zbus::Type for Dictionary<'_> {
    const SIGNATURE: &'static zbus::Signature = <HashMap<&str, &str> as zbus::Type>::SIGNATURE;
}

impl Serialize for Dictionary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_fields_with_the_same_key_the_last_counts() {
        let fields: Fields =
            [("b", "1"), ("a", "2"), ("b", "3")].map(|(key, value)| (key.into(), value.into())).into();
        assert_eq!(Dictionary::of(&fields).0, [("b", "3"), ("a", "2")]);
    }
}
