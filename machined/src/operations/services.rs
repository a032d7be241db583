//! The operations' floor: the machines, and the services that operations need.

use std::cell::OnceCell;
use std::net::IpAddr;
use std::rc::Rc;

use libmachine::ProcessHandle;
use registry::{AddressSource, Addresses, Class, Resolution};

use super::followed::Followed;
use crate::addresses::{Keeper, Listing, Notifications, Owners};
use crate::announcements::{Announcements, Listener};
use crate::authorization::Polkit;
use crate::bus::Bus;
use crate::daemon::{Announcement, Change, Daemon};
use crate::image_workers::ImageWorkers;
use crate::inside::{Inside, OsReleases};
use crate::late_maps::LateMaps;
use crate::log;
use crate::machines::Key;
use crate::spare_memory::SpareMemory;
use crate::systemd::Systemd;

/// What can be asked of the daemon. All of it lives on one thread.
pub struct Operations {
    /// The machines.
    pub(super) daemon: Rc<Daemon>,
    /// Who has which addresses.
    pub(super) keeper: Rc<Keeper<Key>>,
    /// The system bus.
    pub(super) bus: Rc<Bus>,
    /// Who judges those who are neither root nor owners.
    pub(super) polkit: Polkit,
    /// The service manager, as it is heard of.
    pub(super) systemd: Rc<Systemd>,
    /// What the containers' operating systems say of themselves.
    pub(super) os_releases: Rc<OsReleases>,
    /// Who goes into machines.
    pub(super) inside: Rc<Inside>,
    /// Who looks at images.
    pub(super) image_workers: ImageWorkers,
    late_maps: LateMaps,
    spare_memory: SpareMemory,
    /// The units of machines whose leader has ended, where no group tells when they are empty.
    pub(super) units_followed: Followed,
    listener: OnceCell<Rc<Listener<Change>>>,
}

impl Operations {
    /// Over these machines, and with services of their own, which hear of every change from now on. The images are the
    /// host's, or this user's.
    pub fn new(
        daemon: Rc<Daemon>,
        keeper: Rc<Keeper<Key>>,
        bus: Rc<Bus>,
        systemd: Rc<Systemd>,
        inside: Rc<Inside>,
        user: Option<&images::User>,
    ) -> Rc<Self> {
        let image_workers = ImageWorkers::new(inside.jobs().clone(), user);
        let operations = Rc::new(Self {
            daemon,
            keeper,
            bus,
            systemd,
            polkit: Polkit::default(),
            os_releases: OsReleases::new(inside.clone()),
            inside,
            image_workers,
            late_maps: LateMaps::default(),
            spare_memory: SpareMemory::default(),
            units_followed: Followed::default(),
            listener: OnceCell::new(),
        });
        let listening = Rc::downgrade(&operations);
        let listener: Rc<Listener<Change>> = Rc::new(move |change| {
            if let Some(operations) = listening.upgrade() {
                operations.hear(change);
            }
        });
        operations.daemon.changes.subscribe(&listener);
        operations.listener.get_or_init(|| listener);
        operations
    }

    fn hear(self: &Rc<Self>, change: Change) {
        match change {
            Change::TakenIn(key) => {
                let is_missing =
                    self.daemon.machines(|machines| machines.get(key).is_some_and(LateMaps::are_missing));
                if is_missing {
                    self.late_maps.wait_for(key);
                }
                self.daemon.machines(|machines| {
                    if let Some(record) = machines.get(key).filter(|record| record.class == Class::Vm) {
                        self.keeper.vm_joined(key, record);
                    }
                });
                self.tell_rivals(key);
            }
            Change::LeaderEnded { key, is_watched } => {
                self.keeper.left(key);
                self.keeper.others_changed(key, &[]);
                self.os_releases.left(key);
                // Nobody of ours keeps its group from being empty.
                self.inside.left(key);
                if is_watched {
                    self.withdraw_from(key);
                } else {
                    self.follow_unit(key);
                }
            }
            Change::Altered(key) => self.tell_rivals(key),
            Change::Forgotten { key, .. } => {
                self.keeper.left(key);
                self.keeper.others_changed(key, &[]);
                self.os_releases.left(key);
                self.inside.left(key);
                self.units_followed.stop(key);
                self.spare_memory.freed();
            }
        }
    }

    /// What a machine has is no virtual machine's by a worse source.
    fn tell_rivals(&self, key: Key) {
        self.daemon.machines(|machines| {
            if let Some(Addresses::Listed(list)) = machines.get(key).map(|record| &record.addresses) {
                let ips: Vec<_> = list.iter().map(|address| address.ip).collect();
                self.keeper.others_changed(key, &ips);
            }
        });
    }

    /// Runs what the services do by themselves, for ever.
    pub async fn run_services(&self, notifications: Option<Notifications>) {
        tokio::join!(
            self.keeper.run(&*self.daemon, notifications),
            self.keeper.run_vms(&*self.daemon),
            self.keeper.follow_leases(),
            self.os_releases.forget_old(),
            self.inside.forget_ended(),
            self.late_maps.run(|key| self.daemon.read_maps(key)),
            self.spare_memory.run(),
            self.polkit.cancel_abandoned(),
            self.tidy_images(),
        );
    }

    /// Gives memory back that nobody needs any more, at once.
    pub fn give_memory_back(&self) {
        self.spare_memory.give_back();
    }

    /// The addresses of a machine; `None` if they are not known.
    pub(super) fn listing(&self, key: Key) -> Option<Listing> {
        self.keeper.listing(&*self.daemon, key)
    }

    /// Who hears of every change of the table of machines.
    pub fn changes(&self) -> &Announcements<Change> {
        &self.daemon.changes
    }

    /// Who hears of machines that come and go.
    pub fn announcements(&self) -> &Announcements<Announcement> {
        &self.daemon.announcements
    }
}

impl Owners for Daemon {
    type Key = Key;

    fn leader(&self, key: Key) -> Option<Rc<ProcessHandle>> {
        self.leader(key)
    }

    fn interfaces(&self, key: Key) -> Option<Vec<u32>> {
        self.interfaces(key)
    }

    fn rival(&self, key: Key, ip: IpAddr) -> Option<AddressSource> {
        self.machines(|machines| machines.rival(key, ip))
    }

    fn set_found(&self, key: Key, interfaces: Vec<u32>) {
        self.set_found(key, interfaces);
    }

    fn set_addresses(&self, key: Key, resolution: Resolution) {
        self.set_addresses(key, resolution);
    }
}

impl varlink_server::service::LogControl for Operations {
    fn log_level(&self) -> u8 {
        log::level()
    }

    fn set_log_level(&self, level: u8) {
        log::set_level(level);
    }
}
