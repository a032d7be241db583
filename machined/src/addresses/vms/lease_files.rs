//! The files of DHCP servers on this host, read anew where inotify(7) says that one has changed.
//!
//! They lie below /run and /var/lib, where root's services alone write. What is no plain file, or too large, is not read.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init, remove_watch};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::lease::Format;
use super::leases::Written;
use super::taps::ifindex;

/// A larger file is not read.
const FILE_MAX: u64 = 1024 * 1024;
/// More entries of a directory are not looked at.
const MOST_ENTRIES: usize = 4096;

/// Files of one server.
struct Place {
    directory: &'static str,
    prefix: &'static str,
    suffix: &'static str,
    format: Format,
}

const PLACES: [Place; 6] = [
    Place {
        directory: "run/systemd/netif/dhcp-server-lease",
        prefix: "",
        suffix: "",
        format: Format::Networkd,
    },
    Place {
        directory: "var/lib/systemd/network/dhcp-server-lease",
        prefix: "",
        suffix: "",
        format: Format::Networkd,
    },
    Place { directory: "var/lib/libvirt/dnsmasq", prefix: "", suffix: ".status", format: Format::Libvirt },
    Place { directory: "var/lib/libvirt/dnsmasq", prefix: "", suffix: ".leases", format: Format::Dnsmasq },
    Place { directory: "var/lib/misc", prefix: "dnsmasq", suffix: ".leases", format: Format::Dnsmasq },
    Place {
        directory: "var/lib/NetworkManager",
        prefix: "dnsmasq-",
        suffix: ".leases",
        format: Format::Dnsmasq,
    },
];

/// What tells that a file was not changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

#[derive(Debug)]
struct File {
    stamp: Stamp,
    written: Written,
}

/// The files as they were read last.
#[derive(Debug)]
pub(in crate::addresses) struct LeaseFiles {
    root: PathBuf,
    watch: Option<Rc<AsyncFd<OwnedFd>>>,
    /// Watches of directories above those that are not there.
    above: Vec<i32>,
    files: HashMap<PathBuf, File>,
    is_read: bool,
}

impl LeaseFiles {
    /// Those below this directory. Needs a tokio runtime with IO. Where they cannot be watched, they are read again each time.
    pub(in crate::addresses) fn open(root: &Path) -> Self {
        let watch = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok().and_then(|inotify| {
            #[allow(deprecated, reason = "sound for an OwnedFd; its successor is unsafe")]
            AsyncFd::with_interest(inotify, Interest::READABLE).ok().map(Rc::new)
        });
        Self { root: root.to_owned(), watch, above: Vec::new(), files: HashMap::new(), is_read: false }
    }

    /// What becomes readable when something has changed; `None` where they cannot be watched.
    pub(in crate::addresses) fn watch(&self) -> Option<Rc<AsyncFd<OwnedFd>>> {
        self.watch.clone()
    }

    /// Reads what has changed. Returns whether anything is other than it was.
    pub(in crate::addresses) fn read(&mut self) -> bool {
        if !self.has_changed() {
            return false;
        }
        self.is_read = true;
        let mut before = std::mem::take(&mut self.files);
        let mut is_other = false;
        for place in &PLACES {
            let Ok(entries) = fs::read_dir(self.root.join(place.directory)) else { continue };
            for entry in entries.flatten().take(MOST_ENTRIES) {
                let name = entry.file_name();
                let Some(name) = name.to_str() else { continue };
                let is_of_place = name.starts_with(place.prefix) && name.ends_with(place.suffix);
                // A name with a dot at its beginning is about to get another one.
                if !is_of_place || name.starts_with('.') {
                    continue;
                }
                let path = entry.path();
                let on = (place.format == Format::Networkd).then(|| ifindex(name)).flatten();
                let known = before.remove(&path);
                let Some(mut file) = read(&path, place.format, known.as_ref()) else { continue };
                file.written.on = on;
                is_other |= known.is_none_or(|known| known.written != file.written);
                self.files.insert(path, file);
            }
        }
        is_other || !before.is_empty()
    }

    /// All that is written down.
    pub(in crate::addresses) fn written(&self) -> impl Iterator<Item = &Written> {
        self.files.values().map(|file| &file.written)
    }

    fn has_changed(&mut self) -> bool {
        let Some(watch) = self.watch.clone() else { return true };
        let mut events = [0; 4096];
        let mut is_changed = !self.is_read;
        while matches!(rustix::io::read(&*watch, &mut events), Ok(length) if length > 0) {
            is_changed = true;
        }
        if is_changed {
            // Before they are read, so that nothing is missed.
            self.watch_all(watch.get_ref());
        }
        is_changed
    }

    fn watch_all(&mut self, inotify: &OwnedFd) {
        for above in self.above.drain(..) {
            let _ = remove_watch(inotify, above);
        }
        let changed = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::MOVE | WatchFlags::DELETE;
        let gone = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
        let comes = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        for place in &PLACES {
            let directory = self.root.join(place.directory);
            if add_watch(inotify, &directory, changed | gone) != Err(Errno::NOENT) {
                continue;
            }
            // The nearest one above that is there tells when the next one comes.
            for above in directory.ancestors().skip(1).take_while(|above| above.starts_with(&self.root)) {
                match add_watch(inotify, above, comes | WatchFlags::MASK_ADD) {
                    Ok(watch) => self.above.push(watch),
                    Err(Errno::NOENT) => continue,
                    Err(_) => {}
                }
                break;
            }
        }
    }
}

fn read(path: &Path, format: Format, known: Option<&File>) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let file = fs::File::from(open(path, flags, Mode::empty()).ok()?);
    let metadata =
        file.metadata().ok().filter(|metadata| metadata.is_file() && metadata.len() <= FILE_MAX)?;
    let stamp = Stamp {
        inode: metadata.ino(),
        size: metadata.len(),
        changed: (metadata.mtime(), metadata.mtime_nsec()),
    };
    if let Some(known) = known.filter(|known| known.stamp == stamp) {
        return Some(File { stamp, written: known.written.clone() });
    }
    let mut text = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut text).ok()?;
    Some(File { stamp, written: Written { on: None, leases: format.read(&text) } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Duration, timeout};

    const LEASE: &str = "0 52:54:00:12:34:56 192.168.122.5 web *\n";

    fn run(test: impl AsyncFnOnce(&Path)) {
        let root = std::env::temp_dir().join(format!(
            "leases-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        fs::create_dir(&root).unwrap();
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test(&root));
        fs::remove_dir_all(&root).unwrap();
    }

    async fn read_when_told(files: &mut LeaseFiles) -> usize {
        let told = async {
            loop {
                let watch = files.watch().unwrap();
                watch.readable().await.unwrap().clear_ready();
                if files.read() {
                    return;
                }
            }
        };
        timeout(Duration::from_secs(60), told).await.unwrap();
        files.written().map(|written| written.leases.len()).sum()
    }

    #[test]
    fn files_are_read_when_they_come_change_and_go() {
        run(async |root| {
            let mut files = LeaseFiles::open(root);
            assert!(!files.read(), "there is none");
            let directory = root.join("var/lib/libvirt/dnsmasq");
            fs::create_dir_all(&directory).unwrap();
            let leases = directory.join("default.leases");
            fs::write(&leases, LEASE).unwrap();
            assert_eq!(read_when_told(&mut files).await, 1);
            assert!(!files.read(), "nothing has changed since");
            let status =
                r#"[{"ip-address":"192.168.122.6","mac-address":"52:54:00:12:34:57","expiry-time":0}]"#;
            fs::write(directory.join("virbr0.status.new"), status).unwrap();
            fs::rename(directory.join("virbr0.status.new"), directory.join("virbr0.status")).unwrap();
            assert_eq!(read_when_told(&mut files).await, 2);
            fs::remove_file(&leases).unwrap();
            assert_eq!(read_when_told(&mut files).await, 1);
            fs::remove_dir_all(&directory).unwrap();
            assert_eq!(read_when_told(&mut files).await, 0);
        });
    }

    #[test]
    fn what_is_no_plain_file_or_too_large_is_not_read() {
        run(async |root| {
            let directory = root.join("var/lib/misc");
            fs::create_dir_all(&directory).unwrap();
            let path = |name: &str| directory.join(name);
            fs::write(path("other"), LEASE).unwrap();
            std::os::unix::fs::symlink(path("other"), path("dnsmasq.link.leases")).unwrap();
            fs::write(path("dnsmasq.large.leases"), LEASE.repeat(30_000)).unwrap();
            rustix::fs::mkfifoat(rustix::fs::CWD, path("dnsmasq.fifo.leases"), Mode::RWXU).unwrap();
            let mut files = LeaseFiles::open(root);
            assert!(!files.read());
            assert_eq!(files.written().count(), 0);
            fs::write(path("dnsmasq.leases"), LEASE).unwrap();
            assert_eq!(read_when_told(&mut files).await, 1);
        });
    }
}
