//! Which daemon is called: the system's, or that of the user's own, `machined --user`.

use std::path::Path;
use std::{env, fs};

use registry::{IdRange, MachineName, map_to_host, parse_kernel_map};

use crate::failure::Failure;
use crate::machine::Machine;
use crate::whose::Whose;

/// A daemon, by where its sockets are.
#[derive(Debug)]
pub struct Daemon {
    directory: String,
    is_own: bool,
}

impl Daemon {
    /// The system's.
    pub fn system() -> Self {
        Self { directory: "/run/systemd/machine".into(), is_own: false }
    }

    /// That of the user of this process, where there is one: below `$XDG_RUNTIME_DIR`, or else where a runtime directory is by the
    /// uid that the user has outside of the user namespace that this process is in, as in the hooks of rootless Podman.
    pub fn own() -> Option<Self> {
        let named = env::var("XDG_RUNTIME_DIR").ok().filter(|path| path.starts_with('/'));
        let map = fs::read("/proc/self/uid_map").unwrap_or_default();
        let by_uid =
            uid_outside(&map, rustix::process::geteuid().as_raw()).map(|uid| format!("/run/user/{uid}"));
        let mut daemons = named
            .into_iter()
            .chain(by_uid)
            .map(|runtime| Self { directory: format!("{runtime}/systemd/machine"), is_own: true });
        daemons.find(|daemon| Path::new(&daemon.machines()).exists())
    }

    /// The one that the command line says: the system's, unless it says `--user`.
    ///
    /// # Errors
    /// The user has none.
    pub fn said(whose: &Whose) -> Result<Self, Failure> {
        if whose.user { Self::users() } else { Ok(Self::system()) }
    }

    /// The one that the command line says, or else the one in whose registry the name leads to a machine, as with `status`; the
    /// system's where it leads to none.
    ///
    /// # Errors
    /// As [`Daemon::said`].
    pub fn of(name: &MachineName, whose: &Whose) -> Result<Self, Failure> {
        let is_own = || Machine::read(name).is_ok_and(|machine| machine.registry.user().is_some());
        if whose.user || (!whose.system && is_own()) { Self::users() } else { Ok(Self::system()) }
    }

    fn users() -> Result<Self, Failure> {
        Self::own().ok_or_else(|| {
            Failure::with_hint(
                "there is no machined of your own",
                "'systemctl --user start machined.socket' starts it, or 'machined --user' where there is no systemd",
            )
        })
    }

    /// Whether it is a user's own.
    pub const fn is_own(&self) -> bool {
        self.is_own
    }

    /// Whether it is root's own.
    pub fn is_roots(&self) -> bool {
        self.directory.starts_with("/run/user/0/")
    }

    /// Its socket for machines.
    pub fn machines(&self) -> String {
        format!("{}/io.systemd.Machine", self.directory)
    }

    /// Its socket for images.
    pub fn images(&self) -> String {
        format!("{}/io.systemd.MachineImage", self.directory)
    }

    /// Who may do what it refuses to others.
    pub const fn who_may(&self) -> &'static str {
        if self.is_own {
            "your own machined may do what you may, and no more"
        } else {
            "root may, and who registered the machine; others as polkit's rules say"
        }
    }

    /// What to do where it does not answer.
    pub const fn hint(&self) -> &'static str {
        if self.is_own {
            "'systemctl --user status machined' tells about it, where systemd runs it"
        } else {
            "mymachines doctor says what is wrong"
        }
    }
}

/// The uid that a user of a user namespace has outside of it, by the text of `/proc/self/uid_map`.
fn uid_outside(map: &[u8], uid: u32) -> Option<u32> {
    let ranges: Vec<IdRange> = parse_kernel_map(map).flatten().collect();
    map_to_host(&ranges, uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uid_is_that_outside_of_the_user_namespace() {
        let podmans = b"         0       4711          1\n         1     300000      65536\n";
        assert_eq!(uid_outside(podmans, 0), Some(4711));
        assert_eq!(uid_outside(podmans, 1000), Some(300_999));
        assert_eq!(uid_outside(b"         0          0 4294967295\n", 1000), Some(1000));
        assert_eq!(uid_outside(b"         0          0 4294967295\n", 0), Some(0));
        assert_eq!(uid_outside(b"", 0), None);
    }
}
