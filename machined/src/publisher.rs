//! Carries out on disk what the table of machines demands: records, links of units, and the indexes of names, addresses,
//! control groups, ids and aliases.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, HashSet};

use registry::{
    Addresses, Alias, Directory, Error, IdKind, IdList, MachineName, Record, SHARED_ADDRESS, address_link,
    group_link, leader_link, leader_only_link,
};
use tokio::sync::watch;
use tokio::task::yield_now;
use tracing::warn;

use crate::machines::{Effect, Machines};
use crate::places::Places;

/// Brings a part of the index in line with the table.
type Part = fn(&Publisher, &Machines) -> Result<(), Error>;

/// What says that links and lists were left in line with the records; a symlink.
const IN_ORDER: &str = "in-order";

/// To be counted up whenever there are links or lists that versions before did not write: what those left is not in order.
const EDITION: u32 = 2;

/// What it leads to.
fn in_order(records: usize) -> String {
    format!("{records} records, edition {EDITION}")
}

/// The daemon's writing end of the published registry.
#[derive(Debug)]
pub struct Publisher {
    records: Directory,
    addresses: Directory,
    groups: Directory,
    leaders: Directory,
    uids: Directory,
    gids: Directory,
    aliases: Directory,
    names: Directory,
    /// Where they all lie.
    derived: Directory,
    /// Whether the table is complete. Until then it is only a part of what stands on disk, written by an earlier run,
    /// which is right; so links and lists are left alone.
    is_complete: watch::Sender<bool>,
    /// Whether links and lists were brought in line with the table.
    is_tidy: Cell<bool>,
    /// A part of an index could not be written.
    index_is_behind: Cell<bool>,
    /// Whose records could not be removed.
    obsolete: RefCell<BTreeSet<MachineName>>,
}

impl Publisher {
    /// Makes the directories where they are missing. Other software takes the first for a sign that machines can
    /// be registered and puts inotify watches on it, so that this comes before everything else.
    ///
    /// # Errors
    /// Where they can be neither made nor opened.
    pub fn open(places: &Places) -> Result<Self, Error> {
        Ok(Self {
            records: Directory::create(&places.records)?,
            addresses: Directory::create(&places.addresses)?,
            groups: Directory::create(&places.groups)?,
            leaders: Directory::create(&places.leaders)?,
            uids: Directory::create(&places.uids)?,
            gids: Directory::create(&places.gids)?,
            aliases: Directory::create(&places.aliases)?,
            names: Directory::create(&places.names)?,
            derived: Directory::create(&places.derived)?,
            is_complete: watch::Sender::new(false),
            is_tidy: Cell::new(false),
            index_is_behind: Cell::new(false),
            obsolete: RefCell::default(),
        })
    }

    /// Makes this process the only one that writes the registry, until it ends.
    ///
    /// # Errors
    /// `EAGAIN`: another one is.
    pub fn lock(&self) -> Result<(), Error> {
        self.addresses.lock()
    }

    /// The directory of the records.
    pub fn records(&self) -> &Directory {
        &self.records
    }

    /// Carries out the effects in order, whatever becomes of one of them; before [`Publisher::complete`], those
    /// on records alone.
    ///
    /// # Errors
    /// The first record or link of a unit that could not be written or removed. The indexes can be made anew from
    /// the records: what fails there is logged. That, and what could not be removed, is made good by
    /// [`Publisher::catch_up`].
    pub fn carry_out(&self, machines: &Machines, effects: &[Effect]) -> Result<(), Error> {
        let mut result = Ok(());
        let is_on_record = |effect: &Effect| matches!(effect, Effect::Publish(_) | Effect::Withdraw(_));
        for effect in effects.iter().filter(|effect| *self.is_complete.borrow() || is_on_record(effect)) {
            let done = match effect {
                Effect::Publish(key) => machines.get(*key).map_or(Ok(()), |record| self.publish(record)),
                Effect::Withdraw(name) => self.withdraw(name),
                Effect::LinkUnit(unit, name) => {
                    let link = || self.records.link_unit(unit, name);
                    link().or_else(|_| self.records.unlink_unit(unit).and_then(|()| link()))
                }
                Effect::UnlinkUnit(unit) => {
                    let unlinked = self.records.unlink_unit(unit);
                    self.index_is_behind.set(self.index_is_behind.get() || unlinked.is_err());
                    unlinked
                }
                Effect::IndexAddress(ip, name) => {
                    self.indexed(point(&self.addresses, &entry(*ip), name.as_str()));
                    Ok(())
                }
                Effect::IndexSharedAddress(ip) => {
                    self.indexed(point(&self.addresses, &entry(*ip), SHARED_ADDRESS));
                    Ok(())
                }
                Effect::UnindexAddress(ip) => {
                    self.indexed(self.addresses.unlink(&entry(*ip)));
                    Ok(())
                }
                Effect::IndexGroup(group, name) => {
                    self.indexed(point(&self.groups, &group_entry(group), name.as_str()));
                    Ok(())
                }
                Effect::UnindexGroup(group) => {
                    self.indexed(self.groups.unlink(&group_entry(group)));
                    Ok(())
                }
                Effect::IndexLeader(pid, name) => {
                    self.indexed(self.leaders.link(&leader_entry(*pid), name.as_str()));
                    Ok(())
                }
                Effect::UnindexLeader(pid) => {
                    self.indexed(self.leaders.unlink(&leader_entry(*pid)));
                    Ok(())
                }
                Effect::IndexLeaderOnly(pid) => {
                    let entry = leader_only_entry(*pid);
                    self.indexed(match machines.leader_only(*pid) {
                        Some(name) => point(&self.leaders, &entry, name.as_str()),
                        None => self.leaders.unlink(&entry),
                    });
                    Ok(())
                }
                Effect::IndexIds(kind, list) => {
                    self.indexed(self.index_ids(machines, *kind, *list));
                    Ok(())
                }
                Effect::IndexName(lower) => {
                    self.indexed(match machines.in_any_case(lower) {
                        Some(name) => point(&self.names, lower.as_str(), name.as_str()),
                        None => self.names.unlink(lower.as_str()),
                    });
                    Ok(())
                }
                Effect::IndexAlias(alias) => {
                    self.indexed(self.index_alias(machines, alias));
                    Ok(())
                }
            };
            result = result.and(done);
        }
        result
    }

    /// Writes a record. Where it would be too long, only as many addresses as fit are in it: no machine can keep its
    /// record from being written by giving itself more.
    fn publish(&self, record: &Record) -> Result<(), Error> {
        let mut result = self.records.write(record);
        let mut shorter = None;
        while result.as_ref().is_err_and(is_too_long) {
            let shorter = shorter.get_or_insert_with(|| record.clone());
            let Addresses::Listed(list) = &mut shorter.addresses else { break };
            if list.pop().is_none() {
                break;
            }
            list.truncate(list.len().saturating_sub(list.len() / 8));
            result = self.records.write(shorter);
        }
        if result.is_ok() {
            self.obsolete.borrow_mut().remove(&record.name);
        } else {
            // What only takes away does not wait for room. Where even that cannot be, the reason is the same.
            let _ = self.records.take_addresses_away(record);
        }
        result
    }

    fn withdraw(&self, name: &MachineName) -> Result<(), Error> {
        let withdrawn = self.records.remove(name);
        if withdrawn.is_err() {
            self.obsolete.borrow_mut().insert(*name);
        }
        withdrawn
    }

    fn indexed(&self, result: Result<(), Error>) {
        if result.is_err() {
            self.index_is_behind.set(true);
        }
        log(result);
    }

    fn ids(&self, kind: IdKind) -> &Directory {
        match kind {
            IdKind::User => &self.uids,
            IdKind::Group => &self.gids,
        }
    }

    fn index_ids(&self, machines: &Machines, kind: IdKind, list: IdList) -> Result<(), Error> {
        let entry = list_entry(kind, list);
        let directory = self.ids(kind);
        match machines.id_list(kind, list) {
            // Where there is no room for a new list beside the old one, there may be in its place.
            Some(text) => directory
                .put(&entry, &text)
                .or_else(|_| directory.unlink(&entry).and_then(|()| directory.put(&entry, &text))),
            None => directory.unlink(&entry),
        }
    }

    fn index_alias(&self, machines: &Machines, alias: &Alias) -> Result<(), Error> {
        match machines.alias(alias) {
            Some(name) => point(&self.aliases, alias.as_str(), name.as_str()),
            None => self.aliases.unlink(alias.as_str()),
        }
    }

    /// Removes what could not be removed, and writes the indexes anew if a part of them could not be written.
    pub fn catch_up(&self, machines: &Machines) {
        self.obsolete.borrow_mut().retain(|name| self.records.remove(name).is_err());
        if self.index_is_behind.take() && self.tidy_index(machines).is_err() {
            self.index_is_behind.set(true);
        }
    }

    /// Whether [`Publisher::catch_up`] has something to do.
    pub fn is_behind(&self) -> bool {
        self.index_is_behind.get() || !self.obsolete.borrow().is_empty()
    }

    /// All records were read: from now on links and lists follow the table.
    pub fn complete(&self) {
        self.is_complete.send_replace(true);
    }

    /// Waits until all records were read.
    pub async fn completed(&self) {
        // The sender cannot go meanwhile.
        let _ = self.is_complete.subscribe().wait_for(|is_complete| *is_complete).await;
    }

    /// Whether an earlier run left links and lists in line with so many records. That is known once: from now on they may
    /// not be.
    pub fn was_left_in_order(&self, records: usize) -> bool {
        self.derived.take(IN_ORDER).is_ok_and(|left| left == Some(in_order(records)))
    }

    /// Says that links and lists are in line with so many records, as the last thing that is done, if they are.
    pub fn leave_in_order(&self, records: usize) {
        if self.is_tidy.get() && !self.is_behind() {
            log(self.derived.link(IN_ORDER, &in_order(records)));
        }
    }

    /// Brings links and lists in line with the table, for what happened while no daemon ran. Others get their turn
    /// before each part, and what they change is carried out as ever.
    pub async fn tidy(&self, machines: &RefCell<Machines>) {
        for part in Self::INDEX {
            yield_now().await;
            self.indexed(part(self, &machines.borrow()));
        }
        self.is_tidy.set(true);
    }

    const INDEX: [Part; 6] = [
        Self::tidy_units,
        Self::tidy_names,
        Self::tidy_addresses,
        Self::tidy_groups,
        Self::tidy_leaders,
        Self::tidy_ids,
    ];

    fn tidy_index(&self, machines: &Machines) -> Result<(), Error> {
        Self::INDEX.iter().map(|part| part(self, machines)).fold(Ok(()), Result::and)
    }

    fn tidy_units(&self, machines: &Machines) -> Result<(), Error> {
        let units = machines.units().map(|(unit, name)| (unit.to_owned(), name)).collect();
        let link = |unit: &str, name: &MachineName| self.records.link_unit(unit, name);
        tidy_links(self.records.unit_links()?, units, MachineName::as_str, link, |unit| {
            self.records.unlink_unit(unit)
        })
    }

    fn tidy_names(&self, machines: &Machines) -> Result<(), Error> {
        let names = machines.in_lower_case().map(|(lower, name)| (lower.as_str().to_owned(), name));
        tidy_directory(&self.names, names.collect(), MachineName::as_str)
    }

    fn tidy_addresses(&self, machines: &Machines) -> Result<(), Error> {
        fn target(name: &Option<MachineName>) -> &str {
            name.as_ref().map_or(SHARED_ADDRESS, MachineName::as_str)
        }
        let index = machines.index().map(|(ip, name)| (entry(ip), name)).collect();
        tidy_directory(&self.addresses, index, target)
    }

    fn tidy_groups(&self, machines: &Machines) -> Result<(), Error> {
        let groups = machines.groups().map(|(group, name)| (group_entry(group), name)).collect();
        tidy_directory(&self.groups, groups, MachineName::as_str)
    }

    fn tidy_leaders(&self, machines: &Machines) -> Result<(), Error> {
        let alone = machines.lone_leaders().map(|(pid, name)| (leader_entry(pid), name));
        let only = machines.leaders_only().map(|(pid, name)| (leader_only_entry(pid), name));
        tidy_directory(&self.leaders, alone.chain(only).collect(), MachineName::as_str)
    }

    fn tidy_ids(&self, machines: &Machines) -> Result<(), Error> {
        for kind in [IdKind::User, IdKind::Group] {
            let mut obsolete: HashSet<_> = self.ids(kind).entries()?.into_iter().collect();
            for list in machines.id_lists(kind) {
                self.index_ids(machines, kind, list)?;
                obsolete.remove(&list_entry(kind, list));
            }
            obsolete.iter().try_for_each(|entry| self.ids(kind).unlink(entry))?;
        }
        for entry in self.aliases.entries()? {
            if Alias::parse(entry.as_bytes()).is_none_or(|alias| machines.alias(&alias).is_none()) {
                self.aliases.unlink(&entry)?;
            }
        }
        machines.aliases().try_for_each(|alias| self.index_alias(machines, alias))
    }
}

/// Points a link at a machine. Where there is no room for a new link beside the old one, there may be in its place; and if not,
/// it leads to nobody any more.
fn point(directory: &Directory, entry: &str, target: &str) -> Result<(), Error> {
    let link = || directory.link(entry, target);
    link().or_else(|_| directory.unlink(entry).and_then(|()| link()))
}

fn tidy_directory<T>(
    directory: &Directory,
    index: HashMap<String, T>,
    target: impl Fn(&T) -> &str,
) -> Result<(), Error> {
    let link = |entry: &str, to: &T| point(directory, entry, target(to));
    tidy_links(directory.links()?, index, &target, link, |entry| directory.unlink(entry))
}

/// Makes these the links, and no others of those there are.
fn tidy_links<T>(
    links: Vec<(String, String)>,
    mut index: HashMap<String, T>,
    target: impl Fn(&T) -> &str,
    make: impl Fn(&str, &T) -> Result<(), Error>,
    remove: impl Fn(&str) -> Result<(), Error>,
) -> Result<(), Error> {
    for (link, is) in links {
        match index.remove(&link) {
            Some(to) if target(&to) == is => {}
            Some(to) => make(&link, &to)?,
            None => remove(&link)?,
        }
    }
    index.iter().try_for_each(|(link, to)| make(link, to))
}

fn is_too_long(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::FileTooLarge)
}

/// The name of an address's link within its directory.
fn entry(ip: std::net::IpAddr) -> String {
    last_part(&address_link(ip))
}

/// The name of a control group's link within its directory.
fn group_entry(group: &str) -> String {
    last_part(&group_link(group.as_bytes()))
}

/// The name of a leader's link within its directory.
fn leader_entry(pid: i32) -> String {
    last_part(&leader_link(pid.unsigned_abs()))
}

/// The name of the link of a leader of which nobody else is known to belong to its machine.
fn leader_only_entry(pid: i32) -> String {
    last_part(&leader_only_link(pid.unsigned_abs()))
}

/// The name of a list within its directory.
fn list_entry(kind: IdKind, list: IdList) -> String {
    last_part(&list.path(kind))
}

fn last_part(path: &registry::Path) -> String {
    let path = path.as_c_str().to_string_lossy();
    path.rsplit_once('/').map_or_else(String::new, |(_, entry)| entry.to_owned())
}

fn log(result: Result<(), Error>) {
    if let Err(error) = result {
        warn!("{}", crate::log::with_causes(&error));
    }
}
