//! `libnss_mymachines.so.2`: the machines of this host as host names, and their users and groups, for the name service
//! switch of glibc (nsswitch.conf(5)).
//!
//! The module runs inside every process that resolves a name. It reads a few small files per answer and nothing else: no
//! socket, no bus, no thread, no state, no allocation, no thread-local storage, never more than one descriptor
//! open. Nothing in it can panic, and the link proves it: the panic handler calls a function that does not
//! exist, so that a panic path which survives optimisation is an undefined symbol.

#![cfg_attr(not(test), no_std)]

mod answer;
mod arena;
#[cfg(test)]
mod fuzz;
mod hosts;
mod lookup;
mod question;
mod reverse;
mod users;

#[cfg(not(test))]
#[allow(unsafe_code, reason = "the proof that nothing panics")]
mod panic_proof {
    //! # Safety
    //! The function is never defined, so nothing that could call it can be linked.

    unsafe extern "C" {
        fn nss_module_can_panic() -> !;
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        // SAFETY: see the module; a module in which this is reachable does not exist.
        unsafe { nss_module_can_panic() }
    }
}
