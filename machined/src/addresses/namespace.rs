//! Network namespaces: which one it is, what the daemon's own calls it, and how to get in and out of it.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, fstat, fstatfs, open};
use rustix::io::Errno;
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};

use super::links::Links;
use super::neighbour::{
    Mac, Neighbour, RTM_NEWNEIGH, get_neighbours, get_port, ifindex as neighbour_ifindex, neighbour,
};
use super::request::RequestSocket;
use super::route::{RTM_NEWROUTE, Route, get_route, route};
use super::rtnetlink::{Nsid, RTM_NEWLINK, RTM_NEWNSID, get_link, get_links, get_nsid, link, new_nsid, nsid};
use super::{Error, InterfaceAddress};

/// `NSFS_MAGIC`, linux/magic.h.
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// The ids that we give begin here: the kernel gives the lowest that is free, and takes it again at once.
const FIRST_NSID: i32 = 1 << 20;

/// At most so many neighbours are read from one interface: guests make as many as the kernel lets them.
const MAX_NEIGHBOURS: usize = 16_384;

/// How many ids are tried for one namespace. The distance doubles with each, so that this many skip any crowd.
const NSID_ATTEMPTS: u32 = 24;

/// Which network namespace: the device and inode number of its file, /proc/PID/ns/net.
///
/// Unique among the namespaces that exist; the number of one that is gone is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetnsId {
    dev: u64,
    ino: u64,
}

impl NetnsId {
    /// The namespace whose file has this device and inode number.
    #[cfg(test)]
    pub fn new(dev: u64, ino: u64) -> Self {
        Self { dev, ino }
    }

    /// The inode number, as `readlink /proc/PID/ns/net` prints it.
    pub fn ino(self) -> u64 {
        self.ino
    }
}

/// Which namespace `netns` is, an open /proc/PID/ns/net or a bind mount of one.
///
/// [`Error::NotANamespace`] if it is not a file of that file system.
pub fn identity(netns: BorrowedFd<'_>) -> Result<NetnsId, Error> {
    let failed = |errno| Error::system("network namespace", errno);
    let magic = fstatfs(netns).map_err(failed)?.f_type;
    if u64::try_from(magic) != Ok(NSFS_MAGIC) {
        return Err(Error::NotANamespace);
    }
    let stat = fstat(netns).map_err(failed)?;
    Ok(NetnsId { dev: stat.st_dev, ino: stat.st_ino })
}

/// Where a machine's addresses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the daemon's own network namespace: the machine has none that are its own.
    Host,
    /// In a namespace of its own, or of several machines.
    Private {
        /// Which one.
        netns: NetnsId,
        /// What notifications call it; `None` if that cannot be had.
        nsid: Option<Nsid>,
    },
}

/// The container-side end of a host interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerLink {
    /// The interface, numbered by the container's namespace.
    pub container_ifindex: u32,
    /// The container's namespace.
    pub nsid: Nsid,
}

/// The daemon's own network namespace, and from it the others.
#[derive(Debug)]
pub struct Namespaces {
    own: OwnedFd,
    own_id: NetnsId,
    next_nsid: Cell<i32>,
    /// For requests to the own namespace, which it cannot keep alive any longer than the daemon does.
    requests: RefCell<RequestSocket>,
    sequence: Cell<u32>,
}

impl Namespaces {
    /// Takes the namespace that the calling thread is in as the daemon's own.
    pub fn open() -> Result<Self, Error> {
        let own = open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::system("/proc/thread-self/ns/net", errno))?;
        let own_id = identity(own.as_fd())?;
        let requests = RefCell::new(RequestSocket::open()?.checked()?);
        Ok(Self { own, own_id, next_nsid: Cell::new(FIRST_NSID), requests, sequence: Cell::new(0) })
    }

    /// Which namespace the daemon's own is.
    #[cfg(test)]
    pub fn own_id(&self) -> NetnsId {
        self.own_id
    }

    /// The addresses in the namespace of `netns`, a process by pidfd or an open /proc/PID/ns/net, as clients list
    /// them: without those that are deprecated, tentative or of the host alone; IPv4 first, then by scope, interface
    /// and bytes; at most [`MAX_ADDRESSES`](super::list::MAX_ADDRESSES). No address is an empty list.
    ///
    /// [`Error::NamespaceGone`] if `netns` is the pidfd of a process that has exited. Moves the calling thread into
    /// the namespace and back; ends the process if there is no way back.
    pub fn dump(&self, netns: BorrowedFd<'_>) -> Result<Vec<InterfaceAddress>, Error> {
        self.socket_in(netns)?.addresses()
    }

    /// The same of the namespace behind `netns` that the daemon's own calls `nsid`, without entering it; by entering
    /// it where the kernel does not let this process do that.
    pub fn dump_by_id(&self, netns: BorrowedFd<'_>, nsid: Nsid) -> Result<Vec<InterfaceAddress>, Error> {
        let answer = self.requests.borrow().addresses_in(nsid, || self.next_sequence());
        if let Ok(Some(addresses)) = answer {
            return Ok(addresses);
        }
        self.renew()?;
        self.dump(netns)
    }

    /// The same of the daemon's own namespace.
    pub fn dump_host(&self) -> Result<Vec<InterfaceAddress>, Error> {
        RequestSocket::open()?.addresses()
    }

    fn socket_in(&self, netns: BorrowedFd<'_>) -> Result<RequestSocket, Error> {
        move_into_thread_name_spaces(netns, ThreadNameSpaceType::NETWORK).map_err(|errno| match errno {
            Errno::SRCH => Error::NamespaceGone,
            errno => Error::system("entering a network namespace", errno),
        })?;
        let socket = RequestSocket::open();
        if move_into_link_name_space(self.own.as_fd(), Some(LinkNameSpaceType::Network)).is_err() {
            // The thread would take a container's network for the host's from here on.
            std::process::abort();
        }
        socket
    }

    /// Where the addresses of a machine in `netns` are, an open /proc/PID/ns/net, and which these are, as
    /// [`Self::dump`] has them. A namespace that cannot be given an id has none, for whatever reason: it is to be
    /// polled. What changes from now on in one that has an id is heard of.
    ///
    /// `has_id` says whether it is expected to have an id already; that only decides what is tried first.
    pub fn look_into(
        &self,
        netns: BorrowedFd<'_>,
        has_id: bool,
    ) -> Result<(Place, Vec<InterfaceAddress>), Error> {
        let stat = fstat(netns).map_err(|errno| Error::system("network namespace", errno))?;
        let netns_id = NetnsId { dev: stat.st_dev, ino: stat.st_ino };
        if netns_id == self.own_id {
            return Ok((Place::Host, Vec::new()));
        }
        let place = |nsid| Place::Private { netns: netns_id, nsid };
        if !has_id && let Some((nsid, addresses)) = self.name_and_dump(netns)? {
            return Ok((place(Some(nsid)), addresses));
        }
        // The id comes first, so that what changes while the addresses are read is heard of.
        match self.nsid_of(netns).ok() {
            Some(nsid) => Ok((place(Some(nsid)), self.dump_by_id(netns, nsid)?)),
            None => Ok((place(None), self.dump(netns)?)),
        }
    }

    /// Gives `netns` an id and dumps it, in one request, if it has no id and the next one is free.
    fn name_and_dump(&self, netns: BorrowedFd<'_>) -> Result<Option<(Nsid, Vec<InterfaceAddress>)>, Error> {
        let wanted = self.next(1);
        let fd = netns.as_raw_fd();
        let answer = self.requests.borrow().name_and_addresses_in(fd, wanted, || self.next_sequence());
        match answer {
            Ok(Some(addresses)) => return Ok(Some((wanted, addresses))),
            // It has one, or its was taken; the answer was read to its end.
            Err(Error::System { errno: Errno::EXIST, .. }) => {}
            _ => self.renew()?,
        }
        Ok(None)
    }

    /// Whatever is left on the socket is not to be met again.
    fn renew(&self) -> Result<(), Error> {
        *self.requests.borrow_mut() = RequestSocket::open()?.checked()?;
        Ok(())
    }

    /// What the daemon's namespace calls `netns`, an open /proc/PID/ns/net. Gives it an id if it has none, which
    /// needs `CAP_NET_ADMIN`; an id that is there, such as that of a container with a veth, needs nothing.
    ///
    /// The daemon's own namespace gets an id of itself; [`Self::look_into`] knows whether it is that.
    pub fn nsid_of(&self, netns: BorrowedFd<'_>) -> Result<Nsid, Error> {
        let socket = &*self.requests.borrow();
        let fd = netns.as_raw_fd();
        let mut step = 1i32;
        for _ in 0..NSID_ATTEMPTS {
            let known = ask_nsid(socket, fd, self.next_sequence())?;
            if let Some(nsid) = known {
                self.pass(nsid);
                return Ok(nsid);
            }
            let wanted = self.next(step);
            let sequence = self.next_sequence();
            let request = new_nsid(fd, wanted, sequence);
            match socket.ask("network namespace id", sequence, &request, |_| Ok(ControlFlow::Continue(()))) {
                Ok(_) => return Ok(wanted),
                // The id is taken, or the namespace has just got one from another side.
                Err(Error::System { errno: Errno::EXIST, .. }) => step = step.saturating_mul(2),
                Err(error) => return Err(error),
            }
        }
        Err(Error::System { what: "network namespace id", errno: Errno::EXIST })
    }

    /// What is left of an answer that was given up has a number of its own, and is passed over.
    fn next_sequence(&self) -> u32 {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        sequence
    }

    /// The next id to try, `step` from the last one.
    fn next(&self, step: i32) -> Nsid {
        let wanted = self.next_nsid.get();
        self.next_nsid.set(wanted.checked_add(step).unwrap_or(FIRST_NSID));
        Nsid::new(wanted).unwrap_or_else(|| self.next(step))
    }

    /// Ids outlive the daemon that gave them: a new daemon goes on behind the highest that it meets.
    fn pass(&self, seen: Nsid) {
        if let Some(behind) = seen.as_raw().checked_add(1)
            && behind > self.next_nsid.get()
        {
            self.next_nsid.set(behind);
        }
    }

    /// The container-side end of host interface `host_ifindex`.
    ///
    /// `None` if there is no such interface, if it is not one of a pair, as a macvlan's or an ipvlan's lower link is
    /// not, or if the other end is in the daemon's own namespace.
    pub fn peer_of(&self, host_ifindex: u32) -> Result<Option<PeerLink>, Error> {
        let mut found = None;
        let sequence = self.next_sequence();
        let request = get_link(host_ifindex, sequence);
        let answer = self.requests.borrow().ask("interface", sequence, &request, |message| {
            if message.kind == RTM_NEWLINK {
                found = link(message)?.and_then(|link| link.peer);
            }
            Ok(ControlFlow::Continue(()))
        });
        match answer {
            Ok(_) => Ok(found.map(|(container_ifindex, nsid)| PeerLink { container_ifindex, nsid })),
            Err(Error::System { errno: Errno::NODEV, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Namespaces {
    /// Asks for all interfaces of the daemon's own namespace.
    pub(super) fn dump_links(&self, links: &mut Links) -> Result<(), Error> {
        let sequence = self.next_sequence();
        let answer = self.requests.borrow().ask("interfaces", sequence, &get_links(sequence), |message| {
            if message.kind == RTM_NEWLINK
                && let Some(link) = link(message)?
            {
                links.set(link);
            }
            Ok(ControlFlow::Continue(()))
        });
        answer.map(|_| ())
    }

    /// Whether this is the daemon's own network namespace, an open /proc/PID/ns/net.
    pub(super) fn is_own(&self, netns: BorrowedFd<'_>) -> bool {
        identity(netns) == Ok(self.own_id)
    }

    /// Whom the kernel has met on an interface. Where that is cut off, or changes too fast, some of them.
    pub(super) fn neighbours_on(&self, ifindex: u32) -> Vec<Neighbour> {
        let mut found = Vec::new();
        let sequence = self.next_sequence();
        let request = get_neighbours(ifindex, sequence);
        // What is left of an answer that was broken off has a number of its own, and is passed over.
        let _ = self.requests.borrow().ask("neighbours", sequence, &request, |message| {
            // A kernel that does not know the filter tells of all interfaces.
            if message.kind == RTM_NEWNEIGH && neighbour_ifindex(message)? == ifindex {
                found.extend(neighbour(message)?);
            }
            Ok(if found.len() >= MAX_NEIGHBOURS { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        found
    }

    /// The port of a bridge behind which a hardware address is: in no VLAN, or in the one that ports are in by default.
    pub(super) fn port_of(&self, bridge: u32, mac: Mac) -> Option<u32> {
        [0, 1].into_iter().find_map(|vlan| {
            let mut found = None;
            let sequence = self.next_sequence();
            let request = get_port(bridge, mac, vlan, sequence);
            let answer = self.requests.borrow().ask("port of a bridge", sequence, &request, |message| {
                if message.kind == RTM_NEWNEIGH {
                    found = Some(neighbour_ifindex(message)?);
                }
                Ok(ControlFlow::Continue(()))
            });
            found.filter(|_| answer.is_ok())
        })
    }

    /// Where the host would send what is for an address; for one of a link, over this interface.
    pub(super) fn route_to(&self, address: IpAddr, ifindex: Option<u32>) -> Route {
        let mut found = Route::None;
        let sequence = self.next_sequence();
        let request = get_route(address, ifindex, sequence);
        let answer = self.requests.borrow().ask("route", sequence, &request, |message| {
            if message.kind == RTM_NEWROUTE {
                found = route(message)?;
            }
            Ok(ControlFlow::Continue(()))
        });
        // That there is no route is an error of the request.
        if answer.is_ok() { found } else { Route::None }
    }
}

fn ask_nsid(socket: &RequestSocket, fd: i32, sequence: u32) -> Result<Option<Nsid>, Error> {
    let mut known = None;
    socket.ask("network namespace id", sequence, &get_nsid(fd, sequence), |message| {
        if message.kind == RTM_NEWNSID {
            known = nsid(message)?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(known)
}
