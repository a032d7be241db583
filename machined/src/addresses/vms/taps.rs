//! Which interfaces a process has open: what runs a virtual machine holds the other end of its tap, tun(4).

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use libmachine::ProcessHandle;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// More descriptors are not looked at.
const MOST_DESCRIPTORS: usize = 4096;
/// More interfaces are not taken.
const MOST: usize = 64;

/// The host's interfaces that a process has open: those of /dev/net/tun by the names that the kernel says, those of macvtap by
/// their numbers. It is to be in the host's network namespace, as names mean something there alone. Only links are read, and of
/// /dev/net/tun what the kernel says: nothing that a process could have wait.
pub(in crate::addresses) fn of_leader(leader: &ProcessHandle) -> Vec<u32> {
    let directory = format!("/proc/{}", leader.pid());
    let Ok(entries) = fs::read_dir(format!("{directory}/fd")) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten().take(MOST_DESCRIPTORS) {
        // It may have closed it by now.
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let ifindex = if target == OsStr::new("/dev/net/tun") {
            let descriptor = entry.file_name();
            let Some(descriptor) = descriptor.to_str() else { continue };
            let told = fs::read_to_string(format!("{directory}/fdinfo/{descriptor}"));
            told.ok().and_then(|told| ifindex(interface_of(&told)?))
        } else {
            let number = target.as_os_str().as_bytes().strip_prefix(b"/dev/tap");
            number.and_then(|number| str::from_utf8(number).ok()?.parse().ok())
        };
        found.extend(ifindex.filter(|ifindex| !found.contains(ifindex)));
        if found.len() >= MOST {
            break;
        }
    }
    // What was read may be another process's that has the number now.
    if leader.has_exited() { Vec::new() } else { found }
}

/// The name in what the kernel tells of a descriptor.
fn interface_of(told: &str) -> Option<&str> {
    told.lines().find_map(|line| line.strip_prefix("iff:")).map(str::trim).filter(|name| !name.is_empty())
}

/// The number of the interface of this name in the daemon's own network namespace.
pub(super) fn ifindex(name: &str) -> Option<u32> {
    // The kernel takes what comes before a colon.
    let is_name = !name.is_empty() && name.len() < 16 && !name.contains([':', '/', '\0']);
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    name_to_index(socket.ok().filter(|_| is_name)?, name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_of_a_tap_names_its_interface() {
        assert_eq!(interface_of("pos:\t0\nflags:\t0104002\nmnt_id:\t9\niff:\tvt-web\n"), Some("vt-web"));
        for other in ["", "pos:\t0\n", "iff:\t\n", "xiff:\ta\n"] {
            assert_eq!(interface_of(other), None, "{other:?}");
        }
    }

    #[test]
    fn an_interface_has_the_number_that_the_kernel_says() {
        assert_eq!(ifindex("lo"), Some(1));
        for other in ["", ".", "..", "../lo", "lo/../lo", "lo:1", "surely-not-there-is-such-a-one"] {
            assert_eq!(ifindex(other), None, "{other:?}");
        }
    }
}
