//! The daemon's side of one worker.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::request::{Answer, Failure, Request};
use crate::jobs::{Jobs, Party};

/// The longest line that a worker says, in bytes. Images are told of a few at a time.
const LONGEST: u64 = 1 << 20;
/// What says whether nspawn's locks are wanted.
const LOCK_VARIABLE: &str = "SYSTEMD_NSPAWN_LOCK";

/// A process that works. When this is dropped it is killed, and counted until it has ended, which may be long after: one
/// that hangs in a file system ends when that answers.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: Jobs,
    socket: BufReader<UnixStream>,
    process: OwnedFd,
    /// Whether it had more time than it should need.
    pub(super) is_late: bool,
}

impl Worker {
    /// Starts a process.
    pub(super) fn start(program: &[String], jobs: Jobs) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (path, arguments) = program.split_first().ok_or(ErrorKind::InvalidInput)?;
        let mut command = Command::new(path);
        command.args(arguments).env_clear().current_dir("/");
        command.envs(std::env::var_os(LOCK_VARIABLE).map(|value| (LOCK_VARIABLE, value)));
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
        let child = command.spawn()?;
        // It is not waited for yet, so that its number is its own.
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::NONBLOCK)?;
        let socket = BufReader::new(UnixStream::from_std(ours)?);
        let worker = Self { jobs, socket, process: process.try_clone()?, is_late: false };
        #[allow(deprecated, reason = "sound for what owns its descriptor; its successor is unsafe")]
        let ended = AsyncFd::with_interest(process, tokio::io::Interest::READABLE)?;
        tokio::task::spawn_local(bury(child, ended));
        Ok(worker)
    }

    /// The process, to be waited for.
    pub(super) fn process(&self) -> io::Result<OwnedFd> {
        self.process.try_clone()
    }

    /// Asks for something. What is answered is handed over piece by piece.
    ///
    /// # Errors
    /// The worker is gone, or makes no sense. It is of no use any more then.
    pub(super) async fn ask(
        &mut self,
        request: &Request,
        mut each: impl FnMut(Answer),
    ) -> io::Result<Result<(), Failure>> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.socket.write_all(&line).await?;
        loop {
            line.clear();
            (&mut self.socket).take(LONGEST).read_until(b'\n', &mut line).await?;
            if line.is_empty() {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            match serde_json::from_slice(&line)? {
                Answer::Done => return Ok(Ok(())),
                Answer::Failed(failure) => return Ok(Err(failure)),
                answer => each(answer),
            }
            // All else goes on meanwhile.
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
        if let Ok(process) = self.process.try_clone() {
            self.jobs.ends(Party::images(), process, self.is_late);
        }
    }
}

/// Waits for the end of a process, so that it leaves no zombie.
async fn bury(mut child: Child, ended: AsyncFd<OwnedFd>) {
    let _ = ended.readable().await;
    // It has ended: this does not wait.
    let _ = child.wait();
}
