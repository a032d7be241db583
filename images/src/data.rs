//! The data of files: copied, or shared.

use std::os::fd::OwnedFd;

use rustix::fs::{copy_file_range, fstat, ioctl_ficlone, seek};
use rustix::io::Errno;

type Result<T> = std::result::Result<T, Errno>;

/// Copies the data of files, and learns what the file system can do.
#[derive(Debug)]
pub struct FileData {
    /// Whether blocks may be shared.
    can_share: bool,
    buffer: Vec<u8>,
}

/// What is no larger is read and written at once.
const SMALL: u64 = 64 * 1024;

impl Default for FileData {
    fn default() -> Self {
        Self::new()
    }
}

impl FileData {
    /// With nothing learnt yet.
    pub const fn new() -> Self {
        Self { can_share: true, buffer: Vec::new() }
    }

    /// Copies the data of a file, or shares its blocks. Holes stay holes, but for those of small files. Says how many bytes
    /// have been copied, piece by piece; what is shared or a hole is not told.
    ///
    /// # Errors
    /// As reading and writing have them.
    pub fn copy(&mut self, source: &OwnedFd, target: &OwnedFd, told: &mut dyn FnMut(u64)) -> Result<()> {
        let size = u64::try_from(fstat(source)?.st_size).map_err(|_| Errno::IO)?;
        if self.can_share && size > 0 {
            match ioctl_ficlone(target, source) {
                Ok(()) => return Ok(()),
                Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::NOTTY) => self.can_share = false,
                Err(_) => {}
            }
        }
        if size <= SMALL {
            // Many files of /proc have no size, and yet something to say.
            let end = if size == 0 { u64::MAX } else { size };
            return self.piece(source, target, 0, end, told);
        }
        rustix::fs::ftruncate(target, size)?;
        let mut at = 0;
        while at < size {
            let from = match seek(source, rustix::fs::SeekFrom::Data(at)) {
                Err(Errno::NXIO) => break,
                Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
                from => from?,
            };
            let hole = seek(source, rustix::fs::SeekFrom::Hole(from)).unwrap_or(size);
            let to = hole.max(from.saturating_add(1)).min(size);
            self.range(source, target, from, to, told)?;
            at = to;
        }
        Ok(())
    }

    /// Copies a part of a file inside the kernel, if it can do that.
    fn range(
        &mut self,
        source: &OwnedFd,
        target: &OwnedFd,
        mut from: u64,
        to: u64,
        told: &mut dyn FnMut(u64),
    ) -> Result<()> {
        while from < to {
            let length = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX).min(64 << 20);
            let (mut read, mut write) = (from, from);
            match copy_file_range(source, Some(&mut read), target, Some(&mut write), length) {
                Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                    return self.piece(source, target, from, to, told);
                }
                // It has become shorter.
                Ok(0) => return Ok(()),
                copied => {
                    let copied = u64::try_from(copied?).map_err(|_| Errno::IO)?;
                    from = from.saturating_add(copied);
                    told(copied);
                }
            }
        }
        Ok(())
    }

    /// Copies a part of a file by reading and writing.
    fn piece(
        &mut self,
        source: &OwnedFd,
        target: &OwnedFd,
        mut from: u64,
        to: u64,
        told: &mut dyn FnMut(u64),
    ) -> Result<()> {
        self.buffer.resize(1 << 20, 0);
        while from < to {
            let left = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
            let length = left.min(self.buffer.len());
            let buffer = self.buffer.get_mut(..length).unwrap_or_default();
            let read = rustix::io::pread(source, &mut *buffer, from)?;
            if read == 0 {
                return Ok(());
            }
            let mut written = 0;
            while let Some(rest) = buffer.get(written..read).filter(|rest| !rest.is_empty()) {
                let at = from.saturating_add(u64::try_from(written).map_err(|_| Errno::IO)?);
                written = written.saturating_add(rustix::io::pwrite(target, rest, at)?);
            }
            let read = u64::try_from(read).map_err(|_| Errno::IO)?;
            from = from.saturating_add(read);
            told(read);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, memfd_create};

    #[test]
    fn a_file_that_has_no_size_is_copied_to_its_end() {
        let target = memfd_create("copy", MemfdFlags::CLOEXEC).unwrap();
        let source = OwnedFd::from(std::fs::File::open("/proc/version").unwrap());
        let mut told = 0;
        FileData::new().copy(&source, &target, &mut |more| told += more).unwrap();
        let mut copied = vec![0; 4096];
        let length = rustix::io::pread(&target, &mut copied, 0).unwrap();
        assert_eq!(&copied[..length], std::fs::read("/proc/version").unwrap());
        assert!(length > 0);
        assert_eq!(u64::try_from(length), Ok(told));
    }
}
