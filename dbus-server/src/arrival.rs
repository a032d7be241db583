//! Hears when a file comes that is not there, by inotify(7). Directories on the way to it may be missing too.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits until there is something at an absolute path, and returns whether there was nothing. What is mounted over one of its directories is not heard of.
///
/// # Errors
/// The kernel cannot tell: no descriptor is free, or `/proc/sys/fs/inotify/max_user_instances` is reached.
pub async fn appears(path: &Path) -> io::Result<bool> {
    let was_there = path.exists();
    while !path.exists() {
        let directory = lowest_directory(path);
        let watch = match watch(directory) {
            Ok(watch) => watch,
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        // What came before the watch did is not told.
        if !path.exists() && lowest_directory(path) == directory {
            #[allow(deprecated, reason = "sound for an OwnedFd; its successor is unsafe")]
            let watch = AsyncFd::with_interest(watch, Interest::READABLE)?;
            watch.readable().await?.retain_ready();
        }
    }
    Ok(!was_there)
}

/// Tells when something comes into a directory, or when that goes itself.
fn watch(directory: &Path) -> Result<OwnedFd, Errno> {
    let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let comes = WatchFlags::CREATE | WatchFlags::MOVED_TO;
    let goes = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
    add_watch(&inotify, directory, comes | goes | WatchFlags::ONLYDIR)?;
    Ok(inotify)
}

/// The lowest directory there is on the way to a path.
fn lowest_directory(path: &Path) -> &Path {
    path.ancestors().skip(1).find(|directory| directory.is_dir()).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Duration;
    use tokio::time::timeout;

    /// Whether it has come, once all is done that can be done now.
    async fn has_come(waiting: &mut (impl Future<Output = io::Result<bool>> + Unpin)) -> bool {
        timeout(Duration::from_millis(50), waiting).await.is_ok_and(|come| come.is_ok())
    }

    #[tokio::test]
    async fn a_file_is_heard_of_whatever_comes_and_goes_on_the_way_to_it() {
        let root = std::env::temp_dir().join(format!("arrival-{}", std::process::id()));
        fs::create_dir(&root).unwrap();
        let (above, directory) = (root.join("a"), root.join("a/b"));
        let socket = directory.join("socket");
        let mut waiting = Box::pin(appears(&socket));
        assert!(!has_come(&mut waiting).await);
        fs::create_dir(&above).unwrap();
        assert!(!has_come(&mut waiting).await);
        fs::create_dir(&directory).unwrap();
        assert!(!has_come(&mut waiting).await);
        fs::remove_dir_all(&above).unwrap();
        assert!(!has_come(&mut waiting).await);
        // All at once, before the watch can follow.
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("other"), "").unwrap();
        assert!(!has_come(&mut waiting).await);
        fs::rename(directory.join("other"), &socket).unwrap();
        let come = timeout(Duration::from_secs(60), waiting).await;
        assert!(come.unwrap().unwrap(), "it was waited for");
        assert!(!appears(&socket).await.unwrap(), "it is there");
        fs::remove_dir_all(&root).unwrap();
    }
}
