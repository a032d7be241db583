//! The addresses of a machine as its clients see them: which of those that the kernel has, and in which order.

use std::net::IpAddr;

/// At most so many addresses are read from one namespace: a dump is work done for a container that may be hostile.
pub const MAX_ADDRESSES: usize = 4096;

const IFA_F_DEPRECATED: u32 = 0x20;
const IFA_F_TENTATIVE: u32 = 0x40;

/// An address in use on one link.
pub(super) const RT_SCOPE_LINK: u8 = 253;
const RT_SCOPE_HOST: u8 = 254;

/// An address of an interface, in the namespace where it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InterfaceAddress {
    /// The interface, numbered by the namespace that it is in.
    pub ifindex: u32,
    /// The address itself; of a point-to-point link, our end's.
    pub address: IpAddr,
    /// `RT_SCOPE_*`: the smaller, the wider.
    pub scope: u8,
    /// `IFA_F_*`, all 32 bits.
    pub flags: u32,
}

impl InterfaceAddress {
    /// Whether clients are told of it: not deprecated, not tentative, and wider than the host.
    pub(super) fn counts(&self) -> bool {
        self.flags & (IFA_F_DEPRECATED | IFA_F_TENTATIVE) == 0 && self.scope < RT_SCOPE_HOST
    }

    /// IPv4 before IPv6, then the wider scope, then the interface, then the bytes.
    fn rank(&self) -> (bool, u8, u32, IpAddr) {
        (self.address.is_ipv6(), self.scope, self.ifindex, self.address)
    }
}

/// Sorts as the original does, and removes doubles.
pub(super) fn sort(addresses: &mut Vec<InterfaceAddress>) {
    addresses.sort_by_key(InterfaceAddress::rank);
    addresses.dedup_by_key(|address| address.rank());
}

#[cfg(test)]
mod tests {
    use super::*;

    const RT_SCOPE_UNIVERSE: u8 = 0;
    const RT_SCOPE_SITE: u8 = 200;

    fn address(text: &str, ifindex: u32, scope: u8) -> InterfaceAddress {
        InterfaceAddress { ifindex, address: text.parse().unwrap(), scope, flags: 0x80 }
    }

    #[test]
    fn deprecated_tentative_and_host_addresses_do_not_count() {
        let good = address("10.0.0.1", 2, RT_SCOPE_UNIVERSE);
        assert!(good.counts());
        assert!(address("10.0.0.1", 2, RT_SCOPE_SITE).counts());
        assert!(address("fe80::1", 2, RT_SCOPE_LINK).counts());
        assert!(!address("127.0.0.1", 1, RT_SCOPE_HOST).counts());
        assert!(!address("10.0.0.1", 2, 255).counts());
        assert!(!InterfaceAddress { flags: IFA_F_DEPRECATED, ..good }.counts());
        assert!(!InterfaceAddress { flags: IFA_F_TENTATIVE | 0x4, ..good }.counts());
    }

    #[test]
    fn the_order_is_family_scope_interface_bytes() {
        let sorted = [
            address("10.0.0.9", 2, RT_SCOPE_UNIVERSE),
            address("10.0.0.10", 2, RT_SCOPE_UNIVERSE),
            address("10.0.0.1", 3, RT_SCOPE_UNIVERSE),
            address("192.168.0.1", 1, RT_SCOPE_SITE),
            address("169.254.0.1", 2, RT_SCOPE_LINK),
            address("fd00::2", 2, RT_SCOPE_UNIVERSE),
            address("2001:db8::1", 4, RT_SCOPE_UNIVERSE),
            address("fe80::1", 2, RT_SCOPE_LINK),
            address("fe80::1", 3, RT_SCOPE_LINK),
        ];
        let mut shuffled: Vec<_> = sorted.iter().rev().chain(&sorted).copied().collect();
        sort(&mut shuffled);
        assert_eq!(shuffled, sorted);
    }
}
