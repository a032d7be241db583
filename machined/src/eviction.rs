//! Giving the place of systemd-machined back: `systemctl disable machined` takes its name from our unit. Two daemons cannot
//! keep one registry, nor have one name on the bus, and the original ends at once where that is taken. So ours gives way.

use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::rc::Rc;

use libmachine::ProcessHandle;
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tracing::{debug, info, warn};

use crate::bus::{BUS, NAME};
use crate::daemon::Daemon;
use crate::place::Place;
use crate::systemd;

/// The name of the original's unit, where it is given to ours.
const LINK: &str = "/etc/systemd/system/systemd-machined.service";
/// The unit that the name belongs to otherwise.
const ORIGINAL: &str = "/usr/lib/systemd/system/systemd-machined.service";

/// A watch on a directory entry.
#[derive(Debug)]
pub struct Eviction {
    watch: AsyncFd<OwnedFd>,
    name: Vec<u8>,
}

impl Eviction {
    /// Watches from now on.
    ///
    /// # Errors
    /// The directory cannot be watched.
    pub fn watch(path: &Path) -> io::Result<Self> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::INVAL.into());
        };
        let watch = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        add_watch(&watch, directory, WatchFlags::DELETE | WatchFlags::MOVED_FROM)?;
        #[allow(
            deprecated,
            reason = "sound for an OwnedFd; its successor asks every caller to say so, by unsafe"
        )]
        let watch = AsyncFd::new(watch)?;
        Ok(Self { watch, name: name.as_encoded_bytes().to_vec() })
    }

    /// Waits until the entry is removed.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn happened(&self) -> io::Result<()> {
        let mut room = [MaybeUninit::uninit(); 4096];
        loop {
            let mut ready = self.watch.readable().await?;
            let mut events = Reader::new(self.watch.get_ref(), &mut room);
            loop {
                match events.next() {
                    Ok(event) if event.file_name().is_some_and(|new| new.to_bytes() == self.name) => {
                        return Ok(());
                    }
                    Ok(_) => {}
                    Err(Errno::AGAIN) => break,
                    Err(errno) => return Err(errno.into()),
                }
            }
            ready.clear_ready();
        }
    }
}

/// Waits until the place is to be given back, and has this service stopped.
pub async fn give_way(daemon: &Rc<Daemon>) {
    let link = Path::new(LINK);
    if !(link.is_symlink() && Path::new(ORIGINAL).exists()) {
        return std::future::pending().await;
    }
    let (Ok(eviction), Some(unit)) = (Eviction::watch(link), own_unit(daemon)) else {
        return std::future::pending().await;
    };
    if let Err(error) = eviction.happened().await {
        warn!("Cannot see any more whether this service is disabled: {error}");
        return std::future::pending().await;
    }
    info!("Disabled: giving the place back to systemd-machined.");
    // First, so that it is free when the original wants it.
    if let Err(error) = daemon.bus.call(BUS, "ReleaseName", NAME, systemd::DEADLINE).await {
        debug!("Cannot release the name on the bus: {error}");
    }
    // Its sockets are stopped with it.
    if let Err(error) = systemd::stop_unit(&daemon.bus, &unit).await {
        debug!("Cannot stop {unit}: {error}");
    }
}

fn own_unit(daemon: &Daemon) -> Option<String> {
    let own = ProcessHandle::open(rustix::process::getpid().as_raw_nonzero().get()).ok()?;
    let place = Place::of(&own.control_group().ok()?, daemon.surroundings.systemd.as_ref()?)?;
    Some(place.unit).filter(|unit| unit.ends_with("machined.service"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_is_removed_is_noticed_and_no_other_is() {
        let directory = std::env::temp_dir().join(format!("eviction-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let (path, other) = (directory.join("link"), directory.join("other"));
        for path in [&path, &other] {
            std::os::unix::fs::symlink("/nowhere", path).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let eviction = Eviction::watch(&path).unwrap();
            std::fs::remove_file(&other).unwrap();
            let happened_by_now = tokio::select! {
                biased;
                _ = eviction.happened() => true,
                () = async { for _ in 0..64 { tokio::task::yield_now().await } } => false,
            };
            assert!(!happened_by_now);
            std::fs::remove_file(&path).unwrap();
            eviction.happened().await.unwrap();
        });
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
