//! Text of a limited length, without allocation.

use crate::decimal::parse_u32;

/// Text of at most N bytes; longer text is none, never its first part.
#[derive(Clone, Copy)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Text<N> {
    /// No text.
    pub const EMPTY: Self = Self { bytes: [0; N], length: 0 };

    /// Appends a byte.
    pub fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.length) {
            *slot = byte;
        }
        self.length = self.length.saturating_add(1);
    }

    /// Appends some bytes.
    // Once, and not in each place: the module of the name service switch has to be small.
    #[inline(never)]
    pub fn push_all(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.push(byte));
    }

    /// Starts anew.
    pub const fn clear(&mut self) {
        self.length = 0;
    }

    /// Whether nothing was appended.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The text; `None` if it is too long.
    pub fn get(&self) -> Option<&[u8]> {
        self.bytes.get(..self.length)
    }
}

/// The pieces of a text between separators.
pub(crate) struct Fields<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(text: &'a [u8], separator: u8) -> Self {
        Self { rest: Some(text), separator }
    }

    /// Whether there is no further piece.
    pub(crate) const fn is_at_end(&self) -> bool {
        self.rest.is_none()
    }

    /// The next piece, as a number.
    // Once, as `push_all`.
    #[inline(never)]
    pub(crate) fn number(&mut self) -> Option<u32> {
        parse_u32(self.next()?)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    // Once, as `push_all`.
    #[inline(never)]
    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.rest?;
        let end = text.iter().position(|&byte| byte == self.separator);
        let end = end.unwrap_or(text.len());
        self.rest = text.get(end.wrapping_add(1)..);
        text.get(..end)
    }
}

/// Whether a text has a byte.
// Once, as `push_all`.
#[inline(never)]
#[allow(clippy::manual_contains, reason = "that is longer than all of this")]
pub(crate) fn has(text: &[u8], byte: u8) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let pattern = ONES.wrapping_mul(byte.into());
    let mut rest = text;
    // Eight bytes at a time: one of them is zero exactly if a borrow reaches the top bit of one that had none.
    while let Some((eight, behind)) = rest.split_first_chunk() {
        let difference = u64::from_ne_bytes(*eight) ^ pattern;
        if difference.wrapping_sub(ONES) & !difference & (ONES << 7) != 0 {
            return true;
        }
        rest = behind;
    }
    rest.iter().any(|&other| other == byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_found_wherever_it_is() {
        let mut text = [0x80_u8; 21];
        for byte in [0, 1, b'.', 0x7f, 0x81, 0xff] {
            for place in 0..text.len() {
                assert!(!has(&text, byte), "{byte}");
                text[place] = byte;
                for length in 0..=text.len() {
                    assert_eq!(has(&text[..length], byte), place < length, "{byte} at {place} of {length}");
                }
                text[place] = 0x80;
            }
        }
    }

    #[test]
    fn text_that_is_too_long_is_none() {
        let mut text = Text::<3>::EMPTY;
        assert_eq!(text.get(), Some(&b""[..]));
        text.push_all(b"abc");
        assert_eq!(text.get(), Some(&b"abc"[..]));
        text.push(b'd');
        assert_eq!(text.get(), None);
        text.clear();
        assert!(text.is_empty());
        text.push(b'e');
        assert_eq!(text.get(), Some(&b"e"[..]));
    }
}
