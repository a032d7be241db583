//! Whole messages over a socket, each with its descriptors.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, send, sendmsg,
};

/// How much is read at a time.
const CHUNK: usize = 16 << 10;
/// No message may be longer, as for sd-varlink.
const MESSAGE_MAX: usize = 16 << 20;
/// How many descriptors the kernel passes at a time, SCM_MAX_FD in unix(7).
const DESCRIPTORS_MAX: usize = 253;

/// A socket that does not block.
#[derive(Debug)]
pub struct Stream {
    socket: OwnedFd,
    buffer: Vec<u8>,
    /// How much of it was searched for the end of a message.
    searched: usize,
    /// What came with which byte of the buffer. The kernel ends a read behind the write that had descriptors, so they
    /// belong to the message that the last byte is of.
    luggage: VecDeque<(usize, Vec<OwnedFd>)>,
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Stream {
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, buffer: Vec::new(), searched: 0, luggage: VecDeque::new() }
    }

    /// Sends a message. Descriptors go with its first byte.
    ///
    /// # Errors
    /// `TimedOut`: it did not go out in time. Else what the kernel says.
    pub fn send(
        &self,
        message: &[u8],
        descriptors: &[BorrowedFd<'_>],
        patience: Option<Duration>,
    ) -> io::Result<()> {
        let deadline = deadline(patience);
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let mut luggage = descriptors;
        let mut rest = message;
        while !rest.is_empty() {
            let sent = if luggage.is_empty() {
                send(&self.socket, rest, flags)
            } else {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                if !ancillary.push(SendAncillaryMessage::ScmRights(luggage)) {
                    return Err(Errno::TOOBIG.into());
                }
                sendmsg(&self.socket, &[IoSlice::new(rest)], &mut ancillary, flags)
            };
            match sent {
                Ok(sent) => {
                    rest = rest.get(sent..).unwrap_or_default();
                    luggage = &[];
                }
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, deadline)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Waits for a message, which is returned without the NUL byte at its end, and with its descriptors.
    ///
    /// # Errors
    /// `TimedOut`; `UnexpectedEof`: no more will come. `InvalidData`: it is too long. Else what the kernel says.
    pub fn receive(&mut self, patience: Option<Duration>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let deadline = deadline(patience);
        loop {
            let fresh = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(end) = fresh.iter().position(|byte| *byte == 0) {
                return Ok(self.take(self.searched.saturating_add(end)));
            }
            self.searched = self.buffer.len();
            if self.searched > MESSAGE_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
            }
            self.fill(deadline)?;
        }
    }

    /// Takes the message out that ends at `end`.
    fn take(&mut self, end: usize) -> (Vec<u8>, Vec<OwnedFd>) {
        let rest = self.buffer.split_off(end.saturating_add(1).min(self.buffer.len()));
        let mut message = std::mem::replace(&mut self.buffer, rest);
        let taken = message.len();
        message.truncate(end);
        let mut descriptors = Vec::new();
        while self.luggage.front().is_some_and(|(at, _)| *at < taken) {
            descriptors.extend(self.luggage.pop_front().into_iter().flat_map(|(_, more)| more));
        }
        for (at, _) in &mut self.luggage {
            *at = at.saturating_sub(taken);
        }
        self.searched = 0;
        (message, descriptors)
    }

    fn fill(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let before = self.buffer.len();
        self.buffer.resize(before.saturating_add(CHUNK), 0);
        let got = self.read(before, deadline);
        self.buffer.truncate(before.saturating_add(got.as_ref().map_or(0, |(length, _)| *length)));
        let (length, descriptors) = got?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !descriptors.is_empty() {
            self.luggage.push_back((self.buffer.len().saturating_sub(1), descriptors));
        }
        Ok(())
    }

    fn read(&mut self, at: usize, deadline: Option<Instant>) -> io::Result<(usize, Vec<OwnedFd>)> {
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let room = self.buffer.get_mut(at..).unwrap_or_default();
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            match recvmsg(&self.socket, &mut [IoSliceMut::new(room)], &mut ancillary, flags) {
                Ok(got) => {
                    let mut descriptors = Vec::new();
                    for message in ancillary.drain() {
                        if let RecvAncillaryMessage::ScmRights(more) = message {
                            descriptors.extend(more);
                        }
                    }
                    if got.flags.contains(ReturnFlags::CTRUNC) {
                        return Err(Errno::MFILE.into());
                    }
                    return Ok((got.bytes, descriptors));
                }
                Err(Errno::AGAIN) => self.wait(PollFlags::IN, deadline)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Waits until the socket can be read or written.
    fn wait(&self, event: PollFlags, deadline: Option<Instant>) -> io::Result<()> {
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let left = left.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&self.socket, event)], left.as_ref()) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

fn deadline(patience: Option<Duration>) -> Option<Instant> {
    patience.and_then(|patience| Instant::now().checked_add(patience))
}
