//! Keeps the addresses of virtual machines current.

use std::fmt::Debug;
use std::hash::Hash;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libmachine::{Namespace, ProcessHandle};
use registry::{Address, AddressSource, Addresses, Record};
use rustix::fd::AsFd;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::{sleep, sleep_until};

use super::host::Stale;
use super::keeper::{Keeper, Listing, Owners};
use super::links::Links;
use super::list::RT_SCOPE_LINK;
use super::neighbour::{Mac, Neighbour};
use super::route::Route;
use super::vms::{Host, LeaseFiles, Moment, is_nobodys, of_leader};
use super::{InterfaceAddress, Namespaces};

/// How long changes of files are gathered.
const GATHER: Duration = Duration::from_millis(20);
/// What all of this may cost: one part in so many of a processor's time.
const SHARE: u32 = 100;
/// The longest time that it pauses for that.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often files are read that cannot be watched.
const UNWATCHED: Duration = Duration::from_secs(15);

/// Why an address cannot be given to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The host itself has it, or sends to many by it.
    OfHost,
    /// Another machine has it by an interface of its own, or its registrar's word.
    OfAnother,
}

/// The host's network, as it is during one look.
struct View<'a> {
    namespaces: &'a Namespaces,
    links: &'a Links,
}

impl Host for View<'_> {
    fn route(&self, address: &Address) -> Route {
        self.namespaces.route_to(address.ip, Some(address.scope_id).filter(|&scope| scope != 0))
    }

    fn bridge_of(&self, ifindex: u32) -> Option<u32> {
        self.links.bridge_of(ifindex)
    }

    fn port_of(&self, bridge: u32, mac: Mac) -> Option<u32> {
        self.namespaces.port_of(bridge, mac)
    }

    fn neighbours(&self, ifindex: u32) -> Vec<Neighbour> {
        self.namespaces.neighbours_on(ifindex)
    }
}

impl<K: Copy + Ord + Hash + Debug> Keeper<K> {
    /// A virtual machine is there, with this record.
    pub fn vm_joined(&self, key: K, record: &Record) {
        self.vms.borrow_mut().joined(key, record, Instant::now());
        self.vms_changed.notify_one();
    }

    /// Another machine than a virtual one, or another one of these, has these addresses now.
    pub fn others_changed(&self, key: K, ips: &[IpAddr]) {
        let mut vms = self.vms.borrow_mut();
        if vms.is_empty() || ips.is_empty() {
            return;
        }
        vms.rival_changed(key, ips);
        if vms.is_stale() {
            self.vms_changed.notify_one();
        }
    }

    /// Whether an address may be given to a machine.
    ///
    /// # Errors
    /// The [`Refusal`].
    pub fn may_be_given(
        &self,
        owners: &impl Owners<Key = K>,
        key: K,
        address: &Address,
    ) -> Result<(), Refusal> {
        let scope = Some(address.scope_id).filter(|&scope| scope != 0);
        if is_nobodys(address.ip) || self.namespaces.route_to(address.ip, scope) == Route::Own {
            return Err(Refusal::OfHost);
        }
        match owners.rival(key, address.ip) {
            Some(AddressSource::Interface | AddressSource::Given) => Err(Refusal::OfAnother),
            _ => Ok(()),
        }
    }

    /// The registrar of a virtual machine says that these are its addresses. They count when this returns.
    pub fn give(&self, owners: &impl Owners<Key = K>, key: K, given: Vec<Address>) {
        self.vms.borrow_mut().give(key, given);
        self.work(owners);
        // What is to be done next may be another thing now.
        self.vms_changed.notify_one();
    }

    /// The addresses of a virtual machine; `None` if it is none, or nothing is known of them.
    pub(super) fn vm_listing(&self, key: K) -> Option<Listing> {
        let vms = self.vms.borrow();
        let Addresses::Listed(list) = &vms.resolution(key)?.addresses else { return None };
        let address = |address: &Address| InterfaceAddress {
            ifindex: address.scope_id,
            address: address.ip,
            scope: if address.scope_id == 0 { 0 } else { RT_SCOPE_LINK },
            flags: 0,
        };
        Some(Listing::Private(list.iter().map(address).collect()))
    }

    /// Something of the host's network has changed.
    pub(super) fn host_changed(&self, stale: &Stale) {
        let mut vms = self.vms.borrow_mut();
        if vms.is_empty() {
            return;
        }
        self.view(|view| {
            vms.host_changed(view, |ips, ways| stale.concerns(ips.iter().copied(), ways.iter().copied()));
        });
        if vms.is_stale() {
            self.vms_changed.notify_one();
        }
    }

    fn view<T>(&self, question: impl FnOnce(&View<'_>) -> T) -> T {
        self.host.catch_up();
        let dump = |links: &mut _| self.namespaces.dump_links(links);
        self.host.links(dump, |links| question(&View { namespaces: &self.namespaces, links }))
    }

    /// Keeps the addresses of all virtual machines current, for ever. Where there is none, nothing is done.
    pub async fn run_vms(&self, owners: &impl Owners<Key = K>) {
        loop {
            let began = processor_time();
            self.work(owners);
            let spent = processor_time().saturating_sub(began);
            sleep(spent.saturating_mul(SHARE.saturating_sub(1)).min(LONGEST_PAUSE)).await;
            let watch = self.lease_files.borrow().as_ref().and_then(LeaseFiles::watch);
            let files = async {
                match watch {
                    Some(watch) => match watch.readable().await {
                        Ok(mut guard) => {
                            guard.clear_ready();
                            sleep(GATHER).await;
                        }
                        // An error of the runtime's is one of its own end.
                        Err(_) => std::future::pending().await,
                    },
                    None => std::future::pending().await,
                }
            };
            let deadline = self.next_vm_deadline();
            let due = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = files => {}
                () = due => {}
                () = self.vms_changed.notified() => {}
            }
        }
    }

    fn next_vm_deadline(&self) -> Option<Instant> {
        let at = moment();
        let end = self.next_lease_end.get().map(|end| {
            let left = Duration::from_secs(end.saturating_sub(at.realtime).saturating_add(1));
            at.now.checked_add(left).unwrap_or(at.now)
        });
        let files = self.lease_files.borrow();
        let unwatched = files.as_ref().filter(|files| files.watch().is_none());
        let again = unwatched.and_then(|_| at.now.checked_add(UNWATCHED));
        [end, again, self.vms.borrow().next_deadline()].into_iter().flatten().min()
    }

    /// Does all that is due.
    fn work(&self, owners: &impl Owners<Key = K>) {
        let mut vms = self.vms.borrow_mut();
        if vms.is_empty() {
            *self.lease_files.borrow_mut() = None;
            self.next_lease_end.set(None);
            return;
        }
        let at = moment();
        let mut found = Vec::new();
        for key in vms.take_searches(at.now) {
            let leader = owners.leader(key).filter(|leader| self.is_in_own_network(leader));
            let interfaces = leader.map(|leader| of_leader(&leader)).unwrap_or_default();
            if vms.found(key, &interfaces, at.now) {
                found.push((key, interfaces));
            }
        }
        if self.next_lease_end.get().is_some_and(|end| end <= at.realtime) {
            vms.lease_ended();
        }
        let mut files = self.lease_files.borrow_mut();
        let new = self.view(|view| {
            if vms.want_leases() {
                let files = files.get_or_insert_with(|| LeaseFiles::open(Path::new("/")));
                if files.read() {
                    vms.set_leases(files.written(), view, at);
                }
            }
            vms.look(view, at);
            let new = vms.decide(view, at, |key, ip| owners.rival(key, ip));
            self.next_lease_end.set(vms.next_end(view, at));
            new
        });
        drop((files, vms));
        for (key, interfaces) in found {
            owners.set_found(key, interfaces);
        }
        for (key, resolution) in new {
            owners.set_addresses(key, resolution);
        }
    }

    fn is_in_own_network(&self, leader: &ProcessHandle) -> bool {
        let netns = leader.namespace(Namespace::Network);
        netns.is_ok_and(|netns| self.namespaces.is_own(netns.as_fd()))
    }
}

fn moment() -> Moment {
    let realtime = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Moment { now: Instant::now(), realtime }
}

/// What this thread has used of a processor: what others do on a busy host is not charged to it.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}
