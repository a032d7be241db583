//! What is done inside machines, by processes that may hang there.
//!
//! A path below a container's root directory is the container's: a file system that never answers keeps whoever walks
//! there for ever, and a thread that is kept so keeps the whole process from ending, with its locks and its name on the
//! bus. So no thread of the daemon goes there. A [`Doorman`] starts a child for each request, which comes back with a
//! descriptor or an errno; the frequent small files are read by a kept reader. A child that is late is killed and left
//! behind; it is counted until it ends, and a machine has a few of those.

mod asked;
mod bind;
mod bond;
mod child;
mod copied_attributes;
mod copied_tree;
mod copies;
mod copy;
mod doorman;
mod guest;
mod message;
mod ongoing;
mod os_releases;
mod path;
mod progress;
mod reader;
mod reading;
mod request;
mod service;
mod spawn;
mod staged;
mod terminal;
mod work;

use rustix::io::Errno;

pub use doorman::{ARGUMENT, Doorman};
pub use guest::Guest;
pub use ongoing::Ongoing;
pub use os_releases::OsReleases;
pub use reader::of_host;
pub use request::{Bind, Copy, Direction};
pub use service::{Inside, root_of_host};
pub use terminal::{OpenedTerminal, Terminal};

/// Forks a doorman. To be called before anything else is done, while there is one thread.
///
/// # Errors
/// As fork(2).
pub fn fork() -> Result<Doorman, Errno> {
    Doorman::fork(work::run)
}

/// Is a doorman on its standard input, until the daemon ends.
pub fn main() {
    doorman::main(work::run);
}
