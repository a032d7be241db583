//! The end of being root.

use registry::NOBODY;
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use service_manager::Failure;
use tracing::warn;

/// Becomes nobody, if this is root; to be called while there is one thread. A user namespace that has no nobody keeps its
/// root, which is not root outside.
///
/// # Errors
/// Root cannot become nobody.
pub fn give_up() -> Result<(), Failure> {
    if geteuid().is_root() {
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        let become_nobody = || {
            set_thread_res_gid(gid, gid, gid)?;
            set_thread_groups(&[])?;
            set_thread_res_uid(uid, uid, uid)
        };
        match become_nobody() {
            Ok(()) => {}
            Err(Errno::INVAL) => warn!("This user namespace has no user nobody; the service stays root."),
            Err(error) => return Err(Failure::new("cannot become nobody", error)),
        }
    }
    set_no_new_privs(true).map_err(|error| Failure::new("cannot give up privileges for good", error))
}
