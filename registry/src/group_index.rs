//! The group index: which machine is the control group with this path?
//!
//! `/run/machined/cgroups/HEX` is a symlink to the name of the machine, HEX the first 16 bytes of the path's SHA-256 in
//! lower-case hexadecimal. The index is a hint: the record of the machine it names has to have this `CGROUP=`.

use crate::path::{GROUP_DIRECTORY, Path, entry_path};
use crate::sha256::sha256;

/// The path of a control group's link.
pub fn group_link(group: &[u8]) -> Path {
    let mut path = entry_path(GROUP_DIRECTORY, b"");
    let [a, b, c, d, ..] = sha256(group);
    for word in [a, b, c, d] {
        path.push_hex(&word.to_be_bytes());
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_named_by_the_hash_of_the_path() {
        // As sha256sum(1) says.
        let link = group_link(b"/machine.slice/machine-web.scope");
        assert_eq!(link.as_c_str(), c"/run/machined/cgroups/dc9a0fe8ce596e3f75719b6bfda2eac1");
    }
}
