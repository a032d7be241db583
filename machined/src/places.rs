//! Where a daemon has its files, sockets and slice: that of the system, or one of a user's own.

use std::path::{Path, PathBuf};

use registry::{
    ADDRESS_DIRECTORY, ALIAS_DIRECTORY, DERIVED_DIRECTORY, GID_DIRECTORY, GROUP_DIRECTORY, LEADER_DIRECTORY,
    MACHINE_DIRECTORY, NAME_DIRECTORY, UID_DIRECTORY,
};

/// The places of a daemon.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Places {
    /// The records, and the links of units.
    pub records: PathBuf,
    /// What is derived from the records.
    pub derived: PathBuf,
    /// The index of addresses.
    pub addresses: PathBuf,
    /// The index of control groups.
    pub groups: PathBuf,
    /// The index of leaders.
    pub leaders: PathBuf,
    /// The index of users.
    pub uids: PathBuf,
    /// The index of groups of users.
    pub gids: PathBuf,
    /// The index of aliases.
    pub aliases: PathBuf,
    /// The index of names in lower case.
    pub names: PathBuf,
    /// Where the daemon is called.
    pub socket: PathBuf,
    /// The second name of that, which clients of images use.
    pub image_socket: PathBuf,
    /// Where those look who call any service by the name of its interface; `None` where systemd makes these links.
    pub registry: Option<PathBuf>,
    /// The slice that the scopes of machines are in.
    pub slice: &'static str,
}

/// What is below the records of a user's daemon is as far below the user's runtime directory.
const RUNTIME: &str = "/run";

const SOCKET: &str = "/run/systemd/machine/io.systemd.Machine";
const IMAGE_SOCKET: &str = "/run/systemd/machine/io.systemd.MachineImage";

impl Places {
    /// Those of the system's daemon.
    pub fn system() -> Self {
        Self::below(Path::new(RUNTIME))
    }

    /// Those of the daemon of the user who has this runtime directory, file-hierarchy(7).
    pub fn user(runtime: &Path) -> Self {
        Self { registry: Some(runtime.join("varlink/registry")), ..Self::below(runtime) }
    }

    fn below(runtime: &Path) -> Self {
        let place = |path: &str| {
            let path = Path::new(path);
            path.strip_prefix(RUNTIME).map_or_else(|_| path.to_owned(), |below| runtime.join(below))
        };
        Self {
            records: place(MACHINE_DIRECTORY),
            derived: place(DERIVED_DIRECTORY),
            addresses: place(ADDRESS_DIRECTORY),
            groups: place(GROUP_DIRECTORY),
            leaders: place(LEADER_DIRECTORY),
            uids: place(UID_DIRECTORY),
            gids: place(GID_DIRECTORY),
            aliases: place(ALIAS_DIRECTORY),
            names: place(NAME_DIRECTORY),
            socket: place(SOCKET),
            image_socket: place(IMAGE_SOCKET),
            registry: None,
            slice: "machine.slice",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_places_are_those_that_readers_know() {
        let places = Places::system();
        assert_eq!(places.records, Path::new(MACHINE_DIRECTORY));
        assert_eq!(places.aliases, Path::new(ALIAS_DIRECTORY));
        assert_eq!(places.socket, Path::new(SOCKET));
    }

    #[test]
    fn a_users_places_are_below_the_users_runtime_directory() {
        let places = Places::user(Path::new("/run/user/1000"));
        assert_eq!(places.records, Path::new("/run/user/1000/systemd/machines"));
        assert_eq!(places.addresses, Path::new("/run/user/1000/machined/addresses"));
        assert_eq!(places.image_socket, Path::new("/run/user/1000/systemd/machine/io.systemd.MachineImage"));
    }
}
