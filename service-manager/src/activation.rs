//! Sockets that the service manager opened for the daemon, sd_listen_fds(3).
//!
//! # Safety
//! A number that is announced in the environment is a descriptor that is open and nobody else's: the service manager
//! put it there, and this is called once.

#![allow(unsafe_code, reason = "descriptors that come as numbers")]

use std::os::fd::{FromRawFd, OwnedFd};

use crate::Failure;

/// The name of the sockets in the socket unit, `FileDescriptorName=`.
const NAME: &str = "varlink";

/// The sockets passed under the name `varlink`; none where there was no service manager. To be called once.
///
/// # Errors
/// The environment announces descriptors that are none.
pub fn sockets() -> Result<Vec<OwnedFd>, Failure> {
    let passed = sd_notify::listen_fds_with_names();
    let passed = passed.map_err(|error| Failure::new("cannot take over sockets", error))?;
    // SAFETY: see the module.
    Ok(passed.filter(|(_, name)| name == NAME).map(|(fd, _)| unsafe { OwnedFd::from_raw_fd(fd) }).collect())
}
