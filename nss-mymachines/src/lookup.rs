//! From a name to the record behind it, and whether the machine lives.

use registry::{
    AddressSink, AddressState, ClassState, HostEntry, HostScan, MachineName, RECORD_MAX, is_alive,
    record_path,
};

use crate::answer::Failure;
use crate::processes::{Descriptor, KernelProcesses};

/// Reads the record of a machine; its addresses go to the sink.
///
/// What is no record of a living container with addresses of its own is a failure.
pub fn look_up<S: AddressSink>(name: &MachineName, sink: S) -> Result<S, Failure> {
    let (sink, entry) = read(name, sink)?;
    match entry {
        _ if !is_alive(&entry.leader, &KernelProcesses) => Err(Failure::Unavailable(libc::ENXIO)),
        HostEntry { class: ClassState::Other, .. } => Err(Failure::Unavailable(libc::ENOTTY)),
        HostEntry { addresses: AddressState::SharedWithHost, .. } => Err(Failure::Unavailable(libc::ENOSYS)),
        HostEntry { addresses: AddressState::Unknown, .. } => Err(Failure::Unavailable(libc::ENODATA)),
        HostEntry { addresses: AddressState::Listed, .. } => Ok(sink),
    }
}

fn read<S: AddressSink>(name: &MachineName, sink: S) -> Result<(S, HostEntry), Failure> {
    let file = match Descriptor::open(record_path(name).as_c_str(), libc::O_NOFOLLOW) {
        Ok(file) => file,
        // A symlink is nobody's record.
        Err(libc::ENOENT | libc::ELOOP) => return Err(Failure::Unavailable(libc::ENXIO)),
        Err(errno) => return Err(Failure::of_errno(errno)),
    };
    let mut scan = HostScan::new(*name, sink);
    let mut buffer = [0_u8; 2048];
    let mut length = 0_usize;
    loop {
        let piece = match file.read(&mut buffer) {
            Ok(piece) => piece,
            // A directory, or a FIFO or socket with another end.
            Err(libc::EISDIR | libc::EAGAIN | libc::EINVAL) => {
                return Err(Failure::Unavailable(libc::EBADMSG));
            }
            Err(errno) => return Err(Failure::of_errno(errno)),
        };
        scan.feed(piece);
        length = length.wrapping_add(piece.len());
        // A record is replaced, never changed, so a short piece is the last one.
        if piece.len() < 2048 || length > RECORD_MAX {
            break;
        }
    }
    match scan.finish() {
        (sink, Some(entry)) => Ok((sink, entry)),
        (_, None) => Err(Failure::Unavailable(libc::EBADMSG)),
    }
}
