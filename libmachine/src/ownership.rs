//! Whose a process is.

use crate::error::Error;
use crate::namespace::{Namespace, owner, parent};
use crate::process::ProcessHandle;

/// User namespaces are nested no deeper, user_namespaces(7).
const MAX_NESTING: usize = 32;

impl ProcessHandle {
    /// Whether the process is a user's: all its uids are the user's, or the user made its user
    /// namespace, or one above.
    ///
    /// # Errors
    /// [`Error::NoSuchProcess`]: it has exited. [`Error::Process`].
    pub fn is_owned_by(&self, uid: u32) -> Result<bool, Error> {
        if uids(&self.status()?).is_some_and(|uids| uids.iter().all(|&own| own == uid)) {
            return Ok(true);
        }
        let mut next = self.namespace(Namespace::User).ok();
        for _ in 0..=MAX_NESTING {
            let Some(namespace) = next else { break };
            if owner(&namespace) == Some(uid) {
                return Ok(true);
            }
            next = parent(&namespace);
        }
        Ok(false)
    }
}

/// The real, effective, saved and file system uid in the text of `/proc/PID/status`.
fn uids(status: &[u8]) -> Option<[u32; 4]> {
    let status = std::str::from_utf8(status).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let mut uids = line.split_ascii_whitespace().map(|uid| uid.parse().ok());
    Some([uids.next()??, uids.next()??, uids.next()??, uids.next()??])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_its_users() {
        let own = ProcessHandle::open(i32::try_from(std::process::id()).unwrap()).unwrap();
        let uid = rustix::process::getuid().as_raw();
        assert!(own.is_owned_by(uid).unwrap());
        assert!(!own.is_owned_by(uid + 12_345).unwrap());
    }

    #[test]
    fn a_set_uid_program_is_not_wholly_the_callers() {
        let status = b"Name:\tsu\nUid:\t1000\t0\t0\t0\nGid:\t1000\t1000\t1000\t1000\n";
        assert_eq!(uids(status), Some([1000, 0, 0, 0]));
        assert_eq!(uids(b"Name:\tsu\nUid:\t1000\n"), None);
    }
}
