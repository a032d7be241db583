//! What the operating system inside an image says of itself.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat, openat2};
use rustix::io::Errno;

use crate::disk;
use crate::error::{Error, Result};
use crate::files_inside::Metadata;
use crate::image::{Image, Kind};
use crate::lock::{Mode as Sharing, PathLock};
use crate::places::Places;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 64 * 1024;
/// How often a path is walked again, if a rename anywhere on the host came in between. openat2(2), `EAGAIN`.
const TRIES: usize = 128;

/// Reads the files of an image. A disk is read by the program `reader`, machined-image-reader. In a directory, links lead nowhere but into the image, nothing but a regular file is
/// ever opened, and no more than 64 KiB of one is read.
///
/// # Errors
/// [`Error::InUse`]: somebody has locked the image. [`Error::NotSupported`]: nobody can read one of its kind.
/// `EUCLEAN`: what is on the disk makes no sense.
pub fn metadata(places: &Places, image: &Image, reader: &Path) -> Result<Metadata> {
    let _lock = PathLock::take(places, &image.path, Sharing::Shared)?;
    match image.kind {
        Kind::Directory | Kind::Subvolume => {}
        Kind::Raw | Kind::Block => return disk::read(image, reader),
        Kind::Mstack => return Err(Error::NotSupported("images of layers are not read".into())),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open(image.path.as_str(), flags, Mode::empty()).map_err(Error::of("open", &image.path))?;
    let file = |path| read(&root, path).ok();
    Ok(Metadata {
        hostname: file("etc/hostname"),
        machine_id: file("etc/machine-id"),
        machine_info: file("etc/machine-info"),
        os_release: file("etc/os-release").or_else(|| file("usr/lib/os-release")),
    })
}

/// Reads a file below a root directory that somebody else has arranged.
fn read(root: impl AsFd, path: &str) -> std::result::Result<Vec<u8>, Errno> {
    // It is looked at before it is opened: opening a device may do something, opening a FIFO waits.
    let place = walk(root, path)?;
    let stat = fstat(&place)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    if u64::try_from(stat.st_size).is_ok_and(|size| size > LARGEST) {
        return Err(Errno::FBIG);
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(CWD, format!("/proc/self/fd/{}", place.as_raw_fd()), flags, Mode::empty())?;
    let mut text = Vec::new();
    let read = std::fs::File::from(file).take(LARGEST.saturating_add(1)).read_to_end(&mut text);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    if u64::try_from(text.len()).is_ok_and(|length| length > LARGEST) { Err(Errno::FBIG) } else { Ok(text) }
}

fn walk(root: impl AsFd, path: &str) -> std::result::Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..TRIES {
        match openat2(root.as_fd(), path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            walked => return walked,
        }
    }
    Err(Errno::AGAIN)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::Command;

    use super::*;
    use crate::discover::find;
    use crate::name::ImageName;
    use crate::scratch::Scratch;

    const WEB: &str = "var/lib/machines/web";

    fn of_web(scratch: &Scratch) -> Metadata {
        let image = find(&scratch.places(), &ImageName::new("web").unwrap()).unwrap();
        metadata(&scratch.places(), &image, Path::new("/nowhere")).unwrap()
    }

    #[test]
    fn an_image_says_who_it_is() {
        let scratch = Scratch::new("metadata");
        scratch.directory(&format!("{WEB}/etc"));
        assert_eq!(of_web(&scratch), Metadata::default());
        scratch.file(&format!("{WEB}/etc/hostname"), "web\n");
        scratch.file(&format!("{WEB}/etc/machine-info"), "A=1\n");
        scratch.file(&format!("{WEB}/usr/lib/os-release"), "ID=x\n");
        let told = of_web(&scratch);
        assert_eq!(told.hostname.as_deref(), Some(&b"web\n"[..]));
        assert_eq!((told.machine_id, told.machine_info.as_deref()), (None, Some(&b"A=1\n"[..])));
        assert_eq!(told.os_release.as_deref(), Some(&b"ID=x\n"[..]));
        scratch.link(&format!("{WEB}/etc/os-release"), "/usr/lib/os-release");
        assert_eq!(of_web(&scratch).os_release.as_deref(), Some(&b"ID=x\n"[..]));
    }

    #[test]
    fn a_link_leads_nowhere_but_into_the_image() {
        let scratch = Scratch::new("links-out");
        scratch.directory(&format!("{WEB}/etc"));
        scratch.file("secret", "secret");
        scratch.link(&format!("{WEB}/etc/hostname"), "../../../../../../../../../../etc/hostname");
        scratch.link(&format!("{WEB}/etc/machine-id"), &scratch.text("secret"));
        scratch.link(&format!("{WEB}/etc/os-release"), "/proc/self/root/etc/os-release");
        scratch.link(&format!("{WEB}/etc/machine-info"), "machine-info");
        assert_eq!(of_web(&scratch), Metadata::default());
    }

    #[test]
    fn a_fifo_a_device_and_a_huge_file_are_not_read() {
        let scratch = Scratch::new("hostile");
        scratch.directory(&format!("{WEB}/etc"));
        scratch.directory(&format!("{WEB}/dev"));
        let fifo = Command::new("mkfifo").arg(scratch.path(&format!("{WEB}/etc/hostname"))).status();
        assert!(fifo.unwrap().success());
        scratch.link(&format!("{WEB}/etc/machine-info"), "hostname");
        scratch.directory(&format!("{WEB}/etc/machine-id"));
        // A link to a device of the host's leads to no file. One to a device of the image's own needs root to make.
        scratch.link(&format!("{WEB}/etc/os-release"), "/dev/zero");
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            let device = scratch.path(&format!("{WEB}/dev/zero"));
            assert!(Command::new("mknod").arg(device).args(["c", "1", "5"]).status().unwrap().success());
        }
        scratch.directory(&format!("{WEB}/usr/lib"));
        let huge = File::create(scratch.path(&format!("{WEB}/usr/lib/os-release"))).unwrap();
        huge.set_len(1 << 30).unwrap();
        assert_eq!(of_web(&scratch), Metadata::default());
        huge.set_len(LARGEST).unwrap();
        assert_eq!(of_web(&scratch).os_release.map(|text| text.len()), Some(64 * 1024));
    }

    #[test]
    fn an_image_that_somebody_has_for_himself_is_in_use() {
        let scratch = Scratch::new("held");
        scratch.directory(WEB);
        let places = scratch.places();
        let image = find(&places, &ImageName::new("web").unwrap()).unwrap();
        let lock = PathLock::take(&places, &image.path, Sharing::Exclusive).unwrap();
        assert_eq!(metadata(&places, &image, Path::new("/nowhere")).unwrap_err().errno(), Errno::BUSY);
        drop(lock);
        metadata(&places, &image, Path::new("/nowhere")).unwrap();
    }
}
