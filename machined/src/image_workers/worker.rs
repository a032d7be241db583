//! The daemon's side of one worker.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::OwnedSemaphorePermit;

use super::request::{Answer, Failure, Request};

/// The longest line that a worker says, in bytes. Images are told of a few at a time.
const LONGEST: u64 = 1 << 20;
/// What says whether nspawn's locks are wanted.
const LOCK_VARIABLE: &str = "SYSTEMD_NSPAWN_LOCK";

/// A process that works. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Worker {
    socket: BufReader<UnixStream>,
    process: OwnedFd,
    turn: Turn,
}

/// The turn of whoever has a worker. One that is killed in the middle takes it along.
type Turn = Rc<RefCell<Option<OwnedSemaphorePermit>>>;

impl Worker {
    /// Starts a process. If it is killed during a turn, that ends with the process, which may be long after: one that hangs in
    /// a file system ends when that answers.
    pub(super) fn start(program: &[String], turn: OwnedSemaphorePermit) -> io::Result<Self> {
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
        let turn = Rc::new(RefCell::new(Some(turn)));
        let worker = Self {
            socket: BufReader::new(UnixStream::from_std(ours)?),
            process: process.try_clone()?,
            turn: turn.clone(),
        };
        #[allow(deprecated, reason = "sound for what owns its descriptor; its successor is unsafe")]
        let ended = AsyncFd::with_interest(process, tokio::io::Interest::READABLE)?;
        tokio::task::spawn_local(bury(child, ended, turn));
        Ok(worker)
    }

    /// Begins a turn.
    pub(super) fn begin(&mut self, turn: OwnedSemaphorePermit) {
        self.turn.replace(Some(turn));
    }

    /// Ends it.
    pub(super) fn end(&mut self) {
        self.turn.take();
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
    }
}

/// Waits for the end of a process, so that it leaves no zombie.
async fn bury(mut child: Child, ended: AsyncFd<OwnedFd>, turn: Turn) {
    let _ = ended.readable().await;
    // It has ended: this does not wait.
    let _ = child.wait();
    drop(turn.take());
}
