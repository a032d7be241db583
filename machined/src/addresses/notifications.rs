//! What the kernel says of every namespace at once, by one socket.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Error;
use super::datagram::{Datagram, leave_out, listen_to_all_namespaces, receive};
use super::message::Messages;
use super::rtnetlink::{
    GROUP_IPV4_IFADDR, GROUP_IPV6_IFADDR, GROUP_NSID, Nsid, RTM_DELADDR, RTM_DELNSID, RTM_NEWADDR,
    RTM_NEWNSID, nsid,
};

/// Room for some 20,000 notifications. It is a limit, not a reservation.
const RECEIVE_BUFFER: usize = 64 * 1024 * 1024;

/// A notification is a fraction of this.
const DATAGRAM: usize = 16 * 1024;

/// Whose addresses changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The daemon's own namespace.
    Own,
    /// The namespace that the daemon's own calls so.
    Peer(Nsid),
}

/// What happened, in the order in which the kernel queued it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notification {
    /// An address came, went or changed its state.
    Changed(Origin),
    /// The namespace ceased to be. Its id may already be another one's.
    NamespaceGone(Nsid),
    /// Notifications were lost: anything may have happened anywhere.
    Overrun,
}

/// The socket that hears of every namespace that has an id in the daemon's own.
#[derive(Debug)]
pub struct Notifications {
    socket: AsyncFd<OwnedFd>,
    buffer: Box<[u8]>,
    queue: VecDeque<Notification>,
}

impl Notifications {
    /// Subscribes, in the namespace that the calling thread is in. Needs a tokio runtime with IO.
    ///
    /// [`Error::NotPermitted`] without `CAP_NET_BROADCAST`: then the namespaces are to be polled.
    pub fn open() -> Result<Self, Error> {
        Self::with_buffer(RECEIVE_BUFFER)
    }

    /// The same, with room for `bytes` of what has not been read yet, as the kernel counts them; less without
    /// `CAP_NET_ADMIN`.
    pub fn with_buffer(bytes: usize) -> Result<Self, Error> {
        let failed = |errno| Error::system("netlink notifications", errno);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None).map_err(failed)?;
        listen_to_all_namespaces(socket.as_fd()).map_err(failed)?;
        set_socket_recv_buffer_size_force(&socket, bytes)
            .or_else(|_| set_socket_recv_buffer_size(&socket, bytes))
            .map_err(failed)?;
        // The daemon is who gives ids, and need not be woken up to hear of it. That it is, does no harm.
        let _ = leave_out(socket.as_fd(), RTM_NEWNSID);
        let groups = GROUP_IPV4_IFADDR | GROUP_IPV6_IFADDR | GROUP_NSID;
        bind(&socket, &SocketAddrNetlink::new(0, groups)).map_err(failed)?;
        #[allow(deprecated, reason = "sound for an OwnedFd; its successor is unsafe")]
        let socket = AsyncFd::with_interest(socket, Interest::READABLE);
        let socket = socket.map_err(|error| failed(from_io(&error)))?;
        Ok(Self { socket, buffer: vec![0; DATAGRAM].into(), queue: VecDeque::new() })
    }

    /// Waits for the next notification. Nothing is lost if the future is dropped.
    ///
    /// An error is of the socket itself, and will come again: the namespaces are to be polled from then on.
    pub async fn next(&mut self) -> Result<Notification, Error> {
        loop {
            // A flood, also one that says nothing, must not keep the other tasks of the thread waiting.
            tokio::task::consume_budget().await;
            if let Some(notification) = self.queue.pop_front() {
                return Ok(notification);
            }
            let mut guard = self.socket.readable().await.map_err(|error| system(from_io(&error)))?;
            let buffer = &mut self.buffer;
            if let Ok(received) = guard.try_io(|socket| Ok(receive(socket.get_ref().as_fd(), buffer)?)) {
                let received = received.map_err(|error| from_io(&error));
                read(received, buffer, &mut self.queue)?;
            }
        }
    }

    /// The next notification, if there is one now.
    #[cfg(test)]
    pub fn try_next(&mut self) -> Result<Option<Notification>, Error> {
        while self.queue.is_empty() {
            match receive(self.socket.get_ref().as_fd(), &mut self.buffer) {
                Err(Errno::AGAIN) => break,
                received => read(received, &self.buffer, &mut self.queue)?,
            }
        }
        Ok(self.queue.pop_front())
    }
}

fn system(errno: Errno) -> Error {
    Error::system("netlink notifications", errno)
}

fn from_io(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Queues what one call to receive gave.
fn read(
    received: Result<Datagram, Errno>,
    buffer: &[u8],
    queue: &mut VecDeque<Notification>,
) -> Result<(), Error> {
    match received {
        Ok(datagram) => decode(&datagram, buffer.get(..datagram.length).unwrap_or_default(), queue),
        Err(Errno::NOBUFS) => queue.push_back(Notification::Overrun),
        Err(Errno::INTR | Errno::AGAIN) => {}
        Err(errno) => return Err(system(errno)),
    }
    Ok(())
}

/// Queues what a datagram says.
fn decode(datagram: &Datagram, bytes: &[u8], queue: &mut VecDeque<Notification>) {
    // Whoever is root in a namespace may send to its groups, and so to us.
    if datagram.sender != 0 {
        return;
    }
    if !datagram.whole {
        queue.push_back(Notification::Overrun);
        return;
    }
    let origin = match datagram.nsid {
        None => Origin::Own,
        Some(raw) => match Nsid::new(raw) {
            Some(nsid) => Origin::Peer(nsid),
            None => return,
        },
    };
    for message in Messages::new(bytes) {
        let Ok(message) = message else {
            queue.push_back(Notification::Overrun);
            return;
        };
        match (message.kind, origin) {
            (RTM_NEWADDR | RTM_DELADDR, _) => queue.push_back(Notification::Changed(origin)),
            // A container has ids of its own, which are none of ours.
            (RTM_DELNSID, Origin::Own) => match nsid(&message) {
                Ok(Some(nsid)) => queue.push_back(Notification::NamespaceGone(nsid)),
                Ok(None) => {}
                Err(_) => queue.push_back(Notification::Overrun),
            },
            _ => {}
        }
    }
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    const ADDED: [u8; 24] = [24, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 8, 0, 0, 2, 0, 0, 0];
    const GONE: [u8; 28] =
        [28, 0, 0, 0, 89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 1, 0, 5, 0, 0, 0];
    const FROM_KERNEL: Datagram = Datagram { length: 0, whole: true, sender: 0, nsid: None };

    fn decoded(datagram: Datagram, bytes: &[u8]) -> Vec<Notification> {
        let mut queue = VecDeque::new();
        decode(&datagram, bytes, &mut queue);
        queue.into()
    }

    #[test]
    fn what_happened_is_decoded_in_its_order() {
        let five = Nsid::new(5).unwrap();
        let bytes = [&ADDED[..], &GONE, &ADDED].concat();
        let changed = Notification::Changed(Origin::Own);
        assert_eq!(decoded(FROM_KERNEL, &bytes), [changed, Notification::NamespaceGone(five), changed]);
        let from_five = Datagram { nsid: Some(5), ..FROM_KERNEL };
        assert_eq!(decoded(from_five, &ADDED), [Notification::Changed(Origin::Peer(five))]);
    }

    #[test]
    fn a_containers_own_namespace_ids_are_none_of_ours() {
        assert_eq!(decoded(Datagram { nsid: Some(3), ..FROM_KERNEL }, &GONE), []);
    }

    #[test]
    fn what_a_process_sent_is_not_the_kernels_word() {
        assert_eq!(decoded(Datagram { sender: 4242, ..FROM_KERNEL }, &ADDED), []);
    }

    #[test]
    fn what_cannot_be_read_is_an_overrun() {
        let cut = Datagram { whole: false, ..FROM_KERNEL };
        assert_eq!(decoded(cut, &ADDED), [Notification::Overrun]);
        assert_eq!(decoded(FROM_KERNEL, &ADDED[..20]), [Notification::Overrun]);
        assert_eq!(decoded(Datagram { nsid: Some(-1), ..FROM_KERNEL }, &ADDED), []);
        let mut queue = VecDeque::new();
        read(Err(Errno::NOBUFS), &[], &mut queue).unwrap();
        assert_eq!(queue, [Notification::Overrun]);
        assert!(read(Err(Errno::BADF), &[], &mut queue).is_err());
    }
}
