//! Giving the place of systemd-machined back: `systemctl disable machined` takes its name from our unit. Two daemons cannot
//! keep one registry, nor have one name on the bus, and the original ends at once where that is taken. So ours gives way.
//!
//! `systemctl enable` may follow at once, while this process ends. If systemd has both units loaded then, as where another
//! unit wants systemd-machined.service, it makes one of two, and before 258 it may take over the state of the one and the
//! process of the other: a service that is dead, and has a main process. When that ends, process 1 itself aborts
//! (`service_sigchld_event()`). It finds the service by the control group of what has ended, so this process leaves that.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;

use libmachine::{ControlGroup, ProcessHandle};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tracing::{debug, info, warn};

use crate::bus::{BUS, Bus, NAME};
use crate::group::join;
use crate::systemd;
use crate::unit_part::UnitPart;

/// The name of the original's unit, where it is given to ours.
const LINK: &str = "/etc/systemd/system/systemd-machined.service";
/// The unit that the name belongs to otherwise.
const ORIGINAL: &str = "/usr/lib/systemd/system/systemd-machined.service";
/// The name of our unit where it has no other one.
const UNIT: &str = "machined.service";
/// What starts this daemon, the provider of userdb, and the hook of systemd-resolved.
const SOCKET_UNITS: [&str; 3] = ["userdb-machined.socket", "resolve-machined.socket", "machined.socket"];

/// A watch on a directory entry.
#[derive(Debug)]
pub struct Eviction {
    watch: AsyncFd<OwnedFd>,
    name: Vec<u8>,
    has_happened: Cell<bool>,
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
        Ok(Self { watch, name: name.as_encoded_bytes().to_vec(), has_happened: Cell::new(false) })
    }

    /// Waits until the entry is removed.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn happened(&self) -> io::Result<()> {
        loop {
            let mut ready = self.watch.readable().await?;
            if self.has_happened()? {
                return Ok(());
            }
            ready.clear_ready();
        }
    }

    /// Whether the entry was removed since.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn has_happened(&self) -> io::Result<bool> {
        let mut room = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(self.watch.get_ref(), &mut room);
        while !self.has_happened.get() {
            match events.next() {
                Ok(event) => {
                    self.has_happened.set(event.file_name().is_some_and(|new| new.to_bytes() == self.name));
                }
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(self.has_happened.get())
    }
}

/// A watch on the name, if it is given to ours and belongs to another one otherwise.
pub fn watch() -> Option<Eviction> {
    let link = Path::new(LINK);
    if !(link.is_symlink() && Path::new(ORIGINAL).exists()) {
        return None;
    }
    Eviction::watch(link).ok()
}

/// Waits until the place is to be given back, and has the socket stopped; the daemon is to end then. `init` is the control
/// group of process 1, if that is systemd. The service does not have itself stopped: whatever requires
/// systemd-machined.service would be stopped too, if systemd has not split the two units yet, or has joined them again.
pub async fn give_way(eviction: Option<&Eviction>, init: Option<&ControlGroup>, bus: &Bus) {
    let Some(eviction) = eviction.filter(|_| is_service(init)) else {
        return std::future::pending().await;
    };
    if let Err(error) = eviction.happened().await {
        warn!("Cannot see any more whether this service is disabled: {error}");
        return std::future::pending().await;
    }
    info!("Disabled: giving the place back to systemd-machined.");
    // First, so that it is free when the original wants it.
    if let Err(error) = bus.call(BUS, "ReleaseName", NAME, systemd::DEADLINE).await {
        debug!("Cannot release the name on the bus: {error}");
    }
    for unit in SOCKET_UNITS {
        if let Err(error) = systemd::stop_unit(bus, unit).await {
            debug!("Cannot stop {unit}: {error}");
        }
    }
}

/// Whether this is our service on a host where the original has the place: systemd runs, the original is installed, and
/// ours is not enabled. Where systemd does not run, a group that is called like our service means nothing.
pub fn is_out_of_place() -> bool {
    let is_ours = !Path::new(ORIGINAL).exists() || Path::new(LINK).is_symlink();
    !is_ours && is_booted() && own_unit_name().is_some_and(|name| name == UNIT)
}

/// sd_booted(3).
pub fn is_booted() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// The last part of the path of this process's control group.
fn own_unit_name() -> Option<String> {
    let own = ProcessHandle::open(rustix::process::getpid().as_raw_nonzero().get()).ok()?;
    let group = own.control_group().ok()?;
    Path::new(group.path()).file_name()?.to_str().map(str::to_owned)
}

/// Ends the ties between this process, which is about to end, and its service.
pub fn leave() {
    let Ok(init) = ProcessHandle::open(1) else { return };
    if let Err(error) = join(&init) {
        debug!("Cannot leave the service: {error}");
    }
}

fn is_service(init: Option<&ControlGroup>) -> bool {
    let own = ProcessHandle::open(rustix::process::getpid().as_raw_nonzero().get());
    let group = own.and_then(|own| own.control_group());
    let part = group.ok().zip(init).and_then(|(group, init)| UnitPart::of(&group, init));
    part.is_some_and(|part| part.unit.ends_with("machined.service"))
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
