//! Messages between the daemon, the doorman and its children: bytes and descriptors, over sockets that keep the bounds
//! of messages.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, sendmsg, socketpair,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How many bytes a message has at the most.
pub(super) const LONGEST: usize = 128 << 10;
/// How many descriptors a message has at the most.
const DESCRIPTORS: usize = 8;

/// What came in.
#[derive(Debug)]
pub(super) struct Message {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its descriptors, in their order.
    pub fds: Vec<OwnedFd>,
}

/// Two ends of a connection.
pub(super) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends a message.
///
/// # Errors
/// `EPIPE`, `ECONNRESET`: nobody is at the other end. Others as sendmsg(2).
pub(super) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::TOOBIG);
    }
    let flags = flags | SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)).map(drop)
}

/// The next message; `None` at the end of the connection.
///
/// # Errors
/// `EMSGSIZE`: it is longer than any of ours. Others as recvmsg(2).
pub(super) fn receive(socket: BorrowedFd<'_>, flags: RecvFlags) -> Result<Option<Message>, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let look = flags | RecvFlags::PEEK | RecvFlags::TRUNC;
    let (_, length) = rustix::io::retry_on_intr(|| recv(socket, &mut [0_u8; 0][..], look))?;
    let mut bytes = vec![0; length.clamp(1, LONGEST)];
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)
    })?;
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    let fds: Vec<OwnedFd> = rights.flatten().collect();
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(Errno::MSGSIZE);
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    bytes.truncate(received.bytes);
    Ok(Some(Message { bytes, fds }))
}

/// The daemon's end of a connection.
#[derive(Debug)]
pub(super) struct Channel(AsyncFd<OwnedFd>);

impl Channel {
    /// Over a socket.
    pub(super) fn new(socket: OwnedFd) -> Result<Self, Errno> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        #[allow(deprecated, reason = "sound for what owns its descriptor; its successor is unsafe")]
        let watched = AsyncFd::with_interest(socket, interest);
        watched.map(Self).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOMEM))
    }

    /// Sends a message; waits while the other end is behind.
    pub(super) async fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        loop {
            match send(self.0.get_ref().as_fd(), bytes, fds, SendFlags::DONTWAIT) {
                Err(Errno::AGAIN) => {}
                sent => return sent,
            }
            self.0.writable().await.map_err(|_| Errno::IO)?.clear_ready();
        }
    }

    /// Waits for the next message; `EPIPE` at the end.
    pub(super) async fn receive(&self) -> Result<Message, Errno> {
        loop {
            let mut guard = self.0.readable().await.map_err(|_| Errno::IO)?;
            match receive(self.0.get_ref().as_fd(), RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN) => guard.clear_ready(),
                Ok(message) => return message.ok_or(Errno::PIPE),
                Err(errno) => return Err(errno),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_descriptors_arrive_together_and_the_end_is_told() {
        let (one, other) = pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        send(one.as_fd(), b"a", &[null.as_fd(), one.as_fd()], SendFlags::empty()).unwrap();
        send(one.as_fd(), b"bc", &[], SendFlags::empty()).unwrap();
        let first = receive(other.as_fd(), RecvFlags::empty()).unwrap().unwrap();
        assert_eq!((first.bytes.as_slice(), first.fds.len()), (&b"a"[..], 2));
        drop(first);
        assert_eq!(receive(other.as_fd(), RecvFlags::empty()).unwrap().unwrap().bytes, b"bc");
        assert_eq!(send(one.as_fd(), &[1; LONGEST + 1], &[], SendFlags::empty()), Ok(()));
        assert_eq!(receive(other.as_fd(), RecvFlags::empty()).unwrap_err(), Errno::MSGSIZE);
        drop(one);
        assert!(receive(other.as_fd(), RecvFlags::empty()).unwrap().is_none());
        assert_eq!(send(other.as_fd(), b"d", &[], SendFlags::empty()), Err(Errno::PIPE));
    }
}
