//! Names of images.

use std::fmt;

use crate::error::{Error, Result};

/// The longest name of a file, in bytes.
const LONGEST: usize = 255;

/// A name that an image may have: that of a file, without control characters, and not beginning with `.#`, which is how
/// files are called while they are made. It need not be a host's name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ImageName(String);

impl ImageName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`Error::BadName`].
    pub fn new(name: &str) -> Result<Self> {
        if Self::is_one(name) { Ok(Self(name.to_owned())) } else { Err(Error::BadName(name.to_owned())) }
    }

    /// Whether an image may have a name.
    pub(crate) fn is_one(name: &str) -> bool {
        !matches!(name, "" | "." | "..")
            && name.len() <= LONGEST
            && !name.starts_with(".#")
            // Bytes below 32 and 127; the control characters beyond ASCII are characters like others, as to the original.
            && !name.bytes().any(|byte| byte == b'/' || byte.is_ascii_control())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_may_be_called_what_a_file_may() {
        let longest = "x".repeat(255);
        for name in ["web", "a b", "under_score", ".hidden", ".host", "näme", "#x", "..x", &longest] {
            assert_eq!(ImageName::new(name).unwrap().as_str(), name);
        }
        let longer = "x".repeat(256);
        for name in ["", ".", "..", ".#x", "a/b", "a\nb", "a\u{7f}", "a\0", &longer] {
            assert_eq!(ImageName::new(name), Err(Error::BadName(name.to_owned())), "{name:?}");
        }
    }
}
