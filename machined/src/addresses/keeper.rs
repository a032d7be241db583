//! Keeps the machines' addresses current: what is heard and looked at becomes what their names resolve to.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::hash::Hash;
use std::rc::Rc;
use std::time::Instant;

use libmachine::{Namespace, ProcessHandle};
use registry::{Address, Addresses};
use rustix::fd::AsFd;
use rustix::io::Errno;
use service_manager::log::with_causes;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::sleep_until;
use tracing::{debug, warn};

use super::{
    Error, InterfaceAddress, Namespaces, NetnsId, Notification, Notifications, Peer, Place, Tracker, Watch,
    resolve_order,
};

/// How many addresses a name resolves to at the most; more would not fit into a record.
const MAX_RESOLVED: usize = 1000;
/// So many networks are looked at before others get their turn.
const TURN: usize = 8;

/// What a look at a machine's network found.
#[derive(Debug)]
pub struct Found {
    /// What its name resolves to.
    pub resolved: Addresses,
    place: Option<Place>,
    list: Rc<[InterfaceAddress]>,
}

/// The addresses of a machine as clients list them.
#[derive(Debug, Clone)]
pub enum Listing {
    /// It shares the host's network.
    SharedWithHost,
    /// These.
    Private(Rc<[InterfaceAddress]>),
}

/// Who knows the machines: what the keeper asks of them, and where it says what they resolve to.
pub trait Owners {
    /// How a machine is told from others.
    type Key: Copy + Ord + Hash + Debug;

    /// The leader of a machine; `None` if there is no such machine any more.
    fn leader(&self, key: Self::Key) -> Option<Rc<ProcessHandle>>;

    /// The host's interfaces that lead to a machine; `None` if there is no such machine any more.
    fn interfaces(&self, key: Self::Key) -> Option<Vec<u32>>;

    /// A machine's name resolves to this from now on.
    fn set_addresses(&self, key: Self::Key, addresses: Addresses);
}

/// Who has which addresses.
#[derive(Debug)]
pub struct Keeper<K> {
    namespaces: Namespaces,
    tracker: RefCell<Tracker<K>>,
    lists: RefCell<HashMap<K, Listing>>,
    /// Machines that were there before the daemon, and were not looked at since.
    restored: RefCell<BTreeSet<K>>,
    changed: Notify,
}

impl<K: Copy + Ord + Hash + Debug> Keeper<K> {
    /// Starts in the network namespace of the calling thread.
    ///
    /// # Errors
    /// Where that cannot be held on to.
    pub fn new(watch: Watch) -> Result<Self, Error> {
        Ok(Self {
            namespaces: Namespaces::open()?,
            tracker: RefCell::new(Tracker::new(watch)),
            lists: RefCell::default(),
            restored: RefCell::default(),
            changed: Notify::new(),
        })
    }

    /// Looks at the network of a machine, about to be registered. `interfaces` are the host's that lead to it. `has_id`
    /// says whether its network namespace is expected to have an id already; that only decides what is tried first.
    ///
    /// # Errors
    /// [`Error::NamespaceGone`]: the leader has ended. That its network cannot be looked into is no error: then it is not known what
    /// the name resolves to.
    pub fn look_at(&self, leader: &ProcessHandle, interfaces: &[u32], has_id: bool) -> Result<Found, Error> {
        match self.look(leader, interfaces, has_id) {
            Ok(found) => Ok(found),
            Err(Error::NamespaceGone) => Err(Error::NamespaceGone),
            Err(error) => {
                warn!("Addresses of process {} are not known: {}", leader.pid(), with_causes(&error));
                Ok(Found { resolved: Addresses::Unknown, place: None, list: Rc::default() })
            }
        }
    }

    fn look(&self, leader: &ProcessHandle, interfaces: &[u32], has_id: bool) -> Result<Found, Error> {
        let netns = leader.namespace(Namespace::Network).map_err(|error| match error {
            libmachine::Error::NoSuchProcess(_) => Error::NamespaceGone,
            error => Error::system("network namespace", Errno::from_raw_os_error(error.errno())),
        })?;
        let (place, list) = self.namespaces.look_into(netns.as_fd(), has_id)?;
        let Place::Private { nsid, .. } = place else {
            return Ok(Found {
                resolved: Addresses::SharedWithHost,
                place: Some(place),
                list: Rc::default(),
            });
        };
        let list: Rc<[_]> = list.into();
        let peers: Vec<_> = interfaces
            .iter()
            .filter_map(|&host_ifindex| {
                let peer = self.namespaces.peer_of(host_ifindex).ok()??;
                (Some(peer.nsid) == nsid)
                    .then_some(Peer { host_ifindex, container_ifindex: peer.container_ifindex })
            })
            .collect();
        Ok(Found { resolved: resolved(&list, &peers), place: Some(place), list })
    }

    /// A machine is registered, and this was found just before.
    pub fn joined(&self, key: K, found: Found) {
        let Some(place) = found.place else { return };
        let now = Instant::now();
        let mut tracker = self.tracker.borrow_mut();
        tracker.joined(key, place, now);
        let listing = match place {
            Place::Host => Listing::SharedWithHost,
            Place::Private { netns, .. } => {
                tracker.dumped(netns, now);
                Listing::Private(found.list)
            }
        };
        self.lists.borrow_mut().insert(key, listing);
        self.changed.notify_one();
    }

    /// A machine was there before the owners. It is looked at in time; until then what its record says holds.
    pub fn restored(&self, key: K) {
        self.restored.borrow_mut().insert(key);
    }

    /// A machine is gone.
    pub fn left(&self, key: K) {
        self.restored.borrow_mut().remove(&key);
        self.tracker.borrow_mut().left(key);
        self.lists.borrow_mut().remove(&key);
    }

    /// The addresses of a machine; `None` if they are not known.
    pub fn listing(&self, owners: &impl Owners<Key = K>, key: K) -> Option<Listing> {
        let is_restored = self.restored.borrow_mut().remove(&key);
        if is_restored {
            self.look_again(owners, key);
        }
        self.lists.borrow().get(&key).cloned()
    }

    /// The addresses of the host.
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub fn of_host(&self) -> Result<Vec<InterfaceAddress>, Error> {
        self.namespaces.dump_host()
    }

    /// Keeps the addresses of all machines current, for ever. Without notifications it looks once per second.
    pub async fn run(&self, owners: &impl Owners<Key = K>, mut notifications: Option<Notifications>) {
        loop {
            let deadline = self.tracker.borrow().next_deadline();
            let heard = async {
                match &mut notifications {
                    Some(notifications) => notifications.next().await,
                    None => std::future::pending().await,
                }
            };
            let due = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                heard = heard => self.heard(heard, &mut notifications),
                () = due => {}
                () = self.changed.notified() => {}
            }
            let due = self.tracker.borrow_mut().due(Instant::now());
            for netns in due {
                self.refresh(owners, netns);
            }
        }
    }

    /// Looks at the networks of those that were there before the daemon, while others are served.
    pub async fn look_at_restored(&self, owners: &impl Owners<Key = K>) {
        for turn in 1_usize.. {
            let next = self.restored.borrow_mut().pop_first();
            let Some(key) = next else { return };
            self.look_again(owners, key);
            if turn.is_multiple_of(TURN) {
                yield_now().await;
            }
        }
    }

    /// Looks at a machine as when it was registered. Where its leader has ended, that is on its way to be heard of.
    fn look_again(&self, owners: &impl Owners<Key = K>, key: K) {
        let Some((leader, interfaces)) = owners.leader(key).zip(owners.interfaces(key)) else { return };
        if let Ok(found) = self.look_at(&leader, &interfaces, true)
            && !leader.has_exited()
        {
            self.moved(owners, key, found);
        }
    }

    fn moved(&self, owners: &impl Owners<Key = K>, key: K, found: Found) {
        let resolved = found.resolved.clone();
        self.joined(key, found);
        owners.set_addresses(key, resolved);
    }

    fn heard(&self, heard: Result<Notification, Error>, notifications: &mut Option<Notifications>) {
        let mut tracker = self.tracker.borrow_mut();
        match heard {
            Ok(notification) => tracker.notification(notification, Instant::now()),
            Err(error) => {
                warn!("Addresses are looked at once per second from now on: {}", with_causes(&error));
                *notifications = None;
                tracker.fall_back_to_polling(Instant::now());
            }
        }
    }

    /// Looks at a namespace again, through the first of its machines that lives.
    fn refresh(&self, owners: &impl Owners<Key = K>, netns: NetnsId) {
        let machines: Vec<_> = self.tracker.borrow().machines_in(netns).collect();
        for key in machines {
            let Some((leader, interfaces)) = owners.leader(key).zip(owners.interfaces(key)) else { continue };
            match self.look(&leader, &interfaces, true) {
                // What was looked at may have been another process already.
                Ok(_) if leader.has_exited() => {}
                Ok(found) => self.update(owners, key, netns, found),
                // Its end is on its way to be heard of; anything else may pass, and the next look may find more.
                Err(error) => {
                    debug!("Process {}: {}", leader.pid(), with_causes(&error));
                    self.tracker.borrow_mut().failed(netns, Instant::now());
                }
            }
        }
    }

    fn update(&self, owners: &impl Owners<Key = K>, key: K, netns: NetnsId, found: Found) {
        match found.place {
            Some(Place::Private { netns: now, nsid }) if now == netns => {
                if let Some(nsid) = nsid {
                    self.tracker.borrow_mut().learned(netns, nsid);
                }
                self.lists.borrow_mut().insert(key, Listing::Private(found.list));
                owners.set_addresses(key, found.resolved);
            }
            // The leader has moved to another namespace.
            _ => self.moved(owners, key, found),
        }
    }
}

fn resolved(list: &[InterfaceAddress], peers: &[Peer]) -> Addresses {
    let mut order = resolve_order(list, peers);
    order.truncate(MAX_RESOLVED);
    let address = |resolved: super::Resolved| Address {
        ip: resolved.address,
        scope_id: resolved.scope_id.unwrap_or(0),
    };
    Addresses::Listed(order.into_iter().map(address).collect())
}
