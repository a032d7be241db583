//! Images: the directories, subvolumes, files and block devices that machines could be started from.
//!
//! [`Places`] says where they are. [`list`] and [`find`] describe them as [`Image`]s. Everything here blocks, and for ever
//! where a file system does not answer: whoever must not wait runs it in a process that can be abandoned.

mod attributes;
mod block;
mod btrfs;
mod change;
mod clone;
mod data;
mod discover;
mod disk;
mod error;
mod files_inside;
mod image;
mod lock;
mod metadata;
mod name;
mod packed;
mod pick;
mod places;
mod pool;
mod progress;
mod protection;
#[cfg(test)]
mod scratch;
mod side_files;
mod staged;
mod tidy;
mod together;
mod tree;
mod version;

pub use change::{clean, remove, rename, set_limit, set_pool_limit, set_read_only};
pub use clone::clone;
pub use data::FileData;
pub use discover::{find, list};
pub use error::{Error, Result};
pub use files_inside::Metadata;
pub use image::{HOST_NAME, Image, Kind, Space};
pub use metadata::metadata;
pub use name::ImageName;
pub use packed::{pack, unpack};
pub use places::{Places, User};
pub use pool::{Pool, pool};
pub use progress::{Progress, Teller, size_of};
pub use tidy::tidy;
