//! btrfs, by lambutter.

use lambutter::{BlockRead, Btrfs, Path};

use crate::links::{Found, followed};
use crate::tree::{LARGEST, Tree};

struct Bytes(&'static [u8]);

impl BlockRead for Bytes {
    type Error = &'static str;

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Self::Error> {
        let start = usize::try_from(offset).map_err(|_| "a place beyond all bytes")?;
        let end = start.checked_add(into.len()).ok_or("a place beyond all bytes")?;
        into.copy_from_slice(self.0.get(start..end).ok_or("a place behind the end")?);
        Ok(())
    }
}

/// Whether the bytes are such a file system: its magic number is in the superblock, at 64 KiB.
pub(crate) fn is_there(bytes: &[u8]) -> bool {
    bytes.get(0x1_0040..0x1_0048) == Some(b"_BHRfS_M")
}

pub(crate) fn open(bytes: &'static [u8]) -> Result<Box<dyn Tree>, String> {
    let size = u64::try_from(bytes.len()).map_err(|error| error.to_string())?;
    match Btrfs::open(Bytes(bytes), size) {
        Ok(tree) => Ok(Box::new(Volume(tree))),
        Err(error) => Err(format!("its btrfs cannot be read: {error}")),
    }
}

struct Volume(Btrfs<Bytes>);

impl Tree for Volume {
    fn file(&mut self, path: &str) -> Option<Vec<u8>> {
        let path = followed(path, |path| self.look(path))?;
        let inode = self.0.resolve(Path::new(path.as_bytes())?).ok()?;
        let about = self.0.metadata(&inode).ok()?;
        let length = usize::try_from(about.size).ok().filter(|&length| length <= LARGEST)?;
        if !about.is_file() {
            return None;
        }
        let mut bytes = vec![0; length];
        let mut read = 0;
        while read < length {
            let at = u64::try_from(read).ok()?;
            match self.0.read_file_at(&inode, at, bytes.get_mut(read..)?).ok()? {
                0 => return None,
                more => read = read.checked_add(more)?,
            }
        }
        Some(bytes)
    }
}

impl Volume {
    fn look(&mut self, path: &str) -> Option<Found> {
        let inode = self.0.resolve(Path::new(path.as_bytes())?).ok()?;
        if self.0.metadata(&inode).ok()?.is_symlink() {
            return self.0.read_link(Path::new(path.as_bytes())?).ok().map(Found::Link);
        }
        Some(Found::Other)
    }
}
