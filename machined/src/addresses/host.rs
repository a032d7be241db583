//! The host's own network: its interfaces and routes, and what of them changes, by a socket of its own.
//!
//! What changes is only noted, with what it may concern: routes are asked for again when the keeper does so, once for all
//! that has changed until then.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Error;
use super::datagram::{Datagram, receive};
use super::links::Links;
use super::message::Messages;
use super::route::{Prefix, RTM_DELROUTE, RTM_NEWROUTE, changed};
use super::rtnetlink::{
    GROUP_IPV4_IFADDR, GROUP_IPV4_ROUTE, GROUP_IPV4_RULE, GROUP_IPV6_ROUTE, GROUP_IPV6_RULE, GROUP_LINK,
    Nsid, RTM_DELADDR, RTM_DELLINK, RTM_DELRULE, RTM_NEWLINK, RTM_NEWRULE, link,
};

/// Room for some thousand notifications. It is a limit, not a reservation.
const RECEIVE_BUFFER: usize = 16 * 1024 * 1024;
/// A notification is a fraction of this.
const DATAGRAM: usize = 16 * 1024;
/// At most so many notifications are read without a pause.
const TURN: usize = 256;
/// How long to gather what belongs together.
const COALESCE: Duration = Duration::from_millis(50);
/// The least time from one round of questions to the next.
const RATE: Duration = Duration::from_millis(250);
/// More prefixes than this are as good as all.
const MAX_PREFIXES: usize = 64;

/// What may lead elsewhere than it did.
#[derive(Debug, Default)]
pub(super) struct Stale {
    everything: bool,
    prefixes: Vec<Prefix>,
    links: BTreeSet<u32>,
}

impl Stale {
    fn is_empty(&self) -> bool {
        !self.everything && self.prefixes.is_empty() && self.links.is_empty()
    }

    fn add(&mut self, prefix: Prefix) {
        // Those of one link go with the link, and every link has the same.
        if self.everything || prefix.is_of_a_link() || self.prefixes.contains(&prefix) {
            return;
        }
        self.prefixes.push(prefix);
        self.everything = self.prefixes.len() > MAX_PREFIXES;
    }

    /// Whether it may concern a machine with these addresses and interfaces.
    pub(super) fn concerns(
        &self,
        mut addresses: impl Iterator<Item = IpAddr>,
        mut interfaces: impl Iterator<Item = u32>,
    ) -> bool {
        self.everything
            || interfaces.any(|ifindex| self.links.contains(&ifindex))
            || addresses.any(|address| self.prefixes.iter().any(|prefix| prefix.contains(address)))
    }
}

#[derive(Debug)]
struct State {
    buffer: Box<[u8]>,
    links: Links,
    stale: Stale,
    /// When to ask again, if anything has changed.
    due: Option<Instant>,
    /// When that was done last.
    asked: Option<Instant>,
    /// Notifications of interfaces were lost, or none was read yet: all are to be asked for.
    is_incomplete: bool,
}

/// What the daemon's own network namespace looks like.
#[derive(Debug)]
pub(super) struct HostNetwork {
    socket: AsyncFd<OwnedFd>,
    state: RefCell<State>,
}

impl HostNetwork {
    /// Begins to listen in the namespace that the calling thread is in. Needs a tokio runtime with IO.
    pub(super) fn open() -> Result<Self, Error> {
        let failed = |errno| Error::system("netlink notifications", errno);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None).map_err(failed)?;
        set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)
            .or_else(|_| set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER))
            .map_err(failed)?;
        let routes = GROUP_IPV4_ROUTE | GROUP_IPV6_ROUTE | GROUP_IPV4_RULE | GROUP_IPV6_RULE;
        bind(&socket, &SocketAddrNetlink::new(0, GROUP_LINK | GROUP_IPV4_IFADDR | routes)).map_err(failed)?;
        #[allow(deprecated, reason = "sound for an OwnedFd; its successor is unsafe")]
        let socket = AsyncFd::with_interest(socket, Interest::READABLE);
        let socket = socket.map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        let state = State {
            buffer: vec![0; DATAGRAM].into(),
            links: Links::default(),
            stale: Stale::default(),
            due: None,
            asked: None,
            is_incomplete: true,
        };
        Ok(Self { socket, state: RefCell::new(state) })
    }

    /// Waits until something has changed that is not noted yet, and notes it.
    pub(super) async fn heard(&self) {
        tokio::task::consume_budget().await;
        // An error of the runtime's is one of its own end.
        let Ok(mut guard) = self.socket.readable().await else { return std::future::pending().await };
        if self.catch_up() {
            guard.clear_ready();
        }
    }

    /// Notes what has changed by now. Returns whether that was all.
    pub(super) fn catch_up(&self) -> bool {
        let state = &mut *self.state.borrow_mut();
        for _ in 0..TURN {
            match receive(self.socket.get_ref().as_fd(), &mut state.buffer) {
                Ok(datagram) => state.note(&datagram),
                Err(Errno::AGAIN) => return true,
                Err(Errno::INTR) => {}
                // Some were lost.
                Err(_) => state.lost(),
            }
        }
        false
    }

    /// The interfaces, once they are complete: all are asked for by `dump` where they are not.
    pub(super) fn links<T>(
        &self,
        dump: impl FnOnce(&mut Links) -> Result<(), Error>,
        question: impl FnOnce(&Links) -> T,
    ) -> T {
        let state = &mut *self.state.borrow_mut();
        if state.is_incomplete {
            state.links = Links::default();
            // What cannot be had now is asked for at the next question.
            state.is_incomplete = dump(&mut state.links).is_err();
        }
        question(&state.links)
    }

    /// Whether what has changed is an interface that leads into a namespace.
    pub(super) fn is_about(&self, stale: &Stale, nsid: Option<Nsid>) -> bool {
        let state = self.state.borrow();
        nsid.is_some_and(|nsid| state.links.ends(nsid).any(|(ifindex, _)| stale.links.contains(&ifindex)))
    }

    /// When to ask for routes again.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.state.borrow().due
    }

    /// What has changed, if it is time to ask for routes again.
    pub(super) fn take_due(&self, now: Instant) -> Option<Stale> {
        let state = &mut *self.state.borrow_mut();
        state.due.filter(|due| *due <= now)?;
        (state.due, state.asked) = (None, Some(now));
        Some(std::mem::take(&mut state.stale))
    }
}

impl State {
    fn lost(&mut self) {
        (self.is_incomplete, self.stale.everything) = (true, true);
        self.schedule();
    }

    fn schedule(&mut self) {
        if self.due.is_some() || self.stale.is_empty() {
            return;
        }
        let now = Instant::now();
        let soon = now.checked_add(COALESCE).unwrap_or(now);
        let again = self.asked.and_then(|asked| asked.checked_add(RATE)).unwrap_or(soon);
        self.due = Some(soon.max(again));
    }

    /// Notes what a datagram says.
    fn note(&mut self, datagram: &Datagram) {
        // Anybody may send to the group; the kernel is port 0.
        if datagram.sender != 0 {
            return;
        }
        let bytes = std::mem::take(&mut self.buffer);
        let noted = datagram.whole && self.read(bytes.get(..datagram.length).unwrap_or_default()).is_ok();
        self.buffer = bytes;
        if !noted {
            self.lost();
        }
        self.schedule();
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for message in Messages::new(bytes) {
            let message = message?;
            match message.kind {
                RTM_NEWLINK | RTM_DELLINK => {
                    // Of a family of its own is what bridges say of their ports: more of what is known.
                    let Some(link) = link(&message)? else { continue };
                    self.stale.links.insert(link.ifindex);
                    if message.kind == RTM_NEWLINK {
                        self.links.set(link);
                    } else {
                        self.links.gone(link.ifindex);
                    }
                }
                RTM_NEWROUTE | RTM_DELROUTE => {
                    if let Some(prefix) = changed(&message)? {
                        self.stale.add(prefix);
                    }
                }
                // With an address go routes of which nothing is said.
                RTM_DELADDR | RTM_NEWRULE | RTM_DELRULE => self.stale.everything = true,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The host's ends of the pairs that lead into a namespace, and the bridges that any of these interfaces is a port of.
pub(super) fn ways(links: &Links, nsid: Option<Nsid>, registered: &[u32]) -> super::reach::Ways {
    let peers: Vec<_> = nsid
        .into_iter()
        .flat_map(|nsid| links.ends(nsid))
        .map(|(host_ifindex, container_ifindex)| super::Peer { host_ifindex, container_ifindex })
        .collect();
    let mut interfaces: Vec<_> =
        peers.iter().map(|peer| peer.host_ifindex).chain(registered.iter().copied()).collect();
    let bridges: Vec<_> = interfaces.iter().filter_map(|&ifindex| links.bridge_of(ifindex)).collect();
    interfaces.extend(bridges);
    super::reach::Ways { peers, interfaces }
}
