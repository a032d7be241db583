//! What can be told of a machine beyond its registration.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use registry::{Class, IdRange, Record};
use rustix::io::Errno;

use super::services::Operations;
use super::target::Target;
use crate::addresses::{InterfaceAddress, Listing};
use crate::authorization::{Authorized, Enter, Inspect};
use crate::error::Error;
use crate::inside;
use crate::machines::Key;
use crate::os_release::Fields;

/// How many files are read before they are asked for.
const LOOK_AHEAD: usize = 64;

impl Operations {
    /// The addresses of a machine, in the original's order.
    ///
    /// # Errors
    /// [`Error::NotAvailable`]: it is a virtual machine of whose network nothing is known. [`Error::NoPrivateNetworking`]: it
    /// shares the host's network. `EACCES`: its network cannot be looked into.
    pub fn addresses(&self, target: Target) -> Result<Rc<[InterfaceAddress]>, Error> {
        const ACTION: &str = "look at the machine's network";
        let Target::Machine(key) = target else {
            let list = self.keeper.of_host();
            return list
                .map(Rc::from)
                .map_err(|error| Error::System { action: ACTION, errno: error.errno() });
        };
        match self.listing(key) {
            Some(Listing::Private(list)) => Ok(list),
            Some(Listing::SharedWithHost) => Err(Error::NoPrivateNetworking),
            None => {
                self.is_container(key)?;
                self.leader(key)?;
                Err(Error::System { action: ACTION, errno: Errno::ACCESS })
            }
        }
    }

    /// What the OS of a machine says of itself.
    ///
    /// # Errors
    /// [`Error::NotAvailable`]: it is no container. `ENOENT`: it says nothing. Others as reading its files has them.
    pub async fn os_release(&self, _: &Authorized<Inspect>, target: Target) -> Result<Rc<Fields>, Error> {
        let fields = match target {
            Target::Host => inside::of_host().map(Rc::new),
            Target::Machine(key) => {
                let guest = self.guest(key)?;
                self.look_ahead(key);
                self.os_releases.of_machine(guest).await
            }
        };
        fields.map_err(|errno| Error::System { action: "read the OS release", errno })
    }

    /// The root directory of a machine, for reading.
    ///
    /// # Errors
    /// [`Error::NotAvailable`]: it is no container. Others as opening it has them.
    pub async fn root_directory(&self, _: &Authorized<Enter>, target: Target) -> Result<OwnedFd, Error> {
        let root = match target {
            Target::Host => inside::root_of_host(),
            Target::Machine(key) => {
                let guest = self.guest(key)?;
                self.inside.root_directory(&guest).await
            }
        };
        root.map_err(|errno| Error::System { action: "open the root directory", errno })
    }

    /// Whoever asks for one machine after the other, in the order in which they are listed, will go on.
    fn look_ahead(&self, key: Key) {
        let next = |key| self.daemon.machines(|machines| machines.after(Some(key)).map(|(key, _)| key));
        let is_next = self.os_releases.asked(key).and_then(next) == Some(key);
        let mut ahead = next(key).filter(|key| is_next && !self.os_releases.is_expected(*key));
        for _ in 0..LOOK_AHEAD {
            let Some(key) = ahead else { return };
            self.look_ahead_at(key);
            ahead = next(key);
        }
    }

    /// Has the OS release of a machine read, which is about to be asked for.
    pub fn look_ahead_at(&self, key: Key) {
        // What fails now fails again when it is asked for.
        if let Ok(guest) = self.guest(key) {
            self.os_releases.look_ahead(guest);
        }
    }

    fn is_container(&self, key: Key) -> Result<(), Error> {
        match self.daemon.machines(|machines| machines.get(key).map(|record| record.class)) {
            Some(Class::Container) => Ok(()),
            Some(_) => Err(Error::NotAvailable),
            None => Err(Error::NoSuchMachine),
        }
    }
}

/// How many ids a range must have to hold all of an OS's.
const ALL_IDS: u32 = 65_534;

/// By how much the ids of a container are shifted on the host.
///
/// # Errors
/// [`Error::NotAvailable`]: it is no container. [`Error::NoUidShift`]: its maps are not one and the same range that
/// begins at 0 and holds all ids.
pub fn uid_shift(record: &Record) -> Result<u32, Error> {
    match (record.class, record.uid_map.as_slice(), record.gid_map.as_slice()) {
        (Class::Vm, ..) => Err(Error::NotAvailable),
        // No user namespace at all.
        (_, [], []) => Ok(0),
        (_, [uid], [gid]) if uid == gid && is_shift(uid) => Ok(uid.outside),
        _ => Err(Error::NoUidShift),
    }
}

fn is_shift(range: &IdRange) -> bool {
    range.inside == 0 && range.count >= ALL_IDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::MachineName;

    #[test]
    fn only_one_range_for_all_ids_is_a_shift() {
        let whole = IdRange::new(0, 100_000, 65_536).unwrap();
        let identity = IdRange::new(0, 0, u32::MAX).unwrap();
        let small = IdRange::new(0, 100_000, 65_533).unwrap();
        let inner = IdRange::new(1, 100_000, 65_536).unwrap();
        let mut record = Record::new(MachineName::new(b"web").unwrap(), Class::Container);
        for (uid_map, gid_map, shift) in [
            (vec![], vec![], Some(0)),
            (vec![identity], vec![identity], Some(0)),
            (vec![whole], vec![whole], Some(100_000)),
            (vec![whole], vec![identity], None),
            (vec![whole, inner], vec![whole, inner], None),
            (vec![small], vec![small], None),
            (vec![inner], vec![inner], None),
        ] {
            (record.uid_map, record.gid_map) = (uid_map, gid_map);
            assert_eq!(uid_shift(&record).ok(), shift, "{:?}", record.uid_map);
        }
        record.class = Class::Vm;
        assert!(matches!(uid_shift(&record), Err(Error::NotAvailable)));
    }
}
