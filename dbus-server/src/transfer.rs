//! One read of a socket and one write to it, with the descriptors that go along: recvmsg(2), sendmsg(2).

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// How many descriptors the kernel passes at a time, SCM_MAX_FD in unix(7).
const MOST_DESCRIPTORS: usize = 253;

/// Descriptors that came with one read: those of one write at most.
#[derive(Debug, Default)]
pub struct Set {
    /// In the order in which they were sent.
    pub descriptors: VecDeque<OwnedFd>,
    /// Some were lost, as there is no room for more in this process.
    pub is_short: bool,
}

/// What is there to be read.
pub struct Look {
    /// How many bytes were copied.
    pub length: usize,
    /// Whether some come with them.
    pub has_descriptors: bool,
}

/// Copies what is to be read next, which stays where it is. It ends behind what descriptors came with, if some did.
pub fn look(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Look> {
    let mut no_room = RecvAncillaryBuffer::default();
    let got = rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut no_room, RecvFlags::PEEK)
    })?;
    Ok(Look { length: got.bytes, has_descriptors: got.flags.contains(ReturnFlags::CTRUNC) })
}

/// Reads to a buffer. The descriptors that come along are installed.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Set)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut set = Set { is_short: got.flags.contains(ReturnFlags::CTRUNC), ..Set::default() };
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            set.descriptors.extend(descriptors);
        }
    }
    Ok((got.bytes, set))
}

/// Writes some of the buffers, with these descriptors.
pub fn send(
    socket: BorrowedFd<'_>,
    buffers: &[IoSlice<'_>],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::NOSIGNAL;
    Ok(rustix::io::retry_on_intr(|| sendmsg(socket, buffers, &mut ancillary, flags))?)
}
