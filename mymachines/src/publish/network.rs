//! The networks whose addresses may be published.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::name::DnsName;

/// An address and how many of its first bits count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    address: IpAddr,
    length: u32,
}

impl Network {
    /// Whether the address is one of it.
    pub fn has(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                masked(address, self.length) == self.address
            }
            _ => false,
        }
    }

    /// Names in the zones that its addresses may have theirs in: one if it ends where labels do; the labels below the last
    /// whole one else, the first sixteen at most.
    pub fn reverse_names(&self) -> Vec<DnsName> {
        let (width, bits) = match self.address {
            IpAddr::V4(_) => (8, 32),
            IpAddr::V6(_) => (4, 128),
        };
        let labels = self.length.div_ceil(width);
        let first = self.address_bits() >> (bits - self.length).min(127);
        let spare = labels.saturating_mul(width).saturating_sub(self.length);
        (0..1_u128 << spare.min(4))
            .filter_map(|below| {
                let bits = bits - labels.saturating_mul(width);
                let value = if self.length == 0 { 0 } else { first << spare } | below;
                let address = self.with_bits(value.checked_shl(bits).unwrap_or_default());
                let name = DnsName::of_address(address);
                let own = usize::try_from(labels).ok()?.saturating_add(2);
                let start = name.labels().saturating_sub(own);
                DnsName::new(&name.as_str().split('.').skip(start).collect::<Vec<_>>().join(".")).ok()
            })
            .collect()
    }

    fn address_bits(&self) -> u128 {
        match self.address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        }
    }

    fn with_bits(&self, bits: u128) -> IpAddr {
        match self.address {
            IpAddr::V4(_) => std::net::Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or_default()).into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::from_bits(bits).into(),
        }
    }
}

/// The address with all bits but the first `length` off.
fn masked(address: IpAddr, length: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(length)).unwrap_or(0);
            std::net::Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(length)).unwrap_or(0);
            std::net::Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, length) =
            text.split_once('/').ok_or("a network is written as 10.9.0.0/16 or 2001:db8::/64")?;
        let address: IpAddr = address.parse().map_err(|_| "what is before the slash is no address")?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length: u32 = length
            .parse()
            .ok()
            .filter(|&length| length <= most)
            .ok_or_else(|| format!("what is behind the slash is no number from 0 to {most}"))?;
        let network = Self { address: masked(address, length), length };
        if network.address != address {
            return Err(format!("an address of the network {network}; write that"));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// Whether an address may be in DNS at all: one that means the same to all who ask.
pub fn is_for_all(address: IpAddr) -> bool {
    let is_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.to_ipv4_mapped().is_some(),
    };
    !(is_local || address.is_loopback() || address.is_unspecified() || address.is_multicast())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn has(text: &str, address: &str) -> bool {
        network(text).has(address.parse().unwrap())
    }

    #[test]
    fn addresses_are_in_networks() {
        assert!(has("10.9.0.0/16", "10.9.255.1") && !has("10.9.0.0/16", "10.10.0.1"));
        assert!(
            has("0.0.0.0/0", "1.2.3.4") && has("10.9.0.1/32", "10.9.0.1") && !has("10.9.0.1/32", "10.9.0.2")
        );
        assert!(has("2001:db8::/33", "2001:db8:7fff::1") && !has("2001:db8::/33", "2001:db8:8000::1"));
        assert!(has("::/0", "2001::1") && !has("::/0", "10.0.0.1") && !has("0.0.0.0/0", "::1"));
    }

    #[test]
    fn what_is_no_network_is_refused_with_a_word() {
        assert_eq!(
            "10.9.0.7/16".parse::<Network>(),
            Err("an address of the network 10.9.0.0/16; write that".into())
        );
        for text in ["", "10.9.0.0", "10.9.0.0/33", "10.9/16", "x/8", "2001:db8::/129", "10.0.0.0/-1", "/8"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn reverse_names_end_where_labels_do() {
        let names = |text: &str| -> Vec<String> {
            network(text).reverse_names().iter().map(ToString::to_string).collect()
        };
        assert_eq!(names("10.9.0.0/16"), ["9.10.in-addr.arpa"]);
        assert_eq!(names("10.0.0.0/8"), ["10.in-addr.arpa"]);
        assert_eq!(names("10.9.0.1/32"), ["1.0.9.10.in-addr.arpa"]);
        assert_eq!(names("2001:db8::/32"), ["8.b.d.0.1.0.0.2.ip6.arpa"]);
        assert_eq!(names("172.16.0.0/12").len(), 16);
        assert_eq!(names("172.16.0.0/12")[15], "31.172.in-addr.arpa");
        assert_eq!(
            names("10.9.4.0/22"),
            ["4.9.10.in-addr.arpa", "5.9.10.in-addr.arpa", "6.9.10.in-addr.arpa", "7.9.10.in-addr.arpa"]
        );
        assert_eq!(names("2001:db8::/31").len(), 2);
        assert_eq!(names("0.0.0.0/0"), ["in-addr.arpa"]);
    }

    #[test]
    fn what_means_something_else_elsewhere_is_for_nobody_else() {
        for local in [
            "127.0.0.1",
            "169.254.1.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!is_for_all(local.parse().unwrap()), "{local}");
        }
        for good in ["10.0.0.1", "192.0.2.1", "2001:db8::1", "fd00::1", "fec0::1"] {
            assert!(is_for_all(good.parse().unwrap()), "{good}");
        }
    }
}
