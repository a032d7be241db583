//! What there is to know of an image beyond its name.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{
    Access, AtFlags, FileType, IFlags, Mode, OFlags, Statx, StatxFlags, StatxTimestamp, accessat,
    ioctl_getflags, openat,
};
use rustix::io::Errno;

use crate::block;
use crate::btrfs;
use crate::image::{Image, Kind, Space};

/// `STATX_ATTR_IMMUTABLE`.
const IMMUTABLE: u64 = 0x10;
/// The bits of a file's mode that let anybody write.
const WRITABLE: u16 = 0o222;

/// Looks at a file, or at what it links to.
pub(crate) fn look(directory: impl AsFd, file: &str) -> Result<Statx, Errno> {
    rustix::fs::statx(directory, file, AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS | StatxFlags::BTIME)
}

/// The type of a file that was looked at.
pub(crate) fn type_of(stat: &Statx) -> FileType {
    FileType::from_raw_mode(u32::from(stat.stx_mode))
}

/// An image before it was looked at.
pub(crate) struct Found<'a> {
    pub(crate) name: String,
    pub(crate) path: String,
    /// The directory that it is in.
    pub(crate) directory: BorrowedFd<'a>,
    /// What it is called there; or a path.
    pub(crate) file: &'a str,
    pub(crate) stat: Statx,
    pub(crate) is_mstack: bool,
    pub(crate) vendor: bool,
}

impl Found<'_> {
    /// Looks at the image. `None`: it is none, or has gone meanwhile.
    pub(crate) fn describe(self) -> Result<Option<Image>, Errno> {
        let found = match type_of(&self.stat) {
            FileType::Directory if self.is_mstack => {
                Ok((Kind::Mstack, false, microseconds(birth(&self.stat)), 0, Space::default()))
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
            name: self.name,
            path: self.path,
            kind,
            read_only,
            vendor,
            created,
            modified,
            space,
        }))
    }

    fn is_on_read_only(&self) -> bool {
        let access = accessat(self.directory, self.file, Access::WRITE_OK, AtFlags::EACCESS);
        access == Err(Errno::ROFS)
    }

    fn directory(&self) -> Result<(Kind, bool, u64, u64, Space), Errno> {
        let created = microseconds(birth(&self.stat));
        let is_told = self.stat.stx_attributes_mask.bits() & IMMUTABLE != 0;
        let might_be_subvolume = self.stat.stx_ino == btrfs::ROOT_INODE;
        if is_told && !might_be_subvolume {
            let is_immutable = self.stat.stx_attributes.bits() & IMMUTABLE != 0;
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
        let stat = &self.stat;
        let space = Space::of_file(stat.stx_blocks.saturating_mul(512), stat.stx_size);
        let is_read_only = stat.stx_mode & WRITABLE == 0;
        (Kind::Raw, is_read_only, microseconds(birth(stat)), microseconds(stat.stx_mtime), space)
    }

    fn device(&self) -> Result<(Kind, bool, u64, u64, Space), Errno> {
        let mut is_read_only = self.stat.stx_mode & WRITABLE == 0;
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

/// When a file was made; zero where its file system does not tell.
fn birth(stat: &Statx) -> StatxTimestamp {
    let is_told = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    let mut time = stat.stx_btime;
    if !is_told {
        (time.tv_sec, time.tv_nsec) = (0, 0);
    }
    time
}

fn microseconds(time: StatxTimestamp) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000).saturating_add(u64::from(time.tv_nsec / 1000))
}
