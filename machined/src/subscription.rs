//! Whoever follows the table of machines: what was told, and what is to be told next.
//!
//! Machines are told in the order of their keys, which is that of their registration. So all that is to be remembered of what
//! was told is where that has come to; what changed since is a set, not a queue, and never larger than what was told.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use registry::{Class, MachineName, Record};
use tokio::sync::Notify;

use crate::daemon::Change;
use crate::machines::Key;

/// How many changes are told at a time.
const BATCH: usize = 64;
/// How many of these are of machines that were told before, where there are new ones, too: these get on in any case.
const OLD: usize = 32;
/// How many machines are looked at for one batch, whether they are wanted or not.
const LOOKS: usize = 256;

/// Which machines are wanted.
#[derive(Debug, Default)]
pub struct Filter {
    /// Those of these names; `None`: all.
    pub names: Option<BTreeSet<MachineName>>,
    /// Those of this class; `None`: all.
    pub class: Option<Class>,
}

impl Filter {
    fn wants(&self, name: &MachineName, class: Class) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains(name))
            && self.class.is_none_or(|wanted| wanted == class)
    }
}

/// What is told at a time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// These are gone.
    pub removed: Vec<MachineName>,
    /// These have changed since they were told. They may have ended this moment, of which the next batch tells.
    pub changed: Vec<Key>,
    /// These were not told before.
    pub new: Vec<Key>,
    /// Whether there was nothing more to be told.
    pub is_last: bool,
}

impl Batch {
    fn len(&self) -> usize {
        [self.removed.len(), self.changed.len(), self.new.len()].iter().sum()
    }
}

/// One who follows.
#[derive(Debug, Default)]
pub struct Subscription {
    filter: Filter,
    state: RefCell<State>,
    woken: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// All machines up to this one were told, as far as they are wanted.
    told: Option<Key>,
    changed: BTreeSet<Key>,
    removed: BTreeMap<Key, MachineName>,
}

impl Subscription {
    /// Of one who was told nothing yet.
    pub fn new(filter: Filter) -> Self {
        Self { filter, ..Self::default() }
    }

    /// Takes in a change of the table.
    pub fn hear(&self, change: Change) {
        let mut state = self.state.borrow_mut();
        let is_told = |key| state.told.is_some_and(|told| key <= told);
        match change {
            // It is found in the table.
            Change::TakenIn(_) => {}
            Change::Altered(key) | Change::LeaderEnded { key, .. } => {
                if !is_told(key) {
                    return;
                }
                state.changed.insert(key);
            }
            Change::Forgotten { key, name, class } => {
                if !is_told(key) || !self.filter.wants(&name, class) {
                    return;
                }
                state.changed.remove(&key);
                state.removed.insert(key, name);
            }
        }
        self.woken.notify_one();
    }

    /// Waits until there may be something to be told.
    pub async fn woken(&self) {
        self.woken.notified().await;
    }

    /// What is to be told next.
    pub fn next(&self, table: &impl Table) -> Batch {
        let mut batch = Batch::default();
        while batch.len() < BATCH
            && let Some((_, name)) = self.state.borrow_mut().removed.pop_first()
        {
            batch.removed.push(name);
        }
        // A name that was removed may be another machine's by now.
        if !self.state.borrow().removed.is_empty() {
            return batch;
        }
        let mut looks = 0;
        while batch.len() < BATCH && looks < LOOKS && (batch.changed.len() < OLD || !self.has_new(table)) {
            let Some(key) = self.state.borrow_mut().changed.pop_first() else { break };
            looks += 1;
            if self.is_wanted(table, key) {
                batch.changed.push(key);
            }
        }
        while batch.len() < BATCH && looks < LOOKS {
            let told = self.state.borrow().told;
            let Some(key) = table.after(told) else { break };
            looks += 1;
            // Before it counts as told: of one that has ended there is nothing to be told.
            if self.is_wanted(table, key) && table.is_there(key) {
                batch.new.push(key);
            }
            self.state.borrow_mut().told = Some(key);
        }
        let state = self.state.borrow();
        batch.is_last =
            state.removed.is_empty() && state.changed.is_empty() && table.after(state.told).is_none();
        batch
    }

    /// A machine of a batch was gone before it could be told as new: its end is not told either.
    pub fn was_not_told(&self, key: Key) {
        self.state.borrow_mut().removed.remove(&key);
    }

    fn has_new(&self, table: &impl Table) -> bool {
        table.after(self.state.borrow().told).is_some()
    }

    fn is_wanted(&self, table: &impl Table, key: Key) -> bool {
        table.about(key, |record| self.filter.wants(&record.name, record.class)).unwrap_or(false)
    }
}

/// The machines, for whoever follows them.
pub trait Table {
    /// The first machine registered after this one.
    fn after(&self, key: Option<Key>) -> Option<Key>;
    /// Asks something of a machine's record.
    fn about<T>(&self, key: Key, question: impl FnOnce(&Record) -> T) -> Option<T>;
    /// Whether a machine is there; one that has ended this moment is taken out of the table.
    fn is_there(&self, key: Key) -> bool;
}

#[cfg(test)]
mod tests;
