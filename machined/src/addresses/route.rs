//! Where the host's own routes lead, as rtnetlink tells it: the question for one address, the answer, and what changes.
//! See rtnetlink(7) and linux/rtnetlink.h.

use std::net::IpAddr;

use super::Error;
use super::message::{Attributes, Message, Request, u16_at, u32_at};
use super::rtnetlink::{AF_INET, AF_INET6, family_and_octets, ip};

pub(super) const RTM_NEWROUTE: u16 = 24;
pub(super) const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;

const RTMSG: usize = 12;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_VIA: u16 = 18;

const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
const RTN_BROADCAST: u8 = 3;
const RTN_ANYCAST: u8 = 4;
const RTN_MULTICAST: u8 = 5;

/// Where the host would send what is for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Nowhere: it is the host's own address, or one of many receivers.
    Own,
    /// Over this interface.
    Over {
        /// The interface.
        ifindex: u32,
        /// Through this router, and not straight to the address.
        gateway: Option<IpAddr>,
    },
    /// There is no way there.
    None,
}

/// The addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// Whether an address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (one, other, bits) = match (self.address, address) {
            (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128_u32),
            _ => return false,
        };
        let beyond = bits.saturating_sub(self.length.into());
        u128::checked_shr(one ^ other, beyond).unwrap_or(0) == 0
    }

    /// Whether these are addresses of one link alone, or of many receivers: which route they take says the interface.
    pub fn is_of_a_link(&self) -> bool {
        match self.address {
            IpAddr::V4(address) => address.is_multicast(),
            IpAddr::V6(address) => address.is_multicast() || address.is_unicast_link_local(),
        }
    }
}

/// The question for the route to an address, encoded; over `ifindex` alone where that is said.
pub(super) fn get_route(address: IpAddr, ifindex: Option<u32>, sequence: u32) -> Vec<u8> {
    let (family, octets) = family_and_octets(address);
    let length = u8::try_from(octets.len()).unwrap_or_default();
    // Behind the fixed part the one attribute that may be longer than a number.
    let mut header = vec![family, length.saturating_mul(8), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header.extend(u16::from(length).saturating_add(4).to_ne_bytes());
    header.extend(RTA_DST.to_ne_bytes());
    header.extend(octets);
    let over = ifindex.map(|ifindex| (RTA_OIF, ifindex.to_ne_bytes()));
    Request { kind: RTM_GETROUTE, flags: 0, header: &header, attributes: over.as_slice() }.encode(sequence)
}

/// Reads the answer: an `RTM_NEWROUTE`.
pub(super) fn route(message: &Message<'_>) -> Result<Route, Error> {
    let &[family, _, _, _, _, _, _, kind, ..] = message.payload else {
        return Err(Error::Malformed { what: "route" });
    };
    match kind {
        RTN_LOCAL | RTN_BROADCAST | RTN_ANYCAST | RTN_MULTICAST => return Ok(Route::Own),
        RTN_UNICAST => {}
        _ => return Ok(Route::None),
    }
    let (mut over, mut gateway) = (None, None);
    for attribute in Attributes::after(RTMSG, message.payload) {
        match attribute? {
            (RTA_OIF, payload) => over = u32_at(payload, 0),
            (RTA_GATEWAY, payload) => gateway = ip(family, payload),
            // Of another family: the family, and then the address.
            (RTA_VIA, payload) => {
                let family = u16_at(payload, 0).and_then(|family| u8::try_from(family).ok());
                gateway = family.and_then(|family| ip(family, payload.get(2..)?));
            }
            _ => {}
        }
    }
    Ok(over.map_or(Route::None, |ifindex| Route::Over { ifindex, gateway }))
}

/// Reads an `RTM_NEWROUTE` or `RTM_DELROUTE` of its own accord: the addresses whose route may be another one now. `None` for
/// a family that is neither IPv4 nor IPv6.
pub(super) fn changed(message: &Message<'_>) -> Result<Option<Prefix>, Error> {
    let &[family, length, ..] = message.payload else { return Err(Error::Malformed { what: "route" }) };
    let mut address = match family {
        AF_INET => IpAddr::from([0; 4]),
        AF_INET6 => IpAddr::from([0; 16]),
        _ => return Ok(None),
    };
    for attribute in Attributes::after(RTMSG, message.payload) {
        if let (RTA_DST, payload) = attribute? {
            address = ip(family, payload).ok_or(Error::Malformed { what: "route" })?;
        }
    }
    Ok(Some(Prefix { address, length }))
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;
    use crate::addresses::message::Messages;

    fn message(bytes: &[u8]) -> Message<'_> {
        Messages::new(bytes).next().unwrap().unwrap()
    }

    fn answer(kind: u8, attributes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(28 + attributes.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend([24, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 32, 0, 0, 254, 0, 0, kind, 0, 0, 0, 0]);
        bytes.extend(attributes);
        bytes
    }

    #[test]
    fn a_question_is_encoded_as_the_headers_say() {
        #[rustfmt::skip]
        let expected = [
            44, 0, 0, 0, 26, 0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            8, 0, 1, 0, 10, 1, 0, 2, 8, 0, 4, 0, 7, 0, 0, 0,
        ];
        assert_eq!(get_route("10.1.0.2".parse().unwrap(), Some(7), 3), expected);
        let six = get_route("fd00::2".parse().unwrap(), None, 3);
        assert_eq!((six.len(), six[16], six[17], six[28]), (48, 10, 128, 20));
    }

    #[test]
    fn an_answer_says_over_what_and_through_what() {
        let over = [8, 0, 4, 0, 7, 0, 0, 0];
        let through = [8, 0, 5, 0, 10, 0, 0, 9];
        let via = [10, 0, 18, 0, 2, 0, 10, 0, 0, 9, 0, 0];
        let gateway = Some("10.0.0.9".parse().unwrap());
        let route = |kind, attributes: &[u8]| route(&message(&answer(kind, attributes))).unwrap();
        assert_eq!(route(RTN_UNICAST, &over), Route::Over { ifindex: 7, gateway: None });
        assert_eq!(route(RTN_UNICAST, &[over, through].concat()), Route::Over { ifindex: 7, gateway });
        assert_eq!(route(RTN_UNICAST, &[&via[..], &over].concat()), Route::Over { ifindex: 7, gateway });
        for own in [RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST, RTN_MULTICAST] {
            assert_eq!(route(own, &over), Route::Own);
        }
        for none in [0, 6, 7, 8, 9, 255] {
            assert_eq!(route(none, &over), Route::None);
        }
        assert_eq!(route(RTN_UNICAST, &[]), Route::None);
    }

    #[test]
    fn a_prefix_has_the_addresses_that_begin_like_it() {
        let prefix = |text: &str, length| Prefix { address: text.parse().unwrap(), length };
        let has = |text: &str, length, address: &str| prefix(text, length).contains(address.parse().unwrap());
        assert!(has("10.1.0.0", 16, "10.1.255.1") && !has("10.1.0.0", 16, "10.2.0.0"));
        assert!(has("10.1.0.1", 32, "10.1.0.1") && !has("10.1.0.1", 32, "10.1.0.0"));
        assert!(has("0.0.0.0", 0, "255.1.2.3") && !has("0.0.0.0", 0, "::1"));
        assert!(has("::", 0, "fd00::1") && has("fd00::", 8, "fdff::1") && !has("fd00::", 8, "fe00::"));
        assert!(has("fd00::1", 128, "fd00::1") && !has("fd00::1", 128, "fd00::2"));
        assert!(prefix("fe80::", 64).is_of_a_link() && prefix("ff00::", 8).is_of_a_link());
        assert!(!prefix("169.254.0.0", 16).is_of_a_link() && !prefix("::", 0).is_of_a_link());
    }

    #[test]
    fn a_change_names_its_prefix_or_all() {
        let prefix = |bytes: &[u8]| changed(&message(bytes)).unwrap().unwrap();
        let mut default = answer(RTN_UNICAST, &[8, 0, 4, 0, 7, 0, 0, 0]);
        default[17] = 0;
        assert_eq!(prefix(&default), Prefix { address: [0; 4].into(), length: 0 });
        let route = answer(RTN_UNICAST, &[8, 0, 1, 0, 10, 1, 0, 2]);
        assert_eq!(prefix(&route), Prefix { address: [10, 1, 0, 2].into(), length: 32 });
        let mut other = route;
        other[16] = 128;
        assert_eq!(changed(&message(&other)), Ok(None));
    }

    #[test]
    fn no_answer_with_a_changed_byte_is_read_past_its_end() {
        let bytes =
            answer(RTN_UNICAST, &[8, 0, 1, 0, 10, 1, 0, 2, 8, 0, 4, 0, 7, 0, 0, 0, 6, 0, 18, 0, 2, 0]);
        for at in 0..bytes.len() {
            for value in [0, 1, 3, 7, 127, 255] {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                for message in Messages::new(&bytes).flatten() {
                    let _ = (route(&message), changed(&message));
                }
            }
        }
    }
}
