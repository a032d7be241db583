//! Where a value ends, told without making anything of it.
//!
//! zbus adds the lengths that a message says before it looks whether so much is there. Where addresses have 32 bits, one
//! of almost 4 GiB wraps around, and the program ends; so all lengths are looked at here first.

use zbus::wire::Endian;

/// How many containers may be in each other, D-Bus Specification, "Summary of types": 32 arrays, 32 structures, and as
/// many variants as fit into 64 levels.
const DEEPEST: u8 = 64;

/// Where a variant ends that begins there, if it is well-formed as far as lengths go.
pub(crate) fn end_of_variant(endian: Endian, bytes: &[u8], at: usize) -> Option<usize> {
    Values { endian, bytes }.skip(at, b"v", DEEPEST).map(|(end, _)| end)
}

struct Values<'a> {
    endian: Endian,
    bytes: &'a [u8],
}

impl Values<'_> {
    /// The end of a value of the first type of a signature, and the types behind that.
    fn skip<'s>(&self, at: usize, signature: &'s [u8], depth: u8) -> Option<(usize, &'s [u8])> {
        let depth = depth.checked_sub(1)?;
        let (&kind, behind) = signature.split_first()?;
        let begin = at.checked_next_multiple_of(alignment(kind)?)?;
        let (end, behind) = match kind {
            b's' | b'o' => {
                (begin.checked_add(number(self.endian, self.bytes, begin)?)?.checked_add(5)?, behind)
            }
            b'g' => (begin.checked_add(usize::from(*self.bytes.get(begin)?))?.checked_add(2)?, behind),
            b'v' => (self.variant(begin, depth)?, behind),
            b'a' => self.array(begin, behind, depth)?,
            b'(' | b'{' => self.fields(begin, behind, depth)?,
            _ => (begin.checked_add(alignment(kind)?)?, behind),
        };
        (end <= self.bytes.len()).then_some((end, behind))
    }

    fn variant(&self, at: usize, depth: u8) -> Option<usize> {
        let begin = at.checked_add(1)?;
        let end = begin.checked_add(usize::from(*self.bytes.get(at)?))?;
        let (end, behind) = self.skip(end.checked_add(1)?, self.bytes.get(begin..end)?, depth)?;
        behind.is_empty().then_some(end)
    }

    fn array<'s>(&self, at: usize, element: &'s [u8], depth: u8) -> Option<(usize, &'s [u8])> {
        let begin = at.checked_add(4)?.checked_next_multiple_of(alignment(*element.first()?)?)?;
        let end = begin.checked_add(number(self.endian, self.bytes, at)?)?;
        let (behind, mut next) = (behind(element, depth)?, begin);
        if end > self.bytes.len() {
            return None;
        }
        while next < end {
            // A value that takes no room would be skipped for ever.
            next = self.skip(next, element, depth).map(|(end, _)| end).filter(|end| *end > next)?;
        }
        (next == end).then_some((end, behind))
    }

    fn fields<'s>(&self, at: usize, mut types: &'s [u8], depth: u8) -> Option<(usize, &'s [u8])> {
        let mut end = at;
        loop {
            match types.split_first()? {
                (b')' | b'}', behind) => return Some((end, behind)),
                _ => (end, types) = self.skip(end, types, depth)?,
            }
        }
    }
}

/// The types behind the first one.
fn behind(signature: &[u8], depth: u8) -> Option<&[u8]> {
    let depth = depth.checked_sub(1)?;
    let (kind, mut rest) = signature.split_first()?;
    match kind {
        b'a' => behind(rest, depth),
        b'(' | b'{' => loop {
            match rest.split_first()? {
                (b')' | b'}', after) => return Some(after),
                _ => rest = behind(rest, depth)?,
            }
        },
        _ => Some(rest),
    }
}

/// The four bytes there as a number.
pub(crate) fn number(endian: Endian, bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    let number = if endian == Endian::Little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) };
    usize::try_from(number).ok()
}

/// What a type is aligned to, which is also how long those are that have one length.
const fn alignment(kind: u8) -> Option<usize> {
    match kind {
        b'y' | b'g' | b'v' => Some(1),
        b'n' | b'q' => Some(2),
        b'b' | b'i' | b'u' | b'h' | b's' | b'o' | b'a' => Some(4),
        b'x' | b't' | b'd' | b'(' | b'{' => Some(8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use zbus::Variant;
    use zbus::wire::serialized::{Context, Data};

    /// A message that has the value as its body, which begins at a multiple of eight.
    fn body(value: &Variant<'_>) -> Vec<u8> {
        let message = zbus::Message::signal("/a", "a.b", "C").build(&(value,)).unwrap();
        message.body().data().bytes().to_vec()
    }

    #[test]
    fn a_value_ends_where_zbus_says() {
        let map: HashMap<&str, Variant<'_>> =
            [("a", Variant::from(1_u8)), ("b", Variant::from("text"))].into();
        let values = [
            Variant::from(1_u8),
            Variant::from(2_u16),
            Variant::from(3_i64),
            Variant::from(0.5_f64),
            Variant::from(true),
            Variant::from("text"),
            Variant::from(vec![1_u64, 2]),
            Variant::from(Vec::<u64>::new()),
            Variant::from(vec!["a", "bc"]),
            Variant::from((1_u8, "a", vec![(1_u8, 2_u64)], 7_u16)),
            Variant::from(map),
        ];
        for value in values {
            let bytes = body(&value);
            let data = Data::new(bytes.as_slice(), Context::new(Endian::native(), 0));
            let (_, expected) = data.deserialize::<Variant<'_>>().unwrap();
            assert_eq!(end_of_variant(Endian::native(), &bytes, 0), Some(expected), "{value:?}");
            for shorter in 0..expected {
                assert_eq!(
                    end_of_variant(Endian::native(), &bytes[..shorter], 0),
                    None,
                    "{value:?} {shorter}"
                );
            }
        }
    }

    #[test]
    fn no_length_wraps_around_and_nothing_goes_on_for_ever() {
        let ends = |bytes: &[u8]| end_of_variant(Endian::Little, bytes, 0);
        assert_eq!(ends(b"\x01s\0\0\xff\xff\xff\xff----"), None);
        assert_eq!(ends(b"\x02ay\0\xfa\xff\xff\xff--------"), None);
        assert_eq!(ends(b"\x03a()\0\0\0\0\x08\0\0\0--------"), None);
        assert_eq!(ends(b"\x02a(\0\0\0\0\0\0\0\0\0"), None);
        let variants = [b"\x01v\0".repeat(100), b"\x01y\0\0".to_vec()].concat();
        assert_eq!(ends(&variants), None);
        let arrays = [&[255][..], &[b'a'; 254], b"y\0", &[0; 64]].concat();
        assert_eq!(ends(&arrays), None);
    }
}
