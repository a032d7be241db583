//! As whom the calling process acts.
//!
//! # Safety
//! getresuid(2) writes three integers of this function; getauxval(3) reads what the kernel gave the process at its start.

#![allow(unsafe_code, reason = "system calls")]

/// The user as whom the calling process acts, if it acts as nobody else: its real, effective and saved uid are all this one,
/// and it was not started with the rights of another (a setuid program, AT_SECURE). A daemon of root's that serves a user
/// lowers one or two of the three, and must not take that user's word for a name.
pub fn sole_user() -> Option<u32> {
    let (mut real, mut effective, mut saved) = (0, 0, 0);
    // SAFETY: the three are the kernel's to write for the length of the call.
    let asked =
        unsafe { libc::syscall(libc::SYS_getresuid, &raw mut real, &raw mut effective, &raw mut saved) };
    // SAFETY: it takes a number, and has no other effect.
    let is_secure = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    (asked == 0 && !is_secure && effective == real && saved == real).then_some(real)
}

/// Whether the calling process acts as this user and as nobody else.
pub fn is_wholly(uid: u32) -> bool {
    sole_user() == Some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_wholly_its_own_user_alone() {
        // SAFETY: it takes nothing.
        let own = unsafe { libc::getuid() };
        assert!(is_wholly(own));
        assert!(!is_wholly(own.wrapping_add(1)));
    }
}
