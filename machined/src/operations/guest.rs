//! A machine as something that can be gone into.

use std::rc::Rc;

use registry::Class;

use super::services::Operations;
use crate::error::Error;
use crate::inside::Guest;
use crate::machines::Key;

impl Operations {
    /// A container, for those who go inside.
    ///
    /// # Errors
    /// [`Error::NotAvailable`]: it is no container. [`Error::NoSuchMachine`]: it is gone.
    pub(super) fn guest(&self, key: Key) -> Result<Guest, Error> {
        let (class, group) = self
            .daemon
            .machines(|machines| machines.get(key).map(|record| (record.class, record.cgroup.clone())))
            .ok_or(Error::NoSuchMachine)?;
        if class != Class::Container {
            return Err(Error::NotAvailable);
        }
        let leader: Rc<_> = self.daemon.leader(key).ok_or(Error::NoSuchMachine)?;
        Ok(Guest { key, leader, group })
    }
}
