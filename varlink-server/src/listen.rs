//! The sockets to listen on: bound by us, or passed by socket activation.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::sockopt::{socket_acceptconn, socket_domain};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, getsockname, listen,
    socket_with,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::stream::watch;

/// A socket to accept connections on.
#[derive(Debug)]
pub struct Listener(AsyncFd<OwnedFd>);

impl Listener {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        watch(socket, Interest::READABLE).map(Self)
    }

    /// Waits for connections, accept4(2), and hands over those that are there, until `take` says that it is enough. They do not
    /// block, and nobody watches them yet.
    ///
    /// # Errors
    /// What the kernel says, but that there is no connection.
    pub async fn accept(&self, mut take: impl FnMut(OwnedFd) -> ControlFlow<()>) -> Result<(), Errno> {
        loop {
            let ready = self.0.readable().await;
            let mut ready = ready.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            let mut is_first = true;
            loop {
                match accept_with(&self.0, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                    Ok(accepted) => {
                        if take(accepted).is_break() {
                            return Ok(());
                        }
                        is_first = false;
                    }
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => {
                        ready.clear_ready();
                        break;
                    }
                    Err(errno) => return Err(errno),
                }
            }
            if !is_first {
                return Ok(());
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether somebody listens at `path`. Does not wait, however many want to be heard there.
pub fn is_served(path: &Path) -> bool {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let connected = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .and_then(|socket| connect(&socket, &SocketAddrUnix::new(path)?));
    // A full backlog is somebody's.
    matches!(connected, Ok(()) | Err(Errno::AGAIN))
}

/// Where a socket is bound to; `None` if it is to no path.
pub fn path_of(socket: impl AsFd) -> Option<PathBuf> {
    let address = SocketAddrUnix::try_from(getsockname(socket).ok()?).ok()?;
    let path = address.path()?.to_bytes().to_vec();
    Some(PathBuf::from(OsString::from_vec(path)))
}

/// Listens on a socket of mode 0666 at `path`; its directory is created with mode 0755.
///
/// A socket that is already there is replaced, as one left behind. Nothing else is ever removed.
///
/// # Errors
/// `AddrInUse` when somebody listens there; `AlreadyExists` when there is something at `path` that is no socket; else what the kernel says.
pub fn listen_at(path: &Path) -> io::Result<Listener> {
    listen_with_mode(path, 0o666)
}

/// The same, on a socket of mode 0600.
///
/// # Errors
/// As [`listen_at`].
pub fn listen_privately_at(path: &Path) -> io::Result<Listener> {
    listen_with_mode(path, 0o600)
}

fn listen_with_mode(path: &Path, mode: u32) -> io::Result<Listener> {
    if let Some(directory) = path.parent()
        && !directory.exists()
    {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    }
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => {
            // Whoever still listens there would lose its clients to us.
            if is_served(path) {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon serves it"));
            }
            fs::remove_file(path)?;
        }
        Ok(_) => {
            let problem = format!("{} is in the way: it is no socket", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, problem));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    // Before `listen`, so that nobody can meet the socket with another mode.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    listen(&socket, BACKLOG)?;
    Listener::new(socket)
}

/// Makes `alias` a second path of the socket at `path`, which is absolute.
///
/// A socket or symlink that is already there is replaced. Nothing else is ever removed.
///
/// # Errors
/// `AlreadyExists` when there is something else at `alias`; else what the kernel says.
pub fn alias(alias: &Path, path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(alias) {
        Ok(there) if there.file_type().is_socket() || there.is_symlink() => fs::remove_file(alias)?,
        Ok(_) => {
            let problem = format!("{} is in the way: it is no socket", alias.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, problem));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // As systemd makes it, which takes a link that reads otherwise for somebody else's.
    std::os::unix::fs::symlink(path, alias)
}

/// Listens on a socket that is bound and listening already.
///
/// # Errors
/// `InvalidInput` when `socket` is anything else.
pub fn listen_on(socket: OwnedFd) -> io::Result<Listener> {
    if socket_domain(&socket)? != AddressFamily::UNIX || !socket_acceptconn(&socket)? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening unix socket"));
    }
    rustix::io::ioctl_fionbio(&socket, true)?;
    Listener::new(socket)
}

/// As for sd-varlink; the kernel lowers it to its own limit.
const BACKLOG: i32 = 4096;
