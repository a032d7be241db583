//! The root directory of a container, opened for programs that read its files from outside: journalctl(1) `--machine`.
//!
//! The file system is the container's, and may take forever to open a directory. So each is opened by a thread of its own;
//! one that hangs is left behind, and of those a container has a few at the most.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use libmachine::ProcessHandle;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::machines::Key;

/// How long a file system may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How many threads may wait for one container, and for all.
const WAITING: usize = 4;
const ALL_WAITING: usize = 32;

/// The root directories that are being opened.
#[derive(Debug, Default)]
pub struct RootDirectories {
    opening: Rc<RefCell<Vec<Key>>>,
}

impl RootDirectories {
    /// Opens the root directory of a container, as its leader sees it.
    ///
    /// # Errors
    /// `ETIMEDOUT`: its file system does not answer. `ESRCH`: its leader is gone. Others as the kernel has them.
    pub async fn open(&self, key: Key, leader: &ProcessHandle) -> Result<OwnedFd, Errno> {
        if self.is_full(key) {
            return Err(Errno::TIMEDOUT);
        }
        let (sender, opened) = oneshot::channel();
        let path = format!("/proc/{}/root", leader.pid());
        let thread = std::thread::Builder::new().name("root".into()).stack_size(64 * 1024);
        // Nobody takes what comes too late, and it is closed.
        let thread = thread.spawn(move || drop(sender.send(open(&path))));
        thread.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
        self.opening.borrow_mut().push(key);
        let opening = self.opening.clone();
        let answer = tokio::task::spawn_local(async move {
            let answer = opened.await;
            let mut opening = opening.borrow_mut();
            if let Some(place) = opening.iter().position(|other| *other == key) {
                opening.swap_remove(place);
            }
            answer
        });
        let answer = timeout(DEADLINE, answer).await.map_err(|_| Errno::TIMEDOUT)?;
        let root = answer.map_err(|_| Errno::IO)?.map_err(|_| Errno::IO)??;
        // The number may have come to mean another process meanwhile.
        if leader.has_exited() { Err(Errno::SRCH) } else { Ok(root) }
    }

    fn is_full(&self, key: Key) -> bool {
        let opening = self.opening.borrow();
        opening.len() >= ALL_WAITING || opening.iter().filter(|other| **other == key).count() >= WAITING
    }
}

/// The root directory of the host.
///
/// # Errors
/// As the kernel has them.
pub fn of_host() -> Result<OwnedFd, Errno> {
    open("/")
}

fn open(path: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::fstat;

    #[test]
    fn a_root_directory_is_the_leaders() {
        let leader = ProcessHandle::open(rustix::process::getpid().as_raw_nonzero().get()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let directories = RootDirectories::default();
        let root = tokio::task::LocalSet::new()
            .block_on(&runtime, directories.open(Key::of_number(1), &leader))
            .unwrap();
        let (got, own) = (fstat(&root).unwrap(), rustix::fs::stat("/").unwrap());
        assert_eq!((got.st_dev, got.st_ino), (own.st_dev, own.st_ino));
        assert_eq!(directories.opening.borrow().len(), 0);
    }

    #[test]
    fn a_container_that_hangs_has_a_few_threads_and_leaves_some_for_others() {
        let directories = RootDirectories::default();
        directories.opening.borrow_mut().extend([Key::of_number(1); WAITING]);
        assert!(directories.is_full(Key::of_number(1)));
        assert!(!directories.is_full(Key::of_number(2)));
    }
}
