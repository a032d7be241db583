//! A Unix stream as transport for zlink: input goes through the [`Inbox`], file descriptors never come in.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use zlink::connection::PassedCredentials;
use zlink::connection::socket::{ReadHalf, ReadResult, Socket, WriteHalf};

use super::inbox::{Inbox, TooLarge};

/// One connection's stream. Both halves are handles to it, so that a reader can be replaced by a fresh one.
#[derive(Debug, Clone)]
pub(super) struct Stream(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Registered for reading alone: a peer that takes a reply makes the socket writable, and would wake the daemon up
    /// for nothing with every call.
    socket: AsyncFd<OwnedFd>,
    inbox: RefCell<Inbox>,
}

impl Stream {
    /// A stream of a connected socket that does not block.
    ///
    /// # Errors
    /// Where the event loop cannot watch it.
    pub fn new(socket: OwnedFd, inbox: Inbox) -> io::Result<Self> {
        let socket = watch(socket, Interest::READABLE)?;
        Ok(Self(Rc::new(Inner { socket, inbox: RefCell::new(inbox) })))
    }

    /// Marks the message that was received last as dealt with; returns its length.
    pub fn message_done(&self) -> usize {
        self.0.inbox.borrow_mut().next_message()
    }

    /// Waits until the peer has closed its end for good. One that only shut down its sending side still
    /// waits for replies.
    pub async fn hung_up(&self) {
        // A socket that is not watched for being writable is ready to write to only when it is closed; and it is told
        // of that whatever it is watched for.
        while let Ok(mut guard) = self.0.socket.ready(Interest::WRITABLE).await
            && !guard.ready().is_write_closed()
        {
            guard.clear_ready();
        }
    }

    /// Waits until the socket takes more.
    async fn writable(&self) -> io::Result<()> {
        // The event loop watches a descriptor once: this is another one for the same socket.
        let writer = watch(self.0.socket.get_ref().try_clone()?, Interest::WRITABLE)?;
        writer.writable().await?.retain_ready();
        Ok(())
    }
}

/// Has the event loop watch a socket that does not block.
pub(super) fn watch(socket: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    #[allow(deprecated, reason = "sound for an OwnedFd; its successor is unsafe")]
    AsyncFd::with_interest(socket, interest)
}

impl Socket for Stream {
    type ReadHalf = Self;
    type WriteHalf = Self;

    fn split(self) -> (Self, Self) {
        (self.clone(), self)
    }
}

impl ReadHalf for Stream {
    async fn read(&mut self, out: &mut [u8]) -> zlink::Result<ReadResult> {
        let Inner { socket, inbox } = &*self.0;
        loop {
            match inbox.borrow_mut().take(out) {
                Ok(0) => {}
                Ok(taken) => return Ok(ReadResult::new(taken)),
                Err(TooLarge) => return Err(zlink::Error::BufferOverflow),
            }
            inbox.borrow_mut().shrink();
            let mut guard = socket.readable().await?;
            let mut inbox = inbox.borrow_mut();
            let room = inbox.room();
            let asked = room.capacity();
            // A plain read: descriptors that a peer attaches are dropped by the kernel, unseen.
            match recv(socket, spare_capacity(room), RecvFlags::empty()).map(|received| received.1) {
                Ok(0) => return Ok(ReadResult::new(0)),
                // All that was there: of what comes from now on, the event loop is told anew.
                Ok(received) if received < asked && !guard.ready().is_read_closed() => guard.clear_ready(),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(errno) => return Err(io::Error::from(errno).into()),
            }
        }
    }
}

impl WriteHalf for Stream {
    async fn write(
        &mut self,
        bytes: &[u8],
        fds: &[impl AsFd],
        _credentials: Option<&PassedCredentials>,
    ) -> zlink::Result<()> {
        if !fds.is_empty() {
            return Err(io::Error::from(io::ErrorKind::Unsupported).into());
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match send(&self.0.socket, rest, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(Errno::AGAIN) => self.writable().await?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(io::Error::from(errno).into()),
            }
        }
        Ok(())
    }
}
