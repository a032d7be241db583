//! Memory without system calls: a fixed amount that is only ever handed out. The program ends when it is done.
//!
//! # Safety
//! Each byte of the arena is handed out once, by a counter that only grows; one thread or many makes no difference. What was
//! handed out last may grow or be taken back, which moves the counter, and only if nothing was handed out after it.
#![allow(unsafe_code, reason = "see Safety")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering};

const SIZE: usize = 64 << 20;

/// The arena. Pages that nobody wrote to take no memory.
pub(crate) struct Arena {
    bytes: UnsafeCell<[u8; SIZE]>,
    used: AtomicUsize,
}

// SAFETY: see the head of the file.
unsafe impl Sync for Arena {}

impl Arena {
    pub(crate) const fn new() -> Self {
        Self { bytes: UnsafeCell::new([0; SIZE]), used: AtomicUsize::new(0) }
    }

    fn start(&self) -> *mut u8 {
        self.bytes.get().cast()
    }

    /// Moves the end of what was handed out last. Returns whether that was it.
    fn resize_last(&self, pointer: *mut u8, old: usize, new: usize) -> bool {
        let begin = pointer.addr().wrapping_sub(self.start().addr());
        let (Some(end), Some(new_end)) = (begin.checked_add(old), begin.checked_add(new)) else {
            return false;
        };
        new_end <= SIZE
            && self.used.compare_exchange(end, new_end, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

// SAFETY: see the head of the file.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let base = self.start().addr();
        let place = |used: usize| {
            let address = base.checked_add(used)?.checked_next_multiple_of(layout.align())?;
            let begin = address.checked_sub(base)?;
            let end = begin.checked_add(layout.size())?;
            (end <= SIZE).then_some((begin, end))
        };
        let handed =
            self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(place(used)?.1));
        match handed.ok().and_then(place) {
            // SAFETY: it is inside the arena.
            Some((begin, _)) => unsafe { self.start().add(begin) },
            None => std::ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.resize_last(pointer, layout.size(), 0);
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        if self.resize_last(pointer, layout.size(), new) {
            return pointer;
        }
        let Ok(larger) = Layout::from_size_align(new, layout.align()) else { return std::ptr::null_mut() };
        // SAFETY: the layout is not empty, as the caller promises.
        let copy = unsafe { self.alloc(larger) };
        if !copy.is_null() {
            // SAFETY: both are that large, and apart.
            unsafe { std::ptr::copy_nonoverlapping(pointer, copy, layout.size().min(new)) };
        }
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_out_is_aligned_and_apart_and_ends_with_the_arena() {
        static ARENA: Arena = Arena::new();
        let layout = |size| Layout::from_size_align(size, 8).unwrap();
        // SAFETY: the layouts are those that the pointers were made with.
        unsafe {
            let one = ARENA.alloc(layout(5));
            let other = ARENA.alloc(layout(16));
            assert!(one.addr().is_multiple_of(8) && other.addr().is_multiple_of(8));
            assert!(one.add(5) <= other);
            one.write_bytes(1, 5);
            other.write_bytes(2, 16);
            assert_eq!(ARENA.realloc(other, layout(16), 64), other, "the last one grows where it is");
            let moved = ARENA.realloc(one, layout(5), 50);
            assert!(moved >= other.add(64));
            assert_eq!(std::slice::from_raw_parts(moved, 5), [1; 5]);
            assert_eq!(std::slice::from_raw_parts(other, 16), [2; 16]);
            assert!(ARENA.alloc(layout(SIZE)).is_null());
            assert!(ARENA.realloc(moved, layout(50), SIZE).is_null());
            ARENA.dealloc(moved, layout(50));
            assert_eq!(ARENA.alloc(layout(1)), moved, "the last one is taken back");
        }
    }
}
