//! A machine as its record has it, and whether it runs.
//!
//! The system's registry is read, and then the caller's own, that of `machined --user`, if there is one.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use registry::calls::RegistryFiles;
use registry::{Directory, Error, KernelProcesses, MachineName, Record, is_alive};

use crate::failure::Failure;
use crate::whose::Whose;

/// The registries, the system's first.
pub fn registries() -> impl Iterator<Item = RegistryFiles> {
    std::iter::once(RegistryFiles::SYSTEM).chain(std::iter::once_with(RegistryFiles::own).flatten())
}

/// Where a registry has the record of a machine.
pub fn record_path(registry: RegistryFiles, name: &MachineName) -> PathBuf {
    path_of(registry).join(name.as_str())
}

fn path_of(registry: RegistryFiles) -> PathBuf {
    Path::new(OsStr::from_bytes(registry.directory().as_c_str().to_bytes())).into()
}

/// What is known of one machine.
#[derive(Debug)]
pub struct Machine {
    /// Its record.
    pub record: Record,
    /// Whether its leader may still run.
    pub is_alive: bool,
    /// Which registry has it.
    pub registry: RegistryFiles,
}

/// The machines of the host.
#[derive(Debug, Default)]
pub struct Machines {
    /// In the order of their names.
    pub all: Vec<Machine>,
    /// What is wrong with the records that cannot be read.
    pub complaints: Vec<String>,
}

impl Machine {
    fn new(record: Record, registry: RegistryFiles) -> Self {
        let is_alive = is_alive(&record.leader_identity(), &KernelProcesses);
        Self { record, is_alive, registry }
    }

    /// Whether its leader may run even now.
    pub fn is_still_alive(&self) -> bool {
        is_alive(&self.record.leader_identity(), &KernelProcesses)
    }

    /// `running`; `opening` while its unit is being started; `closing` once its leader is gone.
    pub const fn state(&self) -> &'static str {
        match (self.is_alive, &self.record.scope_job) {
            (false, _) => "closing",
            (true, Some(_)) => "opening",
            (true, None) => "running",
        }
    }

    /// Reads the one that the name leads to: that of the system's, or else that of the caller's own. One that is another user's
    /// alone stands in the way of none of the caller's own.
    ///
    /// # Errors
    /// [`Failure::NotFound`]: there is none of that name. Others: its record cannot be read.
    pub fn read(name: &MachineName) -> Result<Self, Failure> {
        let system = Self::read_in(RegistryFiles::SYSTEM, name);
        let owner = match &system {
            Ok(machine) => machine.record.private_to(),
            Err(Failure::NotFound(_)) => None,
            Err(_) => return system,
        };
        if system.is_ok() && owner.is_none() {
            return system;
        }
        let own = RegistryFiles::own().filter(|own| owner.is_none() || own.user() != owner);
        match own.map(|own| Self::read_in(own, name)) {
            None | Some(Err(Failure::NotFound(_))) => system,
            Some(found) => found,
        }
    }

    /// Reads that of the registry that the command line says, or else as [`Machine::read`].
    ///
    /// # Errors
    /// As [`Machine::read`].
    pub fn read_of(name: &MachineName, whose: &Whose) -> Result<Self, Failure> {
        if !whose.user && !whose.system {
            return Self::read(name);
        }
        let registry = registries().find(|registry| whose.includes(*registry));
        registry.map_or_else(|| Err(no_machine(name.as_str())), |registry| Self::read_in(registry, name))
    }

    fn read_in(registry: RegistryFiles, name: &MachineName) -> Result<Self, Failure> {
        let records = Records::open(registry)?;
        let found = records.map(|records| records.read(name)).transpose()?.flatten();
        found.ok_or_else(|| no_machine(name.as_str()))
    }

    fn is_same(&self, other: &Self) -> bool {
        self.record.name == other.record.name
            && self.record.leader_identity() == other.record.leader_identity()
    }
}

impl Machines {
    /// Reads all of the system's, and those of the caller's own, or only those that the command line says. One that goes meanwhile
    /// is left out; one that is registered with both is told once, as the system has it.
    ///
    /// # Errors
    /// The directory of the records cannot be read. That there is none is no error.
    pub fn read(whose: &Whose) -> Result<Self, Failure> {
        let mut machines = Self::default();
        for registry in registries().filter(|registry| whose.includes(*registry)) {
            let Self { mut all, complaints } = Self::read_in(registry)?;
            all.retain(|machine| !machines.all.iter().any(|known| known.is_same(machine)));
            machines.all.append(&mut all);
            machines.complaints.extend(complaints);
        }
        machines.all.sort_by_key(|machine| machine.record.name);
        Ok(machines)
    }

    /// Reads all of the system's.
    ///
    /// # Errors
    /// As [`Machines::read`].
    pub fn of_system() -> Result<Self, Failure> {
        Self::read_in(RegistryFiles::SYSTEM)
    }

    fn read_in(registry: RegistryFiles) -> Result<Self, Failure> {
        let mut machines = Self::default();
        let Some(records) = Records::open(registry)? else { return Ok(machines) };
        for name in records.names()? {
            match records.read(&name) {
                Ok(found) => machines.all.extend(found),
                Err(failure) => machines.complaints.push(failure.to_string()),
            }
        }
        Ok(machines)
    }
}

/// There is no machine of this name.
pub fn no_machine(name: &str) -> Failure {
    Failure::NotFound(format!("there is no machine '{}'", name.escape_debug()))
}

/// The names that the directories of the records list.
pub fn listed_names() -> Vec<MachineName> {
    let records = registries().filter_map(|registry| Records::open(registry).ok().flatten());
    let mut names: Vec<_> = records.flat_map(|records| records.names().unwrap_or_default()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The records of a registry.
struct Records {
    registry: RegistryFiles,
    directory: Directory,
}

impl Records {
    /// Opens the directory; `None` where there is none.
    fn open(registry: RegistryFiles) -> Result<Option<Self>, Failure> {
        match Directory::open(&path_of(registry)) {
            Ok(directory) => Ok(Some(Self { registry, directory })),
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::new(complaint(registry, &error))),
        }
    }

    /// In their order.
    fn names(&self) -> Result<Vec<MachineName>, Failure> {
        let listed = self.directory.names().map_err(|error| Failure::new(complaint(self.registry, &error)));
        let mut names = listed?.machines;
        names.sort_unstable();
        Ok(names)
    }

    /// Reads one; `None` if there is none. In a registry of a user's, what is not that user's is as good as missing.
    fn read(&self, name: &MachineName) -> Result<Option<Machine>, Failure> {
        let is_whose = |user| {
            let status = record_path(self.registry, name).symlink_metadata();
            status.is_ok_and(|status| status.uid() == user)
        };
        if self.registry.user().is_some_and(|user| !is_whose(user)) {
            return Ok(None);
        }
        match self.directory.read(name) {
            Ok(record) => Ok(Some(Machine::new(record, self.registry))),
            Err(Error::NoSuchMachine(_)) => Ok(None),
            Err(error) => Err(Failure::new(complaint(self.registry, &error))),
        }
    }
}

/// An error of a registry with its file and its cause.
fn complaint(registry: RegistryFiles, error: &Error) -> String {
    match error {
        Error::Damaged { name, reason } => {
            format!("a damaged record: {}: {reason}", record_path(registry, name).display())
        }
        Error::Io { source, .. } => format!("{error}: {source}"),
        other => other.to_string(),
    }
}
