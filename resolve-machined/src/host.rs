//! The machines that the records tell of.

use std::net::IpAddr;
use std::path::Path;

use registry::{
    Address, AddressState, Directory, FileError, Files, KernelFiles, KernelProcesses, ListedAddresses,
    MACHINE_DIRECTORY, MachineName, RecordHead, address_link, is_alive, read_record,
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
        if let Some(addresses) = living(name) {
            return Some(addresses);
        }
        // One whose record is there is exactly this one, whatever it has.
        if read_record(&KernelFiles, name, &mut ListedAddresses::default()).is_ok() {
            return None;
        }
        let names =
            Directory::open(Path::new(MACHINE_DIRECTORY)).and_then(|directory| directory.names()).ok()?;
        let alike = |other: &&MachineName| other.as_str().eq_ignore_ascii_case(name.as_str());
        let mut alike = names.machines.iter().filter(alike);
        match (alike.next(), alike.next()) {
            (Some(only), None) => living(only),
            _ => None,
        }
    }

    fn at(&self, ip: IpAddr) -> Option<MachineName> {
        let mut target = [0_u8; 65];
        let name = match KernelFiles.read_link(&address_link(ip), &mut target) {
            Ok(name) => MachineName::new(name).ok()?,
            Err(FileError::Absent | FileError::OtherKind | FileError::Errno(_)) => return None,
        };
        living(&name)?.iter().any(|address| address.ip == ip).then_some(name)
    }
}
