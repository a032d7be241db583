//! Who is at the other end of a connection.
//!
//! # Safety
//! rustix has no `SO_PEERPIDFD`, and its `SO_PEERCRED` turns the pid 0 of a peer in a foreign PID namespace into a `Pid`,
//! which can never be zero. Both options are plain C values, for which every bit pattern is valid, and a file descriptor
//! becomes owned only after the kernel said that it has made one.
#![allow(unsafe_code, reason = "two socket options that rustix does not offer soundly")]

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use rustix::process::{Gid, Pid, Uid};

use super::socket_option::option;

/// The user whom many services share, because they need no user.
const NOBODY: u32 = 65534;

/// The process that connected, as the kernel recorded it then.
#[derive(Debug)]
pub struct Peer {
    /// Its effective user.
    pub uid: Uid,
    /// Its effective group.
    pub gid: Gid,
    /// `None` when it lives in a PID namespace that we cannot see into.
    pub pid: Option<Pid>,
    /// `None` when the kernel is older than 6.5, the process was gone already, or it was not asked for.
    pub pidfd: Option<OwnedFd>,
}

impl Peer {
    /// Asks the kernel about the peer of `socket`, but for its pidfd.
    ///
    /// # Errors
    /// `SO_PEERCRED` failed: `socket` is no connected Unix socket.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        let zero = libc::ucred { pid: 0, uid: 0, gid: 0 };
        // SAFETY: a ucred is three integers.
        let credentials = unsafe { option(&socket, libc::SO_PEERCRED, zero) }?;
        Ok(Self {
            uid: Uid::from_raw(credentials.uid),
            gid: Gid::from_raw(credentials.gid),
            pid: Pid::from_raw(credentials.pid),
            pidfd: None,
        })
    }

    /// The same peer with its pidfd, if there is one.
    #[must_use]
    pub fn pinned(self, socket: impl AsFd) -> Self {
        // SAFETY: a c_int is an integer.
        let pidfd = unsafe { option::<libc::c_int>(&socket, libc::SO_PEERPIDFD, -1) };
        let pidfd = pidfd.ok().filter(|fd| *fd >= 0);
        // SAFETY: the kernel has just installed this descriptor for us, and nobody else knows of it.
        Self { pidfd: pidfd.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }), ..self }
    }

    /// Root, or the daemon's own user: may get in whatever the limits say, and may change its settings. Not so where the
    /// daemon runs as nobody, who is nobody's own user.
    pub fn is_privileged(&self) -> bool {
        self.is_trusted_by(rustix::process::geteuid())
    }

    fn is_trusted_by(&self, daemon: Uid) -> bool {
        self.uid.is_root() || (self.uid == daemon && daemon.as_raw() != NOBODY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_peer_of_a_pair_is_this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = Peer::of(&one).unwrap().pinned(&one);
        assert_eq!(peer.uid, rustix::process::geteuid());
        assert_eq!(peer.gid, rustix::process::getegid());
        assert_eq!(peer.pid, Some(rustix::process::getpid()));
        assert!(peer.is_privileged());
        assert!(Peer::of(&one).unwrap().pidfd.is_none());
    }

    #[test]
    fn a_daemon_trusts_root_and_its_own_user_but_not_nobody() {
        let peer = |uid| Peer { uid: Uid::from_raw(uid), gid: Gid::ROOT, pid: None, pidfd: None };
        let is_trusted = |uid, daemon| peer(uid).is_trusted_by(Uid::from_raw(daemon));
        assert!(is_trusted(0, 0) && is_trusted(0, 65534) && is_trusted(0, 70001) && is_trusted(70001, 70001));
        assert!(!is_trusted(65534, 65534) && !is_trusted(70001, 0) && !is_trusted(70001, 65534));
    }

    #[test]
    fn what_is_no_socket_has_no_peer() {
        assert!(Peer::of(std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
