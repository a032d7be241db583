//! What is free goes back to the kernel.
//!
//! # Safety
//! malloc_trim(3) takes no pointer and may be called at any time.
#![allow(unsafe_code, reason = "see Safety")]

/// Gives back what the allocator has kept of what was freed.
pub(super) fn give_back() {
    // SAFETY: see the file.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
