//! The daemon's side of one worker.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;

use images::Image;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::request::{Answer, Failure, Request};
use crate::jobs::{Jobs, Party};
use crate::own_process::OwnProcess;

/// The longest line that a worker says, and the most that images take at a time, in bytes.
const LONGEST: u64 = 1 << 20;
/// What says whether nspawn's locks are wanted.
const LOCK_VARIABLE: &str = "SYSTEMD_NSPAWN_LOCK";

/// A process that works. When this is dropped it is killed, and counted until it has ended, which may be long after: one
/// that hangs in a file system ends when that answers.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: Jobs,
    socket: BufReader<UnixStream>,
    process: OwnProcess,
    /// Whether it had more time than it should need.
    pub(super) is_late: bool,
}

impl Worker {
    /// Starts a process.
    pub(super) fn start(program: &[String], jobs: Jobs) -> io::Result<Self> {
        let lock = std::env::var_os(LOCK_VARIABLE).map(|value| (LOCK_VARIABLE, value));
        let (process, socket) = OwnProcess::start(program, lock)?;
        Ok(Self { jobs, socket: BufReader::new(socket), process, is_late: false })
    }

    /// The process, to be waited for.
    pub(super) fn process(&self) -> io::Result<OwnedFd> {
        self.process.descriptor()
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
                Answer::Packed(length) => each(Answer::Images(self.images(length).await?)),
                answer => each(answer),
            }
            // All else goes on meanwhile.
            tokio::task::yield_now().await;
        }
    }

    async fn images(&mut self, length: usize) -> io::Result<Vec<Image>> {
        if u64::try_from(length).is_ok_and(|length| length > LONGEST) {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; length];
        self.socket.read_exact(&mut bytes).await?;
        images::unpack(&bytes).ok_or_else(|| ErrorKind::InvalidData.into())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.process.kill();
        if let Ok(process) = self.process.descriptor() {
            self.jobs.ends(Party::images(), process, self.is_late);
        }
    }
}
