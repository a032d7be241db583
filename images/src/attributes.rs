//! What there is to know of an image beyond its name.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{
    Access, AtFlags, FileType, IFlags, Mode, OFlags, StatxFlags, StatxTimestamp, accessat, ioctl_getflags,
    openat, statx,
};
use rustix::io::Errno;

use crate::block;
use crate::btrfs;
use crate::image::{Image, Kind, Space};

/// `STATX_ATTR_IMMUTABLE`.
const IMMUTABLE: u64 = 0x10;
/// The bits of a file's mode that let anybody write.
const WRITABLE: u16 = 0o222;

/// What is seen of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    mode: u16,
    inode: u64,
    size: u64,
    blocks: u64,
    /// When it was made; 0 where its file system does not tell.
    made: u64,
    /// When it was last written to.
    written: u64,
    /// Whether it can be changed, where its file system says so at once.
    is_immutable: Option<bool>,
    /// The mount that it is seen through, and its file system or subvolume; `None` before Linux 5.8.
    place: Option<(u64, u32, u32)>,
}

impl Seen {
    pub(crate) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(u32::from(self.mode))
    }
}

/// Looks at a file, or at what it links to.
pub(crate) fn look(directory: impl AsFd, file: &str) -> Result<Seen, Errno> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID;
    let stat = statx(directory, file, AtFlags::STATX_DONT_SYNC, wanted)?;
    let told = StatxFlags::from_bits_retain(stat.stx_mask);
    let made = if told.contains(StatxFlags::BTIME) { microseconds(stat.stx_btime) } else { 0 };
    let is_told = stat.stx_attributes_mask.bits() & IMMUTABLE != 0;
    let place = (stat.stx_mnt_id, stat.stx_dev_major, stat.stx_dev_minor);
    Ok(Seen {
        mode: stat.stx_mode,
        inode: stat.stx_ino,
        size: stat.stx_size,
        blocks: stat.stx_blocks,
        made,
        written: microseconds(stat.stx_mtime),
        is_immutable: is_told.then(|| stat.stx_attributes.bits() & IMMUTABLE != 0),
        place: told.contains(StatxFlags::MNT_ID).then_some(place),
    })
}

/// Whether a file is in a file system, a subvolume or a mount that cannot be written to.
fn is_on_read_only(directory: impl AsFd, file: &str) -> bool {
    accessat(directory, file, Access::WRITE_OK, AtFlags::EACCESS) == Err(Errno::ROFS)
}

/// Where many files are, and whether that cannot be written to: it goes for all that are seen at the same place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around {
    place: (u64, u32, u32),
    is_read_only: bool,
}

impl Around {
    /// Of a directory; `None` where the kernel does not say enough.
    pub(crate) fn of(directory: impl AsFd) -> Option<Self> {
        let place = look(directory.as_fd(), ".").ok()?.place?;
        Some(Self { place, is_read_only: is_on_read_only(directory, ".") })
    }
}

/// An image before it was looked at.
pub(crate) struct Found<'a> {
    pub(crate) name: &'a str,
    pub(crate) path: &'a str,
    /// The directory that it is in.
    pub(crate) directory: BorrowedFd<'a>,
    /// What it is called there; or a path.
    pub(crate) file: &'a str,
    pub(crate) seen: Seen,
    /// The place of the directory, where that is known.
    pub(crate) around: Option<Around>,
    pub(crate) is_mstack: bool,
    pub(crate) vendor: bool,
}

impl Found<'_> {
    /// Looks at the image. `None`: it is none, or has gone meanwhile.
    pub(crate) fn describe(self) -> Result<Option<Image>, Errno> {
        let found = match self.seen.file_type() {
            FileType::Directory if self.is_mstack => {
                Ok((Kind::Mstack, false, self.seen.made, 0, Space::default()))
            }
            FileType::Directory => self.directory(),
            FileType::RegularFile => Ok(self.file()),
            FileType::BlockDevice => self.device(),
            _ => return Ok(None),
        };
        let (kind, read_only, created, modified, space) = match found {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let vendor = self.vendor;
        // What begins with a dot is put aside, and not to be written to. (Since systemd 258.)
        let read_only = read_only || vendor || self.name.starts_with('.') || self.is_on_read_only();
        Ok(Some(Image {
            name: self.name.to_owned(),
            path: self.path.to_owned(),
            kind,
            read_only,
            vendor,
            created,
            modified,
            space,
        }))
    }

    fn is_on_read_only(&self) -> bool {
        match self.around.filter(|around| self.seen.place == Some(around.place)) {
            // Devices are written to wherever they stand.
            Some(around) => around.is_read_only && self.seen.file_type() != FileType::BlockDevice,
            None => is_on_read_only(self.directory, self.file),
        }
    }

    fn directory(&self) -> Result<(Kind, bool, u64, u64, Space), Errno> {
        let created = self.seen.made;
        let might_be_subvolume = self.seen.inode == btrfs::ROOT_INODE;
        if let Some(is_immutable) = self.seen.is_immutable.filter(|_| !might_be_subvolume) {
            return Ok((Kind::Directory, is_immutable, created, 0, Space::default()));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let root = openat(self.directory, self.file, flags, Mode::empty())?;
        if might_be_subvolume && btrfs::is_btrfs(&root)? {
            let subvolume = btrfs::describe(&root)?;
            let quota =
                btrfs::subtree_group(&root, subvolume.id).and_then(|group| btrfs::quota(&root, group)).ok();
            let space = quota.map_or_else(Space::default, |quota| Space {
                usage: Some(quota.usage),
                usage_exclusive: Some(quota.usage_exclusive),
                limit: quota.limit,
                limit_exclusive: quota.limit_exclusive,
            });
            return Ok((Kind::Subvolume, subvolume.is_read_only, subvolume.made, 0, space));
        }
        let is_immutable = match ioctl_getflags(&root) {
            Ok(flags) => flags.contains(IFlags::IMMUTABLE),
            // The file system has no such flag.
            Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => false,
            Err(errno) => return Err(errno),
        };
        Ok((Kind::Directory, is_immutable, created, 0, Space::default()))
    }

    fn file(&self) -> (Kind, bool, u64, u64, Space) {
        let Seen { mode, size, blocks, made, written, .. } = self.seen;
        (Kind::Raw, mode & WRITABLE == 0, made, written, Space::of_file(blocks.saturating_mul(512), size))
    }

    fn device(&self) -> Result<(Kind, bool, u64, u64, Space), Errno> {
        let mut is_read_only = self.seen.mode & WRITABLE == 0;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut space = Space::default();
        // One without a medium, or that somebody holds open alone, is an image all the same.
        if let Ok(device) = openat(self.directory, self.file, flags, Mode::empty()) {
            is_read_only = is_read_only || block::is_read_only(&device).unwrap_or(false);
            if let Some(size) = block::size(&device).ok().filter(|&size| size != 0) {
                space = Space::of_file(size, size);
            }
        }
        Ok((Kind::Block, is_read_only, 0, 0, space))
    }
}

fn microseconds(time: StatxTimestamp) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000).saturating_add(u64::from(time.tv_nsec / 1000))
}
