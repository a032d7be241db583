//! The address index: which machine has this address?
//!
//! `/run/machined/addresses/HEX` is a symlink to the name of the one machine whose record lists the address,
//! HEX its 4 or 16 bytes in lower-case hexadecimal. Where two machines share an address there is no link. The
//! index is a hint: the record of the machine it names decides.

use core::net::IpAddr;

use crate::path::{ADDRESS_DIRECTORY, Path, entry_path};

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
