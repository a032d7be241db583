//! One connection's socket.
//!
//! No descriptor of a peer's is installed here unless a method wants it, as the last close of one can last for hours (a
//! TCP socket that lingers, a file whose server does not answer). The kernel refuses them where it can. Where it cannot,
//! each read is preceded by a look that has no room for them, which tells of them and leaves them where they are; and a
//! connection that ends with something unread is closed by another process.

use std::any::Any;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use closer::Closer;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, recv, recvmsg, send, sendmsg, shutdown,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::admission::Permit;
use super::inbox::Inbox;
use super::outbox::Outbox;
use super::socket_option::{refuse_descriptors, takes_descriptors};

/// How many descriptors the kernel passes at a time, SCM_MAX_FD in unix(7).
const DESCRIPTORS_MAX: usize = 253;

/// One connection's stream.
#[derive(Debug)]
pub(super) struct Stream {
    /// Registered for reading alone: a peer that takes a reply makes the socket writable, and would wake the daemon up
    /// for nothing with every call. `None` at the end.
    socket: Option<AsyncFd<OwnedFd>>,
    /// Whether there may be descriptors with what is read.
    looks_first: bool,
    closer: Option<Closer>,
    permit: Option<Rc<Permit>>,
}

/// What a read has brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Bytes, which are in the inbox.
    Bytes,
    /// The peer sends no more.
    End,
    /// Descriptors come with what is next. This much of it was seen, but not read.
    Descriptors(Vec<u8>),
}

/// A connection that nobody watches yet.
#[derive(Debug)]
pub(super) struct Arrival {
    socket: Option<OwnedFd>,
    closer: Option<Closer>,
}

impl Arrival {
    /// Of a connected socket that does not block.
    pub fn new(socket: OwnedFd, closer: Option<Closer>) -> Self {
        Self { socket: Some(socket), closer }
    }

    /// The socket.
    ///
    /// # Errors
    /// None while this is there.
    pub fn socket(&self) -> io::Result<&OwnedFd> {
        self.socket.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// The stream of it. If no method `receives` descriptors, the kernel is asked to refuse them.
    ///
    /// # Errors
    /// Where the event loop cannot watch it.
    pub fn into_stream(mut self, receives: bool, permit: Option<Rc<Permit>>) -> io::Result<Stream> {
        let Some(socket) = self.socket.take() else { return Err(io::ErrorKind::NotConnected.into()) };
        // Some may be in it already: it was there before its listener refused any.
        let looks_first = takes_descriptors(&socket);
        if looks_first && !receives {
            refuse_descriptors(&socket);
        }
        let socket = Some(watch(socket, Interest::READABLE)?);
        Ok(Stream { socket, looks_first, closer: self.closer.take(), permit })
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take()
            && takes_descriptors(&socket)
        {
            leave(socket, self.closer.as_ref(), ());
        }
    }
}

impl Stream {
    fn socket(&self) -> io::Result<&AsyncFd<OwnedFd>> {
        self.socket.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Waits for input, and puts it into the inbox.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn read(&self, inbox: &mut Inbox) -> io::Result<Input> {
        inbox.shrink();
        let socket = self.socket()?;
        loop {
            let mut guard = socket.readable().await?;
            let asked = inbox.room().spare_capacity_mut().len();
            let got = if self.looks_first {
                match look(socket, asked) {
                    Ok(Look { seen, has_descriptors: true }) => return Ok(Input::Descriptors(seen)),
                    // No more than this: descriptors may have come with what is behind it.
                    Ok(Look { seen, has_descriptors: false }) => receive(socket, inbox, seen.len()),
                    Err(errno) => Err(errno),
                }
            } else {
                recv(socket, spare_capacity(inbox.room()), RecvFlags::empty()).map(|got| got.1)
            };
            match got {
                Ok(0) => return Ok(Input::End),
                Ok(got) => {
                    // All that was there: of what comes from now on, the event loop is told anew.
                    if got < asked && !guard.ready().is_read_closed() {
                        guard.clear_ready();
                    }
                    return Ok(Input::Bytes);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Puts what [`Input::Descriptors`] has shown into the inbox, and returns the descriptors that come with it.
    ///
    /// # Errors
    /// What the kernel says; or some are lost, because there is no room for them in this process.
    pub fn read_with_descriptors(&self, inbox: &mut Inbox, length: usize) -> io::Result<Vec<OwnedFd>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let room = inbox.room();
        let before = room.len();
        room.resize(before.saturating_add(length), 0);
        let target = room.get_mut(before..).unwrap_or_default();
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let got = recvmsg(self.socket()?, &mut [IoSliceMut::new(target)], &mut ancillary, flags);
        room.truncate(before.saturating_add(got.as_ref().map_or(0, |got| got.bytes)));
        let got = got?;
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                descriptors.extend(more);
            }
        }
        if got.flags.contains(ReturnFlags::CTRUNC) { Err(Errno::MFILE.into()) } else { Ok(descriptors) }
    }

    /// Writes all that is there, and empties it.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn write(&self, outbox: &mut Outbox) -> io::Result<()> {
        let socket = self.socket()?;
        let mut at = 0;
        while at < outbox.bytes.len() {
            let parcel = outbox.parcel(at);
            let bytes = outbox.bytes.get(at..parcel.end).unwrap_or_default();
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            let sent = if parcel.has_descriptors {
                send_with_descriptors(socket, bytes, outbox.descriptors(), flags)
            } else {
                send(socket, bytes, flags)
            };
            match sent {
                Ok(sent) => {
                    at = at.saturating_add(sent);
                    if parcel.has_descriptors {
                        outbox.gone();
                    }
                }
                Err(Errno::AGAIN) => self.writable().await?,
                Err(Errno::INTR) => {}
                // The peer takes none.
                Err(Errno::PERM) if parcel.has_descriptors && outbox.refuse(&parcel, at) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        outbox.clear();
        Ok(())
    }

    /// Waits until the peer has closed its end for good. One that only shut down its sending side still
    /// waits for replies.
    pub async fn hung_up(&self) {
        // A socket that is not watched for being writable is ready to write to only when it is closed; and it is told
        // of that whatever it is watched for.
        let Ok(socket) = self.socket() else { return };
        while let Ok(mut guard) = socket.ready(Interest::WRITABLE).await
            && !guard.ready().is_write_closed()
        {
            guard.clear_ready();
        }
    }

    /// Waits until the socket takes more.
    async fn writable(&self) -> io::Result<()> {
        // The event loop watches a descriptor once: this is another one for the same socket.
        let writer = watch(self.socket()?.get_ref().try_clone()?, Interest::WRITABLE)?;
        writer.writable().await?.retain_ready();
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take()
            && self.looks_first
        {
            leave(socket.into_inner(), self.closer.as_ref(), self.permit.take());
        }
    }
}

/// Closes a connection in which there may be descriptors: not here, if something was not read. `share` is dropped with it.
fn leave(socket: OwnedFd, closer: Option<&Closer>, share: impl Any) {
    // From now on nothing comes in.
    let _ = shutdown(&socket, Shutdown::Both);
    if let Some(closer) = closer
        && ioctl_fionread(&socket).is_ok_and(|unread| unread > 0)
    {
        closer.close(socket, share);
    }
}

/// Has the event loop watch a socket that does not block.
pub(super) fn watch(socket: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    #[allow(deprecated, reason = "sound for an OwnedFd; its successor is unsafe")]
    AsyncFd::with_interest(socket, interest)
}

struct Look {
    seen: Vec<u8>,
    has_descriptors: bool,
}

/// What is to be read next, which stays where it is. It ends behind what descriptors came with, if some did.
fn look(socket: &impl AsFd, most: usize) -> Result<Look, Errno> {
    let mut seen = vec![0; most];
    let mut no_room = RecvAncillaryBuffer::default();
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let got = recvmsg(socket, &mut [IoSliceMut::new(&mut seen)], &mut no_room, flags)?;
    seen.truncate(got.bytes);
    Ok(Look { seen, has_descriptors: got.flags.contains(ReturnFlags::CTRUNC) })
}

/// Appends this many bytes to the inbox, or fewer.
fn receive(socket: &impl AsFd, inbox: &mut Inbox, most: usize) -> Result<usize, Errno> {
    let room = inbox.room();
    let before = room.len();
    room.resize(before.saturating_add(most), 0);
    let got = recv(socket, room.get_mut(before..).unwrap_or_default(), RecvFlags::DONTWAIT);
    let got = got.map(|got| got.1);
    room.truncate(before.saturating_add(got.unwrap_or_default()));
    got
}

fn send_with_descriptors(
    socket: &impl AsFd,
    bytes: &[u8],
    descriptors: &[OwnedFd],
    flags: SendFlags,
) -> Result<usize, Errno> {
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::TOOBIG);
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, flags)
}
