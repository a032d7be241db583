//! ext2, ext3 and ext4, by ext4-view.

use std::error::Error;

use ext4_view::{Ext4, Ext4Read};

use crate::tree::{LARGEST, Tree};

struct Bytes(&'static [u8]);

impl Ext4Read for Bytes {
    fn read(&mut self, start: u64, into: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync + 'static>> {
        let start = usize::try_from(start)?;
        let end = start.checked_add(into.len()).ok_or("a place beyond all bytes")?;
        into.copy_from_slice(self.0.get(start..end).ok_or("a place behind the end")?);
        Ok(())
    }
}

/// Whether the bytes are such a file system: its magic number is in the superblock, at 1024.
pub(crate) fn is_there(bytes: &[u8]) -> bool {
    bytes.get(1080..1082) == Some(&[0x53, 0xef])
}

pub(crate) fn open(bytes: &'static [u8]) -> Result<Box<dyn Tree>, String> {
    match Ext4::load(Box::new(Bytes(bytes))) {
        Ok(tree) => Ok(Box::new(tree)),
        Err(error) => Err(format!("its ext4 cannot be read: {error}")),
    }
}

impl Tree for Ext4 {
    fn file(&mut self, path: &str) -> Option<Vec<u8>> {
        let about = self.metadata(path).ok()?;
        let is_small = usize::try_from(about.len()).is_ok_and(|length| length <= LARGEST);
        if !about.file_type().is_regular_file() || !is_small {
            return None;
        }
        self.read(path).ok()
    }
}
