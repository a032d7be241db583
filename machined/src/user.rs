//! Whose daemon this is, where it is not the system's: a user's own, which serves that user alone.

use std::env;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use libmachine::{ControlGroup, ProcessHandle};
use rustix::fs::{XattrFlags, lsetxattr};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use service_manager::Failure;

/// Where a user's systemd is spoken to without a bus, below the runtime directory.
const PRIVATE: &str = "systemd/private";

/// Which part in Varlink a socket plays.
const ATTRIBUTE: &str = "user.varlink";

/// The user, and the user's systemd.
#[derive(Debug)]
pub struct User {
    /// `$XDG_RUNTIME_DIR`, file-hierarchy(7).
    pub runtime: PathBuf,
    /// Where the user's systemd is spoken to.
    pub private: PathBuf,
    /// Where the user's images are.
    pub images: images::User,
    /// The control group of the user's systemd; `None` where there is none.
    pub systemd: Option<ControlGroup>,
}

impl User {
    /// The user as whom this process runs, by the environment: XDG Base Directory Specification.
    ///
    /// # Errors
    /// The environment does not say where the user's directories are, or the runtime directory is somebody else's.
    pub fn of_process() -> Result<Self, Failure> {
        let (runtime, home) = (required("XDG_RUNTIME_DIR")?, required("HOME")?);
        let failed =
            |what: &str, errno: Errno| Failure::new(format!("{runtime}: {what}"), io::Error::from(errno));
        let stat = rustix::fs::stat(&runtime).map_err(|errno| failed("cannot look at it", errno))?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(failed("it belongs to another user", Errno::PERM));
        }
        let private = Path::new(&runtime).join(PRIVATE);
        let images = images::User {
            runtime: runtime.clone(),
            state: directory("XDG_STATE_HOME").unwrap_or_else(|| format!("{home}/.local/state")),
            settings: directory("XDG_CONFIG_HOME").unwrap_or_else(|| format!("{home}/.config")),
            library: format!("{home}/.local/lib"),
        };
        Ok(Self { runtime: runtime.into(), systemd: group_of_listener(&private), private, images })
    }
}

/// Has a user's sockets found by the names of their interfaces, and tells by their attributes what is served at them, as
/// systemd 262 does it. Where the file system has no room for attributes of sockets, there are none.
///
/// # Errors
/// What the kernel says; `AlreadyExists`: something is in the way that is no link.
pub fn register(socket: &Path, image_socket: &Path, registry: &Path) -> io::Result<()> {
    std::fs::create_dir_all(registry)?;
    for path in [socket, image_socket] {
        if let Some(name) = path.file_name() {
            varlink_server::alias(&registry.join(name), socket)?;
        }
    }
    let _ = lsetxattr(socket, ATTRIBUTE, b"entrypoint", XattrFlags::empty());
    Ok(())
}

/// A directory that the environment names. One that is not absolute counts as none, as the specification has it.
fn directory(variable: &str) -> Option<String> {
    let path = env::var(variable).ok().filter(|path| path.starts_with('/'))?;
    Some(path.trim_end_matches('/').to_owned())
}

fn required(variable: &str) -> Result<String, Failure> {
    let none = || Failure::new(format!("${variable} names no directory"), io::Error::from(Errno::NOENT));
    directory(variable).ok_or_else(none)
}

/// The control group of the process that listens on a socket.
fn group_of_listener(path: &Path) -> Option<ControlGroup> {
    let stream = UnixStream::connect(path).ok()?;
    let pid = socket_peercred(&stream).ok()?.pid;
    ProcessHandle::open(pid.as_raw_nonzero().get()).ok()?.control_group().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_whoever_listens_is_found() {
        let path = env::temp_dir().join(format!("private-{}", std::process::id()));
        let own = ProcessHandle::open(rustix::process::getpid().as_raw_nonzero().get()).unwrap();
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(group_of_listener(&path), own.control_group().ok());
        drop(listener);
        assert_eq!(group_of_listener(&path), None);
        std::fs::remove_file(&path).unwrap();
    }
}
