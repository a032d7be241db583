//! The four tables of rtnetlink that addresses need: addresses, links, namespace ids, and their notifications.
//! See rtnetlink(7), linux/if_addr.h, linux/if_link.h and linux/net_namespace.h.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::{Attributes, Message, NLM_F_ACK, NLM_F_DUMP, Request, i32_at, u32_at};
use super::{Error, InterfaceAddress};

pub(super) const RTM_NEWLINK: u16 = 16;
pub(super) const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
pub(super) const RTM_NEWADDR: u16 = 20;
pub(super) const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
pub(super) const RTM_NEWRULE: u16 = 32;
pub(super) const RTM_DELRULE: u16 = 33;
pub(super) const RTM_NEWNSID: u16 = 88;
pub(super) const RTM_DELNSID: u16 = 89;
const RTM_GETNSID: u16 = 90;

pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;

const IFADDRMSG: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;

const IFINFOMSG: usize = 16;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_LINK_NETNSID: u16 = 37;
const RTEXT_FILTER_SKIP_STATS: u32 = 8;

const RTGENMSG: usize = 4;
const NETNSA_NSID: u16 = 1;
/// linux/if_addr.h: whose addresses a dump is about.
const IFA_TARGET_NETNSID: u16 = 10;
const NETNSA_FD: u16 = 3;

/// The bit of the group of interfaces (`RTNLGRP_LINK`).
pub(super) const GROUP_LINK: u32 = 1;
/// The bits of the groups of routes and rules (`RTNLGRP_IPV4_ROUTE` and so on).
pub(super) const GROUP_IPV4_ROUTE: u32 = 1 << (7 - 1);
pub(super) const GROUP_IPV4_RULE: u32 = 1 << (8 - 1);
pub(super) const GROUP_IPV6_ROUTE: u32 = 1 << (11 - 1);
pub(super) const GROUP_IPV6_RULE: u32 = 1 << (19 - 1);
/// The bit of the group of IPv4 addresses (`RTNLGRP_IPV4_IFADDR`).
pub(super) const GROUP_IPV4_IFADDR: u32 = 1 << (5 - 1);
/// The bit of the group of IPv6 addresses (`RTNLGRP_IPV6_IFADDR`).
pub(super) const GROUP_IPV6_IFADDR: u32 = 1 << (9 - 1);
/// The bit of the group of namespace ids (`RTNLGRP_NSID`).
pub(super) const GROUP_NSID: u32 = 1 << (28 - 1);

/// What the daemon's own namespace calls another network namespace. Never negative.
///
/// The kernel frees it with the namespace, and may give it to the next one at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nsid(i32);

impl Nsid {
    /// The id `raw`; `None` if it is negative, as the kernel's "not assigned" is.
    pub fn new(raw: i32) -> Option<Self> {
        (raw >= 0).then_some(Self(raw))
    }

    /// The id as the kernel has it.
    pub fn as_raw(self) -> i32 {
        self.0
    }
}

/// All addresses of all interfaces, IPv4 and IPv6.
pub(super) const GET_ADDRESSES: Request<'static> =
    Request { kind: RTM_GETADDR, flags: NLM_F_DUMP, header: &[0; IFADDRMSG], attributes: &[] };

/// The same of the namespace that the socket's own calls `nsid`, encoded.
pub(super) fn get_addresses_in(nsid: Nsid, sequence: u32) -> Vec<u8> {
    let attributes = &[(IFA_TARGET_NETNSID, nsid.0.to_ne_bytes())];
    Request { kind: RTM_GETADDR, flags: NLM_F_DUMP, header: &[0; IFADDRMSG], attributes }.encode(sequence)
}

/// The request for one link, encoded.
pub(super) fn get_link(ifindex: u32, sequence: u32) -> Vec<u8> {
    let mut header = [0; IFINFOMSG];
    if let Some(field) = header.get_mut(4..8) {
        field.copy_from_slice(&ifindex.to_ne_bytes());
    }
    let attributes = &[(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS.to_ne_bytes())];
    Request { kind: RTM_GETLINK, flags: 0, header: &header, attributes }.encode(sequence)
}

/// The request for all links, encoded.
pub(super) fn get_links(sequence: u32) -> Vec<u8> {
    let attributes = &[(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS.to_ne_bytes())];
    Request { kind: RTM_GETLINK, flags: NLM_F_DUMP, header: &[0; IFINFOMSG], attributes }.encode(sequence)
}

/// The request for the id of the namespace behind descriptor `fd`, encoded.
pub(super) fn get_nsid(fd: i32, sequence: u32) -> Vec<u8> {
    let attributes = &[(NETNSA_FD, fd.to_ne_bytes())];
    Request { kind: RTM_GETNSID, flags: 0, header: &[0; RTGENMSG], attributes }.encode(sequence)
}

/// The request to call the namespace behind descriptor `fd` by `nsid`, encoded. The answer is an acknowledgement.
pub(super) fn new_nsid(fd: i32, nsid: Nsid, sequence: u32) -> Vec<u8> {
    name_namespace(fd, nsid, NLM_F_ACK, sequence)
}

/// The same, and the request for all addresses there, numbered `sequence`, in one. Answered with the addresses alone;
/// before them comes an error of the number `naming`, if the namespace could not be called so.
pub(super) fn new_nsid_and_get_addresses(fd: i32, nsid: Nsid, naming: u32, sequence: u32) -> Vec<u8> {
    let mut requests = name_namespace(fd, nsid, 0, naming);
    requests.append(&mut get_addresses_in(nsid, sequence));
    requests
}

fn name_namespace(fd: i32, nsid: Nsid, flags: u16, sequence: u32) -> Vec<u8> {
    let attributes = &[(NETNSA_FD, fd.to_ne_bytes()), (NETNSA_NSID, nsid.0.to_ne_bytes())];
    Request { kind: RTM_NEWNSID, flags, header: &[0; RTGENMSG], attributes }.encode(sequence)
}

/// Reads an `RTM_NEWADDR`. `None` for a family that is neither IPv4 nor IPv6, or without an address.
pub(super) fn address(message: &Message<'_>) -> Result<Option<InterfaceAddress>, Error> {
    let malformed = Error::Malformed { what: "address" };
    let &[family, _prefix, flags, scope, ..] = message.payload else { return Err(malformed) };
    let ifindex = u32_at(message.payload, 4).ok_or(malformed)?;
    let mut flags = u32::from(flags);
    let (mut local, mut address) = (None, None);
    for attribute in Attributes::after(IFADDRMSG, message.payload) {
        match attribute? {
            (IFA_LOCAL, payload) => local = ip(family, payload),
            (IFA_ADDRESS, payload) => address = ip(family, payload),
            // The header has only the low eight of them.
            (IFA_FLAGS, payload) => flags = u32_at(payload, 0).ok_or(malformed)?,
            _ => {}
        }
    }
    // On a point-to-point link IFA_ADDRESS is the other end.
    Ok(local.or(address).map(|address| InterfaceAddress { ifindex, address, scope, flags }))
}

/// The family of an address, and its bytes as they travel.
pub fn family_and_octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    }
}

pub(super) fn ip(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => <[u8; 4]>::try_from(bytes).ok().map(|bytes| Ipv4Addr::from(bytes).into()),
        AF_INET6 => <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

/// An interface of the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Link {
    /// The interface's number.
    pub(super) ifindex: u32,
    /// Its other end, if it is one of a pair whose other end is in another namespace: the number there, and the namespace.
    pub(super) peer: Option<(u32, Nsid)>,
    /// The interface that it is a port or slave of.
    pub(super) master: Option<u32>,
    /// Whether it is a bridge.
    pub(super) is_bridge: bool,
}

/// Reads an `RTM_NEWLINK` or `RTM_DELLINK`. `None` where it is of a family of its own, as what bridges say of their ports is.
///
/// The other end of a pair is told if it is in another namespace. That IFLA_LINK is there is not enough: for a VLAN or a
/// macvlan it is the link *below*.
pub(super) fn link(message: &Message<'_>) -> Result<Option<Link>, Error> {
    let malformed = Error::Malformed { what: "link" };
    let &[family, ..] = message.payload else { return Err(malformed) };
    if family != 0 {
        return Ok(None);
    }
    let ifindex = u32_at(message.payload, 4).ok_or(malformed)?;
    let (mut other, mut nsid, mut master, mut paired, mut is_bridge) = (None, None, None, false, false);
    for attribute in Attributes::after(IFINFOMSG, message.payload) {
        match attribute? {
            (IFLA_LINK, payload) => other = Some(u32_at(payload, 0).ok_or(malformed)?),
            (IFLA_LINK_NETNSID, payload) => nsid = Nsid::new(i32_at(payload, 0).ok_or(malformed)?),
            (IFLA_MASTER, payload) => master = u32_at(payload, 0).filter(|&master| master != 0),
            (IFLA_LINKINFO, payload) => {
                for attribute in Attributes::after(0, payload) {
                    if let (IFLA_INFO_KIND, kind) = attribute? {
                        let kind = kind.strip_suffix(&[0]).unwrap_or(kind);
                        paired = matches!(kind, b"veth" | b"netkit");
                        is_bridge = kind == b"bridge";
                    }
                }
            }
            _ => {}
        }
    }
    let peer = if paired { other.zip(nsid) } else { None };
    Ok(Some(Link { ifindex, peer, master, is_bridge }))
}

/// Reads an `RTM_NEWNSID` or `RTM_DELNSID`: the id, if there is one.
pub(super) fn nsid(message: &Message<'_>) -> Result<Option<Nsid>, Error> {
    for attribute in Attributes::after(RTGENMSG, message.payload) {
        if let (NETNSA_NSID, payload) = attribute? {
            return Ok(Nsid::new(i32_at(payload, 0).ok_or(Error::Malformed { what: "namespace id" })?));
        }
    }
    Ok(None)
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;
    use crate::addresses::message::Messages;

    // What 6.18 answered; of the link, the attributes that are read, and one that is not.
    #[rustfmt::skip]
    const POINT_TO_POINT: [u8; 76] = [
        76, 0, 0, 0, 20, 0, 2, 0, 1, 0, 0, 0, 237, 15, 0, 0, 2, 32, 128, 0, 1, 0, 0, 0,
        8, 0, 1, 0, 10, 0, 0, 2, // IFA_ADDRESS, the other end
        8, 0, 2, 0, 10, 0, 0, 1, // IFA_LOCAL
        7, 0, 3, 0, 108, 111, 0, 0,
        8, 0, 8, 0, 128, 0, 0, 0, // IFA_FLAGS
        20, 0, 6, 0, 255, 255, 255, 255, 255, 255, 255, 255, 114, 143, 2, 0, 114, 143, 2, 0,
    ];
    #[rustfmt::skip]
    const DEPRECATED: [u8; 72] = [
        72, 0, 0, 0, 20, 0, 2, 0, 1, 0, 0, 0, 237, 15, 0, 0, 10, 64, 96, 0, 2, 0, 0, 0,
        20, 0, 1, 0, 32, 1, 13, 184, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // IFA_ADDRESS
        20, 0, 6, 0, 0, 0, 0, 0, 232, 3, 0, 0, 114, 143, 2, 0, 114, 143, 2, 0,
        8, 0, 8, 0, 96, 0, 0, 0, // IFA_FLAGS
    ];
    #[rustfmt::skip]
    const VETH: [u8; 76] = [
        76, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 237, 15, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 2, 16, 0, 0, 0, 0, 0, 0,
        9, 0, 3, 0, 118, 101, 45, 97, 0, 0, 0, 0, // IFLA_IFNAME
        16, 0, 18, 0, 9, 0, 1, 0, 118, 101, 116, 104, 0, 0, 0, 0, // IFLA_LINKINFO: IFLA_INFO_KIND
        8, 0, 37, 0, 3, 0, 0, 0, // IFLA_LINK_NETNSID
        8, 0, 5, 0, 2, 0, 0, 0, // IFLA_LINK
    ];
    const KNOWN: [u8; 28] =
        [28, 0, 0, 0, 88, 0, 0, 0, 1, 0, 0, 0, 237, 15, 0, 0, 0, 0, 0, 0, 8, 0, 1, 0, 0, 0, 0, 0];

    fn message(bytes: &[u8]) -> Message<'_> {
        Messages::new(bytes).next().unwrap().unwrap()
    }

    #[test]
    fn an_address_is_our_end_with_all_its_flags() {
        let address = |bytes| address(&message(bytes)).unwrap().unwrap();
        let expected = InterfaceAddress { ifindex: 1, address: [10, 0, 0, 1].into(), scope: 0, flags: 128 };
        assert_eq!(address(&POINT_TO_POINT), expected);
        let text = "2001:db8::1".parse().unwrap();
        let mut expected = InterfaceAddress { ifindex: 2, address: text, scope: 0, flags: 96 };
        assert_eq!(address(&DEPRECATED), expected);
        // What is beyond the eight bits of the header is in the attribute alone.
        let mut managed = DEPRECATED;
        managed[69] = 1;
        expected.flags = 0x160;
        assert_eq!(address(&managed), expected);
    }

    #[test]
    fn an_address_of_another_family_or_without_bytes_is_none() {
        let mut other = POINT_TO_POINT;
        other[16] = 28;
        assert_eq!(address(&message(&other)), Ok(None));
        other[16] = 10;
        assert_eq!(address(&message(&other)), Ok(None), "four bytes are no IPv6 address");
        let mut header = POINT_TO_POINT;
        header[0] = 24;
        assert_eq!(address(&message(&header)), Ok(None));
        header[0] = 20;
        assert_eq!(address(&message(&header)), Err(Error::Malformed { what: "address" }));
    }

    #[test]
    fn a_veth_has_its_other_end() {
        let peer = |bytes: &[u8]| link(&message(bytes)).unwrap().unwrap().peer;
        assert_eq!(peer(&VETH), Some((2, Nsid(3))));
        let mut vlan = VETH;
        vlan[52..56].copy_from_slice(b"vlan");
        assert_eq!(peer(&vlan), None);
        let mut local = VETH;
        local[62] = 99;
        assert_eq!(peer(&local), None, "no IFLA_LINK_NETNSID");
        let mut of_a_port = VETH;
        of_a_port[16] = 7;
        assert_eq!(link(&message(&of_a_port)), Ok(None));
    }

    #[test]
    fn a_port_has_its_bridge_and_a_bridge_is_one() {
        let mut port = VETH;
        port[62] = 10;
        assert_eq!(link(&message(&port)).unwrap().unwrap().master, Some(3));
        let mut bridge = VETH;
        bridge[48] = 11;
        bridge[52..59].copy_from_slice(b"bridge\0");
        assert!(link(&message(&bridge)).unwrap().unwrap().is_bridge);
    }

    #[test]
    fn a_namespace_id_is_read_and_minus_one_is_none() {
        assert_eq!(nsid(&message(&KNOWN)), Ok(Some(Nsid(0))));
        let mut unknown = KNOWN;
        unknown[24..28].fill(0xff);
        assert_eq!(nsid(&message(&unknown)), Ok(None));
    }

    #[test]
    fn requests_are_encoded_as_the_headers_say() {
        #[rustfmt::skip]
        let link = [
            40, 0, 0, 0, 18, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            8, 0, 29, 0, 8, 0, 0, 0,
        ];
        assert_eq!(get_link(7, 1), link);
        let addresses = [24, 0, 0, 0, 22, 0, 1, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(GET_ADDRESSES.encode(1), addresses);
        #[rustfmt::skip]
        let named = [
            36, 0, 0, 0, 88, 0, 5, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            8, 0, 3, 0, 9, 0, 0, 0, 8, 0, 1, 0, 0, 0, 16, 0,
        ];
        assert_eq!(new_nsid(9, Nsid(1 << 20), 2), named);
    }

    #[test]
    fn no_answer_with_a_changed_byte_is_read_past_its_end() {
        for bytes in [&POINT_TO_POINT[..], &DEPRECATED, &VETH, &KNOWN] {
            for at in 0..bytes.len() {
                for value in [0, 1, 3, 7, 127, 255] {
                    let mut bytes = bytes.to_vec();
                    bytes[at] = value;
                    for message in Messages::new(&bytes).flatten() {
                        let _ = (address(&message), link(&message), nsid(&message));
                    }
                }
            }
        }
    }
}
