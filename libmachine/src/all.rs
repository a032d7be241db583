//! All machines, and one of them by what only its record tells: there is no index of that, and every record is read.

use registry::MachineName;

use crate::buffer::Buffer;
use crate::errno::Errno;
use crate::names::all_names;
use crate::registries::Registries;
use crate::snapshot::Snapshot;

/// All machines of the host, and those of the caller's own.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct AllMachines {
    /// Those whose records could be read, in no order; one whose leader has gone may be among them.
    pub machines: Buffer<Snapshot>,
    /// Those whose records are there and could not be read, and why.
    pub unreadable: Buffer<(MachineName, Errno)>,
}

impl AllMachines {
    /// Reads all records. Where there is no registry there are no machines.
    ///
    /// # Errors
    /// A shortage of descriptors or memory, or why the directory cannot be read.
    #[inline(never)]
    pub fn read() -> Result<Self, Errno> {
        let mut all = Self::default();
        for name in all_names(Registries::look())?.iter() {
            match Snapshot::of(name) {
                Ok(machine) => all.machines.push(machine)?,
                // It has gone meanwhile.
                Err(Errno::NXIO) => {}
                Err(errno) if errno.is_shortage() => return Err(errno),
                Err(errno) => all.unreadable.push((*name, errno))?,
            }
        }
        Ok(all)
    }
}

/// The one living machine of which this is true. What is asked for first costs least.
///
/// # Errors
/// `ENXIO`: there is none. `ENOTUNIQ`: there is more than one. `EBADMSG`: there is none, but a record that is damaged might
/// be its.
#[inline(never)]
pub fn only_machine(is_it: &dyn Fn(&Snapshot) -> bool) -> Result<Snapshot, Errno> {
    let mut all = AllMachines::read()?;
    all.machines.keep(|machine| is_it(machine) && machine.is_alive());
    let Some(found) = all.machines.pop() else {
        return Err(all.unreadable.first().map_or(Errno::NXIO, |(_, errno)| *errno));
    };
    if all.machines.is_empty() { Ok(found) } else { Err(Errno::NOTUNIQ) }
}
