//! What the daemon and a worker say to each other.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// How many descriptors the kernel passes at a time, SCM_MAX_FD in unix(7).
const DESCRIPTORS_MAX: usize = 253;
/// How many bytes are read from a connection at a time.
pub const READ_MAX: usize = 64 << 10;

/// What is to be done with the descriptors that come along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Close the first, once nobody has the other end of the second any more.
    Close,
    /// Read so many bytes from the first, and answer over the second.
    Receive(usize),
}

impl Packet {
    /// Sends it. Never waits.
    pub fn send(self, socket: &OwnedFd, descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let most = match self {
            Self::Close => 0,
            Self::Receive(most) => u32::try_from(most.min(READ_MAX)).map_err(|_| Errno::INVAL)?,
        };
        send(socket, &most.to_ne_bytes(), descriptors)
    }

    /// Waits for one; `None`: there will be no more.
    pub fn receive(socket: &OwnedFd) -> Result<Option<(Self, Vec<OwnedFd>)>, Errno> {
        let mut bytes = [0; 4];
        let Read { length, descriptors, is_short } = receive(socket, &mut bytes, RecvFlags::empty())?;
        if length == 0 {
            return Ok(None);
        }
        if is_short {
            return Err(Errno::MFILE);
        }
        let packet = match usize::try_from(u32::from_ne_bytes(bytes)).unwrap_or(READ_MAX) {
            0 => Self::Close,
            most => Self::Receive(most),
        };
        Ok(Some((packet, descriptors)))
    }
}

/// Tells the daemon how many workers hang. Never waits; returns whether it was told.
pub fn tell_hanging(socket: &OwnedFd, hanging: u32) -> bool {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::send(socket, &hanging.to_ne_bytes(), flags).is_ok()
}

/// The next that was told so.
pub fn heard_hanging(socket: &OwnedFd) -> Option<u32> {
    let mut bytes = [0; 4];
    let (_, length) = rustix::net::recv(socket, &mut bytes, RecvFlags::DONTWAIT).ok()?;
    (length == bytes.len()).then(|| u32::from_ne_bytes(bytes))
}

/// The status of an answer whose descriptors did not all come along. Others are 0, and what a read failed with.
const SHORT: i32 = -1;

/// What was read from a connection by a worker.
#[derive(Debug)]
pub struct Received {
    /// How many bytes.
    pub length: usize,
    /// What came along. In the place of each that is no pidfd there is one of `/dev/null`.
    pub descriptors: Vec<OwnedFd>,
    /// Some were lost, as there was no room for them, here or there.
    pub is_short: bool,
}

impl Received {
    /// Reads the answer, of which the bytes are put into `buffer`.
    ///
    /// # Errors
    /// `WouldBlock`: it is not there yet. `UnexpectedEof`: there will be none. Else what the connection was read with.
    pub fn of(answer: &OwnedFd, buffer: &mut [u8]) -> io::Result<Self> {
        let mut bytes = vec![0; buffer.len().saturating_add(4)];
        let Read { length, descriptors, is_short } = receive(answer, &mut bytes, RecvFlags::DONTWAIT)?;
        let Some((status, bytes)) = bytes.get(..length).and_then(|bytes| bytes.split_first_chunk::<4>())
        else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let is_short = match i32::from_ne_bytes(*status) {
            0 => is_short,
            SHORT => true,
            errno => return Err(io::Error::from_raw_os_error(errno)),
        };
        let target = buffer.get_mut(..bytes.len()).ok_or(io::ErrorKind::InvalidData)?;
        target.copy_from_slice(bytes);
        Ok(Self { length: bytes.len(), descriptors, is_short })
    }

    /// Answers with what was read, and whether some of the descriptors were lost.
    pub fn send(
        answer: &OwnedFd,
        read: Result<(&[u8], bool), Errno>,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), Errno> {
        let (status, bytes) = match read {
            Ok((bytes, is_short)) => (if is_short { SHORT } else { 0 }, bytes),
            Err(errno) => (errno.raw_os_error(), &[][..]),
        };
        send(answer, &[&status.to_ne_bytes(), bytes].concat(), descriptors)
    }
}

fn send(socket: &OwnedFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::TOOBIG);
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, flags)).map(drop)
}

/// What was received.
pub struct Read {
    pub length: usize,
    pub descriptors: Vec<OwnedFd>,
    /// Some were lost, as they have no room in this process. The bytes are read all the same, and by nobody again.
    pub is_short: bool,
}

/// Receives bytes and all descriptors that come along.
pub fn receive(socket: impl AsFd, bytes: &mut [u8], flags: RecvFlags) -> Result<Read, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let got = rustix::io::retry_on_intr(|| {
        recvmsg(socket.as_fd(), &mut [IoSliceMut::new(bytes)], &mut ancillary, flags)
    })?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            descriptors.extend(more);
        }
    }
    Ok(Read { length: got.bytes, descriptors, is_short: got.flags.contains(ReturnFlags::CTRUNC) })
}
