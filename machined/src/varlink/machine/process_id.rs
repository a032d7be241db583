//! `ProcessId`: a process as a parameter, and as part of an answer.

use libmachine::ProcessHandle;
use registry::Process;
use rustix::fd::AsFd;
use rustix::io::Errno;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::machines::Key;
use crate::operations::Operations;
use varlink_server::{ErrorReply, Peer};

/// A process that a caller names.
#[derive(Debug)]
pub(super) struct ProcessId {
    pid: i32,
    pidfd_id: Option<u64>,
    boot_id: Option<String>,
}

impl ProcessId {
    /// Reads the parameter of this name; `None` if there is none.
    pub(super) fn of(
        parameters: &Map<String, Value>,
        name: &'static str,
    ) -> Result<Option<Self>, ErrorReply> {
        let Some(object) = parameters.get(name).and_then(Value::as_object) else { return Ok(None) };
        Self::read(object).map(Some).ok_or_else(|| ErrorReply::invalid_parameter(name))
    }

    fn read(object: &Map<String, Value>) -> Option<Self> {
        let pid = i32::try_from(object.get("pid")?.as_i64()?).ok().filter(|&pid| pid >= 0)?;
        let pidfd_id = object.get("pidfdId").map(Value::as_u64);
        let boot_id = object.get("bootId").map(|id| id.as_str().and_then(boot_id));
        // One that is there must be right.
        Some(Self {
            pid,
            // No process has the id 0: it stands for "not known", as in a record.
            pidfd_id: pidfd_id.map_or(Some(None), |id| id.map(Some))?.filter(|&id| id != 0),
            boot_id: boot_id.map_or(Some(None), |id| id.map(Some))?,
        })
    }

    /// The machine that the process is in. A process id of 0 alone is the peer.
    pub(super) fn find(&self, operations: &Operations, peer: &Peer) -> Option<Key> {
        if self.pid == 0 {
            let process =
                peer_process(peer).ok().filter(|_| self.pidfd_id.is_none() && self.boot_id.is_none())?;
            return operations.by_process(&process);
        }
        if self.boot_id.as_ref().is_some_and(|id| id != operations.boot_id()) {
            return None;
        }
        operations.by_process(&ProcessHandle::open(self.pid).ok()?)
    }

    /// The very process that is meant, alive; `None` if there is no such.
    pub(super) fn open(&self, operations: &Operations) -> Result<Option<ProcessHandle>, ErrorReply> {
        let process = found("leaderProcessId", open(self.pid))?;
        let same_boot = self.boot_id.as_ref().is_none_or(|id| id == operations.boot_id());
        let same_process = self.pidfd_id.is_none_or(|id| process.pidfd_id() == Some(id));
        Ok((same_boot && same_process).then_some(process))
    }
}

/// Opens a process by its number.
pub(super) fn open(pid: i32) -> Result<ProcessHandle, Errno> {
    ProcessHandle::open(pid).map_err(|error| Errno::from_raw_os_error(error.errno()))
}

/// A process that a caller names. That there is none is the caller's mistake, and a shortage of descriptors is not.
pub(super) fn found(
    parameter: &'static str,
    opened: Result<ProcessHandle, Errno>,
) -> Result<ProcessHandle, ErrorReply> {
    opened.map_err(|errno| match errno {
        shortage @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM) => ErrorReply::system(shortage),
        _ => ErrorReply::invalid_parameter(parameter),
    })
}

/// 32 hexadecimal digits, or a UUID with dashes; `None` is neither.
fn boot_id(text: &str) -> Option<String> {
    registry::MachineId::parse(text.as_bytes()).map(|id| id.map_or_else(String::new, |id| id.to_string()))
}

/// The process at the other end.
///
/// # Errors
/// `ESRCH`: it is gone. Why it cannot be pinned.
pub(super) fn peer_process(peer: &Peer) -> Result<ProcessHandle, Errno> {
    let pid = peer.pid.ok_or(Errno::SRCH)?;
    let opened = match &peer.pidfd {
        Some(pidfd) => {
            let pidfd =
                pidfd.try_clone().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            ProcessHandle::pinned(pid, pidfd)
        }
        // Kernels before 6.5 only tell the number.
        None => ProcessHandle::open(pid.as_raw_nonzero().get()),
    };
    opened.map_err(|error| Errno::from_raw_os_error(error.errno()))
}

/// The process at the other end, as a record names it.
pub(super) fn peer_identity(peer: &Peer) -> Option<Process> {
    let pid = peer.pid?;
    match &peer.pidfd {
        Some(pidfd) => Some(ProcessHandle::identity_of(pid, pidfd.as_fd())),
        None => Some(Process { pid: pid.as_raw_nonzero().get(), pidfd_id: None }),
    }
}

/// A process in an answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::varlink) struct ProcessReply {
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pidfd_id: Option<u64>,
    boot_id: String,
}

impl ProcessReply {
    pub(in crate::varlink) fn new(process: Process, operations: &Operations) -> Self {
        Self { pid: process.pid, pidfd_id: process.pidfd_id, boot_id: operations.boot_id().to_owned() }
    }
}
