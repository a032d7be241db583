//! The calls that rustix does not have: the option to hear every namespace, a filter of what is not to be heard, and
//! receiving with the id of the namespace that a message is from, which comes in a control message.
//!
//! # Safety
//!
//! Three blocks, each a system call on a borrowed descriptor with pointers to locals that outlive it, and lengths taken
//! from those locals. `msghdr` is plain data for which zeroes are valid. What the kernel wrote is then read as bytes,
//! within the lengths that it returned.
#![allow(unsafe_code, reason = "see Safety")]

use std::io::{Error as IoError, IoSliceMut};
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::message::{i32_at, u32_at};

/// Room for the one control message that a netlink socket with this option sends, and to spare.
const CONTROL: usize = 64;

/// One datagram, received into the caller's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Datagram {
    /// How many bytes of the buffer it is.
    pub(super) length: usize,
    /// Whether all of it fitted.
    pub(super) whole: bool,
    /// The port that it is from; the kernel is 0.
    pub(super) sender: u32,
    /// The namespace that it is from; `None` if it is the socket's own.
    pub(super) nsid: Option<i32>,
}

fn errno() -> Errno {
    Errno::from_io_error(&IoError::last_os_error()).unwrap_or(Errno::IO)
}

/// Makes `socket` hear the groups that it joined in every namespace that has an id in its own.
///
/// `EPERM` without `CAP_NET_BROADCAST`.
pub(super) fn listen_to_all_namespaces(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    switch_on(socket, libc::NETLINK_LISTEN_ALL_NSID)
}

/// Makes the kernel look at what a request for a dump asks for, instead of passing over it.
pub(super) fn check_requests(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    switch_on(socket, libc::NETLINK_GET_STRICT_CHK)
}

fn switch_on(socket: BorrowedFd<'_>, option: libc::c_int) -> Result<(), Errno> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).map_err(|_| Errno::INVAL)?;
    // SAFETY: the options are ints, and `on` is one.
    let status = unsafe {
        let value = (&raw const on).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_NETLINK, option, value, length)
    };
    if status == 0 { Ok(()) } else { Err(errno()) }
}

/// Spares `socket` the datagrams that begin with a message of this kind, socket(7), `SO_ATTACH_FILTER`.
pub(super) fn leave_out(socket: BorrowedFd<'_>, kind: u16) -> Result<(), Errno> {
    // Behind the length; filters read numbers in the order of the network.
    let kind = u16::from_be_bytes(kind.to_ne_bytes());
    let mut program = [
        instruction(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 4),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, kind.into()),
        instruction(libc::BPF_RET | libc::BPF_K, 0, u32::MAX),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0),
    ];
    let length = libc::c_ushort::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    let length = libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).map_err(|_| Errno::INVAL)?;
    // SAFETY: the option is a sock_fprog, whose program the kernel copies.
    let status = unsafe {
        let value = (&raw const filter).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, value, length)
    };
    if status == 0 { Ok(()) } else { Err(errno()) }
}

/// One instruction: where it jumps, it passes over `jump` instructions if what it asks is so, and goes on if not.
fn instruction(code: u32, jump: u8, k: u32) -> libc::sock_filter {
    // The codes are all below 256.
    libc::sock_filter { code: u16::try_from(code).unwrap_or(u16::MAX), jt: jump, jf: 0, k }
}

/// Receives one datagram without waiting. `EAGAIN` if there is none, `ENOBUFS` if some were lost before it.
#[allow(
    clippy::useless_conversion,
    reason = "msg_controllen is a usize with glibc, and a socklen_t with musl"
)]
pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Datagram, Errno> {
    // struct sockaddr_nl: family and padding, port, groups.
    let mut sender = [0u8; 12];
    let mut control = [0u8; CONTROL];
    let mut parts = [IoSliceMut::new(buffer)];
    // SAFETY: every pointer is to a local, with its length; an IoSliceMut has the layout of an iovec.
    let (received, header) = unsafe {
        let mut header: libc::msghdr = zeroed();
        header.msg_name = sender.as_mut_ptr().cast();
        header.msg_namelen = libc::socklen_t::try_from(sender.len()).map_err(|_| Errno::INVAL)?;
        header.msg_iov = parts.as_mut_ptr().cast();
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = CONTROL.try_into().map_err(|_| Errno::INVAL)?;
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        (libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags), header)
    };
    let length = usize::try_from(received).map_err(|_| errno())?;
    let controls = usize::try_from(header.msg_controllen).map_err(|_| Errno::INVAL)?;
    Ok(Datagram {
        length,
        whole: header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) == 0,
        sender: u32_at(&sender, 4).unwrap_or(u32::MAX),
        nsid: namespace(control.get(..controls).unwrap_or_default()),
    })
}

/// Finds the namespace id among the control messages: length (`size_t`), level, type, payload, padding; see cmsg(3).
fn namespace(mut control: &[u8]) -> Option<i32> {
    const WORD: usize = size_of::<usize>();
    loop {
        let length = usize::from_ne_bytes(*control.first_chunk()?);
        let (level, kind) = (i32_at(control, WORD)?, i32_at(control, WORD + 4)?);
        if (level, kind) == (libc::SOL_NETLINK, libc::NETLINK_LISTEN_ALL_NSID) {
            return i32_at(control.get(..length)?, WORD + 8);
        }
        // A length below that of its own header would not get on.
        control = control.get(length.max(WORD + 8).checked_next_multiple_of(WORD)?..)?;
    }
}

#[cfg(test)]
#[cfg(all(target_endian = "little", target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_is_found_behind_other_control_messages() {
        let own = [20, 0, 0, 0, 0, 0, 0, 0, 14, 1, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(namespace(&own), Some(7));
        let other = [17, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(namespace(&[other, own].concat()), Some(7));
        assert_eq!(namespace(&other), None);
        assert_eq!(namespace(&[]), None);
    }

    #[test]
    fn a_control_message_whose_length_lies_is_none() {
        let mut bytes = [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(namespace(&bytes), None);
        bytes[..8].fill(0xff);
        assert_eq!(namespace(&bytes), None);
    }
}
