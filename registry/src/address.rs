//! Addresses as text: `10.0.0.2`, `fd00::2`, `fe80::1%5`.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::decimal::parse_u32;
use crate::text::{Fields, has};

/// An address that the name of a machine resolves to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// The host's interface index that an IPv6 link-local address is reached through, RFC 4007; 0 where none
    /// is needed or known.
    pub scope_id: u32,
}

impl Address {
    /// Reads one address. IPv6 is taken in hexadecimal groups only, without a dotted IPv4 tail: that is how
    /// [`Display`](fmt::Display) writes it.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = Fields::new(text, b'%');
        let address = parts.next()?;
        let scope_id = if parts.is_at_end() { 0 } else { parts.number().filter(|&zone| zone != 0)? };
        if !parts.is_at_end() {
            return None;
        }
        let ip = if has(address, b':') {
            IpAddr::V6(parse_v6(address)?)
        } else if scope_id == 0 {
            IpAddr::V4(parse_v4(address)?)
        } else {
            return None;
        };
        Some(Self { ip, scope_id })
    }
}

fn parse_v4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0_u8; 4];
    let mut groups = Fields::new(text, b'.');
    for octet in &mut octets {
        let group = groups.next()?;
        if group.len() > 1 && group.first() == Some(&b'0') {
            return None;
        }
        *octet = u8::try_from(parse_u32(group)?).ok()?;
    }
    groups.is_at_end().then(|| Ipv4Addr::from(octets))
}

/// The standard library's parser keeps a panic path at every optimisation level, so this one stands here.
fn parse_v6(text: &[u8]) -> Option<Ipv6Addr> {
    // The groups before `::`, those after it, and how many there are of each.
    let (mut head, mut tail) = ([0_u16; 8], [0_u16; 8]);
    let (mut heads, mut tails) = (0_usize, 0_usize);
    let mut gap = false;
    let mut rest = text;
    if let [b':', b':', after @ ..] = rest {
        (gap, rest) = (true, after);
    }
    while !rest.is_empty() {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit());
        let digits = digits.fold(0_usize, |count, _| count.wrapping_add(1));
        if digits == 0 || digits > 4 {
            return None;
        }
        let mut group = 0_u16;
        for &byte in rest.iter().take(digits) {
            group = (group << 4) | u16::try_from(char::from(byte).to_digit(16)?).ok()?;
        }
        let count = if gap { &mut tails } else { &mut heads };
        *if gap { tail.get_mut(*count)? } else { head.get_mut(*count)? } = group;
        *count = count.wrapping_add(1);
        rest = match rest.get(digits..)? {
            [] => &[],
            [b':', b':', after @ ..] if !gap => {
                gap = true;
                after
            }
            [b':', after @ ..] if !after.is_empty() => after,
            _ => return None,
        };
    }
    // `::` stands for at least one group.
    let groups = heads.wrapping_add(tails);
    if if gap { groups > 7 } else { groups != 8 } {
        return None;
    }
    for (to, from) in head.iter_mut().rev().zip(tail.iter().take(tails).rev()) {
        *to = *from;
    }
    Some(Ipv6Addr::from(head))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            // Written in hexadecimal groups: a dotted tail is not read back.
            IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => {
                let [.., high, low] = ip.segments();
                write!(f, "::ffff:{high:x}:{low:x}")?;
            }
            ip => write!(f, "{ip}")?,
        }
        if self.scope_id != 0 {
            write!(f, "%{}", self.scope_id)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::ToString;

    #[test]
    fn addresses_survive_a_round_trip() {
        for text in [
            "10.0.0.2",
            "0.0.0.0",
            "255.255.255.255",
            "::",
            "::1",
            "fd00::2",
            "2001:db8:1:2:3:4:5:6",
            "fe80::1%5",
            "1::8",
            "::ffff:102:304",
        ] {
            assert_eq!(Address::parse(text.as_bytes()).unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_text_is_no_address() {
        for text in [
            "",
            "10.0.0",
            "10.0.0.2.3",
            "256.0.0.1",
            "01.2.3.4",
            "10.0.0.2%5",
            "1.2.3.",
            ":",
            ":::",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:8:9",
            "1::2::3",
            "1:2:3:4:5:6:7::8:9",
            "::1:2:3:4:5:6:7:8",
            "12345::",
            "g::",
            "1:",
            ":1",
            "fe80::1%",
            "fe80::1%0",
            "fe80::1%eth0",
            "fe80::1%4294967296",
            "::ffff:1.2.3.4",
            "1:2:3:4:5:6:7:8:",
        ] {
            assert_eq!(Address::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_parser_agrees_with_the_standard_library() {
        // A linear congruential generator: the same texts in every run.
        let mut seed = 1_u64;
        let mut next = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let mut valid = 0;
        // What runs in Miri takes a thousand times as long.
        let rounds = if cfg!(miri) { 1_000 } else { 200_000 };
        for _ in 0..rounds {
            let mut text = std::string::String::new();
            for _ in 0..next(12) {
                match next(5) {
                    0 => text.push_str("::"),
                    1 | 2 => text.push(':'),
                    _ => text.push_str(&format!("{:x}", next(0x1_1000))),
                }
            }
            if text.contains(':') {
                let expected = text.parse::<Ipv6Addr>().ok();
                valid += u32::from(expected.is_some());
                assert_eq!(parse_v6(text.as_bytes()), expected, "{text}");
            }
        }
        assert!(valid > rounds / 50, "only {valid} of the texts were addresses");
    }
}
