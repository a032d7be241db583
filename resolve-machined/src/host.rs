//! The machines that the records tell of.

use std::net::IpAddr;

use registry::{
    Address, AddressState, KernelFiles, KernelProcesses, ListedAddresses, MachineName, RecordHead,
    address_link, is_alive, linked_machine, machine_in_any_case, read_record,
};

use crate::answer::Machines;

/// The machines of this host.
#[derive(Debug)]
pub struct Host;

/// The addresses that the record of exactly this name lists. `None` where there is no such record, or it is not readable; where
/// the machine is a user's alone, or has no addresses of its own that are known.
pub fn published(name: &MachineName) -> Option<(RecordHead, Vec<Address>)> {
    let mut addresses = ListedAddresses::default();
    let head = read_record(&KernelFiles, name, &mut addresses).ok()?;
    (head.private_to.is_none() && head.addresses == AddressState::Listed).then_some((head, addresses.0))
}

fn living(name: &MachineName) -> Option<Vec<Address>> {
    let (head, addresses) = published(name)?;
    is_alive(&head.leader, &KernelProcesses).then_some(addresses)
}

impl Machines for Host {
    fn addresses(&self, name: &MachineName) -> Option<Vec<Address>> {
        living(name).or_else(|| living(&machine_in_any_case(&KernelFiles, name).ok()??))
    }

    fn at(&self, ip: IpAddr) -> Option<MachineName> {
        let name = linked_machine(&KernelFiles, &address_link(ip)).ok()??;
        living(&name)?.iter().any(|address| address.ip == ip).then_some(name)
    }
}
