//! Joining a bus: where it is, when it comes, and a connection to it.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use closer::Way;
use zbus::address::Transport;
use zbus::address::transport::UnixSocket;
use zbus::runtime::traits::Runtime as _;
use zbus::{Address, Connection, connection};

use crate::arrival::appears;
use crate::runtime::Runtime;
use crate::socket::BusSocket;

/// Joins the bus at a socket. The `closer` reads what comes with descriptors; without it they are installed here.
///
/// # Errors
/// There is none, or it does not let us in.
pub async fn join_at(path: &Path, closer: Option<Way>) -> zbus::Result<Connection> {
    let socket = BusSocket::new(Runtime.connect_unix(path).await?, closer)?;
    connection::Builder::socket(socket).runtime(Runtime).build().await
}

/// Connects to a program that speaks D-Bus itself at a socket, without a bus between, likewise.
///
/// # Errors
/// Nobody listens there, or it does not let us in.
pub async fn join_peer(path: &Path, closer: Option<Way>) -> zbus::Result<Connection> {
    let socket = BusSocket::new(Runtime.connect_unix(path).await?, closer)?;
    connection::Builder::socket(socket).p2p().runtime(Runtime).build().await
}

/// Joins a bus over a connection to it, as this user, which the bus has to know the connection to be of.
///
/// # Errors
/// It does not let us in.
pub async fn join_bus(socket: OwnedFd, user: u32, closer: Option<Way>) -> zbus::Result<Connection> {
    let socket = BusSocket::new(socket.into(), closer)?;
    connection::Builder::socket(socket).user_id(user).runtime(Runtime).build().await
}

/// Waits until there is a file where a socket belongs, and returns whether there was none. It may not be listened to yet, or
/// not any more: nothing tells when that changes.
///
/// # Errors
/// The kernel cannot tell when it comes. A socket without a file is `Unsupported`.
pub async fn appears_at(path: &Path) -> io::Result<bool> {
    if path.is_absolute() { appears(path).await } else { Err(io::ErrorKind::Unsupported.into()) }
}

/// The path of the socket of the system bus; an abstract name begins with a NUL.
///
/// # Errors
/// It has none, or the environment names one that is none.
pub fn system_bus() -> zbus::Result<PathBuf> {
    path_of(&Address::system()?)
}

/// The same of the bus of this user's session.
///
/// # Errors
/// As [`system_bus`]; also where nothing says where it is.
pub fn session_bus() -> zbus::Result<PathBuf> {
    path_of(&Address::session()?)
}

fn path_of(address: &Address) -> zbus::Result<PathBuf> {
    let Transport::Unix(unix) = address.transport() else { return Err(zbus::Error::Unsupported) };
    match unix.path() {
        UnixSocket::File(path) => Ok(path.clone()),
        UnixSocket::Abstract(name) => {
            let mut path = OsString::from("\0");
            path.push(name);
            Ok(PathBuf::from(path))
        }
        _ => Err(zbus::Error::Unsupported),
    }
}
