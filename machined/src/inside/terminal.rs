//! A pseudo terminal of a container, and its bus: opened by a child in the container's user namespace as its root. Opened as
//! the host's root, the terminal would belong to nobody there, and login could not make it the user's.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, OFlags, Stat, fstat, major, minor};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, getpeername, socket_with, sockopt,
};
use rustix::process::getppid;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{QueueSelector, tcflush};
use rustix::thread::{
    Gid, ThreadNameSpaceType, Uid, move_into_thread_name_spaces, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::asked::Asked;
use super::bond::be_bound_to;
use super::path::{look_and_open, open, root_of_leader};
use super::request::Answer;

/// Where terminals are made.
const PTMX: &str = "dev/ptmx";
/// Where the system bus listens.
const BUS: [&str; 2] = ["run/dbus/system_bus_socket", "var/run/dbus/system_bus_socket"];
/// The device numbers of ptmx and of the other ends, Documentation/admin-guide/devices.txt.
const PTMX_DEVICE: (u32, u32) = (5, 2);
const PTS_MAJORS: std::ops::RangeInclusive<u32> = 136..=143;

/// A pseudo terminal.
#[derive(Debug)]
pub struct Terminal {
    /// The end that a terminal emulator has.
    pub master: OwnedFd,
    /// The end that programs have.
    pub peer: OwnedFd,
    /// Its number.
    pub number: u32,
}

/// A terminal of a container, and what was found beside it.
#[derive(Debug)]
pub struct OpenedTerminal {
    /// The terminal.
    pub terminal: Terminal,
    /// The connection to the bus if that was wanted, or why there is none.
    pub bus: Option<Result<OwnedFd, Errno>>,
    /// Whether the program is not there that is to run on it.
    pub lacks_program: bool,
}

impl Terminal {
    /// Made on the host.
    ///
    /// # Errors
    /// As the kernel has them.
    pub fn of_host() -> Result<Self, Errno> {
        Self::of(openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?)
    }

    fn of(master: OwnedFd) -> Result<Self, Errno> {
        unlockpt(&master)?;
        let peer = peer_of(&master)?;
        Self::checked(master, peer)
    }

    /// What came back from a container.
    ///
    /// # Errors
    /// `ENOTTY`: these are no two ends of a terminal.
    pub(super) fn checked(master: OwnedFd, peer: OwnedFd) -> Result<Self, Errno> {
        let seen = fstat(&peer)?;
        is_ptmx(&fstat(&master)?)?;
        let is_pts = FileType::from_raw_mode(seen.st_mode) == FileType::CharacterDevice
            && PTS_MAJORS.contains(&major(seen.st_rdev));
        let name = ptsname(&master, Vec::new())?;
        let number = name.to_str().ok().and_then(|name| name.strip_prefix("/dev/pts/")?.parse().ok());
        match number {
            Some(number) if is_pts => Ok(Self { master, peer, number }),
            _ => Err(Errno::NOTTY),
        }
    }

    /// Opens the other end once more. No path is walked for that.
    ///
    /// # Errors
    /// As the kernel has them.
    pub fn open_peer(&self) -> Result<OwnedFd, Errno> {
        let peer = peer_of(&self.master)?;
        // Whatever an earlier user of this number wrote when it ended, as systemd does that resets a getty's terminal. First
        // what is on its way, then what has arrived.
        tcflush(&peer, QueueSelector::OFlush)?;
        tcflush(&self.master, QueueSelector::IFlush)?;
        Ok(peer)
    }

    /// What programs know it by.
    pub fn path(&self) -> String {
        format!("/dev/pts/{}", self.number)
    }
}

fn peer_of(master: &OwnedFd) -> Result<OwnedFd, Errno> {
    ioctl_tiocgptpeer(master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
}

fn is_ptmx(stat: &Stat) -> Result<(), Errno> {
    let is_ptmx = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (major(stat.st_rdev), minor(stat.st_rdev)) == PTMX_DEVICE;
    if is_ptmx { Ok(()) } else { Err(Errno::NOTTY) }
}

/// Opens a terminal; connects to the bus, if that is wanted; and looks whether a program is there. What comes back is the two
/// ends, and the connection if there is a bus; and in bytes whether the program is missing, and why there is no connection.
pub(super) fn open_terminal(asked: &Asked, wants_bus: bool, program: Option<&str>) -> Result<Answer, Errno> {
    let (pid, pidfd) = asked.leader.as_ref().ok_or(Errno::INVAL)?;
    let root = root_of_leader(*pid, pidfd.as_fd())?;
    become_root_of(*pid, pidfd.as_fd())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK;
    let master = look_and_open(root.as_fd(), PTMX, flags, is_ptmx)?;
    rustix::fs::fcntl_setfl(&master, OFlags::RDWR)?;
    let terminal = Terminal::of(master)?;
    let lacks_program = program.is_some_and(|path| is_missing(root.as_fd(), path));
    let mut answer =
        Answer { bytes: vec![u8::from(lacks_program)], fds: vec![terminal.master, terminal.peer] };
    if wants_bus {
        match connect_to_bus(root.as_fd()) {
            Ok(bus) => answer.fds.push(bus),
            Err(errno) => answer.bytes.extend(errno.raw_os_error().to_ne_bytes()),
        }
    }
    Ok(answer)
}

/// Whether nothing has this path. What cannot be told counts as there.
fn is_missing(root: BorrowedFd<'_>, path: &str) -> bool {
    matches!(open(root, path, OFlags::PATH), Err(Errno::NOENT | Errno::NOTDIR))
}

/// Takes the place of the container's root, in its user namespace if it has one. There it has all capabilities.
fn become_root_of(pid: i32, pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    let inode = |whose: &str| rustix::fs::stat(format!("/proc/{whose}/ns/user")).map(|stat| stat.st_ino);
    if inode(&pid.to_string())? == inode("self")? {
        return Ok(());
    }
    let parent = getppid().ok_or(Errno::SRCH)?;
    move_into_thread_name_spaces(pidfd, ThreadNameSpaceType::USER)?;
    // Where they may not be changed they are none that matter: the overflow group's.
    let _ = set_thread_groups(&[]);
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
    // That made the kernel forget it.
    be_bound_to(parent)
}

fn connect_to_bus(root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let seen = match open(root, BUS[0], OFlags::PATH) {
        Err(Errno::NOENT) => open(root, BUS[1], OFlags::PATH),
        opened => opened,
    }?;
    if FileType::from_raw_mode(fstat(&seen)?.st_mode) != FileType::Socket {
        return Err(Errno::NOTSOCK);
    }
    // With a full backlog nobody waits.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(format!("/proc/self/fd/{}", seen.as_raw_fd()))?)?;
    Ok(socket)
}

/// Whether what came back is a connection as to a bus.
pub(super) fn check_connection(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let is_stream = sockopt::socket_domain(socket)? == AddressFamily::UNIX
        && sockopt::socket_type(socket)? == SocketType::STREAM;
    getpeername(socket)?;
    if is_stream { Ok(()) } else { Err(Errno::NOTSOCK) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_of_the_host_has_two_ends_and_a_number() {
        let terminal = Terminal::of_host().unwrap();
        rustix::io::write(&terminal.peer, b"x").unwrap();
        let mut byte = [0];
        rustix::io::read(&terminal.master, &mut byte).unwrap();
        assert_eq!(&byte, b"x");
        assert_eq!(terminal.path(), format!("/dev/pts/{}", terminal.number));
    }

    #[test]
    fn what_was_written_before_the_other_end_is_opened_anew_is_not_read() {
        let terminal = Terminal::of_host().unwrap();
        for has_arrived in [true, false] {
            rustix::io::write(&terminal.peer, b"reset").unwrap();
            if has_arrived {
                let mut readable =
                    [rustix::event::PollFd::new(&terminal.master, rustix::event::PollFlags::IN)];
                rustix::event::poll(&mut readable, None).unwrap();
            }
            let peer = terminal.open_peer().unwrap();
            rustix::io::write(&peer, b"x").unwrap();
            let mut bytes = [0; 16];
            let length = rustix::io::read(&terminal.master, &mut bytes).unwrap();
            assert_eq!(bytes.get(..length), Some(&b"x"[..]), "{has_arrived}");
        }
    }

    #[test]
    fn what_is_no_terminal_or_no_connection_is_refused() {
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let Terminal { master, peer, .. } = Terminal::of_host().unwrap();
        assert_eq!(Terminal::checked(null(), peer).unwrap_err(), Errno::NOTTY);
        assert_eq!(Terminal::checked(master, null()).unwrap_err(), Errno::NOTTY);
        assert_eq!(check_connection(null().as_fd()), Err(Errno::NOTSOCK));
        let (one, _other) = super::super::message::pair().unwrap();
        assert_eq!(check_connection(one.as_fd()), Err(Errno::NOTSOCK));
        let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(check_connection(stream.as_fd()), Ok(()));
    }
}
