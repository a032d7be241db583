//! What registrars give: the addresses of virtual machines.

use registry::{Address, Class};

use super::services::Operations;
use crate::addresses::Refusal;
use crate::authorization::{Authorized, Manage};
use crate::error::Error;
use crate::machines::Key;

impl Operations {
    /// A virtual machine has these addresses, whoever registered it says, and no others that were given before. They count, and
    /// are on disk, when this returns.
    ///
    /// # Errors
    /// [`Error::NotAvailable`]: it is a container, whose addresses are seen. [`Error::AddressOfHost`], [`Error::AddressTaken`].
    /// [`Error::NoSuchMachine`]. `ESRCH`: its leader has ended. Nothing is changed then.
    pub fn set_given_addresses(
        &self,
        _: &Authorized<Manage>,
        key: Key,
        given: Vec<Address>,
    ) -> Result<(), Error> {
        self.leader(key)?;
        match self.machines(|machines| machines.get(key).map(|record| record.class)) {
            Some(Class::Vm) => {}
            Some(Class::Container) => return Err(Error::NotAvailable),
            None => return Err(Error::NoSuchMachine),
        }
        for &address in &given {
            self.keeper.may_be_given(&*self.daemon, key, &address).map_err(|refusal| match refusal {
                Refusal::OfHost => Error::AddressOfHost(address),
                Refusal::OfAnother => Error::AddressTaken(address),
            })?;
        }
        self.keeper.give(&*self.daemon, key, given);
        Ok(())
    }
}
