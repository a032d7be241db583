//! Memory of the C library's heap that grows, and says so when it cannot.
//!
//! What a query finds is collected here, so that a caller in C can free(3) it, and so that a shortage of memory is an
//! answer (`ENOMEM`) instead of the end of the process.
//!
//! # Safety
//! `start` is null or comes from realloc(3) with room for `capacity` items; the first `length` are initialised, and the
//! buffer's own: what takes one out, or forgets it, is there for items that are `Copy` alone, or gives it away.

#![allow(unsafe_code, reason = "the heap of the C library")]

use core::mem::{forget, size_of};
use core::ops::{Deref, DerefMut};
use core::ptr;
use core::slice;

use crate::errno::Errno;

/// A growing array.
#[derive(Debug)]
pub struct Buffer<T> {
    start: *mut T,
    length: usize,
    capacity: usize,
}

// SAFETY: it owns its memory, as a Vec does.
unsafe impl<T: Send> Send for Buffer<T> {}
// SAFETY: shared, it is only read.
unsafe impl<T: Sync> Sync for Buffer<T> {}

impl<T> Buffer<T> {
    /// An array without items and without memory.
    pub const fn new() -> Self {
        Self { start: ptr::null_mut(), length: 0, capacity: 0 }
    }

    /// Makes room for so many items more.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn reserve(&mut self, more: usize) -> Result<(), Errno> {
        let needed = self.length.checked_add(more).ok_or(Errno::NOMEM)?;
        if needed <= self.capacity {
            return Ok(());
        }
        self.grow(needed)
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, needed: usize) -> Result<(), Errno> {
        let capacity = needed.max(self.capacity.saturating_mul(2)).max(8);
        // SAFETY: null, or ours from an earlier call.
        self.start = unsafe { enlarged(self.start.cast(), capacity, size_of::<T>()) }?.cast();
        self.capacity = capacity;
        Ok(())
    }

    /// Appends an item.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn push(&mut self, item: T) -> Result<(), Errno> {
        self.reserve(1)?;
        // SAFETY: there is room for it.
        unsafe { self.start.wrapping_add(self.length).write(item) };
        self.length = self.length.wrapping_add(1);
        Ok(())
    }

    /// Takes out the last item.
    pub fn pop(&mut self) -> Option<T> {
        self.length = self.length.checked_sub(1)?;
        // SAFETY: it was initialised, and is the buffer's no more.
        Some(unsafe { self.start.wrapping_add(self.length).read() })
    }

    /// Puts an item in front of the one at a position, or at the end.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn insert(&mut self, position: usize, item: T) -> Result<(), Errno> {
        self.reserve(1)?;
        let position = position.min(self.length);
        let at = self.start.wrapping_add(position);
        // SAFETY: there is room for one more behind the last.
        unsafe {
            ptr::copy(at, at.wrapping_add(1), self.length.wrapping_sub(position));
            at.write(item);
        }
        self.length = self.length.wrapping_add(1);
        Ok(())
    }

    /// Takes out the item at a position, if there is one.
    pub fn remove(&mut self, position: usize) -> Option<T> {
        if position >= self.length {
            return None;
        }
        let at = self.start.wrapping_add(position);
        self.length = self.length.wrapping_sub(1);
        // SAFETY: it was initialised, and is the buffer's no more; those behind it are ours too, and move up.
        unsafe {
            let item = at.read();
            ptr::copy(at.wrapping_add(1), at, self.length.wrapping_sub(position));
            Some(item)
        }
    }

    /// Keeps those items of which the function says so, in their order.
    pub fn keep(&mut self, mut is_kept: impl FnMut(&T) -> bool) {
        let length = core::mem::take(&mut self.length);
        for position in 0..length {
            let item = self.start.wrapping_add(position);
            // SAFETY: it is initialised, and is moved to a place that is free, or dropped, once.
            unsafe {
                if is_kept(&*item) {
                    ptr::copy(item, self.start.wrapping_add(self.length), 1);
                    self.length = self.length.wrapping_add(1);
                } else {
                    item.drop_in_place();
                }
            }
        }
    }
}

/// Memory for so many items, with what was in the old memory, which is no more; on failure it is as it was.
///
/// # Safety
/// It is null or comes from this function, and belongs to the caller.
// Once, and not for each type.
#[inline(never)]
unsafe fn enlarged(start: *mut libc::c_void, items: usize, size: usize) -> Result<*mut libc::c_void, Errno> {
    let bytes =
        items.checked_mul(size).filter(|&bytes| isize::try_from(bytes).is_ok()).ok_or(Errno::NOMEM)?;
    // SAFETY: as demanded.
    let start = unsafe { libc::realloc(start, bytes.max(1)) };
    if start.is_null() { Err(Errno::NOMEM) } else { Ok(start) }
}

impl<T: Copy> Buffer<T> {
    /// Appends items.
    ///
    /// # Errors
    /// `ENOMEM`; nothing was appended then.
    pub fn extend(&mut self, items: &[T]) -> Result<(), Errno> {
        self.reserve(items.len())?;
        // SAFETY: there is room for them, and what is borrowed lies elsewhere.
        unsafe {
            ptr::copy_nonoverlapping(items.as_ptr(), self.start.wrapping_add(self.length), items.len());
        }
        self.length = self.length.wrapping_add(items.len());
        Ok(())
    }

    /// Appends an item many times.
    ///
    /// # Errors
    /// `ENOMEM`; nothing was appended then.
    pub fn fill(&mut self, item: T, times: usize) -> Result<(), Errno> {
        self.reserve(times)?;
        let end = self.start.wrapping_add(self.length);
        for offset in 0..times {
            // SAFETY: there is room for so many.
            unsafe { end.wrapping_add(offset).write(item) };
        }
        self.length = self.length.wrapping_add(times);
        Ok(())
    }

    /// Appends what is written to the room behind the last item. The function is given that room, and says how many items
    /// from its start on it has written.
    ///
    /// # Errors
    /// `ENOMEM`, and those of the function.
    ///
    /// # Safety
    /// The function has written as many as it says.
    pub unsafe fn append<E>(
        &mut self,
        room: usize,
        write: impl FnOnce(*mut T, usize) -> Result<usize, E>,
    ) -> Result<usize, E>
    where
        E: From<Errno>,
    {
        self.reserve(room)?;
        let written = write(self.start.wrapping_add(self.length), room)?.min(room);
        self.length = self.length.wrapping_add(written);
        Ok(written)
    }

    /// Forgets all items but the first few.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Keeps a part of the items, which becomes all of them.
    pub fn cut_out(&mut self, start: usize, length: usize) {
        let start = start.min(self.length);
        let length = length.min(self.length.wrapping_sub(start));
        // SAFETY: the part lies within what is initialised.
        unsafe { ptr::copy(self.start.wrapping_add(start), self.start, length) };
        self.length = length;
    }

    /// Gives the memory away, to be freed by free(3); null if there was never an item.
    pub fn into_raw(self) -> *mut T {
        let start = self.start;
        forget(self);
        start
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        if self.start.is_null() {
            return &[];
        }
        // SAFETY: so many are initialised.
        unsafe { slice::from_raw_parts(self.start, self.length) }
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        if self.start.is_null() {
            return &mut [];
        }
        // SAFETY: so many are initialised, and borrowed by nobody else.
        unsafe { slice::from_raw_parts_mut(self.start, self.length) }
    }
}

impl<T> Default for Buffer<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for Buffer<T> {
    // Once, and not in each place.
    #[inline(never)]
    fn drop(&mut self) {
        let items: *mut [T] = &raw mut **self;
        // SAFETY: the items are initialised and the buffer's own, and the memory is null or ours.
        unsafe {
            items.drop_in_place();
            libc::free(self.start.cast());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn it_holds_what_a_vec_holds() {
        let (mut buffer, mut vec) = (Buffer::new(), Vec::new());
        assert!(buffer.is_empty());
        // A linear congruential generator: the same steps in every run.
        let mut seed = 1_u64;
        for step in 0..5000_u32 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let position = usize::try_from(seed >> 40).unwrap() % (vec.len() + 1);
            match (seed >> 33) % 5 {
                0 => {
                    buffer.insert(position, step).unwrap();
                    vec.insert(position, step);
                }
                1 => {
                    buffer.remove(position);
                    if position < vec.len() {
                        vec.remove(position);
                    }
                }
                2 => {
                    buffer.extend(&[step, 7]).unwrap();
                    vec.extend([step, 7]);
                }
                3 => {
                    buffer.fill(step, 3).unwrap();
                    vec.extend([step; 3]);
                }
                _ => {
                    buffer.push(step).unwrap();
                    vec.push(step);
                }
            }
            assert_eq!(&*buffer, &*vec);
        }
        buffer.cut_out(10, 20);
        assert_eq!(&*buffer, &vec[10..30]);
        buffer.cut_out(15, 9);
        assert_eq!(&*buffer, &vec[25..30]);
        buffer.truncate(2);
        assert_eq!(&*buffer, &vec[25..27]);
    }

    #[test]
    fn what_it_holds_is_dropped_once() {
        let counted = std::rc::Rc::new(());
        let mut buffer = Buffer::new();
        for _ in 0..20 {
            buffer.push(counted.clone()).unwrap();
        }
        assert!(buffer.pop().is_some() && buffer.remove(0).is_some());
        assert_eq!(std::rc::Rc::strong_count(&counted), 19);
        let mut position = 0;
        buffer.keep(|_| {
            position += 1;
            position % 3 == 0
        });
        assert_eq!((buffer.len(), std::rc::Rc::strong_count(&counted)), (6, 7));
        drop(buffer);
        assert_eq!(std::rc::Rc::strong_count(&counted), 1);
    }

    #[test]
    fn what_cannot_be_had_is_an_error() {
        let mut buffer = Buffer::<u64>::new();
        assert_eq!(buffer.reserve(usize::MAX), Err(Errno::NOMEM));
        assert_eq!(buffer.reserve(usize::MAX / 8), Err(Errno::NOMEM));
        assert_eq!(buffer.push(1), Ok(()));
        assert_eq!(&*buffer, [1]);
    }
}
