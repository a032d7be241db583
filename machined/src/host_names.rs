//! What the host calls itself and others, in its files: read at the start, and again when they change.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::warn;

use crate::machines::Reserved;

const DIRECTORY: &str = "/etc";
const HOSTS: &str = "/etc/hosts";
const HOST_NAME: &str = "/etc/hostname";
/// More of a file is not read. Lists of what is to be kept off have some megabytes.
const FILE_MAX: u64 = 32 * 1024 * 1024;

/// The names that mean something else than a machine, now. A file that cannot be read reserves nothing.
pub fn read() -> Reserved {
    let node = rustix::system::uname();
    let (hosts, own) = (text(HOSTS), text(HOST_NAME));
    let own = own.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Reserved::new(node.nodename().to_str().into_iter().chain(own), &hosts)
}

fn text(path: &str) -> String {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let Ok(file) = open(path, flags, Mode::empty()).map(std::fs::File::from) else { return String::new() };
    let mut bytes = Vec::new();
    if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        let _ = file.take(FILE_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Calls `changed` with the names as they are whenever the files may have changed, for ever.
pub async fn follow(changed: impl Fn(Reserved)) {
    match watch() {
        Ok(watch) => loop {
            // An error is of the runtime's own end.
            let Ok(mut guard) = watch.readable().await else { return std::future::pending().await };
            let mut events = [0; 4096];
            while matches!(rustix::io::read(&watch, &mut events), Ok(length) if length > 0) {}
            guard.clear_ready();
            // A file may have another place now, and is watched there.
            let _ = watch_files(watch.get_ref());
            changed(read());
        },
        Err(errno) => {
            warn!("Changes of {HOSTS} and {HOST_NAME} are not followed: {errno}");
            std::future::pending().await
        }
    }
}

/// The directory, in which a file is replaced, and the files themselves, which may lie elsewhere (symlinks, bind mounts).
fn watch() -> Result<AsyncFd<OwnedFd>, Errno> {
    let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let replaced = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE | WatchFlags::ONLYDIR;
    add_watch(&inotify, Path::new(DIRECTORY), replaced)?;
    watch_files(&inotify)?;
    #[allow(deprecated, reason = "sound for an OwnedFd; its successor is unsafe")]
    let watch = AsyncFd::with_interest(inotify, Interest::READABLE);
    watch.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

fn watch_files(inotify: &OwnedFd) -> Result<(), Errno> {
    for file in [HOSTS, HOST_NAME] {
        match add_watch(inotify, Path::new(file), WatchFlags::CLOSE_WRITE) {
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
