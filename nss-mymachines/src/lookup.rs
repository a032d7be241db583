//! From a name to the record behind it, and whether the machine lives.

use registry::calls::{RegistryFiles, SeenProcesses, sole_user};
use registry::{
    AddressState, ClassState, MachineName, RecordError, RecordHead, RecordSink, is_alive, read_record,
};

use crate::answer::Failure;

/// Reads the record of a machine in a registry; its addresses go to the sink.
///
/// What is no record of a living machine with addresses of its own is a failure. A machine whose name is another user's
/// alone is as unknown as one that is not there.
pub fn look_up(files: &RegistryFiles, name: &MachineName, sink: &mut dyn RecordSink) -> Result<(), Failure> {
    let head = read_record(files, name, sink).map_err(|error| match error {
        RecordError::Absent => Failure::NO_MACHINE,
        RecordError::Damaged => Failure::DAMAGED,
        RecordError::Unreadable(errno) => Failure::of_errno(errno),
    })?;
    match head {
        RecordHead { private_to: Some(uid), .. } if sole_user() != Some(uid) => Err(Failure::NO_MACHINE),
        _ if !is_alive(&head.leader, &SeenProcesses) => Err(Failure::NO_MACHINE),
        RecordHead { addresses: AddressState::SharedWithHost, .. } => Err(Failure::of_errno(libc::ENOSYS)),
        RecordHead { addresses: AddressState::Listed, .. } => Ok(()),
        // As the original has it of every virtual machine.
        RecordHead { class: ClassState::Other, .. } => Err(Failure::of_errno(libc::ENOTTY)),
        RecordHead { addresses: AddressState::Unknown, .. } => Err(Failure::of_errno(libc::ENODATA)),
    }
}
