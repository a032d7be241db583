//! Paths of a limited length, without allocation.

use core::ffi::CStr;

/// A path of at most N - 1 bytes, as system calls want it. One that does not fit is empty, and names nothing.
#[derive(Clone, Copy)]
pub struct ZeroEnded<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> ZeroEnded<N> {
    /// The path that these pieces make.
    pub fn new(pieces: &[&[u8]]) -> Self {
        let nothing = Self { bytes: [0; N], length: 0 };
        let mut path = nothing;
        for &piece in pieces {
            let end = path.length.saturating_add(piece.len());
            match path.bytes.get_mut(path.length..end) {
                // The last byte stays zero.
                Some(room) if end < N && !piece.contains(&0) => room.copy_from_slice(piece),
                _ => return nothing,
            }
            path.length = end;
        }
        path
    }

    /// The path.
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_names_nothing() {
        assert_eq!(ZeroEnded::<8>::new(&[b"/run/", b"ab"]).as_c_str(), c"/run/ab");
        assert_eq!(ZeroEnded::<8>::new(&[b"/run/", b"abc"]).as_c_str(), c"");
        assert_eq!(ZeroEnded::<8>::new(&[b"a\0b"]).as_c_str(), c"");
    }
}
