//! A request as it arrives at the doorman.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::SendFlags;

use super::message::{self, Message};
use super::request::{Report, Request};

/// A request with its descriptors.
#[derive(Debug)]
pub(super) struct Asked {
    /// Where the answer goes.
    pub reply: OwnedFd,
    /// The leader.
    pub leader: Option<(i32, OwnedFd)>,
    /// Where the child is to be.
    pub group: Option<OwnedFd>,
    /// What is to be done.
    pub request: Request,
    /// What else came with it.
    pub fds: Vec<OwnedFd>,
}

impl Asked {
    /// What a message asks.
    pub(super) fn of(message: Message) -> Result<Self, Errno> {
        let request = Request::decode(&message.bytes)?;
        let mut fds = message.fds.into_iter();
        let mut next = || fds.next().ok_or(Errno::BADMSG);
        let reply = next()?;
        let leader = match request.leader {
            Some(pid) => Some((pid, next()?)),
            None => None,
        };
        let group = if request.has_group { Some(next()?) } else { None };
        Ok(Self { reply, leader, group, request, fds: fds.collect() })
    }
}

/// Says something of it.
pub(super) fn report(to: &OwnedFd, report: &Report, fds: &[BorrowedFd<'_>]) {
    // Nobody may wait any more.
    let _ = message::send(to.as_fd(), &report.encode(), fds, SendFlags::empty());
}
