//! `libmachine.so.0`: the machines of this host for programs in C, include/machine.h.
//!
//! A thin layer over the crate libmachine, whose functions are safe. Every exported function has one shape: arguments
//! are checked, a safe function finds the answer, and what it found is written to where the caller wants it, last and
//! only on success.
//!
//! Nothing in the library can panic, and the link proves it: the panic handler calls a function that does not exist, so
//! that a panic path which survives optimisation is an undefined symbol. So there is nothing to unwind, nothing to catch
//! at the boundary, and no need of libgcc_s. There is no state but that of the caller's objects, no lock, no thread and no
//! thread-local storage: any function may be called by any thread, in a child of fork(2), and by a thread that may be
//! cancelled. None waits but machine_wait(). Like any function of the C library they may be called in signal handlers only where malloc(3)
//! may.

#![cfg_attr(not(test), no_std)]

mod answer;
mod batch;
mod errors;
mod list;
mod lookup;
mod monitor;
mod name;
mod sd_login;
mod snapshot;
mod text;
mod version;

#[cfg(not(test))]
#[allow(unsafe_code, reason = "the proof that nothing panics")]
mod panic_proof {
    //! # Safety
    //! The function is never defined, so nothing that could call it can be linked.

    unsafe extern "C" {
        fn libmachine_can_panic() -> !;
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        // SAFETY: see the module; a library in which this is reachable does not exist.
        unsafe { libmachine_can_panic() }
    }
}

#[cfg(feature = "may-panic")]
#[allow(unsafe_code, clippy::indexing_slicing, reason = "must not link")]
mod may_panic {
    /// Indexes what it is not known to have.
    #[unsafe(no_mangle)]
    extern "C" fn machine_may_panic(index: usize) -> u8 {
        b"machine"[index]
    }
}
