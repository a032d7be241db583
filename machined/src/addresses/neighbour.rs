//! Whom the kernel has met: the table of neighbours, and which port of a bridge a hardware address is behind. See rtnetlink(7),
//! linux/neighbour.h.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Error;
use super::message::{Attributes, Message, NLM_F_DUMP, Request, u16_at, u32_at};
use super::rtnetlink::ip;

pub(super) const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;

/// The family of questions to a bridge.
const AF_BRIDGE: u8 = 7;

const NDMSG: usize = 12;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_VLAN: u16 = 5;
const NDA_IFINDEX: u16 = 8;
const NDA_MASTER: u16 = 9;

const NUD_REACHABLE: u16 = 0x02;
const NUD_STALE: u16 = 0x04;
const NUD_DELAY: u16 = 0x08;
const NUD_PROBE: u16 = 0x10;
const NUD_PERMANENT: u16 = 0x80;

/// The hardware address of a network interface: Ethernet's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "[u8; 6]", into = "[u8; 6]")]
pub(super) struct Mac([u8; 6]);

impl Mac {
    /// That of these bytes; `None` for one that nobody has: of many receivers, or all zero.
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        let mac: [u8; 6] = bytes.try_into().ok()?;
        let [first, ..] = mac;
        (first & 1 == 0 && mac != [0; 6]).then_some(Self(mac))
    }

    /// Reads `52:54:00:12:34:56`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let byte = |word: &str| {
            let is_hex = word.len() == 2 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
            u8::from_str_radix(word, 16).ok().filter(|_| is_hex)
        };
        let bytes: Option<Vec<_>> = text.split(':').map(byte).collect();
        Self::new(&bytes?)
    }
}

impl TryFrom<[u8; 6]> for Mac {
    type Error = &'static str;

    fn try_from(bytes: [u8; 6]) -> Result<Self, Self::Error> {
        Self::new(&bytes).ok_or("no hardware address of anybody's")
    }
}

impl From<Mac> for [u8; 6] {
    fn from(Mac(bytes): Mac) -> Self {
        bytes
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Somebody on a link of the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Neighbour {
    /// The address.
    pub(super) ip: IpAddr,
    /// Who has it, as was heard last.
    pub(super) mac: Mac,
}

/// The question for all neighbours on an interface, encoded.
pub(super) fn get_neighbours(ifindex: u32, sequence: u32) -> Vec<u8> {
    let attributes = &[(NDA_IFINDEX, ifindex.to_ne_bytes())];
    Request { kind: RTM_GETNEIGH, flags: NLM_F_DUMP, header: &[0; NDMSG], attributes }.encode(sequence)
}

/// The question for the port of a bridge behind which a hardware address is, in a VLAN or (0) in none, encoded.
pub(super) fn get_port(bridge: u32, mac: Mac, vlan: u16, sequence: u32) -> Vec<u8> {
    let mut header = vec![AF_BRIDGE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // The attributes that are no numbers of four bytes, each with its padding.
    header.extend(10_u16.to_ne_bytes());
    header.extend(NDA_LLADDR.to_ne_bytes());
    header.extend(mac.0);
    header.extend([0; 2]);
    if vlan != 0 {
        header.extend(6_u16.to_ne_bytes());
        header.extend(NDA_VLAN.to_ne_bytes());
        header.extend(vlan.to_ne_bytes());
        header.extend([0; 2]);
    }
    let attributes = &[(NDA_MASTER, bridge.to_ne_bytes())];
    Request { kind: RTM_GETNEIGH, flags: 0, header: &header, attributes }.encode(sequence)
}

/// Reads the interface that an `RTM_NEWNEIGH` is about.
pub(super) fn ifindex(message: &Message<'_>) -> Result<u32, Error> {
    u32_at(message.payload, 4).ok_or(Error::Malformed { what: "neighbour" })
}

/// Reads an `RTM_NEWNEIGH`: a neighbour that is there as far as is known; `None` where it is not, or is none of Ethernet.
pub(super) fn neighbour(message: &Message<'_>) -> Result<Option<Neighbour>, Error> {
    let malformed = Error::Malformed { what: "neighbour" };
    let &[family, ..] = message.payload else { return Err(malformed) };
    let state = u16_at(message.payload, 8).ok_or(malformed)?;
    let (mut address, mut mac) = (None, None);
    for attribute in Attributes::after(NDMSG, message.payload) {
        match attribute? {
            (NDA_DST, payload) => address = ip(family, payload),
            (NDA_LLADDR, payload) => mac = Mac::new(payload),
            _ => {}
        }
    }
    let is_there = state & (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT) != 0;
    Ok(address.zip(mac).filter(|_| is_there).map(|(ip, mac)| Neighbour { ip, mac }))
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;
    use crate::addresses::message::Messages;

    // What 6.18 answered, without statistics.
    #[rustfmt::skip]
    const STALE: [u8; 52] = [
        52, 0, 0, 0, 28, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 4, 0, 0, 1,
        8, 0, 1, 0, 10, 0, 0, 2, // NDA_DST
        10, 0, 2, 0, 82, 84, 0, 18, 52, 86, 0, 0, // NDA_LLADDR
        4, 0, 99, 0,
    ];

    fn message(bytes: &[u8]) -> Message<'_> {
        Messages::new(bytes).next().unwrap().unwrap()
    }

    #[test]
    fn a_neighbour_counts_while_it_is_not_known_to_be_gone() {
        let read = |bytes: &[u8]| neighbour(&message(bytes)).unwrap();
        let expected = Neighbour { ip: [10, 0, 0, 2].into(), mac: Mac::parse("52:54:00:12:34:56").unwrap() };
        for (state, is_there) in [
            (0x02, true),
            (0x04, true),
            (0x08, true),
            (0x10, true),
            (0x80, true),
            (0, false),
            (0x01, false),
            (0x20, false),
            (0x40, false),
        ] {
            let mut bytes = STALE;
            bytes[24] = state;
            assert_eq!(read(&bytes), is_there.then_some(expected), "{state:#x}");
        }
        let mut group = STALE;
        group[40] = 0x33;
        assert_eq!(read(&group), None, "an address of many receivers");
        assert_eq!(ifindex(&message(&STALE)), Ok(5));
    }

    #[test]
    fn hardware_addresses_are_read_as_they_are_written() {
        let mac = Mac::parse("52:54:00:Ab:34:56").unwrap();
        assert_eq!(mac.to_string(), "52:54:00:ab:34:56");
        for bad in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "52:54:00:12:34:5",
            "52:54:00:12:34:+6",
            "00:00:00:00:00:00",
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
        ] {
            assert_eq!(Mac::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn questions_are_encoded_as_the_headers_say() {
        #[rustfmt::skip]
        let neighbours = [
            36, 0, 0, 0, 30, 0, 1, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            8, 0, 8, 0, 7, 0, 0, 0,
        ];
        assert_eq!(get_neighbours(7, 1), neighbours);
        #[rustfmt::skip]
        let port = [
            56, 0, 0, 0, 30, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            10, 0, 2, 0, 82, 84, 0, 18, 52, 86, 0, 0, 6, 0, 5, 0, 1, 0, 0, 0, 8, 0, 9, 0, 3, 0, 0, 0,
        ];
        assert_eq!(get_port(3, Mac::parse("52:54:00:12:34:56").unwrap(), 1, 2), port);
    }

    #[test]
    fn no_answer_with_a_changed_byte_is_read_past_its_end() {
        for at in 0..STALE.len() {
            for value in [0, 1, 3, 7, 127, 255] {
                let mut bytes = STALE;
                bytes[at] = value;
                for message in Messages::new(&bytes).flatten() {
                    let _ = (neighbour(&message), ifindex(&message));
                }
            }
        }
    }
}
