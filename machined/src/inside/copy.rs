//! A copy between the host and a container, by a child in the container's control group. It holds directories by
//! descriptors and follows no link below them, so that whatever the container does to its files meanwhile leads nowhere
//! else.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use images::Teller;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::asked::Asked;
use super::copied_tree::{Failure, Tree};
use super::message;
use super::path::{open, root_of_leader};
use super::request::{Answer, Copy, Direction, Report};

/// Copies what was asked for, and tells how far it is.
///
/// # Errors
/// What failed first, and at which file.
pub(super) fn copy(asked: &Asked, wanted: &Copy) -> Result<Answer, Failure> {
    let (pid, pidfd) = asked.leader.as_ref().ok_or(Errno::INVAL).map_err(Failure::whole)?;
    let root = root_of_leader(*pid, pidfd.as_fd()).map_err(Failure::whole)?;
    let (source, source_name) = split(&wanted.source).map_err(Failure::whole)?;
    let (target, target_name) = split(&wanted.destination).map_err(Failure::whole)?;
    let (from, to) = match wanted.direction {
        Direction::Into => (on_host(source), in_container(root.as_fd(), target)),
        Direction::OutOf => (in_container(root.as_fd(), source), on_host(target)),
    };
    let from = from.map_err(|errno| Failure::at(errno, source))?;
    let to = to.map_err(|errno| Failure::at(errno, target))?;
    allow_many_descriptors();
    let mut tell = |progress| {
        // If the daemon is behind, it hears the next one.
        let report = Report::Progress(progress).encode();
        let _ = message::send(asked.reply.as_fd(), &report, &[], SendFlags::DONTWAIT);
    };
    let mut teller = Teller::new(wanted.counts, &mut tell);
    teller.count(from.as_fd(), source_name.as_bytes(), ResolveFlags::empty());
    let mut tree = Tree::new(wanted.owner, wanted.replaces, &mut teller);
    tree.copy(from.as_fd(), source_name.as_bytes(), to.as_fd(), target_name.as_bytes())?;
    let lost = tree.lost_lists().to_ne_bytes().to_vec();
    teller.tell();
    Ok(Answer { bytes: lost, fds: Vec::new() })
}

/// The directory that something is in, and its name there.
fn split(path: &str) -> Result<(&str, &str), Errno> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let (parent, name) = path.rsplit_once('/').ok_or(Errno::ADDRNOTAVAIL)?;
    Ok((if parent.is_empty() { "/" } else { parent }, name))
}

fn on_host(parent: &str) -> Result<OwnedFd, Errno> {
    openat(CWD, parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn in_container(root: BorrowedFd<'_>, parent: &str) -> Result<OwnedFd, Errno> {
    open(root, parent, OFlags::PATH | OFlags::DIRECTORY)
}

/// A deep tree takes two for each of its levels.
fn allow_many_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
