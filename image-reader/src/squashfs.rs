//! squashfs 4.0, where it is compressed by zstd or gzip, or not at all.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ruzstd::decoding::FrameDecoder;

use crate::bytes::Bytes;
use crate::links::{Found, followed};
use crate::tree::{LARGEST, Tree};

const MAGIC: &[u8] = b"hsqs";
/// The largest block of inodes and directories, in bytes.
const METADATA: usize = 8192;
/// What a block of metadata, and one of data, has in its length where it is not compressed.
const PLAIN_METADATA: u16 = 1 << 15;
const PLAIN: u32 = 1 << 24;
/// Where a file has no part of a fragment.
const NO_FRAGMENT: u32 = u32::MAX;
/// A fragment's entry, and how many a block of metadata has.
const FRAGMENT: usize = 16;
const FRAGMENTS: usize = METADATA / FRAGMENT;
/// The largest directory that is looked into, in bytes.
const LARGEST_DIRECTORY: usize = 4 << 20;

/// Whether the bytes are such a file system.
pub(crate) fn is_there(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

pub(crate) fn open(bytes: &'static [u8]) -> Result<Box<dyn Tree>, String> {
    let volume = Volume::open(Bytes(bytes))
        .ok_or("its squashfs cannot be read: the superblock makes no sense")?
        .map_err(|method| {
            format!("its squashfs is compressed by {method}, which cannot be read without mounting it")
        })?;
    Ok(Box::new(volume))
}

enum Compression {
    Gzip,
    Zstd(RefCell<Box<FrameDecoder>>),
}

impl Compression {
    /// What was compressed, which is no larger than this.
    fn undo(&self, stored: &[u8], largest: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; largest];
        let length = match self {
            Self::Gzip => {
                let stored = std::iter::once(stored);
                miniz_oxide::inflate::decompress_slice_iter_to_slice(&mut bytes, stored, true, true).ok()?
            }
            Self::Zstd(decoder) => decoder.borrow_mut().decode_all(stored, &mut bytes).ok()?,
        };
        bytes.truncate(length);
        Some(bytes)
    }
}

/// A block of metadata, and where the next one begins.
type Block = (Rc<[u8]>, usize);

struct Volume {
    bytes: Bytes<'static>,
    compression: Compression,
    block: usize,
    /// Where the tables begin.
    inodes: usize,
    directories: usize,
    fragments: usize,
    root: u64,
    /// What was looked at, by where it is.
    metadata: RefCell<BTreeMap<usize, Block>>,
}

/// A file's data.
struct File {
    size: usize,
    start: usize,
    /// The lengths of its blocks, 4 bytes each.
    lengths: Vec<u8>,
    /// What is left behind the whole blocks: in which fragment, from where on.
    tail: Option<(usize, usize)>,
}

enum Node {
    Directory { block: usize, offset: usize, size: usize },
    File(File),
    Link(Vec<u8>),
    Other,
}

impl Volume {
    /// The inner error: how it is compressed, if that is not known here.
    #[allow(clippy::type_complexity, reason = "the outer one is for ?")]
    fn open(bytes: Bytes<'static>) -> Option<Result<Self, String>> {
        let table = |at| usize::try_from(bytes.u64(at)?).ok();
        let block = usize::try_from(bytes.u32(12)?).ok()?;
        if bytes.u32(28)? != 4 || !block.is_power_of_two() || !(4096..=1 << 20).contains(&block) {
            return None;
        }
        let compression = match bytes.u16(20)? {
            1 => Compression::Gzip,
            6 => Compression::Zstd(RefCell::new(Box::new(FrameDecoder::new()))),
            2 => return Some(Err("lzma".into())),
            3 => return Some(Err("lzo".into())),
            4 => return Some(Err("xz".into())),
            5 => return Some(Err("lz4".into())),
            other => return Some(Err(format!("a method that nobody here knows: {other}"))),
        };
        Some(Ok(Self {
            compression,
            block,
            inodes: table(64)?,
            directories: table(72)?,
            fragments: table(80)?,
            root: bytes.u64(32)?,
            metadata: RefCell::default(),
            bytes,
        }))
    }

    fn block_of_metadata(&self, at: usize) -> Option<Block> {
        if let Some(known) = self.metadata.borrow().get(&at) {
            return Some(known.clone());
        }
        let head = self.bytes.u16(at)?;
        let (start, length) = (at.checked_add(2)?, usize::from(head & !PLAIN_METADATA));
        let stored = self.bytes.get(start, length)?;
        let block: Rc<[u8]> = match head & PLAIN_METADATA {
            0 => self.compression.undo(stored, METADATA)?.into(),
            _ => stored.into(),
        };
        let found = (block, start.checked_add(length)?);
        self.metadata.borrow_mut().insert(at, found.clone());
        Some(found)
    }

    /// Bytes of metadata: so many, from a place in a block on.
    fn read_metadata(&self, mut at: usize, mut offset: usize, length: usize) -> Option<Vec<u8>> {
        let mut read = Vec::with_capacity(length);
        while read.len() < length {
            let (block, next) = self.block_of_metadata(at)?;
            match block.get(offset..).filter(|rest| !rest.is_empty()) {
                Some(rest) => {
                    read.extend_from_slice(rest.get(..length - read.len()).unwrap_or(rest));
                    offset = 0;
                }
                // An empty block would lead nowhere.
                None => offset = offset.checked_sub(block.len()).filter(|_| !block.is_empty())?,
            }
            at = next;
        }
        Some(read)
    }

    /// What an inode says. The number is where it is: a block of metadata, and the place in that.
    fn node(&self, number: u64) -> Option<Node> {
        let block = self.inodes.checked_add(usize::try_from(number >> 16).ok()?)?;
        let offset = usize::try_from(number & 0xffff).ok()?;
        let read = |from: usize, length| self.read_metadata(block, offset.checked_add(from)?, length);
        let kind = Bytes(&read(0, 2)?).u16(0)?;
        let of_directory = |start: u32, offset: u16, size: u32| {
            Some(Node::Directory {
                block: self.directories.checked_add(usize::try_from(start).ok()?)?,
                offset: usize::from(offset),
                // The two entries that are not there count, too.
                size: usize::try_from(size).ok()?.saturating_sub(3),
            })
        };
        match kind {
            1 => {
                let inode = read(0, 32)?;
                let inode = Bytes(&inode);
                of_directory(inode.u32(16)?, inode.u16(26)?, u32::from(inode.u16(24)?))
            }
            8 => {
                let inode = read(0, 40)?;
                let inode = Bytes(&inode);
                of_directory(inode.u32(24)?, inode.u16(34)?, inode.u32(20)?)
            }
            2 | 9 => {
                let behind = if kind == 2 { 32 } else { 56 };
                let inode = read(0, behind)?;
                let inode = Bytes(&inode);
                let (start, size, fragment) = if kind == 2 {
                    (u64::from(inode.u32(16)?), u64::from(inode.u32(28)?), inode.u32(20)?)
                } else {
                    (inode.u64(16)?, inode.u64(24)?, inode.u32(44)?)
                };
                let offset = inode.u32(if kind == 2 { 24 } else { 48 })?;
                let size = usize::try_from(size).ok()?;
                if size > LARGEST {
                    return Some(Node::Other);
                }
                let has_tail = fragment != NO_FRAGMENT && size % self.block != 0;
                let blocks = if has_tail { size / self.block } else { size.div_ceil(self.block) };
                let tail = match has_tail {
                    true => Some((usize::try_from(fragment).ok()?, usize::try_from(offset).ok()?)),
                    false => None,
                };
                let lengths = read(behind, blocks * 4)?;
                Some(Node::File(File { size, start: usize::try_from(start).ok()?, lengths, tail }))
            }
            3 | 10 => {
                let length = usize::try_from(Bytes(&read(20, 4)?).u32(0)?).ok()?;
                if length > 4096 { Some(Node::Other) } else { read(24, length).map(Node::Link) }
            }
            _ => Some(Node::Other),
        }
    }

    /// A block of data.
    fn data(&self, at: usize, length: u32) -> Option<Vec<u8>> {
        let stored = self.bytes.get(at, usize::try_from(length & !PLAIN).ok()?)?;
        if length & PLAIN != 0 { Some(stored.to_vec()) } else { self.compression.undo(stored, self.block) }
    }

    fn read(&self, file: &File) -> Option<Vec<u8>> {
        let mut read = Vec::with_capacity(file.size);
        let mut at = file.start;
        let lengths = Bytes(&file.lengths);
        for number in 0..file.lengths.len() / 4 {
            let length = lengths.u32(number * 4)?;
            let wanted = (file.size - read.len()).min(self.block);
            match length {
                // Nothing was written there.
                0 => read.resize(read.len() + wanted, 0),
                length => read.extend_from_slice(self.data(at, length)?.get(..wanted)?),
            }
            at = at.checked_add(usize::try_from(length & !PLAIN).ok()?)?;
        }
        if let Some((fragment, offset)) = file.tail {
            let list = self.fragments.checked_add((fragment / FRAGMENTS).checked_mul(8)?)?;
            let table = usize::try_from(self.bytes.u64(list)?).ok()?;
            let entry = self.read_metadata(table, fragment % FRAGMENTS * FRAGMENT, FRAGMENT)?;
            let entry = Bytes(&entry);
            let data = self.data(usize::try_from(entry.u64(0)?).ok()?, entry.u32(8)?)?;
            read.extend_from_slice(Bytes(&data).get(offset, file.size - read.len())?);
        }
        Some(read)
    }

    /// The number of what a directory has by this name.
    fn entry(&self, directory: &Node, name: &[u8]) -> Option<u64> {
        let &Node::Directory { block, offset, size } = directory else { return None };
        if size > LARGEST_DIRECTORY {
            return None;
        }
        let list = self.read_metadata(block, offset, size)?;
        let list = Bytes(&list);
        let mut at: usize = 0;
        while at < size {
            // Those whose inodes are in the same block stand together.
            let (count, start) = (list.u32(at)?, u64::from(list.u32(at.checked_add(4)?)?));
            at = at.checked_add(12)?;
            for _ in 0..=count {
                let (offset, length) = (list.u16(at)?, usize::from(list.u16(at.checked_add(6)?)?) + 1);
                if list.get(at.checked_add(8)?, length)? == name {
                    return Some(start << 16 | u64::from(offset));
                }
                at = at.checked_add(8)?.checked_add(length)?;
            }
        }
        None
    }

    fn find(&self, path: &str) -> Option<Node> {
        let mut node = self.node(self.root)?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            node = self.node(self.entry(&node, part.as_bytes())?)?;
        }
        Some(node)
    }
}

impl Tree for Volume {
    fn file(&mut self, path: &str) -> Option<Vec<u8>> {
        let path = followed(path, |path| {
            Some(match self.find(path)? {
                Node::Link(target) => Found::Link(target),
                _ => Found::Other,
            })
        })?;
        match self.find(&path)? {
            Node::File(file) => self.read(&file),
            _ => None,
        }
    }
}
