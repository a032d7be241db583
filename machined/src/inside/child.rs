//! A child of the doorman, as the daemon knows it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::message::{Channel, Message};
use super::request::{Answer, Report};
use crate::jobs::{Jobs, Party};

/// A child of the doorman that works, or hangs. When this is dropped it is killed, and counted until it has ended.
#[derive(Debug)]
pub(super) struct Child {
    jobs: Jobs,
    /// On whose behalf.
    party: Party,
    pub pid: i32,
    pidfd: Option<OwnedFd>,
    /// Whether it had more time than it should need.
    pub is_late: bool,
}

/// A child, and the connection to it.
#[derive(Debug)]
pub(super) struct Started {
    /// The connection to it.
    pub channel: Channel,
    /// The child.
    pub child: Child,
    /// What the child said before the doorman said that there is one, without what was out of date by then.
    pub early: VecDeque<Message>,
}

impl Started {
    /// Waits for what the child has to say.
    pub(super) async fn answer(&mut self) -> Result<Answer, Errno> {
        let message = match self.early.pop_front() {
            Some(message) => message,
            None => self.channel.receive().await?,
        };
        match Report::decode(&message.bytes)? {
            Report::Done(bytes) => Ok(Answer { bytes, fds: message.fds }),
            Report::Failed(errno) => Err(errno),
            Report::Begun(_) | Report::NotBegun(_) | Report::FailedAt(..) | Report::Progress(_) => {
                Err(Errno::BADMSG)
            }
        }
    }
}

impl Child {
    /// Started on behalf of a machine.
    pub(super) fn new(jobs: Jobs, party: Party, pid: i32, pidfd: Option<OwnedFd>) -> Self {
        Self { jobs, party, pid, pidfd, is_late: false }
    }

    /// Kills it.
    pub(super) fn kill(&self) {
        if let Some(pidfd) = &self.pidfd {
            // Gone is as good.
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
    }

    /// Waits for its end.
    pub(super) async fn ended(&self) {
        let Some(pidfd) = &self.pidfd else { return };
        #[allow(deprecated, reason = "sound for what owns its descriptor; its successor is unsafe")]
        if let Ok(watched) = AsyncFd::with_interest(pidfd.as_fd(), Interest::READABLE) {
            let _ = watched.readable().await;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        if let Some(pidfd) = self.pidfd.take() {
            self.jobs.ends(self.party, pidfd, self.is_late);
        }
    }
}
