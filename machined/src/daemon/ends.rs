//! How machines end. With its leader ends a machine that shares a unit with others, or has none. One that has all of its unit
//! stays until that is empty: what still runs there is listed, and can be ended by its name. So does one that has a group of
//! ours, whose processes are then told to end.

use std::io;

use registry::Record;
use rustix::io::Errno;
use tracing::warn;

use super::{Change, Daemon};
use crate::error::Error;
use crate::group::{Group, directory};
use crate::log::with_causes;
use crate::machines::{Effect, Key};

impl Daemon {
    /// Whether a machine is there still; one that has ended this very moment is not.
    pub fn is_there(&self, key: Key) -> bool {
        match self.leader(key) {
            Some(leader) if !leader.has_exited() => return true,
            Some(_) => self.leader_ended(key),
            None => self.remove_vacated(),
        }
        self.machines.borrow().get(key).is_some()
    }

    /// Takes in a machine again whose leader has ended, and whose record an earlier run published, as it is or otherwise.
    /// Returns whether there is anything left of it; if not, its record is removed.
    pub fn admit_ended(&self, record: Record, is_published: bool) -> bool {
        let (key, mut effects) = self.machines.borrow_mut().insert_ended(record);
        let is_populated = self.watch_vacancy(key);
        if matches!(is_populated, Ok(false)) {
            self.remove_with_group(key, |key| drop(self.forget(key)));
            return false;
        }
        self.end_group(key);
        effects.retain(|effect| !is_published || *effect != Effect::Publish(key));
        self.publish(key, &effects);
        self.changes.announce(Change::LeaderEnded { key, is_watched: is_populated.is_ok() });
        true
    }

    /// Waits for machines to end, and removes them.
    ///
    /// # Errors
    /// Where the kernel's event queues fail.
    pub async fn mind_ends(&self) -> io::Result<()> {
        loop {
            tokio::select! {
                ended = self.watch.ended() => ended?.into_iter().for_each(|key| self.leader_ended(key)),
                vacated = self.vacancy.vacated() => vacated?.into_iter().for_each(|key| self.vacated(key)),
            }
            // Thousands may end at once: others get their turn in between.
            tokio::task::yield_now().await;
        }
    }

    /// Removes the machines that have ended by this very moment.
    pub fn remove_ended(&self) {
        // That the set cannot be asked is noticed by whoever waits for it.
        while let Some(ended) = self.watch.ended_by_now().ok().filter(|ended| !ended.is_empty()) {
            ended.into_iter().for_each(|key| self.leader_ended(key));
        }
        self.remove_vacated();
    }

    fn remove_vacated(&self) {
        self.vacancy.vacated_by_now().into_iter().flatten().for_each(|key| self.vacated(key));
    }

    fn leader_ended(&self, key: Key) {
        if !self.machines(|machines| machines.get(key).is_some_and(outlasts_leader)) {
            self.forget_and_tell(key);
            return;
        }
        let is_populated = self.watch_vacancy(key);
        if matches!(is_populated, Ok(false)) {
            self.vacated(key);
            return;
        }
        self.end_group(key);
        self.let_go_of_leader(key);
        let effects = self.machines.borrow_mut().leader_ended(key);
        self.take_back(effects);
        self.changes.announce(Change::LeaderEnded { key, is_watched: is_populated.is_ok() });
    }

    /// There is nothing left of a machine.
    pub fn vacated(&self, key: Key) {
        self.remove_with_group(key, |key| drop(self.forget_and_tell(key)));
    }

    fn remove_with_group(&self, key: Key, forget: impl FnOnce(Key)) {
        // Before nothing else tells whose it was.
        self.end_group(key);
        forget(key);
    }

    /// Ends the group that was made for a machine: with its leader, since nothing else looks after it.
    fn end_group(&self, key: Key) {
        if let Some(group) = self.machines(|machines| machines.get(key).and_then(Group::of_record)) {
            // Noted, so that the next run of the daemon sees to it if this one cannot.
            group.doom();
            tokio::task::spawn_local(group.end(self.surroundings.grace));
        }
    }

    /// Watches the group of a machine, if there is a process in it. Returns whether there is; an error if that cannot be told.
    fn watch_vacancy(&self, key: Key) -> io::Result<bool> {
        let directory = self.control_group(key).and_then(|group| directory(&group)).ok_or(Errno::NODATA)?;
        self.vacancy.watch(key, &directory)
    }

    /// Watches this group for a machine whose leader has ended, which has got it only now or was not known to have it.
    /// Returns whether it is watched; if it is empty, the machine is gone.
    pub fn watch_group(&self, key: Key, group: &str) -> bool {
        if self.machines(|machines| machines.get(key).is_none()) {
            return true;
        }
        let watched = directory(group).ok_or(Errno::NODATA.into());
        match watched.and_then(|directory| self.vacancy.watch(key, &directory)) {
            Ok(true) => true,
            Ok(false) => {
                self.vacated(key);
                true
            }
            Err(error) => {
                let error = Error::system("watch the group of a machine", &error);
                warn!("{}", with_causes(&error));
                false
            }
        }
    }
}

/// Whether a machine is there until its unit, or the group that was made for it, is empty.
pub fn outlasts_leader(record: &Record) -> bool {
    record.subgroup.is_none() && (record.unit.is_some() || Group::of_record(record).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::{Class, MachineName};

    #[test]
    fn a_machine_outlasts_its_leader_where_it_has_all_of_a_unit() {
        let mut record = Record::new(MachineName::new(b"web").unwrap(), Class::Container);
        assert!(!outlasts_leader(&record), "no unit at all");
        record.unit = Some("machine-web.scope".into());
        assert!(outlasts_leader(&record));
        for subgroup in ["payload", "machine.slice/web"] {
            record.subgroup = Some(subgroup.into());
            assert!(!outlasts_leader(&record), "{subgroup}");
        }
    }
}
