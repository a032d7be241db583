//! The file system's answers to the questions of [`Files`], with the standard library at hand.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, openat, readlinkat_raw};
use rustix::io::{Errno, read};

use crate::files::{FileError, Files};
use crate::path::Path;

/// The files that this process sees.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelFiles;

impl Files for KernelFiles {
    type File = OwnedFd;

    fn open(&self, path: &Path) -> Result<OwnedFd, FileError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        openat(CWD, path.as_c_str(), flags, Mode::empty()).map_err(FileError::from)
    }

    fn read<'a>(&self, file: &OwnedFd, buffer: &'a mut [u8]) -> Result<&'a [u8], FileError> {
        let length = read(file, &mut *buffer)?;
        Ok(buffer.get(..length).unwrap_or_default())
    }

    fn read_link<'a>(&self, path: &Path, buffer: &'a mut [u8]) -> Result<&'a [u8], FileError> {
        let length = readlinkat_raw(CWD, path.as_c_str(), &mut *buffer)?;
        Ok(buffer.get(..length).unwrap_or_default())
    }
}

impl From<Errno> for FileError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Self::Absent,
            Errno::INVAL | Errno::ISDIR | Errno::AGAIN => Self::OtherKind,
            errno => Self::Errno(errno.raw_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn path(text: &std::path::Path) -> Path {
        let mut path = Path::new();
        path.push(text.as_os_str().as_encoded_bytes());
        path
    }

    #[test]
    fn files_and_links_are_told_apart() {
        let directory = std::env::temp_dir().join(std::format!("kernel-files-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("file"), "text").unwrap();
        std::os::unix::fs::symlink("target", directory.join("link")).unwrap();
        let (file, link) = (path(&directory.join("file")), path(&directory.join("link")));
        let none = path(&directory.join("none"));
        let mut buffer = [0; 16];
        assert_eq!(KernelFiles.read_link(&link, &mut buffer), Ok(&b"target"[..]));
        assert_eq!(KernelFiles.read_link(&link, &mut buffer[..3]), Ok(&b"tar"[..]));
        assert_eq!(KernelFiles.read_link(&file, &mut buffer), Err(FileError::OtherKind));
        assert_eq!(KernelFiles.read_link(&none, &mut buffer), Err(FileError::Absent));
        assert_eq!(KernelFiles.open(&link).err(), Some(FileError::Absent));
        assert_eq!(KernelFiles.open(&none).err(), Some(FileError::Absent));
        let open = KernelFiles.open(&file).unwrap();
        assert_eq!(KernelFiles.read(&open, &mut buffer), Ok(&b"text"[..]));
        assert_eq!(KernelFiles.read(&open, &mut buffer), Ok(&b""[..]));
        let open = KernelFiles.open(&path(&directory)).unwrap();
        assert_eq!(KernelFiles.read(&open, &mut buffer).err(), Some(FileError::OtherKind));
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_path_that_does_not_fit_names_nothing() {
        let mut long = Path::new();
        long.push(&Vec::from([b'x'; 200]));
        assert_eq!(KernelFiles.open(&long).err(), Some(FileError::Absent));
    }
}
