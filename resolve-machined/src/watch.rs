//! Follows the records: which machines there are, and what their addresses are.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use registry::{Directory, MACHINE_DIRECTORY, MachineName};
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch::Sender;
use tokio::time::sleep;
use tracing::debug;

use crate::domains::Domains;
use crate::host::published;

/// After what time a directory is looked for again that is not there: machined makes it when it starts, and
/// nothing above it is sure to be there either.
const RETRY: Duration = Duration::from_secs(1);
/// So many records are read before others get their turn.
const TURN: usize = 64;

/// The names that there are now.
pub async fn look() -> Domains {
    let mut domains = Domains::default();
    read_all(&mut domains).await;
    domains
}

/// Keeps the list of names current, for ever.
pub async fn follow(mut domains: Domains, list: &Sender<Vec<String>>) {
    loop {
        match watched() {
            Ok(watch) => {
                if let Err(error) = follow_one(&watch, &mut domains, list).await {
                    debug!("The directory of machines is to be watched anew: {error}");
                }
            }
            Err(error) => debug!("The directory of machines cannot be watched: {error}"),
        }
        sleep(RETRY).await;
    }
}

fn watched() -> io::Result<AsyncFd<OwnedFd>> {
    let watch = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let what = WatchFlags::MOVED_TO
        | WatchFlags::MOVED_FROM
        | WatchFlags::DELETE
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::DELETE_SELF
        | WatchFlags::ONLYDIR;
    add_watch(&watch, MACHINE_DIRECTORY, what)?;
    #[allow(deprecated, reason = "sound for an OwnedFd; its successor is unsafe")]
    AsyncFd::new(watch)
}

/// Follows a directory until it is gone.
async fn follow_one(
    watch: &AsyncFd<OwnedFd>,
    domains: &mut Domains,
    list: &Sender<Vec<String>>,
) -> io::Result<()> {
    read_all(domains).await;
    tell(domains, list);
    let mut buffer = [MaybeUninit::uninit(); 8192];
    // What it has read and not told yet stays in it from turn to turn.
    let mut reader = Reader::new(watch, &mut buffer);
    loop {
        let mut guard = watch.readable().await?;
        let (mut is_changed, mut is_lost, mut is_gone) = (false, false, false);
        for _ in 0..TURN {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => {
                    guard.clear_ready();
                    break;
                }
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            is_lost |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            is_gone |= event.events().intersects(ReadFlags::DELETE_SELF | ReadFlags::IGNORED);
            if let Some(name) = event.file_name().and_then(|name| MachineName::new(name.to_bytes()).ok()) {
                is_changed |= read(domains, name);
            }
        }
        if is_lost {
            read_all(domains).await;
        }
        if is_changed || is_lost {
            tell(domains, list);
        }
        if is_gone {
            return Err(Errno::NOENT.into());
        }
        tokio::task::yield_now().await;
    }
}

fn read(domains: &mut Domains, name: MachineName) -> bool {
    let addresses =
        published(&name).map(|(_, addresses)| addresses.iter().map(|address| address.ip).collect());
    domains.set(name, addresses)
}

async fn read_all(domains: &mut Domains) {
    let mut names = domains.names();
    if let Ok(there) = Directory::open(Path::new(MACHINE_DIRECTORY)).and_then(|directory| directory.names()) {
        names.extend(there.machines);
    }
    for (turn, name) in names.into_iter().enumerate() {
        read(domains, name);
        if turn % TURN == TURN - 1 {
            tokio::task::yield_now().await;
        }
    }
}

/// Says which names there are now, if these are others.
pub fn tell(domains: &Domains, list: &Sender<Vec<String>>) {
    let new = domains.list();
    list.send_if_modified(|old| {
        let is_modified = *old != new;
        if is_modified {
            *old = new;
        }
        is_modified
    });
}
