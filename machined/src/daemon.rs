//! The daemon: the table of machines, and everything that keeps it true.
//!
//! All of it lives on one thread. Nothing here waits: what may take time is a task of its own.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use libmachine::{ControlGroup, ProcessHandle};
use registry::{ANCESTORS_MAX, Class, IdRange, MachineName, Record, Resolution};
use rustix::fd::AsFd;
use rustix::io::Errno;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::announcements::Announcements;
use crate::error::Error;
use crate::group;
use crate::journal::Note;
use crate::machines::{Effect, Key, Machines, Reserved};
use crate::publisher::Publisher;
use crate::vacancy::Vacancy;
use crate::watch::Watch;

mod disk;
mod ends;

pub use ends::outlasts_leader;

/// What stays the same for the whole run.
#[derive(Debug)]
pub struct Surroundings {
    /// The daemon's own uid.
    pub uid: u32,
    /// Whether it is that user's own daemon, and serves nobody else, nor the host.
    pub is_users: bool,
    /// The id of this boot.
    pub boot_id: String,
    /// The id of this run of the daemon.
    pub run_id: String,
    /// The PID namespace in which the daemon's process ids mean something.
    pub pid_namespace: Option<u64>,
    /// The user namespace of the daemon, and its uid and gid maps, which are those of every process in it.
    pub user_namespace: Option<UserNamespace>,
    /// The control group of the service manager, if that is systemd: of process 1, or of the user's.
    pub systemd: Option<ControlGroup>,
    /// The slice that the scopes of machines are in.
    pub slice: &'static str,
    /// How long a machine that is told to end has before it is killed.
    pub grace: Duration,
}

/// A user namespace and its maps.
#[derive(Debug)]
pub struct UserNamespace {
    /// The inode number of its file.
    pub inode: u64,
    /// Its uid map.
    pub uid_map: Vec<IdRange>,
    /// Its gid map.
    pub gid_map: Vec<IdRange>,
}

/// What clients hear of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Announcement {
    /// It is there.
    New(MachineName),
    /// It is gone.
    Removed(MachineName),
}

/// What the services hear of a machine, at once, and before it is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It was taken into the table.
    TakenIn(Key),
    /// Its leader has ended, and it is there still.
    LeaderEnded {
        /// The machine.
        key: Key,
        /// Whether it will be noticed when its group is empty.
        is_watched: bool,
    },
    /// Something else is known of it: its addresses, its unit, its group, its id maps, or where it is in its life.
    Altered(Key),
    /// It was dropped from the table, whatever became of it.
    Forgotten {
        /// The machine.
        key: Key,
        /// What it was called.
        name: MachineName,
        /// What it was.
        class: Class,
    },
}

/// The daemon's state.
#[derive(Debug)]
pub struct Daemon {
    /// What stays the same for the whole run.
    pub surroundings: Surroundings,
    /// Clients that hear of machines that come and go: what a listener sends is sent before the answer to whoever made the
    /// change.
    pub announcements: Announcements<Announcement>,
    /// Services that hear of changes of the table.
    pub changes: Announcements<Change>,
    machines: RefCell<Machines>,
    leaders: RefCell<HashMap<Key, Rc<ProcessHandle>>>,
    /// Who was told to end.
    closing: RefCell<HashSet<Key>>,
    /// Whose unit the service manager was asked for, and nobody was told of yet.
    unannounced: RefCell<HashSet<Key>>,
    /// Whose record on disk is behind.
    unpublished: RefCell<BTreeSet<Key>>,
    /// Told when something on disk falls behind.
    fell_behind: Notify,
    publisher: Publisher,
    watch: Watch,
    vacancy: Vacancy,
    /// Told when the service manager's job for the unit of a machine is done, or a machine is gone.
    settled: Notify,
}

impl Daemon {
    /// A daemon without machines.
    pub fn new(surroundings: Surroundings, publisher: Publisher, watch: Watch, vacancy: Vacancy) -> Self {
        Self {
            surroundings,
            announcements: Announcements::default(),
            changes: Announcements::default(),
            machines: RefCell::default(),
            leaders: RefCell::default(),
            closing: RefCell::default(),
            unannounced: RefCell::default(),
            unpublished: RefCell::default(),
            fell_behind: Notify::new(),
            publisher,
            watch,
            vacancy,
            settled: Notify::new(),
        }
    }

    /// How many machines there are, the host aside.
    pub fn count(&self) -> usize {
        self.machines.borrow().len()
    }

    /// Asks the table of machines something.
    pub fn machines<T>(&self, question: impl FnOnce(&Machines) -> T) -> T {
        question(&self.machines.borrow())
    }

    /// A copy of a machine's record.
    pub fn record(&self, key: Key) -> Option<Record> {
        self.machines.borrow().get(key).cloned()
    }

    /// The control group of a machine, if it is known by now: that of a new scope is not until process 1 has started it.
    pub fn control_group(&self, key: Key) -> Option<String> {
        self.machines.borrow().get(key)?.cgroup.clone()
    }

    /// The leader of a machine.
    pub fn leader(&self, key: Key) -> Option<Rc<ProcessHandle>> {
        self.leaders.borrow().get(&key).cloned()
    }

    /// The machine of this name; one that has ended this very moment is none any more.
    pub fn by_name(&self, name: &MachineName) -> Option<Key> {
        let key = self.machines.borrow().by_name(name)?;
        self.is_there(key).then_some(key)
    }

    /// The machine that a process belongs to: as its leader, by its unit or control group, or as a descendant of the leader
    /// of a machine that has neither; the nearest of them. libmachine's machine_by_pid() finds the same.
    pub fn by_process(&self, process: &ProcessHandle) -> Option<Key> {
        let found = self.of_process(process).filter(|&key| self.is_there(key));
        let leads =
            |process: &ProcessHandle, key| self.machines.borrow().by_leader(process.pid()) == Some(key);
        if found.is_some_and(|key| leads(process, key))
            || self.machines.borrow().lone_leaders().next().is_none()
        {
            return found;
        }
        let mut next = process.parent().ok().flatten();
        for _ in 0..ANCESTORS_MAX {
            let Some(ancestor) = next else { break };
            let led = self.machines.borrow().by_leader_alone(ancestor.pid());
            if let Some(key) = led.filter(|&key| self.is_there(key)) {
                // The two are nested in each other as their leaders are.
                return found.filter(|&found| !self.is_within(&ancestor, found)).or(Some(key));
            }
            if found.is_some_and(|key| leads(&ancestor, key)) {
                // Nobody's ancestors are in a machine that it leads.
                break;
            }
            next = ancestor.parent().ok().flatten();
        }
        found
    }

    /// Whether the control group of a process is in a machine.
    fn is_within(&self, process: &ProcessHandle, key: Key) -> bool {
        let Ok(group) = process.control_group() else { return false };
        let unit = || group.unit(self.surroundings.systemd.as_ref()?);
        let machines = self.machines.borrow();
        let own = machines.get(key).and_then(|record| record.cgroup.as_deref());
        own.and_then(|own| group.path().strip_prefix(own))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            || unit().is_some_and(|part| machines.by_unit(&part.unit) == Some(key))
    }

    fn of_process(&self, process: &ProcessHandle) -> Option<Key> {
        let machines = self.machines.borrow();
        if let Some(key) = machines.by_leader(process.pid()) {
            return Some(key);
        }
        let group = process.control_group().ok()?;
        let unit = || group.unit(self.surroundings.systemd.as_ref()?);
        // The nearest group first: a machine in a subgroup may lie within the unit of another one.
        machines.by_group(group.path()).or_else(|| machines.by_unit(&unit()?.unit))
    }

    /// The uid and gid map of a leader.
    ///
    /// # Errors
    /// `ESRCH`: it has ended. What the kernel says.
    pub fn id_maps(&self, leader: &ProcessHandle) -> Result<(Vec<IdRange>, Vec<IdRange>), Error> {
        let own = self.surroundings.user_namespace.as_ref();
        if let Some(own) = own.filter(|own| leader.user_namespace() == Some(own.inode)) {
            return Ok((own.uid_map.clone(), own.gid_map.clone()));
        }
        let read = |file| {
            leader.id_map(file).map_err(|error| Error::System {
                action: "read the leader's id maps",
                errno: Errno::from_raw_os_error(error.errno()),
            })
        };
        Ok((read("uid_map")?, read("gid_map")?))
    }

    fn take_in(&self, mut record: Record, leader: ProcessHandle) -> (Key, Rc<ProcessHandle>, Vec<Effect>) {
        // A path means something only in the daemon's own cgroup namespace; the id tells readers in others.
        record.cgroup_id = record.cgroup_id.or_else(|| group::id_of(record.cgroup.as_deref()?));
        let (key, effects) = self.machines.borrow_mut().insert(record);
        let leader = Rc::new(leader);
        self.leaders.borrow_mut().insert(key, leader.clone());
        self.changes.announce(Change::TakenIn(key));
        (key, leader, effects)
    }

    /// Takes in a machine, publishes it and watches its leader.
    ///
    /// # Errors
    /// Where its record cannot be written or its leader not be watched; the machine is then not taken in.
    pub fn admit(&self, record: Record, leader: ProcessHandle) -> Result<Key, Error> {
        let (key, leader, effects) = self.take_in(record, leader);
        let done = self.carry_out(&effects).and_then(|()| {
            let watched = self.watch.add(key, leader.as_fd());
            watched.map_err(|error| Error::system("watch the leader", &error))
        });
        if let Err(error) = done {
            self.forget(key);
            return Err(error);
        }
        Ok(key)
    }

    /// Takes in a machine again whose record an earlier run published, as it is or otherwise. That the record cannot be
    /// written anew is no reason to lose the machine: the old one stands until it can.
    ///
    /// # Errors
    /// Where its leader cannot be watched; its record is then left as it is.
    pub fn admit_again(
        &self,
        record: Record,
        leader: ProcessHandle,
        is_published: bool,
    ) -> Result<Key, Error> {
        let (key, leader, mut effects) = self.take_in(record, leader);
        effects.retain(|effect| !is_published || *effect != Effect::Publish(key));
        self.publish(key, &effects);
        self.watch.add(key, leader.as_fd()).map_err(|error| Error::system("watch the leader", &error))?;
        Ok(key)
    }

    /// Drops a machine from the registry; what runs in it is left alone. Returns its last record.
    pub fn forget(&self, key: Key) -> Option<Record> {
        let (record, effects) = self.machines.borrow_mut().remove(key)?;
        self.changes.announce(Change::Forgotten { key, name: record.name, class: record.class });
        self.closing.borrow_mut().remove(&key);
        self.unannounced.borrow_mut().remove(&key);
        self.let_go_of_leader(key);
        self.vacancy.forget(key);
        self.settled.notify_waiters();
        self.take_back(effects);
        Some(record)
    }

    fn let_go_of_leader(&self, key: Key) {
        if let Some(leader) = self.leaders.borrow_mut().remove(&key) {
            self.watch.remove(leader.as_fd());
        }
    }

    /// Drops a machine, and tells whoever was told of it. Returns its last record.
    pub fn forget_and_tell(&self, key: Key) -> Option<Record> {
        let is_known = !self.is_unannounced(key);
        let record = self.forget(key)?;
        if is_known {
            self.tell_stopped(&record);
        }
        Some(record)
    }

    /// The host's interfaces that lead to a machine.
    pub fn interfaces(&self, key: Key) -> Option<Vec<u32>> {
        self.machines.borrow().get(key).map(|record| record.interfaces.clone())
    }

    /// Takes in what a machine's name resolves to now.
    pub fn set_addresses(&self, key: Key, resolution: Resolution) {
        let effects = self.machines.borrow_mut().set_addresses(key, resolution);
        self.alter(key, &effects);
    }

    /// Takes in which of the host's interfaces were found to lead to a machine.
    pub fn set_found(&self, key: Key, interfaces: Vec<u32>) {
        let effects = self.machines.borrow_mut().set_found(key, interfaces);
        self.alter(key, &effects);
    }

    /// Takes in which names mean something else than a machine, so that no address leads there.
    pub fn set_reserved(&self, reserved: Reserved) {
        let effects = self.machines.borrow_mut().set_reserved(reserved);
        // What fails of an index is logged, and made good later.
        let _ = self.carry_out(&effects);
    }

    /// Reads the id maps of a machine's leader again. Returns the machine's name if one is still missing.
    pub fn read_maps(&self, key: Key) -> Option<MachineName> {
        // A machine that is gone misses nothing.
        let (name, leader) =
            self.machines(|machines| machines.get(key).map(|record| record.name)).zip(self.leader(key))?;
        let Ok((uid_map, gid_map)) = self.id_maps(&leader) else {
            return (!leader.has_exited()).then_some(name);
        };
        let is_missing = uid_map.is_empty() || gid_map.is_empty();
        let effects = self.machines.borrow_mut().set_maps(key, uid_map, gid_map);
        self.alter(key, &effects);
        is_missing.then_some(name)
    }

    /// Takes in that the service manager has a job for a machine's unit.
    pub fn set_scope_job(&self, key: Key, job: String) {
        let effects = self.machines.borrow_mut().set_scope_job(key, job);
        self.alter(key, &effects);
    }

    /// Takes in that this job is done, and which control group the unit has.
    pub fn end_scope_job(&self, key: Key, group: Option<String>) {
        let group = group.map(|group| (group::id_of(&group), group));
        let effects = self.machines.borrow_mut().end_scope_job(key, group);
        self.alter(key, &effects);
        self.settled.notify_waiters();
    }

    /// Is told when a job for a unit is done, or a machine is gone. To be made before that is looked at.
    pub fn settled(&self) -> Notified<'_> {
        self.settled.notified()
    }

    /// Notes that a machine was told to end.
    pub fn is_told_to_end(&self, key: Key) {
        let is_there = self.machines.borrow().get(key).is_some();
        if is_there && self.closing.borrow_mut().insert(key) {
            self.changes.announce(Change::Altered(key));
        }
    }

    /// Whether a machine was told to end, in this run of the daemon, or its leader has ended.
    pub fn is_closing(&self, key: Key) -> bool {
        self.closing.borrow().contains(&key) || self.machines.borrow().has_ended(key)
    }

    /// Notes that nobody is to be told of a machine before this is taken back.
    pub fn keep_quiet_of(&self, key: Key, quiet: bool) {
        let mut unannounced = self.unannounced.borrow_mut();
        let is_changed = if quiet { unannounced.insert(key) } else { unannounced.remove(&key) };
        drop(unannounced);
        if is_changed {
            self.changes.announce(Change::Altered(key));
        }
    }

    /// Whether the service manager has a job for a machine's unit, or is asked for one.
    pub fn is_opening(&self, key: Key) -> bool {
        let has_job =
            |machines: &Machines| machines.get(key).is_some_and(|record| record.scope_job.is_some());
        self.is_unannounced(key) || self.machines(has_job)
    }

    /// Whether nobody was told of a machine yet.
    pub fn is_unannounced(&self, key: Key) -> bool {
        self.unannounced.borrow().contains(&key)
    }

    /// Tells whoever listens, and the journal, that a machine is there.
    pub fn tell_started(&self, record: &Record) {
        self.announcements.announce(Announcement::New(record.name));
        let started = Note::of(record);
        tokio::task::spawn_local(async move {
            // After the reply, which waits for nothing that it does not have to.
            tokio::task::yield_now().await;
            started.started();
        });
    }

    /// Tells whoever listens, and the journal, that a machine is gone.
    fn tell_stopped(&self, record: &Record) {
        self.announcements.announce(Announcement::Removed(record.name));
        let ended = Note::of(record);
        tokio::task::spawn_local(async move { ended.stopped() });
    }
}
