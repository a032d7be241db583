//! Keeps the addresses of virtual machines current.

use std::fmt::Debug;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libmachine::{Namespace, ProcessHandle};
use registry::{Address, AddressSource, Addresses, Record};
use rustix::fd::AsFd;
use tokio::task::yield_now;
use tokio::time::{sleep, sleep_until};
use turns::processor_time;

use super::allowance::Allowance;
use super::host::Stale;
use super::keeper::{Keeper, Listing, Owners};
use super::links::Links;
use super::list::RT_SCOPE_LINK;
use super::neighbour::{Mac, Neighbour};
use super::route::Route;
use super::vms::{Host, Moment, Step, is_nobodys, of_leader};
use super::{InterfaceAddress, Namespaces};

/// How long it works before others have their turn, in time of a processor.
const TURN: Duration = Duration::from_millis(1);
/// So many machines' addresses are written down together.
const TOGETHER: usize = 8;

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

    /// A virtual machine may be gone.
    pub(super) fn vm_left(&self, key: K) {
        self.vms.borrow_mut().left(key);
        self.vms_changed.notify_one();
    }

    /// Another machine than a virtual one, or another one of these, has these addresses now, or none.
    pub fn others_changed(&self, key: K, ips: &[IpAddr]) {
        let mut vms = self.vms.borrow_mut();
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
        let decided = self.view(|view| {
            let mut vms = self.vms.borrow_mut();
            vms.give(key, given);
            vms.decide(key, view, moment(), |ip| owners.rival(key, ip))
        });
        if let Some(resolution) = decided {
            owners.set_addresses(key, resolution);
        }
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
        let mut allowance = Allowance::new(Instant::now());
        loop {
            let spent = self.work(owners).await;
            sleep(allowance.spend(spent, Instant::now())).await;
            let due = async {
                match self.next_vm_deadline() {
                    Some(deadline) => sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.vms_changed.notified() => {}
            }
        }
    }

    fn next_vm_deadline(&self) -> Option<Instant> {
        let at = moment();
        let vms = self.vms.borrow();
        let end = vms.next_end().map(|end| {
            let left = Duration::from_secs(end.saturating_sub(at.realtime).saturating_add(1));
            at.now.checked_add(left).unwrap_or(at.now)
        });
        [end, vms.next_deadline()].into_iter().flatten().min()
    }

    /// Does all that is due, while others get their turns. Returns what it took of a processor's time.
    async fn work(&self, owners: &impl Owners<Key = K>) -> Duration {
        let mut began = processor_time();
        let mut spent = Duration::ZERO;
        let wanted = self.vms.borrow_mut().want_leases();
        self.leases_wanted.send_if_modified(|now| std::mem::replace(now, wanted) != wanted);
        let at = moment();
        let searches = self.vms.borrow_mut().take_searches(at.now);
        for key in searches {
            self.search(owners, key, at);
            pass(&mut began, &mut spent).await;
        }
        if !self.vms.borrow().is_empty() {
            self.view(|view| self.vms.borrow_mut().begin(view, at));
            while self.go_on(owners, at, began) {
                pass(&mut began, &mut spent).await;
            }
        }
        spent.saturating_add(processor_time().saturating_sub(began))
    }

    /// Looks for the interfaces of a machine.
    fn search(&self, owners: &impl Owners<Key = K>, key: K, at: Moment) {
        let leader = owners.leader(key).filter(|leader| self.is_in_own_network(leader));
        let interfaces = leader.map(|leader| of_leader(&leader)).unwrap_or_default();
        if self.vms.borrow_mut().found(key, &interfaces, at.now) {
            owners.set_found(key, interfaces);
        }
    }

    /// Does a part of what is due, until the turn that began then is over. Returns whether there may be more.
    fn go_on(&self, owners: &impl Owners<Key = K>, at: Moment, began: Duration) -> bool {
        let mut decided = Vec::new();
        let has_more = self.view(|view| {
            let mut vms = self.vms.borrow_mut();
            loop {
                match vms.step(view, at, |key, ip| owners.rival(key, ip)) {
                    Step::Nothing => return false,
                    Step::Some => {}
                    Step::Decided(key, resolution) => decided.push((key, resolution)),
                }
                if decided.len() >= TOGETHER || is_over(began) {
                    return true;
                }
            }
        });
        for (key, resolution) in decided {
            owners.set_addresses(key, resolution);
        }
        has_more
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

/// Whether others are to have their turn now.
fn is_over(began: Duration) -> bool {
    processor_time().saturating_sub(began) >= TURN
}

/// Lets others have their turn, if this one, which began then, is over.
async fn pass(began: &mut Duration, spent: &mut Duration) {
    let now = processor_time();
    let turn = now.saturating_sub(*began);
    if turn >= TURN {
        *spent = spent.saturating_add(turn);
        yield_now().await;
        *began = processor_time();
    }
}
