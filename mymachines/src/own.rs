//! The daemon of a user's own, `machined --user`.

use std::path::Path;
use std::{env, fs};

use registry::{IdRange, map_to_host, parse_kernel_map};

/// Where it is called, below the user's runtime directory.
const SOCKET: &str = "systemd/machine/io.systemd.Machine";

/// Its socket, where there is one for the user of this process: below `$XDG_RUNTIME_DIR`, or else where a runtime directory is by
/// the uid that the user has outside of the user namespace that this process is in, as in the hooks of rootless Podman.
pub fn socket() -> Option<String> {
    let named = env::var("XDG_RUNTIME_DIR").ok().filter(|path| path.starts_with('/'));
    let map = fs::read("/proc/self/uid_map").unwrap_or_default();
    let by_uid = uid_outside(&map, rustix::process::geteuid().as_raw()).map(|uid| format!("/run/user/{uid}"));
    let sockets = named.into_iter().chain(by_uid).map(|runtime| format!("{runtime}/{SOCKET}"));
    // Root has the system's.
    sockets.filter(|path| !path.starts_with("/run/user/0/")).find(|path| Path::new(path).exists())
}

/// The uid that a user of a user namespace has outside of it, by the text of `/proc/self/uid_map`; that of no root.
fn uid_outside(map: &[u8], uid: u32) -> Option<u32> {
    let ranges: Vec<IdRange> = parse_kernel_map(map).flatten().collect();
    map_to_host(&ranges, uid).filter(|&uid| uid != 0)
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
        assert_eq!(uid_outside(b"         0          0 4294967295\n", 0), None);
        assert_eq!(uid_outside(b"", 0), None);
    }
}
