//! The headers of messages, as far as it takes to tell where a message ends and to make it one that zbus reads.
//!
//! zbus ends the connection upon a message that it makes nothing of. What a bus lets pass for all that is a field that
//! is not known: it has to be ignored, D-Bus Specification, "Message Format", and dbus-broker hands it on as it came. And
//! where there is no bus, systemd sends by a name that only a bus gives to services, and no sender has on one.

use std::ops::Range;

use zbus::Variant;
use zbus::wire::Endian;
use zbus::wire::serialized::{Context, Data};

use crate::skip::{end_of_variant, number};

/// How many bytes every message begins with: the primary header, and the length of the fields.
pub(crate) const START: usize = 16;
/// How many bytes a message has at most, D-Bus Specification, "Message Format".
const MOST: usize = 128 << 20;

/// The flag of a message of which only the header was taken in. No sender can set it.
pub(crate) const CUT: u8 = 0x80;

const METHOD_CALL: u8 = 1;
const SIGNAL: u8 = 4;
const SENDER: u8 = 7;
const SIGNATURE: u8 = 8;
const DESCRIPTORS: u8 = 9;

/// How a message lies in the bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) endian: Endian,
    kind: u8,
    /// How long the header is, with its padding.
    pub(crate) header: usize,
    pub(crate) body: usize,
}

impl Frame {
    /// The message that begins with these bytes; `None`: they are no message's, and where the next one begins is not
    /// known either.
    pub(crate) fn of(start: &[u8]) -> Option<Self> {
        let endian = match start.first()? {
            b'l' => Endian::Little,
            b'B' => Endian::Big,
            _ => return None,
        };
        let header = number(endian, start, 12)?.checked_add(START)?.checked_next_multiple_of(8)?;
        let frame = Self { endian, kind: *start.get(1)?, header, body: number(endian, start, 4)? };
        (frame.length()? <= MOST).then_some(frame)
    }

    fn length(self) -> Option<usize> {
        self.header.checked_add(self.body)
    }

    /// Whether it may be sent by anybody: a bus delivers replies only from those who were asked.
    pub(crate) fn is_anybodys(self) -> bool {
        matches!(self.kind, METHOD_CALL | SIGNAL)
    }

    /// Takes away what no sender may set, a sender's name that is none, and the fields that are not known. Returns how many descriptors the message
    /// says that it has; `None`: the header is not well-formed.
    pub(crate) fn clean(self, message: &mut Vec<u8>) -> Option<usize> {
        *message.get_mut(2)? &= !CUT;
        let (mut descriptors, mut is_known, mut is_sender, mut at) = (0, true, true, START);
        while let Some(field) = self.field(message, at)? {
            at = field.range.end;
            match field.code {
                DESCRIPTORS => descriptors = number(self.endian, message, at.checked_sub(4)?)?,
                // Behind the code, the signature and the length.
                SENDER => is_sender = is_name_of_sender(message.get(field.range)?.get(8..)?),
                code => is_known &= code <= DESCRIPTORS,
            }
        }
        if !(is_known && is_sender) {
            let body = message.get(self.header..)?.to_vec();
            *message =
                self.rewritten(message, |code| code <= DESCRIPTORS && (is_sender || code != SENDER))?;
            message.extend(body);
        }
        Some(descriptors)
    }

    /// The header of a message alone, which says that the rest is missing.
    pub(crate) fn cut(self, message: &[u8]) -> Option<Vec<u8>> {
        let mut cut = self.rewritten(message, |code| code < SIGNATURE)?;
        *cut.get_mut(2)? |= CUT;
        cut.get_mut(4..8)?.fill(0);
        Some(cut)
    }

    /// The header with some of its fields.
    fn rewritten(self, message: &[u8], is_wanted: impl Fn(u8) -> bool) -> Option<Vec<u8>> {
        let (mut new, mut at) = (message.get(..START)?.to_vec(), START);
        while let Some(field) = self.field(message, at)? {
            at = field.range.end;
            if is_wanted(field.code) {
                pad(&mut new);
                new.extend(message.get(field.range)?);
            }
        }
        let length = u32::try_from(new.len().checked_sub(START)?).ok()?;
        let length = if self.endian == Endian::Little { length.to_le_bytes() } else { length.to_be_bytes() };
        new.get_mut(12..START)?.copy_from_slice(&length);
        pad(&mut new);
        Some(new)
    }

    /// The field behind this place; `Some(None)`: there are no more.
    #[allow(clippy::option_option, reason = "the outer one is for ?")]
    fn field(self, message: &[u8], at: usize) -> Option<Option<Field>> {
        let end = number(self.endian, message, 12)?.checked_add(START)?;
        if at >= end {
            return Some(None);
        }
        let fields = message.get(..end)?;
        let start = at.checked_next_multiple_of(8)?;
        let code = *fields.get(start)?;
        let value = start.checked_add(4)?;
        let length = match fields.get(start.checked_add(1)?..value)? {
            [1, b'u', 0] => 4,
            [1, b's' | b'o', 0] => number(self.endian, fields, value)?.checked_add(5)?,
            [1, b'g', 0] => usize::from(*fields.get(value)?).checked_add(2)?,
            _ => {
                end_of_variant(self.endian, fields, start.checked_add(1)?)?;
                let data = Data::new(fields.get(start..)?, Context::new(self.endian, start));
                let (_, length) = data.deserialize::<(u8, Variant<'_>)>().ok()?;
                length.checked_sub(4)?
            }
        };
        let end = value.checked_add(length)?;
        (end <= fields.len()).then_some(Some(Field { code, range: start..end }))
    }
}

struct Field {
    code: u8,
    /// Where it lies in the message.
    range: Range<usize>,
}

/// What a bus says who has sent a message: a unique name, or its own.
fn is_name_of_sender(name: &[u8]) -> bool {
    name.first() == Some(&b':') || name == b"org.freedesktop.DBus\0"
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::Message;

    /// The message as it is read when its sender is called so.
    fn sender(name: &str) -> Option<String> {
        let signal = Message::signal("/a", "a.b", "C").sender(":1.freedesktop.systemd1");
        let signal = signal.build(&("body",)).unwrap();
        let mut bytes = signal.data().bytes().to_vec();
        let at = bytes.windows(23).position(|bytes| bytes == b":1.freedesktop.systemd1").unwrap();
        bytes[at..at + 23].copy_from_slice(name.as_bytes());
        let frame = Frame::of(&bytes).unwrap();
        frame.clean(&mut bytes).unwrap();
        let frame = Frame::of(&bytes).unwrap();
        assert_eq!(bytes.len(), frame.header + frame.body);
        let mut at = START;
        while let Some(field) = frame.field(&bytes, at).unwrap() {
            at = field.range.end;
            if field.code == SENDER {
                return Some(String::from_utf8(bytes[field.range.start + 8..at - 1].to_vec()).unwrap());
            }
        }
        None
    }

    #[test]
    fn a_sender_that_no_bus_would_tell_of_is_none() {
        assert_eq!(sender(":1.freedesktop.systemd1").as_deref(), Some(":1.freedesktop.systemd1"));
        assert_eq!(sender("or.freedesktop.systemd1"), None);
    }
}
