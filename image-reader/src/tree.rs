//! A file system, as far as it takes to find a few small files in it.

/// The largest file that is read, in bytes.
pub(crate) const LARGEST: usize = 64 * 1024;

/// A file system that can be read.
pub(crate) trait Tree {
    /// A regular file, by an absolute path, over links; `None` if there is none, or a larger one.
    fn file(&mut self, path: &str) -> Option<Vec<u8>>;
}
