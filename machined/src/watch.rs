//! Hears of the end of leaders: one epoll(7) set of all their pidfds, which the event loop sees as one descriptor.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::epoll;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::machines::Key;

/// The set of watched leaders.
#[derive(Debug)]
pub struct Watch {
    set: AsyncFd<OwnedFd>,
}

impl Watch {
    /// An empty set. Needs the event loop to be running.
    ///
    /// # Errors
    /// Where no descriptor is free.
    pub fn new() -> io::Result<Self> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        #[allow(
            deprecated,
            reason = "sound for an OwnedFd; its successor asks every caller to say so, by unsafe"
        )]
        let set = AsyncFd::with_interest(set, Interest::READABLE)?;
        Ok(Self { set })
    }

    /// Watches a leader by its pidfd.
    ///
    /// # Errors
    /// Where the kernel has no memory or `/proc/sys/fs/epoll/max_user_watches` is reached.
    pub fn add(&self, key: Key, pidfd: BorrowedFd<'_>) -> io::Result<()> {
        let data = epoll::EventData::new_u64(key.number());
        // Once is enough: a process ends once, and its entry goes with the pidfd.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
        Ok(epoll::add(self.set.get_ref(), pidfd, data, flags)?)
    }

    /// Stops to watch. The pidfd must still be open; that it is not watched is no error.
    pub fn remove(&self, pidfd: BorrowedFd<'_>) {
        let _ = epoll::delete(self.set.get_ref(), pidfd);
    }

    /// Waits for leaders to end.
    ///
    /// # Errors
    /// Where epoll itself fails.
    pub async fn ended(&self) -> io::Result<Vec<Key>> {
        loop {
            let mut ready = self.set.readable().await?;
            let ended = self.ended_by_now()?;
            if ended.is_empty() {
                ready.clear_ready();
            } else {
                return Ok(ended);
            }
        }
    }

    /// Some of the leaders that have ended by now and were not told of yet; none if all were.
    ///
    /// # Errors
    /// Where epoll itself fails.
    pub fn ended_by_now(&self) -> io::Result<Vec<Key>> {
        let mut events = Vec::with_capacity(64);
        let now = rustix::event::Timespec::default();
        epoll::wait(self.set.get_ref(), rustix::buffer::spare_capacity(&mut events), Some(&now))?;
        Ok(events.iter().map(|event| Key::of_number(event.data.u64())).collect())
    }
}
