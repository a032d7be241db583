//! A machine as its record has it, and whether it runs.

use registry::{Directory, Error, KernelProcesses, MACHINE_DIRECTORY, MachineName, Record, is_alive};

use crate::failure::Failure;

/// What is known of one machine.
#[derive(Debug)]
pub struct Machine {
    /// Its record.
    pub record: Record,
    /// Whether its leader may still run.
    pub is_alive: bool,
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
    fn new(record: Record) -> Self {
        let is_alive = is_alive(&record.leader_identity(), &KernelProcesses);
        Self { record, is_alive }
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

    /// Reads one.
    ///
    /// # Errors
    /// [`Failure::NotFound`]: there is none of that name. Others: its record cannot be read.
    pub fn read(name: &MachineName) -> Result<Self, Failure> {
        let Some(directory) = directory()? else { return Err(no_machine(name.as_str())) };
        match directory.read(name) {
            Ok(record) => Ok(Self::new(record)),
            Err(Error::NoSuchMachine(_)) => Err(no_machine(name.as_str())),
            Err(error) => Err(Failure::new(complaint(&error))),
        }
    }
}

impl Machines {
    /// Reads all. One that goes meanwhile is left out.
    ///
    /// # Errors
    /// The directory of the records cannot be read. That there is none is no error.
    pub fn read() -> Result<Self, Failure> {
        let mut machines = Self::default();
        let Some(directory) = directory()? else { return Ok(machines) };
        let mut names = directory.names().map_err(|error| Failure::new(complaint(&error)))?.machines;
        names.sort_unstable();
        for name in names {
            match directory.read(&name) {
                Ok(record) => machines.all.push(Machine::new(record)),
                Err(Error::NoSuchMachine(_)) => {}
                Err(error) => machines.complaints.push(complaint(&error)),
            }
        }
        Ok(machines)
    }
}

/// There is no machine of this name.
pub fn no_machine(name: &str) -> Failure {
    Failure::NotFound(format!("there is no machine '{}'", name.escape_debug()))
}

fn directory() -> Result<Option<Directory>, Failure> {
    match Directory::open(MACHINE_DIRECTORY.as_ref()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::new(complaint(&error))),
    }
}

/// An error of the registry with its file and its cause.
pub fn complaint(error: &Error) -> String {
    match error {
        Error::Damaged { name, reason } => format!("a damaged record: {MACHINE_DIRECTORY}/{name}: {reason}"),
        Error::Io { source, .. } => format!("{error}: {source}"),
        other => other.to_string(),
    }
}
