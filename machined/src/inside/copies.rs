//! The daemon's side of copies: so many at a time, each by a child that is watched and ends with its machine.

use std::time::Duration;

use images::Progress;
use rustix::io::Errno;
use tokio::time::{Instant, interval_at};
use tracing::{info, warn};

use super::guest::Guest;
use super::ongoing::Ongoing;
use super::request::{Copy, Report, Work};
use super::service::Inside;

/// How often the journal is told that one goes on.
const TELLING: Duration = Duration::from_secs(10);

/// Why a copy failed, and at which file if it is about one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyError {
    /// Why.
    pub errno: Errno,
    /// The file.
    pub path: Option<String>,
}

impl From<Errno> for CopyError {
    fn from(errno: Errno) -> Self {
        Self { errno, path: None }
    }
}

impl Inside {
    /// Whether one more copy may begin.
    pub fn may_copy(&self) -> bool {
        self.copies.has_room()
    }

    /// The copies that go on, by their numbers.
    pub fn ongoing_copies(&self) -> Vec<(u64, Ongoing)> {
        self.copies.list()
    }

    /// Ends a copy; `false` if it does not go on.
    pub fn cancel_copy(&self, id: u64) -> bool {
        self.copies.cancel(id)
    }

    /// Copies between the host and a container, for as long as that takes, and says its number and how far it is. The copy
    /// ends when this is given up, and with the machine.
    ///
    /// # Errors
    /// `EBUSY`: there are too many. `ESHUTDOWN`: the machine is gone. `ECANCELED`: somebody has ended it.
    /// Others as the copy has them.
    pub async fn copy(
        &self,
        name: &str,
        guest: &Guest,
        copy: Copy,
        mut each: impl FnMut(u64, Progress),
    ) -> Result<(), CopyError> {
        let place = self.copies.begin(Ongoing {
            key: guest.key,
            machine: name.to_owned(),
            direction: copy.direction,
            source: copy.source.clone(),
            destination: copy.destination.clone(),
            progress: Progress::default(),
        })?;
        self.jobs.admit(guest.party())?;
        each(place.id, Progress::default());
        let gone = self.jobs.gone(guest.key);
        let (source, destination) = (copy.source.clone(), copy.destination.clone());
        let work = async {
            let mut started = self.start(guest.party(), Some(guest), Work::Copy(copy), &[]).await?;
            let mut last = Progress::default();
            let mut ticks = interval_at(Instant::now() + TELLING, TELLING);
            loop {
                let message = match started.early.pop_front() {
                    Some(message) => message,
                    None => tokio::select! {
                        message = started.channel.receive() => message?,
                        _ = ticks.tick() => {
                            info!(
                                "Copying '{source}' to '{destination}' for machine '{name}' goes on: {} files, {} \
                                 bytes so far.",
                                last.files, last.bytes
                            );
                            continue;
                        }
                    },
                };
                match Report::decode(&message.bytes)? {
                    Report::Progress(progress) => {
                        last = progress;
                        place.note(|copy| copy.progress = progress);
                        each(place.id, progress);
                    }
                    done => return ended(done),
                }
            }
        };
        let lost = tokio::select! {
            done = work => done.map_err(|error| if error.errno == Errno::PIPE { Errno::SHUTDOWN.into() } else { error }),
            () = gone.wait() => Err(Errno::SHUTDOWN.into()),
            () = place.cancelled() => Err(Errno::CANCELED.into()),
        }?;
        if lost > 0 {
            warn!(
                "Copied '{source}' to '{destination}' for machine '{name}' without the access control lists of {lost} \
                 files: their ids mean nothing there."
            );
        }
        Ok(())
    }
}

/// What came of it: how many access control lists were left out.
fn ended(done: Report) -> Result<u64, CopyError> {
    match done {
        Report::Done(lost) => Ok(lost.try_into().map(u64::from_ne_bytes).unwrap_or_default()),
        Report::Failed(errno) => Err(errno.into()),
        Report::FailedAt(errno, path) => Err(CopyError { errno, path: Some(path) }),
        Report::Begun(_) | Report::NotBegun(_) | Report::Progress(_) => Err(Errno::BADMSG.into()),
    }
}
