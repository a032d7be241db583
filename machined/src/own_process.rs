//! This program, started again in a mode of its own: for what may hang in a file system, so that it can be abandoned.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

/// Where the program is, also where a newer one was installed since.
pub const PROGRAM: &str = "/proc/self/exe";

/// A process of ours. It has the other end of the socket as its standard input. Its end is waited for by a task of its own,
/// so that it leaves no zombie.
#[derive(Debug)]
pub struct OwnProcess {
    process: OwnedFd,
}

impl OwnProcess {
    /// Starts a program, with its arguments, in an environment with these variables alone. Needs a tokio runtime with IO,
    /// and a set of local tasks.
    ///
    /// # Errors
    /// As fork(2), execve(2), pidfd_open(2) and socketpair(2) have it.
    pub fn start<S: AsRef<OsStr>>(
        program: &[S],
        variables: impl IntoIterator<Item = (&'static str, OsString)>,
    ) -> io::Result<(Self, UnixStream)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (path, arguments) = program.split_first().ok_or(ErrorKind::InvalidInput)?;
        let mut command = Command::new(path);
        command.args(arguments).env_clear().envs(variables).current_dir("/");
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
        let child = command.spawn()?;
        // It is not waited for yet, so that its number is its own.
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::NONBLOCK)?;
        let socket = UnixStream::from_std(ours)?;
        let ended = follow(process.try_clone()?)?;
        tokio::task::spawn_local(bury(child, ended));
        Ok((Self { process }, socket))
    }

    /// The process, which becomes readable when it has ended.
    ///
    /// # Errors
    /// As dup(2) has it.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.process.try_clone()
    }

    /// Tells it to end. One that hangs in a file system ends when that answers.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
    }

    /// Waits until it has ended.
    pub async fn ended(self) {
        if let Ok(process) = follow(self.process) {
            let _ = process.readable().await;
        }
    }
}

#[allow(deprecated, reason = "sound for what owns its descriptor; its successor is unsafe")]
fn follow(process: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(process, Interest::READABLE)
}

/// Waits for the end of a process, so that it leaves no zombie.
async fn bury(mut child: Child, ended: AsyncFd<OwnedFd>) {
    let _ = ended.readable().await;
    // It has ended: this does not wait.
    let _ = child.wait();
}
