//! The kept reader: a process that reads the small files of containers, one after the other. One that hangs in a
//! container's file system is left to that, and another takes its place.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::message;
use super::path::{is_regular, look_and_open, root_of};
use super::request::Report;
use crate::os_release::{Fields, parse};

/// The largest file that is read, in bytes.
const MAX: u64 = 64 * 1024;
/// Where os-release(5) is, in the order of preference.
const OS_RELEASE: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];

/// Reads the files of the processes that it is told, until the connection ends.
pub(super) fn serve(socket: BorrowedFd<'_>) {
    while let Ok(Some(asked)) = message::receive(socket, RecvFlags::empty()) {
        let pid = asked.bytes.as_slice().try_into().map(i32::from_ne_bytes).map_err(|_| Errno::BADMSG);
        let read = pid.and_then(os_release_of);
        let report = read.map_or_else(Report::Failed, |fields| Report::Done(encode(&fields)));
        if message::send(socket, &report.encode(), &[], SendFlags::empty()).is_err() {
            return;
        }
    }
}

/// What the reader is asked: the number of a process.
pub(super) fn question(pid: i32) -> [u8; 4] {
    pid.to_ne_bytes()
}

/// Pairs as bytes. They have no NUL in them, and are no longer than their file.
fn encode(fields: &Fields) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in fields.iter().flat_map(|(key, value)| [key, value]) {
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// The pairs of such bytes.
///
/// # Errors
/// `EBADMSG`: they are others.
pub(super) fn decode(bytes: &[u8]) -> Result<Fields, Errno> {
    let text = std::str::from_utf8(bytes).map_err(|_| Errno::BADMSG)?;
    let mut texts = text.split_terminator('\0');
    let mut fields = Fields::new();
    while let Some(key) = texts.next() {
        fields.push((key.to_owned(), texts.next().ok_or(Errno::BADMSG)?.to_owned()));
    }
    Ok(fields)
}

/// What the OS of a process says of itself.
///
/// # Errors
/// `ENOENT`: nothing. `EFBIG`, `EINVAL`: the file is none of this kind, or says what no reply can carry. Others as the
/// kernel has them.
fn os_release_of(pid: i32) -> Result<Fields, Errno> {
    os_release(root_of(pid)?.as_fd())
}

/// What the OS below a root directory says of itself.
///
/// # Errors
/// As for a process.
pub(super) fn os_release(root: BorrowedFd<'_>) -> Result<Fields, Errno> {
    let mut missing = Err(Errno::NOENT);
    for path in OS_RELEASE {
        // Never a terminal of ours, and never waiting.
        let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK;
        match look_and_open(root, path, flags, is_regular) {
            Ok(file) => return parse(&read(file)?),
            Err(Errno::NOENT) => {}
            Err(errno) => missing = Err(errno),
        }
    }
    missing
}

fn read(file: OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::new();
    let read = std::fs::File::from(file).take(MAX.saturating_add(1)).read_to_end(&mut text);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX) { Err(Errno::FBIG) } else { Ok(text) }
}

/// What the host's OS says of itself.
///
/// # Errors
/// As for a container.
pub fn of_host() -> Result<Fields, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    os_release(rustix::fs::open("/", flags, rustix::fs::Mode::empty())?.as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_key_counts_at_its_first_place() {
        let fields = parse(b"ID=debian\nVERSION_ID=\"12\"\nID='sid'\n").unwrap();
        assert_eq!(fields, [("ID".into(), "sid".into()), ("VERSION_ID".into(), "12".into())]);
        assert_eq!(decode(&encode(&fields)), Ok(fields));
        assert_eq!(decode(b""), Ok(Fields::new()));
        for damaged in [&b"a\0"[..], b"a\0b\0c\0", b"\xff\0b\0"] {
            assert_eq!(decode(damaged), Err(Errno::BADMSG));
        }
    }

    #[test]
    fn a_process_of_the_host_has_the_hosts_release() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert_eq!(os_release_of(me), of_host());
    }
}
