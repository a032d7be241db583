//! The process that closes, and that reads what comes with descriptors.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::RecvFlags;

use crate::packet::{Packet, READ_MAX, Read, Received, receive};

/// Who sent descriptors on, such as a bus, closes its own right after that. It should not be the last to do so.
const COURTESY: Duration = Duration::from_millis(50);

/// Works until it has closed something that may have lasted.
pub fn run([work, says]: [OwnedFd; 2]) {
    loop {
        match Packet::receive(&work) {
            Ok(Some((Packet::Close, mut descriptors))) => {
                if let Some(gate) = descriptors.pop() {
                    // The daemon has closed its own, or has ended.
                    let _ = poll(&mut [PollFd::new(&gate, PollFlags::HUP)], None);
                }
                return close(descriptors, &says, Duration::ZERO);
            }
            Ok(Some((Packet::Receive(most), descriptors))) => {
                let strangers = read(most, descriptors);
                if !strangers.is_empty() {
                    return close(strangers, &says, COURTESY);
                }
            }
            // The daemon has gone, or there is no room for what it sends.
            Ok(None) | Err(_) => return,
        }
    }
}

/// Says that somebody else is needed meanwhile, and closes a little later.
fn close(descriptors: Vec<OwnedFd>, says: &OwnedFd, later: Duration) {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    // Where the pipe is full, which holds a thousand of these, nobody listens.
    let _ = rustix::io::write(says, &own.to_ne_bytes());
    std::thread::sleep(later);
    drop(descriptors);
}

/// Reads a connection and answers. Returns what is to be closed.
fn read(most: usize, descriptors: Vec<OwnedFd>) -> Vec<OwnedFd> {
    let Ok([connection, answer]) = <[OwnedFd; 2]>::try_from(descriptors) else { return Vec::new() };
    let mut bytes = vec![0; most.min(READ_MAX)];
    let read = receive(&connection, &mut bytes, RecvFlags::DONTWAIT);
    // Before anything that may last: the daemon's successor cannot have its place while this is open.
    drop(connection);
    let Read { length, descriptors: came, is_short } = match read {
        Ok(read) => read,
        Err(errno) => {
            // Who does not want it any more has gone.
            let _ = Received::send(&answer, Err(errno), &[]);
            return Vec::new();
        }
    };
    let null = std::fs::File::open("/dev/null");
    let passed: Vec<_> = match &null {
        Ok(null) => came.iter().map(|fd| if is_pidfd(fd) { fd.as_fd() } else { null.as_fd() }).collect(),
        Err(_) => Vec::new(),
    };
    let read = (bytes.get(..length).unwrap_or_default(), is_short || null.is_err());
    let _ = Received::send(&answer, Ok(read), &passed);
    came.into_iter().filter(|fd| !is_pidfd(fd)).collect()
}

/// Whether it is the descriptor of a process, whose close never waits. Does not ask the file system that it is of.
fn is_pidfd(descriptor: &OwnedFd) -> bool {
    let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    std::fs::read_link(link).is_ok_and(|target| target.as_os_str() == "anon_inode:[pidfd]")
}
