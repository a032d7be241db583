//! A netlink socket for requests.

use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recvfrom, send, socket_with,
};

use super::conversation::{Conversation, Progress};
use super::datagram::check_requests;
use super::list::{MAX_ADDRESSES, sort};
use super::message::Message;
use super::rtnetlink::{
    GET_ADDRESSES, Nsid, RTM_NEWADDR, address, get_addresses_in, new_nsid_and_get_addresses,
};
use super::{Error, InterfaceAddress};

/// The largest datagram of a dump: the kernel makes none bigger for a receiver with this much room.
const RECEIVE_BUFFER: usize = 32 * 1024;

/// At most so many datagrams are read for one answer. A process in the namespace that is dumped may send us its own.
const MAX_DATAGRAMS: usize = 1024;

/// What errors of a dump are called.
const DUMP: &str = "address dump";

/// How often a dump is made anew because the table changed meanwhile.
const DUMP_ATTEMPTS: u32 = 4;

/// A socket in the namespace where it was made, whichever the thread is in later.
#[derive(Debug)]
pub(super) struct RequestSocket(OwnedFd);

impl RequestSocket {
    /// Makes a socket in the network namespace that the calling thread is in.
    pub(super) fn open() -> Result<Self, Error> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // No protocol is NETLINK_ROUTE.
        socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)
            .map(Self)
            .map_err(|errno| Error::system("netlink socket", errno))
    }

    /// Sends the request numbered `sequence`, and hands the messages of the answer to `each`.
    ///
    /// Never waits: the kernel has queued the answer, or the next part of it, by the time that each call returns.
    pub(super) fn ask(
        &self,
        what: &'static str,
        sequence: u32,
        request: &[u8],
        each: impl FnMut(&Message<'_>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<Progress, Error> {
        self.converse(what, Conversation::new(what, sequence), request, each)
    }

    fn converse(
        &self,
        what: &'static str,
        mut conversation: Conversation,
        request: &[u8],
        mut each: impl FnMut(&Message<'_>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<Progress, Error> {
        let failed = |errno| Error::system(what, errno);
        send(&self.0, request, SendFlags::empty()).map_err(failed)?;
        let mut buffer = [MaybeUninit::uninit(); RECEIVE_BUFFER];
        for _ in 0..MAX_DATAGRAMS {
            let ((datagram, _), length, sender) = match recvfrom(&self.0, &mut buffer, RecvFlags::TRUNC) {
                Err(Errno::INTR) => continue,
                received => received.map_err(failed)?,
            };
            // Root of a container may send to any socket in its namespace; the kernel is port 0.
            let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
            if sender.is_none_or(|sender| sender.pid() != 0) {
                continue;
            }
            if length > datagram.len() {
                return Err(Error::Malformed { what });
            }
            let progress = conversation.feed(datagram, &mut each)?;
            if progress != Progress::More {
                return Ok(progress);
            }
        }
        Err(failed(Errno::OVERFLOW))
    }

    /// Has the kernel check what requests ask for; without it [`Self::addresses_in`] would be about the own namespace.
    pub(super) fn checked(self) -> Result<Self, Error> {
        check_requests(self.0.as_fd()).map_err(|errno| Error::system("netlink socket", errno))?;
        Ok(self)
    }

    /// All addresses of the socket's namespace that clients are told of, sorted.
    ///
    /// No more than [`MAX_ADDRESSES`]; if there are more, some of them. If the addresses change so fast that several
    /// attempts are interrupted, the last one counts: the change that interrupted it is notified, and dumped for.
    pub(super) fn addresses(&self) -> Result<Vec<InterfaceAddress>, Error> {
        let mut sequence = 0;
        let (addresses, _) = self.dump(|_| {
            sequence = u32::wrapping_add(sequence, 1);
            (Conversation::new(DUMP, sequence), GET_ADDRESSES.encode(sequence))
        })?;
        Ok(addresses)
    }

    /// The same of the namespace that the socket's own calls `nsid`, on a socket that is [checked](Self::checked).
    /// `None` if there are too many: then the socket is of no more use, since the rest of them is still on its way.
    pub(super) fn addresses_in(
        &self,
        nsid: Nsid,
        mut next_sequence: impl FnMut() -> u32,
    ) -> Result<Option<Vec<InterfaceAddress>>, Error> {
        let (addresses, whole) = self.dump(|_| {
            let sequence = next_sequence();
            (Conversation::new(DUMP, sequence), get_addresses_in(nsid, sequence))
        })?;
        Ok(whole.then_some(addresses))
    }

    /// Has the socket's namespace call the one behind descriptor `fd` by `nsid` from now on, and returns its addresses
    /// as [`Self::addresses_in`] does.
    ///
    /// `EEXIST` if it calls it otherwise, or another one so. After any other error the socket is of no more use.
    pub(super) fn name_and_addresses_in(
        &self,
        fd: i32,
        nsid: Nsid,
        mut next_sequence: impl FnMut() -> u32,
    ) -> Result<Option<Vec<InterfaceAddress>>, Error> {
        let (addresses, whole) = self.dump(|attempt| {
            let (naming, sequence) = (next_sequence(), next_sequence());
            let conversation = Conversation::new(DUMP, sequence);
            if attempt == 0 {
                let requests = new_nsid_and_get_addresses(fd, nsid, naming, sequence);
                (conversation.provided(naming), requests)
            } else {
                (conversation, get_addresses_in(nsid, sequence))
            }
        })?;
        Ok(whole.then_some(addresses))
    }

    /// Makes dumps until one is not interrupted. Also returns whether it was read to its end.
    fn dump(
        &self,
        mut request: impl FnMut(u32) -> (Conversation, Vec<u8>),
    ) -> Result<(Vec<InterfaceAddress>, bool), Error> {
        let mut addresses = Vec::new();
        let mut whole = true;
        for attempt in 0..DUMP_ATTEMPTS {
            addresses.clear();
            let mut read = 0usize;
            let (conversation, request) = request(attempt);
            let progress = self.converse(DUMP, conversation, &request, |message| {
                read = read.saturating_add(1);
                if message.kind == RTM_NEWADDR {
                    addresses.extend(address(message)?.filter(InterfaceAddress::counts));
                }
                Ok(if read >= MAX_ADDRESSES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            whole = read < MAX_ADDRESSES;
            // Of a dump that was broken off, no more can be asked.
            if progress == (Progress::Done { interrupted: false }) || !whole {
                break;
            }
        }
        sort(&mut addresses);
        Ok((addresses, whole))
    }
}
