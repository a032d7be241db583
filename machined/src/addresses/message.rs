//! The framing of netlink: messages in a datagram, attributes in a message. See netlink(7).
//!
//! Numbers are in the byte order of the host. Everything is padded to four bytes, except that the last padding may be
//! missing.

use super::Error;

/// The answer to a request, or to a part of it, is an error number; zero is an acknowledgement.
pub(super) const NLMSG_ERROR: u16 = 2;
/// The end of an answer in several parts.
pub(super) const NLMSG_DONE: u16 = 3;
/// Kinds below this are netlink's own.
pub(super) const NLMSG_MIN_TYPE: u16 = 0x10;

/// This is a request.
pub(super) const NLM_F_REQUEST: u16 = 0x1;
/// More parts follow, the last one being `NLMSG_DONE`.
pub(super) const NLM_F_MULTI: u16 = 0x2;
/// Acknowledge, also when nothing went wrong.
pub(super) const NLM_F_ACK: u16 = 0x4;
/// The table changed while it was dumped: the answer may have gaps or doubles.
pub(super) const NLM_F_DUMP_INTR: u16 = 0x10;
/// Everything, not one object.
pub(super) const NLM_F_DUMP: u16 = 0x300;

const MESSAGE_HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
/// The two high bits of an attribute's kind say how its payload is stored.
const ATTRIBUTE_KIND: u16 = 0x3fff;

/// The two bytes at `offset`, if they are there.
pub(super) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

/// The four bytes at `offset`, if they are there.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

/// The four bytes at `offset`, if they are there, as a signed number.
pub(super) fn i32_at(bytes: &[u8], offset: usize) -> Option<i32> {
    bytes.get(offset..)?.first_chunk().copied().map(i32::from_ne_bytes)
}

/// Splits a part of `length` bytes off, and the padding behind it.
fn split_padded(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    let part = bytes.get(..length)?;
    let rest = bytes.get(length.checked_next_multiple_of(4)?..).unwrap_or_default();
    Some((part, rest))
}

/// One message, without its padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message<'a> {
    /// What the message is: `NLMSG_*` or `RTM_*`.
    pub(super) kind: u16,
    /// `NLM_F_*`.
    pub(super) flags: u16,
    /// The number of the request that this answers; zero for a notification.
    pub(super) sequence: u32,
    /// What follows the header.
    pub(super) payload: &'a [u8],
}

/// The messages of one datagram, in order. Ends after the first malformed one.
#[derive(Debug, Clone)]
pub(super) struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    /// The messages in `datagram`.
    pub(super) fn new(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }

    fn split(bytes: &'a [u8]) -> Option<(Message<'a>, &'a [u8])> {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let (message, rest) = split_padded(bytes, length)?;
        let payload = message.get(MESSAGE_HEADER..)?;
        Some((
            Message {
                kind: u16_at(bytes, 4)?,
                flags: u16_at(bytes, 6)?,
                sequence: u32_at(bytes, 8)?,
                payload,
            },
            rest,
        ))
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some((message, rest)) = Self::split(self.0) else {
            self.0 = &[];
            return Some(Err(Error::Malformed { what: "netlink message" }));
        };
        self.0 = rest;
        Some(Ok(message))
    }
}

/// The attributes behind the fixed part of a message, as (kind, payload). Ends after the first malformed one.
#[derive(Debug, Clone)]
pub(super) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The attributes behind the first `header` bytes of `payload`.
    pub(super) fn after(header: usize, payload: &'a [u8]) -> Self {
        Self(payload.get(header..).unwrap_or_default())
    }

    fn split(bytes: &'a [u8]) -> Option<(u16, &'a [u8], &'a [u8])> {
        let (attribute, rest) = split_padded(bytes, usize::from(u16_at(bytes, 0)?))?;
        Some((u16_at(bytes, 2)? & ATTRIBUTE_KIND, attribute.get(ATTRIBUTE_HEADER..)?, rest))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some((kind, payload, rest)) = Self::split(self.0) else {
            self.0 = &[];
            return Some(Err(Error::Malformed { what: "netlink attribute" }));
        };
        self.0 = rest;
        Some(Ok((kind, payload)))
    }
}

/// A request of one message: kind and flags, the fixed part, and attributes of four bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    /// `RTM_*`.
    pub(super) kind: u16,
    /// `NLM_F_*` beside `NLM_F_REQUEST`.
    pub(super) flags: u16,
    /// The fixed part, padded to four bytes.
    pub(super) header: &'a [u8],
    /// Kind and payload of each attribute.
    pub(super) attributes: &'a [(u16, [u8; 4])],
}

impl Request<'_> {
    /// The request as the kernel reads it, numbered `sequence`.
    pub(super) fn encode(&self, sequence: u32) -> Vec<u8> {
        let length = self.attributes.len().saturating_mul(ATTRIBUTE_HEADER + 4);
        let length = length.saturating_add(self.header.len()).saturating_add(MESSAGE_HEADER);
        let mut bytes = Vec::with_capacity(length);
        // A request has a handful of attributes, so its length always fits.
        bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend((self.flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.header);
        for (kind, payload) in self.attributes {
            bytes.extend(8u16.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(payload);
        }
        bytes
    }
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_encoded_as_the_headers_say() {
        let request =
            Request { kind: 90, flags: NLM_F_ACK, header: &[0; 4], attributes: &[(3, 7u32.to_ne_bytes())] };
        let golden = [
            28, 0, 0, 0, 90, 0, 5, 0, 9, 0, 0, 0, 0, 0, 0, 0, // nlmsghdr
            0, 0, 0, 0, // rtgenmsg
            8, 0, 3, 0, 7, 0, 0, 0, // NETNSA_FD
        ];
        assert_eq!(request.encode(9), golden);
    }

    #[test]
    fn what_is_encoded_decodes() {
        let request = Request {
            kind: 22,
            flags: NLM_F_DUMP,
            header: &[2; 8],
            attributes: &[(4, *b"abcd"), (5, *b"efgh")],
        };
        let bytes = request.encode(3);
        let messages: Vec<_> = Messages::new(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(messages.len(), 1);
        assert_eq!(
            (messages[0].kind, messages[0].flags, messages[0].sequence),
            (22, NLM_F_DUMP | NLM_F_REQUEST, 3)
        );
        let attributes: Vec<_> = Attributes::after(8, messages[0].payload).collect::<Result<_, _>>().unwrap();
        assert_eq!(attributes, [(4, &b"abcd"[..]), (5, &b"efgh"[..])]);
    }

    #[test]
    fn padding_is_skipped_and_may_be_missing_at_the_end() {
        let bytes = [5, 0, 1, 0, 0xaa, 0, 0, 0, 6, 0, 2, 0x80, 0xbb, 0xcc];
        let attributes: Vec<_> = Attributes::after(0, &bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(attributes, [(1, &[0xaa][..]), (2, &[0xbb, 0xcc][..])]);
    }

    #[test]
    fn every_length_that_lies_is_malformed_and_ends_the_datagram() {
        for length in [0u32, 1, 15, 33, u32::MAX, u32::MAX - 2] {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            let messages: Vec<_> = Messages::new(&bytes).collect();
            assert_eq!(messages, [Err(Error::Malformed { what: "netlink message" })], "length {length}");
        }
        for length in [0u16, 1, 3, 9, u16::MAX] {
            let mut bytes = [0; 8];
            bytes[..2].copy_from_slice(&length.to_ne_bytes());
            let attributes: Vec<_> = Attributes::after(0, &bytes).collect();
            assert_eq!(attributes, [Err(Error::Malformed { what: "netlink attribute" })], "length {length}");
        }
    }

    #[test]
    fn no_truncation_is_read_past_its_end() {
        let request =
            Request { kind: 22, flags: 0, header: &[0; 8], attributes: &[(1, [1; 4]), (2, [2; 4])] };
        let bytes = request.encode(1);
        for end in 0..bytes.len() {
            let good = Messages::new(&bytes[..end]).filter(Result::is_ok).count();
            assert_eq!(good, 0, "cut at {end}");
        }
    }
}
