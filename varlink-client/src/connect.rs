//! To be let in at a socket.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect as connect_to, socket_with,
};

/// A full queue gives no sign when there is room again: it is tried anew, this often at most.
const PAUSE: Duration = Duration::from_millis(5);

/// Connects without waiting longer than this; connect(2) itself would wait for ever at a full queue.
pub fn connect(path: &Path, patience: Option<Duration>) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let deadline = patience.and_then(|patience| Instant::now().checked_add(patience));
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    loop {
        match connect_to(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if deadline.is_none_or(|deadline| Instant::now() < deadline) => {
                std::thread::sleep(PAUSE);
            }
            Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(errno) => return Err(errno.into()),
        }
    }
}
