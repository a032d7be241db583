//! Whether a machine is about to begin, runs, or is about to end; and the jobs that decide it.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::info;

use super::services::Operations;
use super::target::Target;
use crate::error::Error;
use crate::machines::Key;
use crate::systemd::{Expected, Fate, News, fate_of_job, job_of_unit};
use crate::unit_part::UnitPart;

/// How long to wait for news of a job before it is asked for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How a job ends that does what it should.
const DONE: &str = "done";
/// Stands in a record for the job that the service manager was asked for, until it has named it. No job has this path:
/// they are counted from 1.
pub(crate) const ASKED: &str = "/org/freedesktop/systemd1/job/0";

/// Where a machine is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// The service manager has not started its unit yet.
    Opening,
    /// It runs.
    Running,
    /// It was told to end, or its leader has ended and something is left over of it.
    Closing,
}

impl State {
    /// Its name, org.freedesktop.machine1(5).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Running => "running",
            Self::Closing => "closing",
        }
    }
}

/// A job of the service manager's for the unit of a machine.
#[derive(Debug)]
pub(crate) struct Job {
    /// Its path.
    pub path: String,
    /// The unit.
    pub unit: String,
    /// Whether the machine is none if it fails.
    pub is_start: bool,
}

impl Operations {
    /// Where a machine is in its life. The host runs, and so does what nobody knows.
    pub fn state(&self, target: Target) -> State {
        match target {
            Target::Machine(key) if self.daemon.is_closing(key) => State::Closing,
            Target::Machine(key) if self.daemon.is_opening(key) => State::Opening,
            _ => State::Running,
        }
    }

    /// Follows a job to its end, whoever waits for that. A machine whose unit could not be started is dropped from the
    /// registry; nothing is stopped for it.
    pub(crate) fn follow(
        self: &Rc<Self>,
        key: Key,
        job: Job,
        mut expected: Expected,
    ) -> oneshot::Receiver<Result<(), Error>> {
        let (sender, receiver) = oneshot::channel();
        self.daemon.set_scope_job(key, job.path.clone());
        let operations = self.clone();
        tokio::task::spawn_local(async move {
            let result = operations.result_of(key, &job, &mut expected).await;
            // Nobody needs to wait for it.
            let _ = sender.send(operations.settle(key, job, result));
        });
        receiver
    }

    /// How a job ended; `None` where nobody can say any more.
    async fn result_of(&self, key: Key, job: &Job, expected: &mut Expected) -> Option<String> {
        loop {
            if let Ok(Some(result)) = timeout(PATIENCE, expected.result(&job.path)).await {
                return Some(result);
            }
            match fate_of_job(&self.bus, &job.unit, &job.path).await {
                Fate::Active => return Some(DONE.to_owned()),
                Fate::Inactive if job.is_start => return Some("failed".to_owned()),
                Fate::Inactive => return Some(DONE.to_owned()),
                Fate::Pending if self.daemon.record(key).is_some() => {}
                Fate::Pending => return None,
            }
        }
    }

    fn settle(&self, key: Key, job: Job, result: Option<String>) -> Result<(), Error> {
        let is_current =
            self.daemon.record(key).is_some_and(|record| record.scope_job.as_ref() == Some(&job.path));
        let Some(result) = result else { return Err(Error::NoSuchMachine) };
        if job.is_start && result != DONE {
            self.daemon.forget_and_tell(key);
            return Err(Error::JobFailed { unit: job.unit, result });
        }
        if is_current {
            self.daemon.end_scope_job(key, self.group_of_unit(key));
        }
        Ok(())
    }

    /// The control group of a machine's unit, which it has only from its start on; as far as the leader is in that unit.
    fn group_of_unit(&self, key: Key) -> Option<String> {
        let group = self.daemon.leader(key)?.control_group().ok()?;
        let part = UnitPart::of_unit(&group, self.daemon.surroundings.systemd.as_ref()?)?;
        (self.daemon.record(key)?.unit == Some(part.unit)).then_some(part.cgroup)
    }

    /// Follows the jobs that an earlier run of the daemon waited for.
    pub fn follow_restored(self: &Rc<Self>) {
        let jobs: Vec<_> = self.daemon.machines(|machines| {
            let job = |(key, record): (Key, &registry::Record)| {
                Some((key, record.scope_job.clone()?, record.unit.clone()?))
            };
            machines.iter().filter_map(job).collect()
        });
        for (key, path, unit) in jobs {
            let expected = self.systemd.jobs.expect(&unit);
            if path == ASKED {
                tokio::task::spawn_local(self.clone().follow_asked(key, unit, expected));
            } else {
                drop(self.follow(key, Job { path, unit, is_start: false }, expected));
            }
        }
        // They may have ended meanwhile. If there is no bus to ask, there is doubt again when it is joined.
        self.systemd.jobs.doubt();
    }

    /// Follows the job that an earlier run asked for, if it did, and was not told of. Whoever registered the machine was not
    /// told either; so one that has not got its unit is none. A unit of that name may be somebody else's.
    async fn follow_asked(self: Rc<Self>, key: Key, unit: String, mut expected: Expected) {
        let job = loop {
            if let Ok(job) = job_of_unit(&self.bus, &unit).await {
                break job;
            }
            // No news is as good as doubt.
            let _ = timeout(PATIENCE, expected.result(ASKED)).await;
            if self.daemon.record(key).is_none() {
                return;
            }
        };
        match (job, self.group_of_unit(key)) {
            (Some(path), _) => {
                drop(self.follow(key, Job { path, unit: unit.clone(), is_start: true }, expected));
                // It may have ended before it was known.
                self.systemd.jobs.tell(&unit, &News::Doubt);
            }
            (None, Some(group)) => self.daemon.end_scope_job(key, Some(group)),
            (None, None) => {
                if let Some(record) = self.daemon.forget_and_tell(key) {
                    info!("Machine {} is forgotten: its scope was never started.", record.name);
                }
            }
        }
    }
}
