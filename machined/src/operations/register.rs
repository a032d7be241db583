//! Registering a machine.

use std::rc::Rc;

use libmachine::ProcessHandle;
use registry::{Class, MachineId, MachineName, Process, Record};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;
use tracing::info;

use super::services::Operations;
use super::state::{ASKED, Job};
use crate::authorization::{Authorized, Register};
use crate::error::Error;
use crate::group::Group;
use crate::machines::{Conflict, Key};
use crate::systemd::{self, Scope, ScopeProperty};
use crate::unit_part::{UnitPart, group_apart};

/// How many machines a user may have registered who is not root. Those of others have to fit beside them into what descriptors
/// a daemon may have, 16 times at least where the limit is the usual one.
const MOST_OF_USER: usize = 1024;

/// What a registrar says of a machine. Everything in it was checked.
#[derive(Debug)]
pub struct Registration {
    /// Its name.
    pub name: MachineName,
    /// Container or virtual machine.
    pub class: Class,
    /// The machine id inside.
    pub id: Option<MachineId>,
    /// What started it.
    pub service: Option<String>,
    /// The process that leads it.
    pub leader: ProcessHandle,
    /// Who registers it, if that is not the leader.
    pub supervisor: Option<Process>,
    /// The uid that registers it.
    pub uid: u32,
    /// Its root directory.
    pub root: Option<String>,
    /// The host's interfaces that lead to it.
    pub interfaces: Vec<u32>,
    /// Its AF_VSOCK context id.
    pub vsock_cid: Option<u32>,
    /// Where its SSH server is reached.
    pub ssh_address: Option<String>,
    /// The private key for it.
    pub ssh_private_key_path: Option<String>,
    /// The Varlink address of its manager.
    pub control_address: Option<String>,
    /// Whether it gets a control group of its own.
    pub allocate_unit: bool,
    /// What properties that unit has beyond ours.
    pub scope_properties: Vec<ScopeProperty>,
}

/// A machine whose unit is being started, or was.
#[derive(Debug)]
pub struct Registered {
    /// The machine.
    pub key: Key,
    job: Option<oneshot::Receiver<Result<(), Error>>>,
}

impl Registered {
    /// Waits until its unit is started.
    ///
    /// # Errors
    /// [`Error::JobFailed`]: it could not be, and the machine is registered no more.
    pub async fn started(self) -> Result<Key, Error> {
        if let Some(job) = self.job {
            job.await.unwrap_or(Err(Error::NoSuchMachine))?;
        }
        Ok(self.key)
    }
}

impl Operations {
    /// Registers a machine. When this returns, its record is on disk, and the job that starts its unit is queued. Not
    /// to be given up half-way.
    ///
    /// # Errors
    /// [`Error::MachineExists`]: a living machine has the name, or what is left over of one is not the registrar's to end.
    /// `EEXIST`: one has the leader, or all of the unit. `ENXIO`: with systemd, the leader is in no unit, nor in a group apart
    /// from all of them. Others as the kernel and the service manager have them;
    /// nothing is changed then.
    pub async fn register(
        self: &Rc<Self>,
        authorized: &Authorized<Register>,
        registration: Registration,
    ) -> Result<Registered, Error> {
        let mut record = self.describe(&registration);
        self.has_room(&record)?;
        record.is_public = authorized.is_privileged() && registration.uid != 0;
        let mut is_left_over = self.make_way(&record)?;
        let (key, job) = match &self.daemon.surroundings.systemd {
            Some(_) if registration.allocate_unit => {
                record.unit = Some(systemd::scope_name(&record.name));
                record.scope_job = Some(ASKED.to_owned());
                is_left_over |= self.make_way(&record)?;
                is_left_over |= self.takes_scope(&record);
                let (key, job) = self.admit_in_scope(record, registration, is_left_over).await?;
                (key, Some(job))
            }
            Some(init) => {
                let group = registration.leader.control_group().map_err(|error| no_unit(&error))?;
                match UnitPart::of(&group, init) {
                    Some(part) => {
                        record.unit = Some(part.unit);
                        record.subgroup = part.subgroup;
                        record.cgroup = Some(part.cgroup);
                    }
                    None => {
                        let apart = group_apart(&group);
                        let apart = apart.ok_or(Error::NoUnit { errno: Errno::NXIO })?;
                        record.cgroup = Some(apart.to_owned());
                    }
                }
                self.make_way(&record)?;
                (self.complete_and_admit(record, registration)?, None)
            }
            None if registration.allocate_unit => (self.admit_in_group(record, registration)?, None),
            None => (self.complete_and_admit(record, registration)?, None),
        };
        if let Some(record) = self.daemon.record(key) {
            self.daemon.tell_started(&record);
        }
        Ok(Registered { key, job })
    }

    /// With a scope of the service manager's. The machine is taken in first, so that nobody else can take its name
    /// while the service manager works.
    async fn admit_in_scope(
        self: &Rc<Self>,
        record: Record,
        mut registration: Registration,
        is_left_over: bool,
    ) -> Result<(Key, oneshot::Receiver<Result<(), Error>>), Error> {
        let leader = registration.leader.pidfd().try_clone_to_owned();
        let mut scope = Scope {
            machine: registration.name,
            slice: self.daemon.surroundings.slice,
            class: registration.class,
            leader: leader.map_err(|error| Error::system("duplicate the pidfd", &error))?,
            pid: registration.leader.pid(),
            uid: Some(registration.uid).filter(|&uid| uid != 0 && uid != self.daemon.surroundings.uid),
            properties: std::mem::take(&mut registration.scope_properties),
        };
        let unit = systemd::scope_name(&scope.machine);
        let is_public = record.private_to().is_none();
        // Its leader would be ended with the scope.
        let is_inside = self.is_inside(&registration.leader, &unit);
        let key = self.complete_and_admit(record, registration)?;
        let mut expected = self.systemd.jobs.expect(&unit);
        self.daemon.keep_quiet_of(key, true);
        if is_left_over && !is_inside {
            self.end_scope(&unit, &mut expected).await;
        }
        let mut started = scope.start(&self.bus, &mut expected).await;
        let is_there = matches!(&started, Err(error) if error.errno() == Errno::EXIST);
        if is_there && is_public && !is_inside && self.is_users_scope(&unit).await {
            self.end_scope(&unit, &mut expected).await;
            started = scope.start(&self.bus, &mut expected).await;
        }
        self.daemon.keep_quiet_of(key, false);
        match started {
            Ok(path) => Ok((key, self.follow(key, Job { path, unit, is_start: true }, expected))),
            Err(error) => {
                self.daemon.forget(key);
                Err(error)
            }
        }
    }

    /// With a control group of our own.
    fn admit_in_group(&self, mut record: Record, registration: Registration) -> Result<Key, Error> {
        let (group, home) = Group::create(&registration.name, &registration.leader)
            .map_err(|error| Error::system("make a control group", &error))?;
        record.cgroup = Some(group.name().to_owned());
        record.cgroup_id = group.id();
        let admitted = self.complete_and_admit(record, registration);
        if admitted.is_err() {
            group.undo(home.as_ref());
        }
        admitted
    }

    fn complete_and_admit(&self, mut record: Record, registration: Registration) -> Result<Key, Error> {
        let leader = registration.leader;
        (record.uid_map, record.gid_map) = self.daemon.id_maps(&leader)?;
        let surroundings = match record.class {
            // The other end of a pair of interfaces has an id from the start.
            Class::Container => {
                let has_id = !record.interfaces.is_empty();
                let found = self.keeper.look_at(&leader, &record.interfaces, has_id);
                Some(found.map_err(|error| Error::System {
                    action: "look at the leader's network",
                    errno: error.errno(),
                })?)
            }
            Class::Vm => None,
        };
        if let Some(found) = &surroundings {
            record.resolve_to(found.resolution.clone());
        }
        self.take_name(&record);
        let key = self.daemon.admit(record, leader)?;
        if let Some(found) = surroundings {
            self.keeper.joined(key, found);
        }
        Ok(key)
    }

    fn describe(&self, registration: &Registration) -> Record {
        let mut record = Record::new(registration.name, registration.class);
        record.uid = Some(registration.uid);
        record.service = registration.service.clone();
        record.root = registration.root.clone();
        record.id = registration.id;
        record.leader = Some(registration.leader.identity());
        record.leader_start_time = registration.leader.identifying_start_time();
        record.pid_namespace = self.daemon.surroundings.pid_namespace;
        record.supervisor = registration.supervisor;
        record.realtime = microseconds(ClockId::Realtime);
        record.monotonic = microseconds(ClockId::Monotonic);
        record.interfaces = registration.interfaces.clone();
        record.vsock_cid = registration.vsock_cid;
        record.ssh_address = registration.ssh_address.clone();
        record.ssh_private_key_path = registration.ssh_private_key_path.clone();
        record.control_address = registration.control_address.clone();
        record
    }

    /// A name that is for everybody is no user's to keep: whose alone it was is registered no more.
    fn take_name(&self, record: &Record) {
        if let Some(key) = self.daemon.machines(|machines| machines.by_name(&record.name)) {
            info!(
                "Machine {} of a user gives its name to one that is registered for everybody.",
                record.name
            );
            self.daemon.forget_and_tell(key);
        }
    }

    /// Whether the machine of a user whose name this one takes has the scope that this one needs.
    fn takes_scope(&self, record: &Record) -> bool {
        self.daemon.machines(|machines| {
            let old = machines.giving_way(record).and_then(|key| machines.get(key));
            old.is_some_and(|old| old.unit.is_some() && old.unit == record.unit)
        })
    }

    /// Whether a leader is in this unit.
    fn is_inside(&self, leader: &ProcessHandle, unit: &str) -> bool {
        let part = |init| UnitPart::of(&leader.control_group().ok()?, init);
        self.daemon.surroundings.systemd.as_ref().and_then(part).is_some_and(|part| part.unit == unit)
    }

    /// Each machine costs the daemon memory and a descriptor, and every list of machines its row.
    fn has_room(&self, record: &Record) -> Result<(), Error> {
        let user = record.uid.filter(|&uid| uid != 0 && uid != self.daemon.surroundings.uid);
        let is_full = |uid| self.daemon.machines(|machines| machines.count_of(uid) >= MOST_OF_USER);
        match user {
            Some(uid) if is_full(uid) => Err(Error::TooMany { uid }),
            _ => Ok(()),
        }
    }

    /// Drops what stands in the way of a machine, and has ended: for whoever may end what is left over of it. Returns whether
    /// the scope that the machine would have is left over.
    fn make_way(&self, record: &Record) -> Result<bool, Error> {
        let mut is_left_over = false;
        while let Some(conflict) = self.daemon.machines(|machines| machines.conflict(record)) {
            let (Conflict::Name(key) | Conflict::Leader(key) | Conflict::Unit(key)) = conflict;
            if !self.daemon.is_there(key) {
                continue;
            }
            if !self.may_replace(key, record) {
                return Err(match conflict {
                    Conflict::Name(_) => Error::MachineExists(record.name),
                    Conflict::Leader(_) => Error::System { action: "take the leader", errno: Errno::EXIST },
                    Conflict::Unit(_) => Error::System { action: "take the unit", errno: Errno::EXIST },
                });
            }
            is_left_over |= self.replace(key, record);
        }
        Ok(is_left_over)
    }

    /// Whether the leader of a machine has ended, and whoever registers this one could end what is left over.
    fn may_replace(&self, key: Key, record: &Record) -> bool {
        self.daemon.machines(|machines| {
            let is_own = || machines.get(key).is_some_and(|old| old.uid == record.uid);
            machines.has_ended(key) && (record.private_to().is_none() || is_own())
        })
    }
}

fn no_unit(error: &libmachine::Error) -> Error {
    let errno = match (error, Errno::from_raw_os_error(error.errno())) {
        (libmachine::Error::NoSuchProcess(_), _) => Errno::SRCH,
        // Not the leader's fault.
        (_, shortage @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => shortage,
        _ => Errno::NXIO,
    };
    Error::NoUnit { errno }
}

fn microseconds(clock: ClockId) -> Option<u64> {
    let now = clock_gettime(clock);
    let (seconds, nanoseconds) = (u64::try_from(now.tv_sec).ok()?, u64::try_from(now.tv_nsec).ok()?);
    seconds.checked_mul(1_000_000)?.checked_add(nanoseconds / 1000)
}
