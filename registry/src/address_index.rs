//! The address index: which machine has this address?
//!
//! `/run/machined/addresses/HEX` is a symlink to the name of the one machine whose record lists the address,
//! HEX its 4 or 16 bytes in lower-case hexadecimal. Where several machines share an address the link says so, by
//! [`SHARED_ADDRESS`], and leads to none of them. The index is a hint: the record of the machine it names decides.

use core::net::IpAddr;

use crate::MachineName;
use crate::files::{FileError, Files};
use crate::path::{ADDRESS_DIRECTORY, Path, entry_path};

/// What the link of an address says that several machines have: the name of none.
pub const SHARED_ADDRESS: &str = "*";

/// Whose an address is, as the index has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddressHolder {
    /// No machine's.
    Nobody,
    /// This machine's.
    One(MachineName),
    /// That of more than one.
    Several,
}

/// Whose an address is, as the index has it.
///
/// # Errors
/// The errno that says why the index cannot be read.
pub fn address_holder<F: Files>(files: &F, ip: IpAddr) -> Result<AddressHolder, i32> {
    let mut target = [0_u8; 65];
    match files.read_link(&address_link(ip), &mut target) {
        Ok(target) if target == SHARED_ADDRESS.as_bytes() => Ok(AddressHolder::Several),
        Ok(target) => Ok(MachineName::new(target).map_or(AddressHolder::Nobody, AddressHolder::One)),
        // What is no link, nobody of this suite made.
        Err(FileError::Absent | FileError::OtherKind) => Ok(AddressHolder::Nobody),
        Err(FileError::Errno(errno)) => Err(errno),
    }
}

/// The path of an address's link.
pub fn address_link(ip: IpAddr) -> Path {
    let mut path = entry_path(ADDRESS_DIRECTORY, b"");
    match ip {
        IpAddr::V4(ip) => path.push_hex(&ip.octets()),
        IpAddr::V6(ip) => path.push_hex(&ip.octets()),
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_named_by_the_bytes_of_the_address() {
        let link = |text: &str| {
            std::string::String::from(address_link(text.parse().unwrap()).as_c_str().to_str().unwrap())
        };
        assert_eq!(link("10.0.255.2"), "/run/machined/addresses/0a00ff02");
        assert_eq!(link("fd00::9"), "/run/machined/addresses/fd000000000000000000000000000009");
    }
}
