//! Whether this is the process that made something, and not a child that fork(2) has given a copy of it.
//!
//! A page that the kernel empties in a child, MADV_WIPEONFORK of madvise(2), tells; and the process id, where there is no
//! such page, as under an emulator. The id alone would not do: in a new PID namespace a child may have that of its parent.
//!
//! # Safety
//! The page is mapped for as long as its [`Origin`] lives, and is null where it could not be had. Its first byte is written
//! once, before it is shared.

#![allow(unsafe_code, reason = "memory that a child of fork(2) has empty")]

use core::ptr;

use crate::system::own_pid;

/// What is mapped is a page at least.
const LENGTH: usize = 1;

/// The process that made this.
#[derive(Debug)]
pub struct Origin {
    pid: i32,
    page: *mut u8,
}

// SAFETY: the page is only read, but for its end.
unsafe impl Send for Origin {}
// SAFETY: the page is only read, but for its end.
unsafe impl Sync for Origin {}

impl Origin {
    /// This process.
    pub fn new() -> Self {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, wherever the kernel likes.
        let page = unsafe { libc::mmap(ptr::null_mut(), LENGTH, protection, flags, -1, 0) };
        let mut origin = Self { pid: own_pid(), page: ptr::null_mut() };
        if page == libc::MAP_FAILED {
            return origin;
        }
        // SAFETY: it was just mapped.
        unsafe {
            if libc::madvise(page, LENGTH, libc::MADV_WIPEONFORK) == 0 {
                origin.page = page.cast();
                origin.page.write(1);
            } else {
                libc::munmap(page, LENGTH);
            }
        }
        origin
    }

    /// Whether this process is still the one.
    pub fn is_here(&self) -> bool {
        // SAFETY: it is mapped.
        let is_wiped = !self.page.is_null() && unsafe { self.page.read_volatile() } == 0;
        !is_wiped && own_pid() == self.pid
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if !self.page.is_null() {
            // SAFETY: it is ours.
            unsafe { libc::munmap(self.page.cast(), LENGTH) };
        }
    }
}
