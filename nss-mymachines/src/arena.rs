//! The caller's buffer, into which an answer is laid out.
//!
//! # Safety
//! All writes go through [`Arena::allocate`], which hands out disjoint, aligned pieces within the buffer.

#![allow(unsafe_code, reason = "answers are built in the caller's buffer")]

use core::ffi::c_char;
use core::ptr;

/// Every piece begins at a multiple of this, as the original lays its answers out.
const ALIGNMENT: usize = align_of::<*mut u8>();

/// A buffer that is filled from its start.
pub struct Arena {
    base: *mut u8,
    size: usize,
    used: usize,
    overflow: bool,
}

impl Arena {
    /// # Safety
    /// `base` points to `size` writable bytes, for as long as the arena and what was placed in it is used.
    pub unsafe fn new(base: *mut c_char, size: usize) -> Self {
        let base = base.cast::<u8>();
        // A buffer that is not aligned loses its first bytes.
        let padding = base.addr().wrapping_neg() & (ALIGNMENT - 1);
        match size.checked_sub(padding) {
            Some(size) => Self { base: base.wrapping_add(padding), size, used: 0, overflow: false },
            None => Self { base, size: 0, used: 0, overflow: true },
        }
    }

    /// Whether something did not fit.
    pub const fn is_too_small(&self) -> bool {
        self.overflow
    }

    /// How much is used; for [`Arena::rewind`].
    pub const fn mark(&self) -> usize {
        self.used
    }

    /// Forgets what was placed since the mark.
    pub const fn rewind(&mut self, mark: usize) {
        if mark < self.used {
            self.used = mark;
        }
    }

    // Once, and not in each place: the module has to be small.
    #[inline(never)]
    fn allocate(&mut self, length: usize) -> Option<*mut u8> {
        let end = self
            .used
            .checked_add(length)
            .and_then(|end| end.checked_add(ALIGNMENT - 1))
            .map(|end| end & !(ALIGNMENT - 1))
            .filter(|&end| end <= self.size && !self.overflow);
        let Some(end) = end else {
            self.overflow = true;
            return None;
        };
        // SAFETY: used + length <= size, so the piece lies within the buffer.
        let piece = unsafe { self.base.add(self.used) };
        self.used = end;
        Some(piece)
    }

    /// Places text and the zero byte that ends it. Null if it does not fit.
    // Once, and not in each place: the module has to be small.
    #[inline(never)]
    pub fn text(&mut self, text: &[u8]) -> *mut c_char {
        let length = text.len().saturating_add(1);
        let Some(piece) = self.allocate(length) else { return ptr::null_mut() };
        // SAFETY: the piece has room for the text and one byte more, and is not part of it.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr(), piece, text.len());
            piece.add(text.len()).write(0);
        }
        piece.cast()
    }

    /// Places a value. Null if it does not fit.
    pub fn place<T: Copy>(&mut self, value: T) -> *mut T {
        const { assert!(align_of::<T>() <= ALIGNMENT) };
        let Some(piece) = self.allocate(size_of::<T>()) else { return ptr::null_mut() };
        let piece = piece.cast::<T>();
        // SAFETY: the piece has room for the value and is aligned for it.
        unsafe { piece.write(value) };
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_aligned_and_stay_within_the_buffer() {
        let mut buffer = [0x55_u8; 64];
        for offset in 0..16 {
            for size in 0..40 {
                buffer.fill(0x55);
                let base = buffer.as_mut_ptr().wrapping_add(offset);
                // SAFETY: offset + size <= 56.
                let mut arena = unsafe { Arena::new(base.cast(), size) };
                let first = arena.text(b"web");
                let second = arena.place(7_u32);
                for piece in [first.addr(), second.addr()] {
                    assert_eq!(piece % 8, 0);
                    assert!(piece == 0 || (piece >= base.addr() && piece + 4 <= base.addr() + size));
                }
                assert_eq!(arena.is_too_small(), second.is_null());
                assert!(buffer.iter().take(offset).all(|&byte| byte == 0x55), "red zone before");
                assert!(buffer.iter().skip(offset + size).all(|&byte| byte == 0x55), "red zone behind");
            }
        }
    }

    #[test]
    fn after_an_overflow_nothing_fits_any_more() {
        let mut buffer = [0_u64; 2];
        // SAFETY: it is 16 bytes.
        let mut arena = unsafe { Arena::new(buffer.as_mut_ptr().cast(), 16) };
        assert!(arena.text(b"a name that is longer").is_null());
        assert!(arena.place(1_u8).is_null() && arena.is_too_small());
    }
}
