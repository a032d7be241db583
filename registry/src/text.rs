//! Text of a limited length, without allocation.

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

#[cfg(test)]
mod tests {
    use super::*;

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
