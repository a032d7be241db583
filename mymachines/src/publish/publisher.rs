//! Keeps zones as what the daemon tells: looks, plans, sends, and begins anew where something was not as it was seen.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use super::machines::{Machines, Told, Wanted};
use super::name::DnsName;
use super::network::Network;
use super::ownership::{Host, Ownership};
use super::plan::{Change, Update, View, own_script, plan, script};
use super::server::{Server, Trouble};
use super::zone::{Owner, Zone};
use crate::failure::Failure;

/// How often zones are looked at when nothing happens: somebody may have changed them, or have given a name back.
const LOOK: Duration = Duration::from_secs(60);
/// How long to wait before a server that did not answer is asked again: at first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(15)];
/// After so many turns something keeps undoing what is done.
const TURNS_MAX: usize = 64;

/// What is to be published, where and how.
#[derive(Debug)]
pub struct Settings {
    /// The zone of the names.
    pub zone: DnsName,
    /// Addresses that may be in it.
    pub networks: Vec<Network>,
    /// The zones of the names of addresses; none: the server is asked.
    pub reverse: Vec<DnsName>,
    /// What this host is called.
    pub host: Host,
    /// Which host it is, whatever it is called.
    pub id: u64,
    /// How long what is published stays when this host is gone, in seconds.
    pub expiry: u64,
    /// How long others may remember it, in seconds.
    pub ttl: u32,
    /// Whether each change is told.
    pub is_verbose: bool,
}

/// Why it stops.
enum Stop {
    /// For good.
    Failure(Failure),
    /// Until the server is asked again.
    Trouble(String),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Here(failure) => Self::Failure(failure),
            Trouble::Refused(reason) => Self::Trouble(reason),
            Trouble::Away(reason) => Self::Trouble(format!("no answer: {reason}")),
            Trouble::NotAsSeen => Self::Trouble("what is in the zone changes all the time".into()),
        }
    }
}

/// A publisher at work.
pub struct Publisher {
    settings: Settings,
    server: Server,
    run: u64,
    machines: Machines,
    /// Whether the daemon has told what machines there are.
    is_told: bool,
    /// Whether that was said to be away.
    is_daemon_away: bool,
    view: Option<View>,
    /// What this run has said of itself.
    held: Option<Ownership>,
    /// Names for which the server refused something, until it is looked at again.
    postponed: BTreeSet<DnsName>,
    /// What went wrong since it was looked at, and what the last turn left out.
    refusals: BTreeSet<String>,
    complaints: BTreeSet<String>,
    /// What of these was said, so that it is said once.
    said: BTreeSet<String>,
    trouble: Option<String>,
    pause: Duration,
    has_begun: bool,
}

impl Publisher {
    /// One that has done nothing yet.
    pub fn new(settings: Settings, server: Server, run: u64) -> Self {
        Self {
            settings,
            server,
            run,
            machines: Machines::default(),
            is_told: false,
            is_daemon_away: false,
            view: None,
            held: None,
            postponed: BTreeSet::new(),
            refusals: BTreeSet::new(),
            complaints: BTreeSet::new(),
            said: BTreeSet::new(),
            trouble: None,
            pause: Duration::ZERO,
            has_begun: false,
        }
    }

    /// Publishes what the daemon tells.
    ///
    /// # Errors
    /// Why it cannot go on.
    pub fn publish(mut self, stream: &Receiver<Told>) -> Result<u8, Failure> {
        let mut due = Instant::now();
        loop {
            match stream.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(told) => {
                    self.take(told);
                    while let Ok(told) = stream.try_recv() {
                        self.take(told);
                    }
                    // A server that does not answer is not asked again for each change.
                    if self.trouble.is_some() && Instant::now() < due {
                        continue;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.view = None,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::new("the thread that follows machined has ended"));
                }
            }
            let wait = self.turn()?;
            due = Instant::now().checked_add(wait).unwrap_or(due);
        }
    }

    /// Takes away all that this host has published.
    ///
    /// # Errors
    /// Why it is still there.
    pub fn withdraw(mut self) -> Result<u8, Failure> {
        let result = self.settle(Some(&Wanted::default())).and_then(|()| {
            let Some(view) = &self.view else { return Ok(()) };
            let text = own_script(view, self.held, None, self.settings.ttl);
            text.map_or(Ok(()), |text| self.server.update(&text).map_err(Stop::from))
        });
        match result {
            Ok(()) => match self.refusals.first() {
                None => Ok(0),
                Some(first) => Err(Failure::new(format!("not all could be taken away: {first}"))),
            },
            Err(Stop::Failure(failure)) => Err(failure),
            Err(Stop::Trouble(reason)) => Err(Failure::new(format!("{}: {reason}", self.server))),
        }
    }

    fn take(&mut self, told: Told) {
        match told {
            Told::All(machines) => {
                self.machines = Machines::default();
                self.machines.apply(machines);
                self.is_told = true;
                if std::mem::take(&mut self.is_daemon_away) {
                    eprintln!("mymachines: machined is back");
                }
            }
            Told::Changes(changes) => self.machines.apply(changes),
            Told::Away(reason) => {
                if !std::mem::replace(&mut self.is_daemon_away, true) {
                    eprintln!(
                        "mymachines: machined is away, what is published stays until it is back: {reason}"
                    );
                }
            }
        }
    }

    /// Does what there is to do, and tells how long there is nothing.
    fn turn(&mut self) -> Result<Duration, Failure> {
        let wanted = self.is_told.then(|| self.machines.wanted(&self.settings.zone, &self.settings.networks));
        match self.settle(wanted.as_ref()) {
            Ok(()) => {
                if self.trouble.take().is_some() {
                    eprintln!("mymachines: the server {} does what it is asked for again", self.server);
                }
                self.pause = Duration::ZERO;
                self.say(wanted);
                Ok(self.until_next())
            }
            Err(Stop::Failure(failure)) => Err(failure),
            Err(Stop::Trouble(reason)) => {
                self.view = None;
                let [first, most] = PAUSES;
                self.pause = self.pause.saturating_mul(2).clamp(first, most);
                if self.trouble.as_ref() != Some(&reason) {
                    eprintln!("mymachines: the server {}: {reason}", self.server);
                    if self.trouble.is_none() {
                        eprintln!(
                            "            it is asked again until it does what it should; what is published stays meanwhile"
                        );
                    }
                    self.trouble = Some(reason);
                }
                Ok(self.pause)
            }
        }
    }

    /// Says what was not said before, and forgets what does not hold any more.
    fn say(&mut self, wanted: Option<Wanted>) {
        let mut complaints = std::mem::take(&mut self.complaints);
        complaints.extend(wanted.map(|wanted| wanted.complaints).unwrap_or_default());
        complaints.extend(self.refusals.iter().cloned());
        for complaint in complaints.difference(&self.said) {
            eprintln!("mymachines: {complaint}");
        }
        self.said = complaints;
        if !self.has_begun && self.is_told {
            self.has_begun = true;
            let Settings { zone, host, .. } = &self.settings;
            let count = self.view.as_ref().map_or(0, |view| {
                view.zone.nodes.values().filter(|node| node.host().as_ref() == Some(host)).count()
            });
            eprintln!("mymachines: {zone} has {count} names of this host, which is '{host}' there");
        }
    }

    /// How long there is nothing to do if nothing changes.
    fn until_next(&self) -> Duration {
        let now = now();
        let half = self.held.map_or(0, |held| held.expires.saturating_sub(self.settings.expiry / 2));
        let other = self.view.as_ref().and_then(View::next_expiry).filter(|&expires| expires >= now);
        let other = other.map_or(u64::MAX, |expires| expires.saturating_add(1));
        Duration::from_secs(half.min(other).saturating_sub(now)).clamp(Duration::from_secs(1), LOOK)
    }

    /// Brings the zones to what is wanted, or leaves this host's names as they are if that is not known.
    fn settle(&mut self, wanted: Option<&Wanted>) -> Result<(), Stop> {
        let mut has_looked_twice = false;
        for _ in 0..TURNS_MAX {
            let view = match self.view.take() {
                Some(view) => view,
                None => self.look()?,
            };
            let view = self.view.insert(view);
            match own(view, &self.settings, self.run, self.held, now())? {
                None => {}
                Some(renewal) => {
                    let text = own_script(view, renewal.before, Some(renewal.after), self.settings.ttl);
                    match self.server.update(&text.unwrap_or_default()) {
                        Ok(()) => {
                            view.own(Some(renewal.after));
                            self.held = Some(renewal.after);
                        }
                        Err(Trouble::NotAsSeen) if !has_looked_twice => {
                            has_looked_twice = true;
                            self.view = None;
                            continue;
                        }
                        Err(trouble) => return Err(trouble.into()),
                    }
                }
            }
            let plan = plan(view, wanted, &self.postponed, now());
            if plan.updates.is_empty() {
                self.complaints = plan.complaints;
                return Ok(());
            }
            for update in plan.updates {
                if !self.send(update, has_looked_twice)? {
                    has_looked_twice = true;
                    self.view = None;
                    break;
                }
            }
        }
        Err(Stop::Trouble("somebody else undoes what is done".into()))
    }

    /// Sends an update, and in halves what is not taken as a whole. False: the zone is to be looked at again first.
    fn send(&mut self, update: Update, has_looked_twice: bool) -> Result<bool, Stop> {
        let mut waiting = vec![update];
        while let Some(mut update) = waiting.pop() {
            let Some(view) = &mut self.view else { return Ok(false) };
            let reason = match self.server.update(&script(&update, view, self.settings.ttl)) {
                Ok(()) => {
                    for change in &update.changes {
                        view.apply(change);
                        if self.settings.is_verbose {
                            tell(change);
                        }
                    }
                    continue;
                }
                Err(Trouble::NotAsSeen) if !has_looked_twice => return Ok(false),
                Err(Trouble::NotAsSeen) => "it is not as it was seen".to_owned(),
                Err(Trouble::Refused(reason)) if update.zone != view.zone.name => {
                    self.refusals.insert(format!("{} stays as it is: {reason}", update.zone));
                    view.reverse.retain(|zone| zone.name != update.zone);
                    continue;
                }
                Err(Trouble::Refused(reason)) => reason,
                Err(trouble) => return Err(trouble.into()),
            };
            let half = update.changes.len() / 2;
            if half > 0 {
                let changes = update.changes.split_off(half);
                waiting.push(Update { zone: update.zone.clone(), changes });
                waiting.push(update);
                continue;
            }
            for name in update.changes.iter().filter_map(|change| change.name(view)) {
                self.refusals.insert(format!("{name} stays as it is: {reason}"));
                self.postponed.insert(name);
            }
        }
        Ok(true)
    }

    /// Looks at the zones.
    fn look(&mut self) -> Result<View, Stop> {
        self.postponed.clear();
        self.refusals.clear();
        let zone = self.server.transfer(&self.settings.zone)?;
        let mut reverse: Vec<Zone> = Vec::new();
        for name in self.reverse_zones()? {
            match self.server.transfer(&name) {
                Ok(zone) => reverse.push(zone),
                Err(Trouble::Refused(reason)) => {
                    self.refusals.insert(format!("addresses in {name} do not lead to names: {reason}"));
                }
                Err(trouble) => return Err(trouble.into()),
            }
        }
        Ok(View { host: self.settings.host.clone(), zone, reverse })
    }

    /// The zones that addresses of the networks have their names in.
    fn reverse_zones(&mut self) -> Result<Vec<DnsName>, Stop> {
        if !self.settings.reverse.is_empty() {
            return Ok(self.settings.reverse.clone());
        }
        let mut zones = BTreeSet::new();
        for network in &self.settings.networks {
            let found = self.server.zones_of(&network.reverse_names())?;
            if found.is_empty() {
                self.refusals.insert(format!(
                    "addresses in {network} do not lead to names: the server is not known to have a zone for these; name it by --reverse-zone"
                ));
            }
            zones.extend(found);
        }
        Ok(zones.into_iter().collect())
    }
}

/// What a host says of itself, and what it said before.
struct Renewal {
    before: Option<Ownership>,
    after: Ownership,
}

/// Whether this host has to say anew until when it publishes.
fn own(
    view: &View,
    settings: &Settings,
    run: u64,
    held: Option<Ownership>,
    now: u64,
) -> Result<Option<Renewal>, Stop> {
    let Settings { zone, host, id, expiry, .. } = settings;
    let after = Ownership { id: *id, run, expires: now.saturating_add(*expiry) };
    let fail = |text: String, hint: &str| Err(Stop::Failure(Failure::with_hint(text, hint)));
    let before = match view.zone.ownership(host) {
        None => None,
        Some(Owner::Stranger) => {
            return fail(
                format!("the record of '{host}' in {zone} is not written by mymachines"),
                "--host gives this host another name there",
            );
        }
        Some(Owner::Host(there)) if there.run == run => {
            if there.expires.saturating_sub(now) > expiry / 2 {
                return Ok(None);
            }
            Some(there)
        }
        Some(Owner::Host(there)) if there.id == *id => {
            if held.is_some() {
                return fail(
                    format!("somebody else publishes as '{host}' in {zone} now"),
                    "one publisher for a zone and a host is enough; hosts that were copied need machine ids of their own, machine-id(5)",
                );
            }
            Some(there)
        }
        Some(Owner::Host(there)) if there.expires < now => Some(there),
        Some(Owner::Host(_)) => {
            return fail(
                format!("another host publishes as '{host}' in {zone}"),
                "--host gives this host another name there",
            );
        }
    };
    Ok(Some(Renewal { before, after }))
}

fn tell(change: &Change) {
    match change {
        Change::Claim { name, addresses } | Change::Readdress { name, addresses } => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            eprintln!("mymachines: {name} is {}", addresses.join(", "));
        }
        Change::Remove { name, host } => eprintln!("mymachines: {name} of {host} is gone"),
        Change::Forget { host } => eprintln!("mymachines: the host {host} is gone"),
        Change::Point { address, name, .. } => eprintln!("mymachines: {address} leads to {name}"),
        Change::Unpoint { address, .. } => eprintln!("mymachines: {address} leads nowhere"),
    }
}

/// Seconds of Unix time.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 10_000;

    fn settings() -> Settings {
        Settings {
            zone: DnsName::new("z").unwrap(),
            networks: Vec::new(),
            reverse: Vec::new(),
            host: Host::new("alpha").unwrap(),
            id: 1,
            expiry: 600,
            ttl: 30,
            is_verbose: false,
        }
    }

    /// Whether a host with this record renews it, and what it said before; or why it gives up.
    fn renews(record: Option<&str>, held: bool) -> Result<Option<Option<u64>>, String> {
        let soa = "z. 60 IN SOA ns. root. 7 60 60 60 60\n";
        let record =
            record.map(|text| format!("alpha._mymachines.z. 30 IN TXT \"{text}\"\n")).unwrap_or_default();
        let settings = settings();
        let zone = Zone::read(&settings.zone, &format!("{soa}{record}{soa}")).unwrap();
        let view = View { host: settings.host.clone(), zone, reverse: Vec::new() };
        let held = held.then_some(Ownership { id: 1, run: 7, expires: NOW });
        match own(&view, &settings, 7, held, NOW) {
            Ok(renewal) => Ok(renewal.map(|renewal| {
                assert_eq!(renewal.after, Ownership { id: 1, run: 7, expires: NOW + 600 });
                renewal.before.map(|before| before.expires)
            })),
            Err(Stop::Failure(failure)) => Err(failure.to_string()),
            Err(Stop::Trouble(reason)) => Err(reason),
        }
    }

    fn ownership(id: u64, run: u64, expires: u64) -> String {
        Ownership { id, run, expires }.to_string()
    }

    #[test]
    fn a_record_is_renewed_at_half_time() {
        assert_eq!(renews(None, false), Ok(Some(None)));
        assert_eq!(renews(Some(&ownership(1, 7, NOW + 301)), true), Ok(None));
        assert_eq!(renews(Some(&ownership(1, 7, NOW + 300)), true), Ok(Some(Some(NOW + 300))));
        assert_eq!(renews(Some(&ownership(1, 7, NOW - 9)), true), Ok(Some(Some(NOW - 9))));
        // It expired, and another host has removed it.
        assert_eq!(renews(None, true), Ok(Some(None)));
    }

    #[test]
    fn an_earlier_run_is_followed_and_a_later_one_gives_way() {
        assert_eq!(renews(Some(&ownership(1, 3, NOW + 500)), false), Ok(Some(Some(NOW + 500))));
        assert!(
            renews(Some(&ownership(1, 9, NOW + 500)), true).unwrap_err().contains("somebody else publishes")
        );
    }

    #[test]
    fn another_host_of_this_name_keeps_it_until_it_expires() {
        let refused = renews(Some(&ownership(2, 3, NOW + 1)), false).unwrap_err();
        assert_eq!(refused, "another host publishes as 'alpha' in z");
        assert_eq!(renews(Some(&ownership(2, 3, NOW - 1)), false), Ok(Some(Some(NOW - 1))));
        assert!(renews(Some("something else"), false).unwrap_err().contains("not written by mymachines"));
    }
}
