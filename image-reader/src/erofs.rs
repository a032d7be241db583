//! erofs, as far as files lie in it as they are: what is compressed is not read. mkfs.erofs compresses no file that is no
//! larger than a block, unless it is told to put small files together.

use crate::bytes::Bytes;
use crate::links::{Found, followed};
use crate::tree::{LARGEST, Tree};

/// Where the superblock is.
const SUPERBLOCK: usize = 1024;
const MAGIC: [u8; 4] = [0xe2, 0xe1, 0xf5, 0xe0];
/// Small files are put together: `ZTAILPACKING`; `FRAGMENTS` and `DEDUPE`, which are one.
const PACKED: u32 = 0x10 | 0x20;
/// What may be there, besides: `LZ4_0PADDING`, `BIG_PCLUSTER`, `CHUNKED_FILE`, `DEVICE_TABLE`, `XATTR_PREFIXES`.
const KNOWN: u32 = 0x01 | 0x02 | 0x04 | 0x08 | 0x40;
/// The unit in which inodes are numbered.
const SLOT: usize = 32;
/// An entry of a directory, without its name.
const ENTRY: usize = 12;
/// Where nothing was written.
const HOLE: u32 = u32::MAX;
/// The largest directory that is looked into, in bytes.
const LARGEST_DIRECTORY: usize = 4 << 20;

const TYPE: u16 = 0o170_000;
const DIRECTORY: u16 = 0o040_000;
const REGULAR: u16 = 0o100_000;
const LINK: u16 = 0o120_000;

/// Whether the bytes are such a file system.
pub(crate) fn is_there(bytes: &[u8]) -> bool {
    bytes.get(SUPERBLOCK..SUPERBLOCK + 4) == Some(&MAGIC)
}

pub(crate) fn open(bytes: &'static [u8]) -> Result<Box<dyn Tree>, String> {
    let volume =
        Volume::open(Bytes(bytes)).ok_or("its erofs cannot be read: the superblock makes no sense")?;
    if volume.features & PACKED != 0 {
        return Err("its erofs has small files put together, which cannot be read without mounting it".into());
    }
    if volume.features & !KNOWN != 0 {
        return Err(format!("its erofs has features that nobody here knows: {:#x}", volume.features));
    }
    Ok(Box::new(volume))
}

struct Volume {
    bytes: Bytes<'static>,
    features: u32,
    block: usize,
    /// How large the blocks of directories are.
    directory_block: usize,
    /// Where the inodes begin.
    inodes: usize,
    root: u64,
}

/// Where the data of a file is.
enum Data {
    /// In blocks, one after the other.
    Blocks { first: u32 },
    /// The same, but for the last one, which is behind the inode.
    Inline { first: u32, tail: usize },
    /// In chunks, of which a list is behind the inode, with so many bytes for each.
    Chunks { size: usize, list: usize, unit: usize },
}

struct Inode {
    mode: u16,
    size: usize,
    data: Data,
}

impl Volume {
    fn open(bytes: Bytes<'static>) -> Option<Self> {
        let at = |offset| SUPERBLOCK + offset;
        let [bits] = *bytes.get(at(12), 1)? else { return None };
        let [directory_bits] = *bytes.get(at(90), 1)? else { return None };
        if !(9..=16).contains(&bits) || directory_bits > 8 {
            return None;
        }
        let block = 1_usize << bits;
        Some(Self {
            features: bytes.u32(at(80))?,
            block,
            directory_block: block << directory_bits,
            inodes: usize::try_from(bytes.u32(at(40))?).ok()?.checked_mul(block)?,
            root: u64::from(bytes.u16(at(14))?),
            bytes,
        })
    }

    fn inode(&self, number: u64) -> Option<Inode> {
        let start = usize::try_from(number).ok()?.checked_mul(SLOT)?.checked_add(self.inodes)?;
        let at = |offset| start.checked_add(offset);
        let format = self.bytes.u16(start)?;
        let (length, size, place) = if format & 1 == 0 {
            (SLOT, u64::from(self.bytes.u32(at(8)?)?), self.bytes.u32(at(16)?)?)
        } else {
            (2 * SLOT, self.bytes.u64(at(8)?)?, self.bytes.u32(at(16)?)?)
        };
        let attributes = match usize::from(self.bytes.u16(at(2)?)?) {
            0 => 0,
            count => 12 + 4 * (count - 1),
        };
        let behind = at(length)?.checked_add(attributes)?;
        let data = match (format >> 1) & 7 {
            0 => Data::Blocks { first: place },
            2 => Data::Inline { first: place, tail: behind },
            4 => {
                let unit = if place & 0x20 == 0 { 4 } else { 8 };
                let size = self.block.checked_shl(place & 0x1f).filter(|&size| size >= self.block)?;
                Data::Chunks { size, list: behind.checked_next_multiple_of(unit)?, unit }
            }
            // It is compressed.
            _ => return None,
        };
        Some(Inode { mode: self.bytes.u16(at(4)?)?, size: usize::try_from(size).ok()?, data })
    }

    /// Where a block of the file system is.
    fn place(&self, block: u32) -> Option<usize> {
        usize::try_from(block).ok()?.checked_mul(self.block)
    }

    /// The bytes of a file from a place on that is the beginning of a block, to the end of that block; `Some(None)`: a hole.
    #[allow(clippy::option_option, reason = "the outer one is for ?")]
    fn piece(&self, inode: &Inode, at: usize) -> Option<Option<&'static [u8]>> {
        let length = inode.size.checked_sub(at)?.min(self.block);
        let start = match inode.data {
            Data::Blocks { first } => self.place(first)?.checked_add(at)?,
            Data::Inline { first, tail } => {
                let last = inode.size.saturating_sub(1) / self.block * self.block;
                if at < last { self.place(first)?.checked_add(at)? } else { tail }
            }
            Data::Chunks { size, list, unit } => {
                let entry = list.checked_add((at / size).checked_mul(unit)?)?;
                // The longer ones name a device first.
                if unit == 8 && self.bytes.u16(entry.checked_add(2)?)? != 0 {
                    return None;
                }
                match self.bytes.u32(entry.checked_add(unit - 4)?)? {
                    HOLE => return Some(None),
                    block => self.place(block)?.checked_add(at % size)?,
                }
            }
        };
        self.bytes.get(start, length).map(Some)
    }

    /// All bytes of a file that is not too large.
    fn read(&self, inode: &Inode, largest: usize) -> Option<Vec<u8>> {
        if inode.size > largest {
            return None;
        }
        let mut read = Vec::with_capacity(inode.size);
        while read.len() < inode.size {
            let length = (inode.size - read.len()).min(self.block);
            match self.piece(inode, read.len())? {
                Some(piece) => read.extend_from_slice(piece),
                None => read.resize(read.len() + length, 0),
            }
        }
        Some(read)
    }

    /// The number of what a directory has by this name.
    fn entry(&self, directory: &Inode, name: &[u8]) -> Option<u64> {
        if directory.mode & TYPE != DIRECTORY {
            return None;
        }
        let bytes = self.read(directory, LARGEST_DIRECTORY)?;
        bytes.chunks(self.directory_block).find_map(|block| entry(block, name))
    }

    fn find(&self, path: &str) -> Option<Inode> {
        let mut inode = self.inode(self.root)?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            inode = self.inode(self.entry(&inode, part.as_bytes())?)?;
        }
        Some(inode)
    }
}

/// The same in a block of a directory: entries, each with where its name begins, and then all names. The last one ends with
/// the block, or with NUL.
fn entry(block: &[u8], name: &[u8]) -> Option<u64> {
    let start = |at: usize| {
        let bytes = block.get(at.checked_add(8)?..at.checked_add(10)?)?;
        Some(usize::from(u16::from_le_bytes(bytes.try_into().ok()?)))
    };
    let count = start(0)? / ENTRY;
    for number in 0..count {
        let at = number * ENTRY;
        let end = if number + 1 < count { start(at + ENTRY)? } else { block.len() };
        let found = block.get(start(at)?..end)?;
        let found = found.split(|&byte| byte == 0).next().unwrap_or_default();
        if found == name {
            return Some(u64::from_le_bytes(block.get(at..at.checked_add(8)?)?.try_into().ok()?));
        }
    }
    None
}

impl Tree for Volume {
    fn file(&mut self, path: &str) -> Option<Vec<u8>> {
        let path = followed(path, |path| {
            let inode = self.find(path)?;
            Some(if inode.mode & TYPE == LINK { Found::Link(self.read(&inode, 4096)?) } else { Found::Other })
        })?;
        let inode = self.find(&path).filter(|inode| inode.mode & TYPE == REGULAR)?;
        self.read(&inode, LARGEST)
    }
}
