//! One machine, as its record has it at one moment.

use registry::calls::SeenProcesses;
use registry::{
    Address, AddressSource, AddressState, IdKind, IdRange, LeaderIdentity, MachineId, MachineName, Processes,
    RECORD_MAX, asked_name, is_alive, machine_in_any_case, source_at,
};

use crate::buffer::Buffer;
use crate::errno::Errno;
use crate::pid::runs;
use crate::record::{Contents, Field, Fields, Number, Numbers};
use crate::registries::{Registries, Registry, open_record};
use crate::system::{Descriptor, open_process, read_all, status};

/// What the record of a machine said when it was read. It changes no more.
#[derive(Debug)]
pub struct Snapshot {
    name: MachineName,
    /// All texts, each followed by a zero byte.
    texts: Buffer<u8>,
    /// Where each field's text begins in them.
    fields: Fields,
    numbers: Numbers,
    id: Option<MachineId>,
    leader: LeaderIdentity,
    interfaces: Buffer<i32>,
    address_state: AddressState,
    addresses: Buffer<Address>,
    sources: Buffer<AddressSource>,
    uid_map: Buffer<IdRange>,
    gid_map: Buffer<IdRange>,
    /// Which registry has it.
    registry: Registry,
    /// The only user for whom its name resolves.
    private_to: Option<u32>,
}

/// The name that is meant by a name, or by a path as [`path_of`](crate::path_of) makes it: the last one.
///
/// # Errors
/// `EINVAL`: one of them is no valid name.
#[inline(never)]
pub fn last_name(path: &[u8]) -> Result<MachineName, Errno> {
    let mut last = Err(Errno::INVAL);
    for name in path.split(|&byte| byte == b'/') {
        last = Ok(asked_name(name).map_err(|_| Errno::INVAL)?);
    }
    last
}

fn none_if_damaged(found: Result<Snapshot, Errno>) -> Result<Option<Snapshot>, Errno> {
    match found {
        Ok(machine) => Ok(Some(machine)),
        Err(Errno::NXIO | Errno::BADMSG) => Ok(None),
        Err(errno) => Err(errno),
    }
}

impl Snapshot {
    /// Reads the record of a machine, by its name, or by a path as [`path_of`](crate::path_of) makes it, of which the last
    /// name counts. A dot at its end does not, nor the case of its letters where no machine has exactly this name, and one
    /// alone has it in another case.
    ///
    /// # Errors
    /// `EINVAL`: no valid name. `ENXIO`: no such machine. `EBADMSG`: its record is damaged. Others: the record cannot
    /// be read.
    pub fn read(name: &[u8]) -> Result<Self, Errno> {
        Self::in_any_case(&last_name(name)?)
    }

    /// Reads the record of the machine with this name, or else of the only one that has it in another case.
    ///
    /// # Errors
    /// Those of [`Snapshot::of`].
    pub fn in_any_case(name: &MachineName) -> Result<Self, Errno> {
        match Self::of(name) {
            Err(Errno::NXIO) => {
                for registry in Registries::one_by_one() {
                    if let Some(other) = machine_in_any_case(&registry, name).map_err(Errno)? {
                        return Self::of(&other);
                    }
                }
                Err(Errno::NXIO)
            }
            found => found,
        }
    }

    /// What a machine's record says; a damaged one says nothing.
    pub(crate) fn if_there(name: &MachineName) -> Result<Option<Self>, Errno> {
        none_if_damaged(Self::of(name))
    }

    /// Reads the record of the machine with this name: of the system's, or else of the caller's own, as of one of
    /// `machined --user`. One that is another user's alone stands in the way of none of the caller's own.
    ///
    /// # Errors
    /// Those of [`Snapshot::read`], but for the first.
    #[inline(never)]
    pub fn of(name: &MachineName) -> Result<Self, Errno> {
        let system = Self::in_registry(Registry::SYSTEM, name);
        let private_to = match &system {
            Ok(machine) => machine.private_to,
            Err(_) => None,
        };
        if private_to.is_none() && !matches!(system, Err(Errno::NXIO)) {
            return system;
        }
        let Some(own) = Registry::own().filter(|own| private_to.is_none() || own.user() != private_to) else {
            return system;
        };
        match Self::in_registry(own, name) {
            Err(Errno::NXIO) => system,
            found => found,
        }
    }

    /// What the record of a machine in a registry says, if its name leads there. A damaged one says nothing.
    pub(crate) fn if_there_in(registry: Registry, name: &MachineName) -> Result<Option<Self>, Errno> {
        let Some(machine) = none_if_damaged(Self::in_registry(registry, name))? else { return Ok(None) };
        let Some(user) = registry.user() else { return Ok(Some(machine)) };
        let leads_here = match Self::in_registry(Registry::SYSTEM, name) {
            // Of this user's alone it may be the same machine, which was registered twice.
            Ok(system) => {
                system.private_to.is_some_and(|owner| owner != user || system.leader == machine.leader)
            }
            Err(errno) if errno.is_shortage() => return Err(errno),
            Err(errno) => errno == Errno::NXIO,
        };
        Ok(Some(machine).filter(|_| leads_here))
    }

    /// Reads the record that a registry has of this name.
    #[inline(never)]
    fn in_registry(registry: Registry, name: &MachineName) -> Result<Self, Errno> {
        let file = open_record(registry, name)?;
        let text = read_all(&file, RECORD_MAX)
            .map_err(|errno| if errno == Errno::TOOBIG { Errno::BADMSG } else { errno })?;
        let mut machine = Self::parse(name, &text)?;
        machine.registry = registry;
        Ok(machine)
    }

    /// Reads the text of a record.
    ///
    /// # Errors
    /// `EBADMSG`, `ENOMEM`.
    pub fn parse(name: &MachineName, text: &[u8]) -> Result<Self, Errno> {
        let Contents { head, lists, mut values } = Contents::of(name, text)?;
        for index in values.found.iter() {
            if !values.interfaces.contains(index) {
                values.interfaces.push(*index)?;
            }
        }
        Ok(Self {
            name: *name,
            texts: values.texts,
            fields: values.fields,
            numbers: values.numbers,
            id: values.id,
            leader: head.leader,
            interfaces: values.interfaces,
            address_state: head.addresses,
            addresses: lists.addresses,
            sources: values.sources,
            uid_map: lists.uid_map,
            gid_map: lists.gid_map,
            registry: Registry::SYSTEM,
            private_to: head.private_to,
        })
    }

    /// Which registry has it.
    pub(crate) const fn registry(&self) -> Registry {
        self.registry
    }

    /// Its name.
    pub const fn name(&self) -> &MachineName {
        &self.name
    }

    /// A text of the record, with the zero byte that ends it; `None` where the record has none, or an empty one.
    pub fn text_with_zero(&self, field: Field) -> Option<&[u8]> {
        let rest = self.texts.get(self.fields.get(field)?..)?;
        let length = rest.iter().position(|&byte| byte == 0)?;
        rest.get(..length.wrapping_add(1))
    }

    /// A text of the record; `None` where the record has none, or an empty one.
    pub fn text(&self, field: Field) -> Option<&[u8]> {
        self.text_with_zero(field)?.strip_suffix(&[0])
    }

    /// A number of the record.
    pub fn number(&self, number: Number) -> Option<u64> {
        let found = self.numbers.get(number)?;
        // The original writes the wildcard for "none".
        let is_none = number == Number::VsockCid && (found == 0 || found >= u64::from(u32::MAX));
        (!is_none).then_some(found)
    }

    /// The machine id inside.
    pub const fn id(&self) -> Option<MachineId> {
        self.id
    }

    /// The process that leads it, as the registry's PID namespace numbers it.
    pub const fn leader(&self) -> Option<i32> {
        if self.leader.pid > 0 { Some(self.leader.pid) } else { None }
    }

    /// Whether its leader may still run: it is not provably gone.
    #[inline(never)]
    pub fn is_alive(&self) -> bool {
        is_alive(&self.leader, &SeenProcesses)
    }

    /// Whether the process ids of the record mean something in this PID namespace.
    pub fn is_numbered_here(&self) -> bool {
        let namespace = self.leader.pid_namespace;
        namespace == 0 || SeenProcesses.pid_namespace() == Some(namespace)
    }

    /// Whether its leader runs, as far as can be told from here.
    ///
    /// # Errors
    /// `EREMOTE`: it has another PID namespace than the caller, who cannot tell.
    pub fn runs(&self) -> Result<bool, Errno> {
        if !self.is_alive() {
            return Ok(false);
        }
        if self.is_numbered_here() {
            return Ok(true);
        }
        match self.open_leader() {
            Ok(_) => Ok(true),
            Err(_) => Err(Errno::REMOTE),
        }
    }

    /// What tells this leader from every other that this host has had since it started, of whatever machine: the inode number
    /// of its pidfd, or where the kernel has none (before Linux 6.9) one made of its process id and when it started. `None`:
    /// the record has neither.
    pub fn incarnation(&self) -> Option<u64> {
        let LeaderIdentity { pid, pidfd_id, start_time, .. } = self.leader;
        let pid = u64::try_from(pid).ok().filter(|&pid| pid > 0)?;
        match (pidfd_id, start_time) {
            (0, 0) => None,
            // No process id has more than 22 bits, PID_MAX_LIMIT of linux/threads.h.
            (0, start_time) => Some((start_time << 22) | pid),
            (pidfd_id, _) => Some(pidfd_id),
        }
    }

    /// Opens the leader.
    ///
    /// # Errors
    /// `ENODATA`: the record has none, or /proc does not tell that it is still the one. `ESRCH`: it has gone, or its number
    /// is another process's now. `EREMOTE`: its number means nothing in this PID namespace. Others: pidfd_open(2) fails.
    #[inline(never)]
    pub fn open_leader(&self) -> Result<Descriptor, Errno> {
        let pid = self.leader().ok_or(Errno::NODATA)?;
        let LeaderIdentity { pidfd_id, start_time, .. } = self.leader;
        let process = self.opened(pid, pidfd_id)?;
        if pidfd_id == 0 && start_time != 0 {
            // Now that it is open, its number cannot become another's.
            let found = SeenProcesses.start_time(pid).ok_or(Errno::NODATA)?;
            if found != start_time {
                return Err(Errno::SRCH);
            }
        }
        Ok(process)
    }

    /// Opens the supervisor. Before Linux 6.9 the record has no more of it than its number.
    ///
    /// # Errors
    /// As for the leader.
    pub fn open_supervisor(&self) -> Result<Descriptor, Errno> {
        let pid = self.number(Number::Supervisor).and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.filter(|&pid| pid > 0).ok_or(Errno::NODATA)?;
        self.opened(pid, self.number(Number::SupervisorPidfdId).unwrap_or(0))
    }

    /// Opens the process with this number, and the inode number of its pidfd if that is not 0.
    fn opened(&self, pid: i32, pidfd_id: u64) -> Result<Descriptor, Errno> {
        let is_here = self.is_numbered_here();
        // In another namespace the number is nobody's, or somebody else's, and says nothing about this process.
        let gone = if is_here { Errno::SRCH } else { Errno::REMOTE };
        if pidfd_id == 0 && !is_here {
            return Err(Errno::REMOTE);
        }
        let process = open_process(pid).map_err(|errno| match errno {
            // The number is a thread's now: EINVAL until Linux 6.9, ENOENT since.
            Errno::SRCH | Errno::INVAL | Errno::NOENT => gone,
            errno => errno,
        })?;
        if pidfd_id != 0 && status(process.borrow())?.inode != pidfd_id {
            return Err(gone);
        }
        if runs(process.borrow()) { Ok(process) } else { Err(Errno::SRCH) }
    }

    /// The host's interfaces that lead to it: first those that its registrar said, then those that the registry found.
    pub fn interfaces(&self) -> &[i32] {
        &self.interfaces
    }

    /// What its name resolves to, in this order.
    ///
    /// # Errors
    /// `ENODATA`: the record does not tell, as one of the original's, or of a virtual machine of which nothing is known. `ENONET`: it has no network
    /// of its own, but the host's.
    pub fn addresses(&self) -> Result<&[Address], Errno> {
        match self.address_state {
            AddressState::Listed => Ok(&self.addresses),
            AddressState::SharedWithHost => Err(Errno::NONET),
            AddressState::Unknown => Err(Errno::NODATA),
        }
    }

    /// Where the address in this place of [`Snapshot::addresses`] is known from; `None` if there is none, or the record does not
    /// tell.
    pub fn address_source(&self, place: usize) -> Option<AddressSource> {
        self.addresses.get(place).and_then(|_| source_at(&self.sources, place))
    }

    /// Its map of uids or gids; empty where it has no user namespace, so that its ids are the host's.
    ///
    /// # Errors
    /// `ENODATA`: the record does not tell. `ENXIO`: it is a virtual machine, whose users are not on the host.
    pub fn id_map(&self, kind: IdKind) -> Result<&[IdRange], Errno> {
        let map = match kind {
            IdKind::User => &self.uid_map,
            IdKind::Group => &self.gid_map,
        };
        match &**map {
            _ if self.text(Field::Class) == Some(b"vm") => Err(Errno::NXIO),
            [] => Err(Errno::NODATA),
            // What the kernel says of the namespace that it started with.
            [IdRange { inside: 0, outside: 0, count: u32::MAX }] => Ok(&[]),
            map => Ok(map),
        }
    }
}

#[cfg(test)]
#[path = "snapshot/tests.rs"]
mod tests;
