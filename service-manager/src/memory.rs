//! Memory that is given back.
//!
//! # Safety
//! mallopt(3) changes two numbers of the allocator's, and is called while there is one thread.

#![allow(unsafe_code, reason = "mallopt(3), which takes two integers")]

/// From this size on memory is mapped for itself, and so much may be left unused at the end of the heap.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 128 << 10;

/// Has the allocator give back what is large as soon as it is free. Left to itself it learns from each large block that it
/// should keep such blocks, up to 32 MiB. Other C libraries than glibc have no such numbers, and learn nothing. To be called at the start.
pub fn give_large_memory_back() {
    // SAFETY: see the module.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE);
    }
}
