//! Waits for a control group to become empty: inotify(7) tells when `cgroup.events` changes, cgroup-v2.rst, and when the
//! directory above loses the group, since the kernel need not tell of one that is removed soon after its last process has
//! ended, and does not tell whoever watches the group itself.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
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
    let name = group.file_name();
    while !is_empty() {
        let told = match &watch {
            Some(watch) => told(watch, name).await.is_ok(),
            None => false,
        };
        if !told {
            sleep(LOOK).await;
        }
    }
}

/// Waits until something happens to the group of this name: what happens to those beside it is nothing.
async fn told(watch: &AsyncFd<OwnedFd>, name: Option<&OsStr>) -> Result<(), Errno> {
    let mut room = [MaybeUninit::uninit(); 4096];
    loop {
        let mut ready =
            watch.readable().await.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let mut events = Reader::new(watch.get_ref(), &mut room);
        let mut is_told = false;
        loop {
            match events.next() {
                Ok(event) => {
                    is_told |= event
                        .file_name()
                        .is_none_or(|other| Some(OsStr::from_bytes(other.to_bytes())) == name);
                }
                Err(Errno::AGAIN) => break ready.clear_ready(),
                Err(errno) => return Err(errno),
            }
        }
        if is_told {
            return Ok(());
        }
    }
}

fn watch(group: &Path) -> Result<AsyncFd<OwnedFd>, Errno> {
    let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    add_watch(&inotify, group.join("cgroup.events"), WatchFlags::MODIFY)?;
    add_watch(&inotify, group.parent().ok_or(Errno::INVAL)?, WatchFlags::DELETE | WatchFlags::ONLYDIR)?;
    #[allow(deprecated, reason = "sound for an OwnedFd; its successor is unsafe")]
    let watch = AsyncFd::with_interest(inotify, Interest::READABLE);
    watch.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
