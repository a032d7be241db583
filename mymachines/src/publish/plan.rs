//! What has to change in zones so that they have what is wanted, and each of those changes as an update of DNS: RFC 2136, whose
//! prerequisites see to it that nothing changes where something else is there than what was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

use super::machines::Wanted;
use super::name::DnsName;
use super::ownership::{Host, Ownership};
use super::zone::{Node, Owner, Zone};

/// How many records an update has at most; it is sent as one message of 64 KiB.
const RECORDS_MAX: usize = 600;

/// What is known of the zones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// This host.
    pub host: Host,
    /// Where the names are.
    pub zone: Zone,
    /// Where the names of addresses are.
    pub reverse: Vec<Zone>,
}

/// A change that is made whole, or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A name that nobody has is this host's.
    Claim { name: DnsName, addresses: BTreeSet<IpAddr> },
    /// This host's name has these addresses.
    Readdress { name: DnsName, addresses: BTreeSet<IpAddr> },
    /// A name that this host has published is gone.
    Remove { name: DnsName, host: Host },
    /// The record of a host is gone, which has expired and has no names any more.
    Forget { host: Host },
    /// An address leads to this name, and led to the other one before, or nowhere.
    Point { address: IpAddr, name: DnsName, before: Option<DnsName> },
    /// An address leads nowhere any more.
    Unpoint { address: IpAddr, before: DnsName },
}

impl Change {
    /// At what name it is.
    pub fn name(&self, view: &View) -> Option<DnsName> {
        match self {
            Self::Claim { name, .. } | Self::Readdress { name, .. } | Self::Remove { name, .. } => {
                Some(name.clone())
            }
            Self::Forget { host } => host.record(&view.zone.name),
            Self::Point { address, .. } | Self::Unpoint { address, .. } => {
                Some(DnsName::of_address(*address))
            }
        }
    }

    fn records(&self) -> usize {
        match self {
            Self::Claim { addresses, .. } | Self::Readdress { addresses, .. } => {
                addresses.len().saturating_add(4)
            }
            _ => 4,
        }
    }
}

/// Changes in one zone that are sent together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Update {
    /// Which zone.
    pub zone: DnsName,
    /// The changes.
    pub changes: Vec<Change>,
}

/// What is to be done next. What has to come after it is planned when it is done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Updates, which depend on nothing of one another.
    pub updates: Vec<Update>,
    /// What cannot be done, and why.
    pub complaints: BTreeSet<String>,
}

/// Plans. An address leads to no name that is not there: such records go first and come last. Without `wanted` it is not known
/// what this host's names are, and they stay as they are; names in `postponed` are left alone.
pub fn plan(view: &View, wanted: Option<&Wanted>, postponed: &BTreeSet<DnsName>, now: u64) -> Plan {
    let mut plan = Plan::default();
    let mut forward = forward(view, wanted, now, &mut plan.complaints);
    forward.retain(|change| !is_postponed(change, view, postponed));
    let by_zone = |change: Change| {
        let name = change.name(view)?;
        Some((reverse_zone(view, &name)?.name.clone(), change))
    };
    let unpoint = unpoint(view, wanted, now).into_iter();
    let unpoint = unpoint.filter(|change| !is_postponed(change, view, postponed)).filter_map(by_zone);
    plan.updates = updates(unpoint);
    let point = point(view, wanted, &mut plan.complaints).into_iter();
    if plan.updates.is_empty() {
        plan.updates = updates(forward.into_iter().map(|change| (view.zone.name.clone(), change)));
    }
    if plan.updates.is_empty() {
        plan.updates =
            updates(point.filter(|change| !is_postponed(change, view, postponed)).filter_map(by_zone));
    }
    plan
}

fn is_postponed(change: &Change, view: &View, postponed: &BTreeSet<DnsName>) -> bool {
    change.name(view).is_none_or(|name| postponed.contains(&name))
}

/// Puts together what goes into one message.
fn updates(changes: impl Iterator<Item = (DnsName, Change)>) -> Vec<Update> {
    let mut by_zone: BTreeMap<DnsName, Vec<Update>> = BTreeMap::new();
    let mut records: BTreeMap<DnsName, usize> = BTreeMap::new();
    for (zone, change) in changes {
        let count = records.entry(zone.clone()).or_default();
        let updates = by_zone.entry(zone.clone()).or_default();
        *count = count.saturating_add(change.records());
        match updates.last_mut() {
            Some(update) if *count <= RECORDS_MAX => update.changes.push(change),
            _ => {
                *count = change.records();
                updates.push(Update { zone, changes: vec![change] });
            }
        }
    }
    by_zone.into_values().flatten().collect()
}

/// Whether what a host has published may be removed: its time is over, or its record is gone.
fn is_expired(view: &View, host: &Host, now: u64) -> bool {
    *host != view.host
        && match view.zone.ownership(host) {
            None => true,
            Some(Owner::Host(ownership)) => ownership.expires < now,
            Some(Owner::Stranger) => false,
        }
}

/// Changes of names.
fn forward(view: &View, wanted: Option<&Wanted>, now: u64, complaints: &mut BTreeSet<String>) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut hosts = BTreeSet::new();
    for (name, node) in &view.zone.nodes {
        let Some(host) = node.host() else { continue };
        let is_wanted = wanted.is_none_or(|wanted| wanted.names.contains_key(name));
        if is_expired(view, &host, now) || (host == view.host && !is_wanted) {
            changes.push(Change::Remove { name: name.clone(), host: host.clone() });
        }
        hosts.insert(host);
    }
    for name in view.zone.nodes.keys() {
        if let Some(host) = Host::of_record(name, &view.zone.name)
            && !hosts.contains(&host)
            && matches!(view.zone.ownership(&host), Some(Owner::Host(_)))
            && is_expired(view, &host, now)
        {
            changes.push(Change::Forget { host });
        }
    }
    for (name, addresses) in wanted.iter().flat_map(|wanted| &wanted.names) {
        let addresses = addresses.clone();
        let Some(node) = view.zone.nodes.get(name) else {
            changes.push(Change::Claim { name: name.clone(), addresses });
            continue;
        };
        match node.host() {
            Some(host) if host == view.host => {
                if node.addresses != addresses {
                    changes.push(Change::Readdress { name: name.clone(), addresses });
                }
            }
            // It is removed first.
            Some(host) if is_expired(view, &host, now) => {}
            Some(host) => {
                complaints.insert(format!(
                    "{name} is left out: the host {host} came first and has this name; rename one of the two machines"
                ));
            }
            None => {
                complaints.insert(format!(
                    "{name} is left out: the zone has records of this name that are none of mymachines'; rename the machine, or remove them"
                ));
            }
        }
    }
    changes
}

/// The zone of the name of an address.
fn reverse_zone<'a>(view: &'a View, name: &DnsName) -> Option<&'a Zone> {
    view.reverse.iter().filter(|zone| name.is_below(&zone.name)).max_by_key(|zone| zone.name.labels())
}

/// Addresses that lead to names which go, or do not have them any more.
fn unpoint(view: &View, wanted: Option<&Wanted>, now: u64) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, node) in view.reverse.iter().flat_map(|zone| &zone.nodes) {
        let (Some(address), Some(target)) = (name.address(), node.pointer()) else { continue };
        let Some(host) = view.zone.nodes.get(target).and_then(Node::host) else { continue };
        let is_wanted = wanted.is_none_or(|wanted| {
            wanted.names.get(target).is_some_and(|addresses| addresses.contains(&address))
        });
        if is_expired(view, &host, now) || (host == view.host && !is_wanted) {
            changes.push(Change::Unpoint { address, before: target.clone() });
        }
    }
    changes
}

/// Addresses of this host's names that do not lead to them yet.
fn point(view: &View, wanted: Option<&Wanted>, complaints: &mut BTreeSet<String>) -> Vec<Change> {
    let mut changes = Vec::new();
    let is_own =
        |name: &DnsName| view.zone.nodes.get(name).and_then(Node::host).is_some_and(|host| host == view.host);
    let wanted = wanted.iter().flat_map(|wanted| &wanted.names).filter(|(name, _)| is_own(name));
    let mut pointed = BTreeSet::new();
    for (name, &address) in wanted.flat_map(|(name, addresses)| addresses.iter().map(move |a| (name, a))) {
        let at = DnsName::of_address(address);
        let Some(zone) = reverse_zone(view, &at) else { continue };
        let pointers = zone.nodes.get(&at).filter(|node| !node.pointers.is_empty());
        let before = match pointers.map(Node::pointer) {
            None => None,
            Some(Some(before)) if before == name || is_own(before) => continue,
            // What it led to is gone.
            Some(Some(before))
                if before.is_below(&view.zone.name) && !view.zone.nodes.contains_key(before) =>
            {
                Some(before.clone())
            }
            Some(other) => {
                let other = other.map_or("something else", DnsName::as_str);
                complaints.insert(format!(
                    "{address} does not lead to {name}: its PTR record leads to {other}; remove that if it is wrong"
                ));
                continue;
            }
        };
        // Of several machines of this host with one address it leads to the first.
        if pointed.insert(address) {
            changes.push(Change::Point { address, name: name.clone(), before });
        }
    }
    changes
}

/// An update as nsupdate(1) reads it. Nothing is in it but checked names, addresses, numbers and texts made of these.
pub fn script(update: &Update, view: &View, ttl: u32) -> String {
    let mut text = format!("zone {}.\n", update.zone);
    if update.zone == view.zone.name {
        for host in guards(update, view) {
            let Some(record) = host.record(&view.zone.name) else { continue };
            match view.zone.ownership(host) {
                Some(Owner::Host(ownership)) => has_text(&mut text, &record, &ownership.to_string()),
                _ => put(&mut text, format_args!("prereq nxdomain {record}.")),
            }
        }
    }
    for change in &update.changes {
        write(&mut text, change, view, ttl);
    }
    text.push_str("send\n");
    text
}

/// The hosts whose records have to be as they were seen: this one's, and those of whom something is removed.
fn guards<'a>(update: &'a Update, view: &'a View) -> BTreeSet<&'a Host> {
    let others = update.changes.iter().filter_map(|change| match change {
        Change::Remove { host, .. } | Change::Forget { host } => Some(host),
        _ => None,
    });
    others.chain([&view.host]).collect()
}

/// The update by which a host says until when it publishes, in the place of what it said before.
pub fn own_script(
    view: &View,
    before: Option<Ownership>,
    after: Option<Ownership>,
    ttl: u32,
) -> Option<String> {
    let record = view.host.record(&view.zone.name)?;
    let mut text = format!("zone {}.\n", view.zone.name);
    match before {
        Some(before) => {
            has_text(&mut text, &record, &before.to_string());
            put(&mut text, format_args!("update delete {record}. IN TXT"));
        }
        None => put(&mut text, format_args!("prereq nxdomain {record}.")),
    }
    if let Some(after) = after {
        put(&mut text, format_args!("update add {record}. {ttl} IN TXT \"{after}\""));
    }
    text.push_str("send\n");
    Some(text)
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    // A String takes everything.
    let _ = writeln!(text, "{line}");
}

fn has_text(text: &mut String, name: &DnsName, value: &str) {
    put(text, format_args!("prereq yxrrset {name}. IN TXT \"{value}\""));
}

fn write(text: &mut String, change: &Change, view: &View, ttl: u32) {
    let add_addresses = |text: &mut String, name: &DnsName, addresses: &BTreeSet<IpAddr>| {
        for address in addresses {
            let kind = if address.is_ipv4() { "A" } else { "AAAA" };
            put(text, format_args!("update add {name}. {ttl} IN {kind} {address}"));
        }
    };
    let delete = |text: &mut String, name: &DnsName, kinds: &[&str]| {
        for kind in kinds {
            put(text, format_args!("update delete {name}. IN {kind}"));
        }
    };
    match change {
        Change::Claim { name, addresses } => {
            put(text, format_args!("prereq nxdomain {name}."));
            add_addresses(text, name, addresses);
            put(text, format_args!("update add {name}. {ttl} IN TXT \"{}\"", view.host.text()));
        }
        Change::Readdress { name, addresses } => {
            has_text(text, name, &view.host.text());
            delete(text, name, &["A", "AAAA"]);
            add_addresses(text, name, addresses);
        }
        Change::Remove { name, host } => {
            has_text(text, name, &host.text());
            delete(text, name, &["A", "AAAA", "TXT"]);
        }
        Change::Forget { host } => {
            if let Some(record) = host.record(&view.zone.name) {
                delete(text, &record, &["TXT"]);
            }
        }
        Change::Point { address, name, before } => {
            let at = DnsName::of_address(*address);
            match before {
                Some(before) => {
                    put(text, format_args!("prereq yxrrset {at}. IN PTR {before}."));
                    delete(text, &at, &["PTR"]);
                }
                None => put(text, format_args!("prereq nxrrset {at}. IN PTR")),
            }
            put(text, format_args!("update add {at}. {ttl} IN PTR {name}."));
        }
        Change::Unpoint { address, before } => {
            let at = DnsName::of_address(*address);
            put(text, format_args!("prereq yxrrset {at}. IN PTR {before}."));
            delete(text, &at, &["PTR"]);
        }
    }
}

impl View {
    /// Takes in a change that the server has made.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Claim { name, addresses } => {
                let node = Node {
                    addresses: addresses.clone(),
                    texts: vec![Some(self.host.text())],
                    ..Node::default()
                };
                self.zone.nodes.insert(name.clone(), node);
            }
            Change::Readdress { name, addresses } => {
                if let Some(node) = self.zone.nodes.get_mut(name) {
                    node.addresses.clone_from(addresses);
                }
            }
            // If something else is there, the next look will tell.
            Change::Remove { name, .. } => {
                self.zone.nodes.remove(name);
            }
            Change::Forget { host } => {
                if let Some(record) = host.record(&self.zone.name) {
                    self.zone.nodes.remove(&record);
                }
            }
            Change::Point { address, .. } | Change::Unpoint { address, .. } => {
                let at = DnsName::of_address(*address);
                let Some(zone) = reverse_zone(self, &at).map(|zone| zone.name.clone()) else { return };
                let Some(zone) = self.reverse.iter_mut().find(|of| of.name == zone) else { return };
                match change {
                    Change::Point { name, .. } => {
                        let node = Node { pointers: vec![Some(name.clone())], ..Node::default() };
                        zone.nodes.insert(at, node);
                    }
                    _ => {
                        zone.nodes.remove(&at);
                    }
                }
            }
        }
    }

    /// Takes in what this host has said of itself.
    pub fn own(&mut self, ownership: Option<Ownership>) {
        let Some(record) = self.host.record(&self.zone.name) else { return };
        match ownership {
            Some(ownership) => {
                let node = Node { texts: vec![Some(ownership.to_string())], ..Node::default() };
                self.zone.nodes.insert(record, node);
            }
            None => {
                self.zone.nodes.remove(&record);
            }
        }
    }

    /// When the first of the other hosts expires.
    pub fn next_expiry(&self) -> Option<u64> {
        let hosts = self.zone.nodes.keys().filter_map(|name| Host::of_record(name, &self.zone.name));
        let others = hosts.filter(|host| *host != self.host);
        let expiries = others.filter_map(|host| match self.zone.ownership(&host) {
            Some(Owner::Host(ownership)) => Some(ownership.expires),
            _ => None,
        });
        expiries.min()
    }
}

#[cfg(test)]
mod tests;
