//! From what the host sees to the machine it belongs to: an id, an address. Both indexes are hints; the machine's record
//! decides, and a machine whose leader is gone has nothing.

use core::net::IpAddr;

use registry::calls::SeenProcesses;
use registry::{
    AddressHolder, IdKind, IdRange, LookupError, MachineName, address_holder, map_to_host, map_to_machine,
    mapped_id_by_id,
};

use crate::all::only_machine;
use crate::errno::Errno;
use crate::registries::{Registries, Registry};
use crate::snapshot::Snapshot;

/// A user or group of a machine, as the host has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MappedId(registry::MappedId);

impl MappedId {
    /// The machine.
    pub const fn machine(&self) -> &MachineName {
        &self.0.machine
    }

    /// The id inside it.
    pub const fn inside(&self) -> u32 {
        self.0.inside
    }

    /// The id on the host.
    pub const fn outside(&self) -> u32 {
        self.0.outside
    }

    /// Its name on the host, `vu-MACHINE-UID` or `vg-MACHINE-GID`; another word is in the place of a MACHINE that no user's
    /// name can have.
    pub fn name(&self) -> &str {
        self.0.name.as_str()
    }
}

/// The machine that a uid or gid of the host belongs to, and which it is inside.
///
/// # Errors
/// `ENXIO`: to none. `ENOTUNIQ`: to more than one. `EBADMSG`: the record that decides is damaged.
pub fn machine_of_id(kind: IdKind, id: u32) -> Result<MappedId, Errno> {
    for registry in Registries::one_by_one() {
        if let Some(found) = mapped_id(registry, kind, id)? {
            return Ok(found);
        }
    }
    Err(Errno::NXIO)
}

fn mapped_id(registry: Registry, kind: IdKind, id: u32) -> Result<Option<MappedId>, Errno> {
    let found = match mapped_id_by_id(&registry, &SeenProcesses, kind, id) {
        Ok(found) => found,
        Err(LookupError::Shared) => return Err(Errno::NOTUNIQ),
        Err(LookupError::Damaged) => return Err(Errno::BADMSG),
        Err(LookupError::Unreadable(errno)) => return Err(Errno(errno)),
    };
    match found {
        // Its name may be another machine's, of the system's.
        Some(found) if registry.user().is_some() => {
            Ok(Snapshot::if_there_in(registry, &found.machine)?.map(|_| MappedId(found)))
        }
        found => Ok(found.map(MappedId)),
    }
}

/// The host's id of an id inside a machine. Where the machine has no user namespace it is the same.
///
/// # Errors
/// `ENODATA`: the record does not tell. `ENXIO`: it does not have the id on the host.
pub fn id_on_host(machine: &Snapshot, kind: IdKind, inside: u32) -> Result<u32, Errno> {
    translated(machine.id_map(kind)?, inside, map_to_host)
}

/// The id inside a machine of an id of the host.
///
/// # Errors
/// As for [`id_on_host`].
pub fn id_inside(machine: &Snapshot, kind: IdKind, outside: u32) -> Result<u32, Errno> {
    translated(machine.id_map(kind)?, outside, map_to_machine)
}

fn translated(
    map: &[IdRange],
    id: u32,
    translate: impl Fn(&[IdRange], u32) -> Option<u32>,
) -> Result<u32, Errno> {
    if map.is_empty() && id != u32::MAX {
        return Ok(id);
    }
    translate(map, id).ok_or(Errno::NXIO)
}

/// The machine that an address leads to from the host. One that several machines have leads to none of them.
///
/// # Errors
/// `ENXIO`: it leads to no living machine. `ENOTUNIQ`: it would lead to more than one. `EBADMSG`: the record that decides is
/// damaged.
pub fn machine_of_address(ip: IpAddr) -> Result<Snapshot, Errno> {
    let has_it = |machine: &Snapshot| {
        machine.addresses().is_ok_and(|list| list.iter().any(|address| address.ip == ip))
    };
    for registry in Registries::one_by_one() {
        let name = match address_holder(&registry, ip).map_err(Errno)? {
            AddressHolder::One(name) => name,
            AddressHolder::Nobody => continue,
            // The index may be behind: whether they are still more than one, their records say.
            AddressHolder::Several => match only_machine(&has_it) {
                Err(errno) if errno == Errno::NOTUNIQ || errno.is_shortage() => return Err(errno),
                _ => continue,
            },
        };
        let found = match registry.user() {
            Some(_) => Snapshot::if_there_in(registry, &name)?,
            None => match Snapshot::of(&name) {
                Err(Errno::NXIO) => None,
                found => Some(found?),
            },
        };
        let Some(machine) = found else { continue };
        if has_it(&machine) && machine.is_alive() {
            return Ok(machine);
        }
    }
    Err(Errno::NXIO)
}
