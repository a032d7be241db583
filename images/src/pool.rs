//! The pool: the directory that new images are put into.

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::btrfs;
use crate::error::{Error, Result};
use crate::places::Places;

/// What is known of the pool. Sizes are in bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pool {
    /// What is in it takes; `None` where nobody counts, which btrfs alone does, with quotas enabled.
    pub usage: Option<u64>,
    /// How much that may become.
    pub limit: Option<u64>,
}

/// Looks at the pool.
///
/// # Errors
/// The kernel refuses something. A pool that is not there, or that nothing is counted for, is none.
pub fn pool(places: &Places) -> Result<Pool> {
    let path = places.pool();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let directory = match open(path.as_str(), flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(Pool::default()),
        Err(errno) => return Err(Error::of("open", &path)(errno)),
    };
    if !btrfs::is_btrfs(&directory).map_err(Error::of("look at", &path))? {
        return Ok(Pool::default());
    }
    let counted = btrfs::describe(&directory)
        .and_then(|pool| btrfs::subtree_group(&directory, pool.id))
        .and_then(|group| btrfs::quota(&directory, group));
    match counted {
        Ok(quota) => Ok(Pool { usage: Some(quota.usage), limit: quota.limit }),
        // Quotas are not enabled; or the pool is no subvolume; or nobody may look at them.
        Err(Errno::NOENT | Errno::NOTCONN | Errno::INVAL | Errno::PERM) => Ok(Pool::default()),
        Err(errno) => Err(Error::of("read the quota of", &path)(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_pool_that_nobody_counts_or_that_is_not_there_has_no_usage() {
        let scratch = Scratch::new("pool");
        let places = scratch.places();
        assert_eq!(pool(&places), Ok(Pool::default()));
        scratch.directory("var/lib/machines");
        assert_eq!(pool(&places), Ok(Pool::default()));
    }

    #[test]
    fn a_pool_that_is_a_file_is_an_error() {
        let scratch = Scratch::new("pool-file");
        scratch.directory("var/lib");
        scratch.file("var/lib/machines", "");
        assert_eq!(pool(&scratch.places()).unwrap_err().errno(), Errno::NOTDIR);
    }
}
