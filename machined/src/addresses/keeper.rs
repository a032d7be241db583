//! Keeps the machines' addresses current: what is heard and looked at becomes what their names resolve to.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::hash::Hash;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use libmachine::{Namespace, ProcessHandle};
use registry::{Address, AddressSource, Addresses, Resolution};
use rustix::fd::AsFd;
use rustix::io::Errno;
use service_manager::log::with_causes;
use tokio::sync::{Notify, watch};
use tokio::task::yield_now;
use tokio::time::sleep_until;
use tracing::{debug, warn};

use super::host::{HostNetwork, Stale, ways};
use super::reach::{Reach, reach};
use super::vms::Vms;
use super::{
    Error, InterfaceAddress, Namespaces, NetnsId, Notification, Notifications, Nsid, Peer, Place, Resolved,
    Tracker, Watch,
};

/// How many addresses a name resolves to at the most; more would not fit into a record.
const MAX_RESOLVED: usize = 1000;
/// So many networks are looked at before others get their turn.
const TURN: usize = 8;
/// So many machines' routes are asked for before others get their turn.
const ROUTES_TURN: usize = 64;

/// What a look at a machine's network found.
#[derive(Debug)]
pub struct Found {
    /// What its name resolves to.
    pub resolution: Resolution,
    place: Option<Place>,
    list: Rc<[InterfaceAddress]>,
    over: Box<[u32]>,
}

/// What is known of a machine's own network.
#[derive(Debug)]
struct Network {
    list: Rc<[InterfaceAddress]>,
    /// What the daemon's namespace calls the machine's.
    nsid: Option<Nsid>,
    /// The host's interfaces that its routes to the machine's addresses lead over.
    over: Box<[u32]>,
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

    /// The best source by which another machine has an address, among those whose names are for everybody.
    fn rival(&self, key: Self::Key, ip: IpAddr) -> Option<AddressSource>;

    /// These of the host's interfaces were found to lead to a machine.
    fn set_found(&self, key: Self::Key, interfaces: Vec<u32>);

    /// A machine's name resolves to this from now on.
    fn set_addresses(&self, key: Self::Key, resolution: Resolution);
}

/// Who has which addresses.
#[derive(Debug)]
pub struct Keeper<K> {
    pub(super) namespaces: Namespaces,
    pub(super) host: HostNetwork,
    tracker: RefCell<Tracker<K>>,
    /// `None`: it shares the host's.
    networks: RefCell<HashMap<K, Option<Box<Network>>>>,
    /// Machines that were there before the daemon, and were not looked at since.
    restored: RefCell<BTreeSet<K>>,
    changed: Notify,
    pub(super) vms: RefCell<Vms<K>>,
    pub(super) vms_changed: Notify,
    /// Whether there are machines that leases could be of.
    pub(super) leases_wanted: watch::Sender<bool>,
    /// When the task that keeps all of this current looks again by itself.
    wakes: Cell<Option<Instant>>,
}

impl<K: Copy + Ord + Hash + Debug> Keeper<K> {
    /// Starts in the network namespace of the calling thread. Needs a tokio runtime with IO.
    ///
    /// # Errors
    /// Where that cannot be held on to.
    pub fn new(watch: Watch) -> Result<Self, Error> {
        Ok(Self {
            namespaces: Namespaces::open()?,
            host: HostNetwork::open()?,
            tracker: RefCell::new(Tracker::new(watch)),
            networks: RefCell::default(),
            restored: RefCell::default(),
            changed: Notify::new(),
            vms: RefCell::default(),
            vms_changed: Notify::new(),
            leases_wanted: watch::Sender::new(false),
            wakes: Cell::new(None),
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
                Ok(Found::without_list(Addresses::Unknown, None))
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
            return Ok(Found::without_list(Addresses::SharedWithHost, Some(place)));
        };
        let list: Rc<[_]> = list.into();
        let Reach { addresses, is_reached, over } = self.reach(&list, nsid, interfaces);
        let resolution = listed(addresses, is_reached);
        Ok(Found { resolution, place: Some(place), list, over: over.into() })
    }

    /// Asks where the host's routes for these addresses lead, by what is known of its interfaces now.
    fn reach(&self, list: &[InterfaceAddress], nsid: Option<Nsid>, registered: &[u32]) -> Reach {
        self.host.catch_up();
        let dump = |links: &mut _| self.namespaces.dump_links(links);
        let mut ways = self.host.links(dump, |links| ways(links, nsid, registered));
        // The kernel does not say of every move of the other end that there was one.
        for &host_ifindex in registered {
            if ways.peers.iter().all(|peer| peer.host_ifindex != host_ifindex)
                && let Ok(Some(peer)) = self.namespaces.peer_of(host_ifindex)
                && Some(peer.nsid) == nsid
            {
                ways.peers.push(Peer { host_ifindex, container_ifindex: peer.container_ifindex });
            }
        }
        reach(list, &ways, |address, ifindex| self.namespaces.route_to(address, ifindex))
    }

    /// A machine is registered, and this was found just before.
    pub fn joined(&self, key: K, found: Found) {
        let Some(place) = found.place else { return };
        let now = Instant::now();
        let mut tracker = self.tracker.borrow_mut();
        tracker.joined(key, place, now);
        let network = match place {
            Place::Host => None,
            Place::Private { netns, nsid } => {
                tracker.dumped(netns, now);
                Some(Box::new(Network { list: found.list, nsid, over: found.over }))
            }
        };
        drop(tracker);
        self.networks.borrow_mut().insert(key, network);
        // One whose changes are heard of changes nothing of that, as a rule.
        if self.next_deadline() != self.wakes.get() {
            self.changed.notify_one();
        }
    }

    /// A machine was there before the owners. It is looked at in time; until then what its record says holds.
    pub fn restored(&self, key: K) {
        self.restored.borrow_mut().insert(key);
    }

    /// A machine is gone.
    pub fn left(&self, key: K) {
        self.restored.borrow_mut().remove(&key);
        self.tracker.borrow_mut().left(key);
        self.networks.borrow_mut().remove(&key);
        self.vm_left(key);
    }

    /// The addresses of a machine; `None` if they are not known.
    pub fn listing(&self, owners: &impl Owners<Key = K>, key: K) -> Option<Listing> {
        if let Some(listing) = self.vm_listing(key) {
            return Some(listing);
        }
        let is_restored = self.restored.borrow_mut().remove(&key);
        if is_restored {
            self.look_again(owners, key);
        }
        let networks = self.networks.borrow();
        let own = |network: &Option<Box<Network>>| network.as_ref().map(|network| network.list.clone());
        networks.get(&key).map(|network| own(network).map_or(Listing::SharedWithHost, Listing::Private))
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
            let deadline = self.next_deadline();
            self.wakes.set(deadline);
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
                () = self.host.heard() => {}
                () = self.changed.notified() => {}
            }
            let due = self.tracker.borrow_mut().due(Instant::now());
            for netns in due {
                self.refresh(owners, netns);
            }
            if let Some(stale) = self.host.take_due(Instant::now()) {
                self.host_changed(&stale);
                self.ask_again(owners, &stale).await;
            }
        }
    }

    /// When something is due.
    fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [self.tracker.borrow().next_deadline(), self.host.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// Asks again where the host's routes lead to the machines that a change may concern.
    async fn ask_again(&self, owners: &impl Owners<Key = K>, stale: &Stale) {
        let all: Vec<_> = self.networks.borrow().keys().copied().collect();
        for (turn, key) in all.into_iter().enumerate() {
            if let Some(Reach { addresses, is_reached, .. }) = self.reach_again(owners, key, stale) {
                owners.set_addresses(key, listed(addresses, is_reached));
            }
            if turn % ROUTES_TURN == ROUTES_TURN - 1 {
                yield_now().await;
            }
        }
    }

    /// The same for one machine, if it may concern it.
    fn reach_again(&self, owners: &impl Owners<Key = K>, key: K, stale: &Stale) -> Option<Reach> {
        let mut networks = self.networks.borrow_mut();
        let network = networks.get_mut(&key)?.as_mut()?;
        let list = &network.list;
        let interfaces = owners.interfaces(key)?;
        let addresses = list.iter().map(|address| address.address);
        let over = network.over.iter().chain(&interfaces).copied();
        let leads_there = || self.host.is_about(stale, network.nsid);
        if !stale.concerns(addresses, over) && !leads_there() {
            return None;
        }
        let reach = self.reach(list, network.nsid, &interfaces);
        network.over = reach.over.as_slice().into();
        Some(reach)
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
        let resolution = found.resolution.clone();
        self.joined(key, found);
        owners.set_addresses(key, resolution);
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
                let network = Network { list: found.list, nsid, over: found.over };
                self.networks.borrow_mut().insert(key, Some(Box::new(network)));
                owners.set_addresses(key, found.resolution);
            }
            // The leader has moved to another namespace.
            _ => self.moved(owners, key, found),
        }
    }
}

impl Found {
    fn without_list(addresses: Addresses, place: Option<Place>) -> Self {
        let resolution = Resolution { addresses, ..Resolution::default() };
        Self { resolution, place, list: Rc::default(), over: Box::default() }
    }
}

fn listed(mut addresses: Vec<Resolved>, is_reached: bool) -> Resolution {
    addresses.truncate(MAX_RESOLVED);
    let address =
        |resolved: Resolved| Address { ip: resolved.address, scope_id: resolved.scope_id.unwrap_or(0) };
    let addresses = Addresses::Listed(addresses.into_iter().map(address).collect());
    // One word is for all of them.
    Resolution { addresses, from: [AddressSource::Interface].as_slice().into(), is_reached }
}
