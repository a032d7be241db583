//! The files of DHCP servers on this host, read anew where inotify(7) says that one has changed.
//!
//! They lie below /run and /var/lib, where root's services alone write. What is no plain file, or too large, is not read.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use super::lease::{Format, Lease};
use super::leases::Entry;
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

/// What one file has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Written {
    /// The interface that the server leases on, if the file says so.
    on: Option<u32>,
    leases: Vec<Lease>,
}

/// The files as they were read last.
#[derive(Debug)]
pub(in crate::addresses) struct LeaseFiles {
    root: PathBuf,
    watch: Option<OwnedFd>,
    /// Watches of directories above those that are not there.
    above: Vec<i32>,
    files: HashMap<PathBuf, File>,
    is_read: bool,
}

impl LeaseFiles {
    /// Those below this directory. Where they cannot be watched, they are read again each time.
    pub(in crate::addresses) fn open(root: &Path) -> Self {
        let watch = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
        Self { root: root.to_owned(), watch, above: Vec::new(), files: HashMap::new(), is_read: false }
    }

    /// What becomes readable when something has changed; `None` where they cannot be watched.
    pub(in crate::addresses) fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
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

    /// All that is written down. Two files may have the same.
    pub(in crate::addresses) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.files.values().flat_map(|File { written: Written { on, leases }, .. }| {
            leases.iter().map(|&lease| Entry { on: *on, lease })
        })
    }

    fn has_changed(&mut self) -> bool {
        let Some(watch) = &self.watch else { return true };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(watch, &mut buffer);
        let mut is_changed = !self.is_read;
        while let Ok(event) = events.next() {
            // That a watch was taken away is told, too.
            is_changed |= event.events() != ReadFlags::IGNORED;
        }
        if is_changed {
            // Before they are read, so that nothing is missed.
            watch_all(&self.root, watch, &mut self.above);
        }
        is_changed
    }
}

/// Watches the directories, and where one is not there the nearest above it that is: these are `above`.
fn watch_all(root: &Path, inotify: &OwnedFd, above: &mut Vec<i32>) {
    for watch in above.drain(..) {
        let _ = remove_watch(inotify, watch);
    }
    let changed = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::MOVE | WatchFlags::DELETE;
    let gone = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
    let comes = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
    for place in &PLACES {
        let directory = root.join(place.directory);
        if add_watch(inotify, &directory, changed | gone) != Err(Errno::NOENT) {
            continue;
        }
        // The nearest one above that is there tells when the next one comes.
        for parent in directory.ancestors().skip(1).take_while(|parent| parent.starts_with(root)) {
            match add_watch(inotify, parent, comes | WatchFlags::MASK_ADD) {
                Ok(watch) => above.push(watch),
                Err(Errno::NOENT) => continue,
                Err(_) => {}
            }
            break;
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
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    const LEASE: &str = "0 52:54:00:12:34:56 192.168.122.5 web *\n";

    fn run(test: impl FnOnce(&Path)) {
        let root = std::env::temp_dir().join(format!(
            "leases-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        fs::create_dir(&root).unwrap();
        test(&root);
        fs::remove_dir_all(&root).unwrap();
    }

    fn is_told(files: &LeaseFiles) -> bool {
        let watch = PollFd::from_borrowed_fd(files.watch().unwrap(), PollFlags::IN);
        poll(&mut [watch], Some(&Timespec::default())) == Ok(1)
    }

    fn read_when_told(files: &mut LeaseFiles) -> usize {
        let limit = Timespec { tv_sec: 60, tv_nsec: 0 };
        loop {
            let watch = PollFd::from_borrowed_fd(files.watch().unwrap(), PollFlags::IN);
            assert_eq!(poll(&mut [watch], Some(&limit)), Ok(1));
            if files.read() {
                return files.entries().count();
            }
        }
    }

    #[test]
    fn files_are_read_when_they_come_change_and_go() {
        run(|root| {
            let mut files = LeaseFiles::open(root);
            assert!(!files.read(), "there is none");
            let directory = root.join("var/lib/libvirt/dnsmasq");
            fs::create_dir_all(&directory).unwrap();
            let leases = directory.join("default.leases");
            fs::write(&leases, LEASE).unwrap();
            assert_eq!(read_when_told(&mut files), 1);
            assert!(!files.read(), "nothing has changed since");
            assert!(!is_told(&files), "and nothing says so");
            let status =
                r#"[{"ip-address":"192.168.122.6","mac-address":"52:54:00:12:34:57","expiry-time":0}]"#;
            fs::write(directory.join("virbr0.status.new"), status).unwrap();
            fs::rename(directory.join("virbr0.status.new"), directory.join("virbr0.status")).unwrap();
            assert_eq!(read_when_told(&mut files), 2);
            fs::remove_file(&leases).unwrap();
            assert_eq!(read_when_told(&mut files), 1);
            fs::remove_dir_all(&directory).unwrap();
            assert_eq!(read_when_told(&mut files), 0);
        });
    }

    #[test]
    fn what_is_no_plain_file_or_too_large_is_not_read() {
        run(|root| {
            let directory = root.join("var/lib/misc");
            fs::create_dir_all(&directory).unwrap();
            let path = |name: &str| directory.join(name);
            fs::write(path("other"), LEASE).unwrap();
            std::os::unix::fs::symlink(path("other"), path("dnsmasq.link.leases")).unwrap();
            fs::write(path("dnsmasq.large.leases"), LEASE.repeat(30_000)).unwrap();
            rustix::fs::mkfifoat(rustix::fs::CWD, path("dnsmasq.fifo.leases"), Mode::RWXU).unwrap();
            let mut files = LeaseFiles::open(root);
            assert!(!files.read());
            assert_eq!(files.entries().count(), 0);
            fs::write(path("dnsmasq.leases"), LEASE).unwrap();
            assert_eq!(read_when_told(&mut files), 1);
        });
    }
}
