//! A process that closes what strangers have passed along.
//!
//! The last close of a descriptor can last for as long as its sender likes: a TCP socket that lingers, a file whose
//! server does not answer. A daemon with one thread would stop, and a thread that hangs keeps all that a dead daemon had.
//! So such descriptors are passed on to a process that has nothing else to do and nothing to lose: the *closer*.
//!
//! [`start`] forks it, before there is anything to inherit. It forks a *worker*, which waits for work; before a worker
//! closes anything it says so, and the closer forks the next one, which waits in its place. A worker that is not done
//! after a second is killed. One that cannot be killed is abandoned, and counts: while there are [`WORKERS_MAX`] of them,
//! nobody works, and what is to be closed stays with the daemon, open.
//!
//! A connection whose unread input holds descriptors is one such descriptor ([`Closer::close`]). What comes over a
//! connection that takes descriptors is read by a worker ([`Way::receive`]): it returns the pidfds, whose close never
//! waits, and closes all others. They are never installed in the daemon, since some files are flushed each time that a
//! descriptor is closed.

mod keeper;
mod packet;
mod process;
mod worker;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tracing::{error, info, warn};

pub use keeper::WORKERS_MAX;
pub use packet::Received;
use packet::{Packet, heard_hanging};

/// The way to the process that closes. Its clones lead to the same one.
#[derive(Clone, Debug)]
pub struct Closer(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    way: Way,
    held: RefCell<VecDeque<Held>>,
    /// How many workers hang, as was last heard.
    hanging: Cell<u32>,
    /// What was said already.
    is_stuck: Cell<bool>,
    is_gone: Cell<bool>,
}

/// The bare way, which threads may share. What it cannot take at once it leaves to the caller.
#[derive(Clone, Debug)]
pub struct Way(Arc<OwnedFd>);

impl Way {
    /// Passes a descriptor on, to be closed once the caller has closed its own, and then the gate that is returned: whoever
    /// closes last waits. Never waits.
    ///
    /// # Errors
    /// `WouldBlock`: nobody closes anything now, because all who could are busy with what does not close.
    pub fn pass(&self, descriptor: BorrowedFd<'_>) -> io::Result<Gate> {
        let (gate, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        Packet::Close.send(&self.0, &[descriptor, theirs.as_fd()])?;
        Ok(Gate { _end: gate })
    }

    /// Has the other process read `most` bytes of a connection, with the descriptors that come along. Never waits.
    ///
    /// # Errors
    /// As [`Way::pass`].
    pub fn receive(&self, connection: BorrowedFd<'_>, most: usize, line: &Line) -> io::Result<()> {
        Packet::Receive(most).send(&self.0, &[connection, line.theirs.as_fd()])?;
        Ok(())
    }
}

/// What one answer of [`Way::receive`] comes over. Who has one ready can be answered when there is no room for more
/// descriptors.
#[derive(Debug)]
pub struct Line {
    ours: OwnedFd,
    theirs: OwnedFd,
}

impl Line {
    /// Makes one.
    ///
    /// # Errors
    /// There is no room for two more descriptors.
    pub fn new() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok(Self { ours, theirs })
    }

    /// The end that [`Received::of`] reads, as soon as it is readable. To be called once the other process was asked.
    pub fn into_answer(self) -> OwnedFd {
        self.ours
    }
}

/// Dropped once the descriptor is closed here.
#[derive(Debug)]
pub struct Gate {
    _end: OwnedFd,
}

/// What could not be passed on yet.
#[derive(Debug)]
struct Held {
    descriptor: OwnedFd,
    _share: Box<dyn Any>,
}

/// Forks the process. To be called first of all, while there is one thread, and nothing that another process must not have.
///
/// # Errors
/// There is no room for one more process or descriptor.
pub fn start() -> io::Result<Closer> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    process::fork([theirs.as_fd()], c"closer", keeper::run)?;
    Ok(Closer(Rc::new(Inner {
        way: Way(Arc::new(ours)),
        held: RefCell::default(),
        hanging: Cell::default(),
        is_stuck: Cell::default(),
        is_gone: Cell::default(),
    })))
}

impl Closer {
    /// Has a descriptor closed by the other process. Never waits. The descriptor itself is closed here, but not last;
    /// so it must be one that is not flushed, as no socket is.
    ///
    /// `share` is what the sender pays for it, such as a place among the connections: it is dropped once the descriptor
    /// was passed on.
    pub fn close(&self, descriptor: OwnedFd, share: impl Any) {
        self.0.held.borrow_mut().push_back(Held { descriptor, _share: Box::new(share) });
        self.pass_on();
    }

    /// Passes on what could not be passed on before. Returns whether something is still held. What was heard of workers
    /// that hang is said now.
    pub fn pass_on(&self) -> bool {
        self.hear();
        let mut held = self.0.held.borrow_mut();
        while let Some(next) = held.front() {
            match self.0.way.pass(next.descriptor.as_fd()) {
                Ok(gate) => {
                    drop(held.pop_front());
                    // Closed here first: whoever closes last waits.
                    drop(gate);
                }
                Err(error) => {
                    self.note(&error, held.len());
                    break;
                }
            }
        }
        if held.is_empty() {
            self.0.is_stuck.set(false);
        }
        !held.is_empty()
    }

    /// How many descriptors are held because nobody closes them.
    pub fn held(&self) -> usize {
        self.0.held.borrow().len()
    }

    /// The bare way to the other process.
    pub fn way(&self) -> Way {
        self.0.way.clone()
    }

    fn hear(&self) {
        let Some(now) = std::iter::from_fn(|| heard_hanging(&self.0.way.0)).last() else { return };
        let before = self.0.hanging.replace(now);
        if now > before {
            warn!(
                "{now} of {WORKERS_MAX} processes that close what peers passed along hang, and cannot be killed."
            );
        } else if now == 0 && before > 0 {
            info!("No process that closes what peers passed along hangs any more.");
        }
    }

    fn note(&self, error: &io::Error, held: usize) {
        match error.kind() {
            io::ErrorKind::WouldBlock if self.0.is_stuck.replace(true) => {}
            io::ErrorKind::WouldBlock => {
                warn!("Descriptors of peers do not close; {held} are kept open until some do.")
            }
            _ if self.0.is_gone.replace(true) => {}
            _ => error!(
                "The process that closes descriptors is gone ({error}); what peers pass along stays open."
            ),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // They go with the process, which then does not wait for them.
        std::mem::forget(self.held.take());
    }
}
