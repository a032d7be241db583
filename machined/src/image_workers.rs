//! What is done with images, in processes that can be abandoned: where images are may be a file system that does not answer.
//!
//! A worker is this program itself, started again in a mode of its own. One is kept for a while after it has answered, so
//! that what a client asks for next costs no start. One that does not answer in time is killed, and counted until it has
//! ended; where too many have not, whoever asks is told at once that time is up.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use images::Progress;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;

use crate::error::Error;
use crate::jobs::{Jobs, Party, Tasks};
use crate::own_process::PROGRAM;

mod child;
mod request;
mod worker;

pub use child::main;
use request::Failure;
pub use request::{Answer, Metadata, Request, Update};
use worker::Worker;

/// What the program is told so that it is a worker.
pub const MODE: &str = "--image-worker";

/// How long one may take that looks at images, and how long it is waited for; a client waits for 25 s.
const DEADLINE: Duration = Duration::from_secs(10);
/// How many images are changed at a time, in all.
const CHANGES: usize = 64;
/// How long one that has nothing to do is kept.
const KEPT: Duration = Duration::from_secs(5);

/// A change of images that goes on.
#[derive(Clone, Debug)]
pub struct Change {
    /// What is to be done.
    pub request: Request,
    /// How far it is, if that is told.
    pub progress: Progress,
}

/// The workers.
#[derive(Debug)]
pub struct ImageWorkers {
    program: Vec<String>,
    jobs: Jobs,
    changes: Tasks<Change>,
    deadline: Duration,
    idle: Rc<RefCell<Vec<(Instant, Worker)>>>,
    is_tidied: Rc<Cell<bool>>,
    /// Workers that were killed while they made a copy or renamed: when they have ended, what they have left is tidied up.
    interrupted: RefCell<Vec<OwnedFd>>,
    /// Those of them whose end is waited for.
    ending: RefCell<Vec<AsyncFd<OwnedFd>>>,
    interruption: Notify,
}

impl ImageWorkers {
    /// For the images of the host, or for those of the user whose daemon this is.
    pub fn new(jobs: Jobs, user: Option<&images::User>) -> Self {
        let mut words = vec![PROGRAM, MODE];
        if let Some(images::User { runtime, state, settings, library }) = user {
            words.extend([runtime, state, settings, library].map(String::as_str));
        }
        Self::of_program(&words, jobs, DEADLINE)
    }

    fn of_program(program: &[&str], jobs: Jobs, deadline: Duration) -> Self {
        Self {
            program: program.iter().map(|&word| word.to_owned()).collect(),
            jobs,
            changes: Tasks::new(CHANGES),
            deadline,
            idle: Rc::default(),
            is_tidied: Rc::default(),
            interrupted: RefCell::default(),
            ending: RefCell::default(),
            interruption: Notify::new(),
        }
    }

    /// Has something looked at, and hands over what is answered piece by piece. Dropped before it is done, the worker is
    /// killed.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`]. [`Error::Image`]: as the worker has it; `ETIMEDOUT`: where the images are, nothing answers;
    /// `EBUSY`: too many wait.
    pub async fn ask(&self, request: &Request, mut each: impl FnMut(Answer)) -> Result<(), Error> {
        let deadline = Instant::now() + self.deadline;
        let turn = timeout_at(deadline, self.jobs.turn(Party::images())).await;
        let _turn = turn.unwrap_or(Err(Errno::TIMEDOUT)).map_err(refused)?;
        loop {
            let kept = self.idle.borrow_mut().pop();
            let was_kept = kept.is_some();
            let mut worker = match kept {
                Some((_, worker)) => worker,
                None => self.start()?,
            };
            let mut is_answered = false;
            let answers = worker.ask(request, |answer| {
                is_answered = true;
                each(answer);
            });
            let Ok(done) = timeout_at(deadline, answers).await else {
                worker.is_late = true;
                return Err(refused(Errno::TIMEDOUT));
            };
            match done {
                Ok(done) => {
                    self.keep(worker);
                    return done.map_err(Error::from);
                }
                // Somebody may have killed it while it had nothing to do.
                Err(_) if was_kept && !is_answered => {}
                Err(error) => return Err(died(&error)),
            }
        }
    }

    /// Has images changed by a process that does nothing else, for as long as that takes, and hands over the number of this
    /// change with what is answered. Dropped before it is done, the process is killed; what it has made of a copy is removed.
    ///
    /// # Errors
    /// [`Error::TooManyOperations`]; [`Error::NoSuchImage`]; [`Error::Image`] as the worker has it; `ECANCELED`: somebody has
    /// ended it.
    pub async fn change(&self, request: Request, mut each: impl FnMut(u64, Answer)) -> Result<(), Error> {
        let place = self.changes.begin(Change { request: request.clone(), progress: Progress::default() });
        let place = place.map_err(|_| Error::TooManyOperations)?;
        self.jobs.admit(Party::images()).map_err(refused)?;
        each(place.id, Answer::Progress(Progress::default()));
        let mut worker = self.start()?;
        let leaves_part = matches!(request, Request::Clone { .. } | Request::Update(..));
        let mut interrupted =
            Interrupted { workers: self, process: worker.process().ok().filter(|_| leaves_part) };
        let work = worker.ask(&request, |answer| {
            if let Answer::Progress(progress) = answer {
                place.note(|change| change.progress = progress);
            }
            each(place.id, answer);
        });
        tokio::select! {
            done = work => {
                if done.is_ok() {
                    interrupted.process = None;
                }
                done.map_err(|error| died(&error))?.map_err(Error::from)
            }
            () = place.cancelled() => Err(failure(Errno::CANCELED, "somebody has ended it")),
        }
    }

    /// The changes that go on, by their numbers.
    pub fn changes(&self) -> Vec<(u64, Change)> {
        self.changes.list()
    }

    /// Ends a change; `false` if it does not go on.
    pub fn cancel(&self, id: u64) -> bool {
        self.changes.cancel(id)
    }

    /// Waits until a worker that was killed while it made a copy or renamed has ended, whichever is first: one may hang.
    pub async fn interrupted(&self) {
        loop {
            for process in self.interrupted.take() {
                #[allow(deprecated, reason = "sound for what owns its descriptor; its successor is unsafe")]
                match AsyncFd::with_interest(process, Interest::READABLE) {
                    Ok(process) => self.ending.borrow_mut().push(process),
                    Err(_) => return,
                }
            }
            let one_has_ended = poll_fn(|context| {
                let mut ending = self.ending.borrow_mut();
                let left = ending.len();
                ending.retain(|process| process.poll_read_ready(context).is_pending());
                if ending.len() < left { Poll::Ready(()) } else { Poll::Pending }
            });
            tokio::select! {
                () = one_has_ended => return,
                () = self.interruption.notified() => {}
            }
        }
    }

    /// Whether one more image may be changed now.
    pub fn has_room(&self) -> bool {
        self.changes.has_room()
    }

    fn start(&self) -> Result<Worker, Error> {
        Worker::start(&self.program, self.jobs.clone()).map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::AGAIN);
            failure(errno, "cannot start a worker for images")
        })
    }

    /// Keeps a worker for whoever asks next, but not for long.
    fn keep(&self, worker: Worker) {
        self.idle.borrow_mut().push((Instant::now(), worker));
        if self.is_tidied.replace(true) {
            return;
        }
        let (idle, is_tidied) = (self.idle.clone(), self.is_tidied.clone());
        tokio::task::spawn_local(async move {
            while !idle.borrow().is_empty() {
                sleep(KEPT).await;
                idle.borrow_mut().retain(|(since, _)| since.elapsed() < KEPT);
            }
            is_tidied.set(false);
        });
    }
}

/// A worker that makes a copy or renames. When this is dropped, that is over, and nobody needs what it has left.
struct Interrupted<'a> {
    workers: &'a ImageWorkers,
    process: Option<OwnedFd>,
}

impl Drop for Interrupted<'_> {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            self.workers.interrupted.borrow_mut().push(process);
            self.workers.interruption.notify_one();
        }
    }
}

/// Why there is no turn.
fn refused(errno: Errno) -> Error {
    match errno {
        Errno::TIMEDOUT => failure(errno, "where the images are, nothing answers"),
        errno => failure(errno, "too many wait for images"),
    }
}

fn died(error: &std::io::Error) -> Error {
    debug!("A worker for images is gone: {error}");
    failure(Errno::IO, "the worker for images has died")
}

fn failure(errno: Errno, text: impl Into<String>) -> Error {
    Error::Image { errno, text: text.into(), image: None }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let errno = failure.errno();
        match failure {
            Failure { no_such_image: true, .. } => Self::NoSuchImage,
            Failure { text, image, .. } => Self::Image { errno, text, image },
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{PidfdFlags, pidfd_open};
    use tokio::task::LocalSet;

    use super::*;

    /// Workers that do what a shell script does for each request, which is in `$request`.
    fn workers(script: &str, deadline: Duration) -> ImageWorkers {
        let script = format!("while read -r request; do {script}; done");
        ImageWorkers::of_program(&["/bin/sh", "-c", &script], Jobs::default(), deadline)
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let limit = Duration::from_secs(60);
        LocalSet::new().block_on(&runtime, async { tokio::time::timeout(limit, test).await.unwrap() });
    }

    async fn ask(workers: &ImageWorkers) -> Result<Vec<Answer>, Errno> {
        let mut answers = Vec::new();
        let done = workers.ask(&Request::Pool, |answer| answers.push(answer)).await;
        done.map(|()| answers).map_err(|error| error.errno())
    }

    /// Waits until nothing is done any more, and no process is left.
    async fn assert_ended(workers: &ImageWorkers) {
        while workers.jobs.working() > 0
            || workers.jobs.admit(Party::images()).is_err()
            || workers.jobs.unended() > 0
        {
            sleep(Duration::from_millis(1)).await;
        }
    }

    const LONG: Duration = Duration::from_secs(50);
    const SHORT: Duration = Duration::from_millis(100);
    const POOL: &str = r#"echo '{"Pool":{"usage":'$$',"limit":null}}' >&0; echo '"Done"' >&0"#;

    #[test]
    fn a_worker_is_kept_for_whoever_asks_next() {
        run(async {
            let workers = workers(POOL, LONG);
            let first = ask(&workers).await.unwrap();
            assert!(matches!(first.as_slice(), [Answer::Pool(_)]));
            assert_eq!(ask(&workers).await.unwrap(), first, "it was the same process");
            assert_eq!(workers.idle.borrow().len(), 1);
        });
    }

    #[test]
    fn a_kept_worker_that_was_killed_is_replaced() {
        run(async {
            let workers = workers(&format!("{POOL}; exit"), LONG);
            let first = ask(&workers).await.unwrap();
            assert_ne!(ask(&workers).await.unwrap(), first);
        });
    }

    #[test]
    fn what_fails_is_told_and_the_worker_kept() {
        run(async {
            let workers =
                workers(r#"echo '{"Failed":{"no_such_image":false,"errno":16,"text":"in use"}}' >&0"#, LONG);
            assert_eq!(ask(&workers).await, Err(Errno::BUSY));
            assert_eq!(workers.idle.borrow().len(), 1);
        });
    }

    #[test]
    fn a_worker_that_dies_or_makes_no_sense_is_an_error_for_who_asked() {
        for script in ["exit 1", "echo nonsense >&0", "kill -9 $$"] {
            run(async {
                let workers = workers(script, LONG);
                assert_eq!(ask(&workers).await, Err(Errno::IO), "{script}");
                assert_eq!(workers.idle.borrow().len(), 0);
            });
        }
    }

    #[test]
    fn a_worker_that_hangs_is_killed_and_counted_until_it_has_ended() {
        run(async {
            let workers = workers("exec sleep 1000", SHORT);
            for _ in 0..8 {
                assert_eq!(ask(&workers).await, Err(Errno::TIMEDOUT));
            }
            assert_ended(&workers).await;
        });
    }

    #[test]
    fn so_many_images_are_changed_at_a_time_and_no_more() {
        run(async {
            let workers = Rc::new(workers("exec sleep 1000", SHORT));
            let change = |_| {
                let workers = workers.clone();
                tokio::task::spawn_local(
                    async move { workers.change(Request::Tidy, |_, _| {}).await.is_ok() },
                )
            };
            let changes: Vec<_> = (0..CHANGES).map(change).collect();
            while workers.has_room() {
                sleep(Duration::from_millis(1)).await;
            }
            let refused = workers.change(Request::Tidy, |_, _| {}).await;
            assert!(matches!(refused, Err(Error::TooManyOperations)), "{refused:?}");
            for change in &changes {
                assert!(!change.is_finished(), "it takes as long as it takes");
                change.abort();
            }
            while !workers.changes().is_empty() {
                sleep(Duration::from_millis(1)).await;
            }
            assert_ended(&workers).await;
        });
    }

    #[test]
    fn whoever_gives_up_has_the_worker_killed() {
        run(async {
            let workers = workers("exec sleep 1000", LONG);
            assert!(tokio::time::timeout(SHORT, ask(&workers)).await.is_err());
            assert_ended(&workers).await;
        });
    }

    #[test]
    fn a_change_tells_how_far_it_is_and_can_be_ended() {
        run(async {
            let script = r#"echo '{"Progress":{"bytes":1,"files":2,"total":[3,4]}}' >&0; exec sleep 1000"#;
            let workers = Rc::new(workers(script, SHORT));
            let request = Request::Clone {
                name: "tree".to_owned(),
                new: "copy".to_owned(),
                read_only: false,
                counts: true,
            };
            let progress = Progress { bytes: 1, files: 2, total: Some((3, 4)) };
            let news = Rc::new(Notify::new());
            let (other, told, wanted) = (workers.clone(), news.clone(), request.clone());
            let change = tokio::task::spawn_local(async move {
                let each = |_, answer| {
                    if answer == Answer::Progress(progress) {
                        told.notify_one();
                    }
                };
                other.change(wanted, each).await.map_err(|error| error.errno())
            });
            news.notified().await;
            let changes = workers.changes();
            let [(id, Change { request: found, progress: far })] = changes.as_slice() else {
                panic!("{changes:?}")
            };
            assert_eq!((found, far), (&request, &progress));
            assert!(!workers.cancel(id + 1));
            assert!(workers.cancel(*id));
            assert_eq!(change.await.unwrap(), Err(Errno::CANCELED));
            assert!(!workers.cancel(*id));
            // What it had made is to be removed, once it has ended.
            workers.interrupted().await;
            assert_ended(&workers).await;
        });
    }

    #[test]
    fn one_that_hangs_does_not_keep_what_others_have_left_from_being_removed() {
        run(async {
            let workers = Rc::new(workers("exec sleep 1000", LONG));
            let interrupt = || async {
                let other = workers.clone();
                let request = Request::Update("tree".to_owned(), Update::default());
                let change =
                    tokio::task::spawn_local(async move { other.change(request, |_, _| {}).await.is_ok() });
                while workers.changes().is_empty() {
                    sleep(Duration::from_millis(1)).await;
                }
                let id = workers.changes().first().map(|(id, _)| *id).unwrap();
                while !workers.cancel(id) {
                    sleep(Duration::from_millis(1)).await;
                }
                assert!(!change.await.unwrap());
            };
            // This process stands for one that does not end.
            let own = pidfd_open(rustix::process::getpid(), PidfdFlags::NONBLOCK).unwrap();
            for hangs_first in [true, false] {
                if !hangs_first {
                    interrupt().await;
                }
                workers.interrupted.borrow_mut().push(own.try_clone().unwrap());
                if hangs_first {
                    interrupt().await;
                }
                workers.interrupted().await;
            }
            // One that is killed while another one is waited for.
            let waiting = workers.clone();
            let waiting = tokio::task::spawn_local(async move { waiting.interrupted().await });
            tokio::task::yield_now().await;
            interrupt().await;
            waiting.await.unwrap();
        });
    }
}
