//! Waits for a control group to become empty: inotify(7) tells when `cgroup.events` changes, cgroup-v2.rst, and when the
//! directory goes, since the kernel does not tell of a group that is removed soon after its last process has ended.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

/// How often a group is looked at of which the kernel cannot tell: no descriptor is free, or there are too many watches.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `is_empty` of the group whose directory is this, which is asked whenever that may have changed.
pub(super) async fn wait(group: &Path, is_empty: impl Fn() -> bool) {
    // Watched before it is looked at, so that nothing is missed in between.
    let watch = watch(group).ok();
    while !is_empty() {
        let told = match &watch {
            Some(watch) => match watch.readable().await {
                Ok(mut ready) => {
                    let mut events = [0; 4096];
                    while matches!(rustix::io::read(watch, &mut events), Ok(length) if length > 0) {}
                    ready.clear_ready();
                    true
                }
                Err(_) => false,
            },
            None => false,
        };
        if !told {
            sleep(LOOK).await;
        }
    }
}

fn watch(group: &Path) -> Result<AsyncFd<OwnedFd>, Errno> {
    let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    add_watch(&inotify, group.join("cgroup.events"), WatchFlags::MODIFY)?;
    add_watch(&inotify, group, WatchFlags::DELETE_SELF)?;
    #[allow(deprecated, reason = "sound for an OwnedFd; its successor is unsafe")]
    let watch = AsyncFd::with_interest(inotify, Interest::READABLE);
    watch.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
