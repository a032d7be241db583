//! A machine as something that can be gone into.

use registry::Class;

use super::services::Operations;
use crate::error::Error;
use crate::inside::Guest;
use crate::machines::Key;

impl Operations {
    /// A container, for those who go inside.
    ///
    /// # Errors
    /// [`Error::NotAvailable`]: it is no container. [`Error::NoSuchMachine`]: it is gone. `ESRCH`: its leader
    /// has ended.
    pub(super) fn guest(&self, key: Key) -> Result<Guest, Error> {
        let (class, owner) = self
            .daemon
            .machines(|machines| machines.get(key).map(|record| (record.class, record.uid)))
            .ok_or(Error::NoSuchMachine)?;
        if class != Class::Container {
            return Err(Error::NotAvailable);
        }
        Ok(Guest { key, owner, leader: self.leader(key)? })
    }
}
