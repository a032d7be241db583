//! What is done with images, in processes that can be abandoned: where images are may be a file system that does not answer.
//!
//! A worker is this program itself, started again in a mode of its own. One is kept for a while after it has answered, so
//! that what a client asks for next costs no start. One that does not answer in time is killed, and its place is free once it
//! has ended; when all places are taken by such, whoever asks is told at once that time is up.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;

use crate::error::Error;

mod child;
mod request;
mod worker;

pub use child::main;
use request::Failure;
pub use request::{Answer, Metadata, Request, Update};
use worker::Worker;

/// What the program is told so that it is a worker.
pub const MODE: &str = "--image-worker";

/// How many workers look at images at a time.
const WORKERS: usize = 4;
/// How long one may take, and how long it is waited for; a client waits for 25 s.
const DEADLINE: Duration = Duration::from_secs(10);
/// How many images are changed at a time, in all.
const CHANGES: usize = 64;
/// How long one that has nothing to do is kept.
const KEPT: Duration = Duration::from_secs(5);

/// The workers.
#[derive(Debug)]
pub struct ImageWorkers {
    program: Vec<String>,
    /// Whoever asks has one, and so has a process that was killed, until it ends.
    turns: Arc<Semaphore>,
    /// The same, for those that change images.
    changes: Arc<Semaphore>,
    deadline: Duration,
    idle: Rc<RefCell<Vec<(Instant, Worker)>>>,
    is_tidied: Rc<Cell<bool>>,
}

impl ImageWorkers {
    /// For the images of the host, or for those of the user whose daemon this is.
    pub fn new(user: Option<&images::User>) -> Self {
        let mut words = vec!["/proc/self/exe", MODE];
        if let Some(images::User { runtime, state, settings, library }) = user {
            words.extend([runtime, state, settings, library].map(String::as_str));
        }
        Self::of_program(&words, DEADLINE)
    }

    fn of_program(program: &[&str], deadline: Duration) -> Self {
        Self {
            program: program.iter().map(|&word| word.to_owned()).collect(),
            turns: Arc::new(Semaphore::new(WORKERS)),
            changes: Arc::new(Semaphore::new(CHANGES)),
            deadline,
            idle: Rc::default(),
            is_tidied: Rc::default(),
        }
    }

    /// Has something looked at, and hands over what is answered piece by piece. Dropped before it is done, the worker is
    /// killed.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`]. [`Error::Image`]: as the worker has it; `ETIMEDOUT`: where the images are, nothing answers.
    pub async fn ask(&self, request: &Request, mut each: impl FnMut(Answer)) -> Result<(), Error> {
        let deadline = Instant::now() + self.deadline;
        let late = |_| failure(Errno::TIMEDOUT, "where the images are, nothing answers");
        loop {
            let turn = timeout_at(deadline, self.turns.clone().acquire_owned()).await.map_err(late)?;
            let turn = turn.map_err(|_| failure(Errno::SHUTDOWN, "the daemon is ending"))?;
            let kept = self.idle.borrow_mut().pop();
            let was_kept = kept.is_some();
            let mut worker = match kept {
                Some((_, mut worker)) => {
                    worker.begin(turn);
                    worker
                }
                None => self.start(turn)?,
            };
            let mut is_answered = false;
            let answers = worker.ask(request, |answer| {
                is_answered = true;
                each(answer);
            });
            match timeout_at(deadline, answers).await.map_err(late)? {
                Ok(done) => {
                    self.keep(worker);
                    return done.map_err(Error::from);
                }
                // Somebody may have killed it while it had nothing to do.
                Err(_) if was_kept && !is_answered => {}
                Err(error) => {
                    debug!("A worker for images is gone: {error}");
                    return Err(failure(Errno::IO, "the worker for images has died"));
                }
            }
        }
    }

    /// Has images changed by a process that does nothing else, for as long as that takes. Dropped before it is done, it is
    /// killed, and leaves nothing half done.
    ///
    /// # Errors
    /// [`Error::TooManyOperations`]; [`Error::NoSuchImage`]; [`Error::Image`] as the worker has it.
    pub async fn change(&self, request: &Request, each: impl FnMut(Answer)) -> Result<(), Error> {
        let place = self.changes.clone().try_acquire_owned().map_err(|_| Error::TooManyOperations)?;
        let done = self.start(place)?.ask(request, each).await;
        done.map_err(|error| {
            debug!("A worker for images is gone: {error}");
            failure(Errno::IO, "the worker for images has died")
        })?
        .map_err(Error::from)
    }

    /// Whether one more image may be changed now.
    pub fn has_room(&self) -> bool {
        self.changes.available_permits() > 0
    }

    fn start(&self, turn: OwnedSemaphorePermit) -> Result<Worker, Error> {
        Worker::start(&self.program, turn).map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::AGAIN);
            failure(errno, "cannot start a worker for images")
        })
    }

    /// Keeps a worker for whoever asks next, but not for long.
    fn keep(&self, mut worker: Worker) {
        worker.end();
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
    use tokio::task::LocalSet;

    use super::*;

    /// Workers that do what a shell script does for each request, which is in `$request`.
    fn workers(script: &str, deadline: Duration) -> ImageWorkers {
        let script = format!("while read -r request; do {script}; done");
        ImageWorkers::of_program(&["/bin/sh", "-c", &script], deadline)
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
    fn a_worker_that_hangs_is_killed_and_its_turn_is_free_when_it_has_ended() {
        run(async {
            let workers = workers("exec sleep 1000", SHORT);
            for _ in 0..2 * WORKERS {
                assert_eq!(ask(&workers).await, Err(Errno::TIMEDOUT));
            }
            while workers.turns.available_permits() < WORKERS {
                sleep(Duration::from_millis(1)).await;
            }
        });
    }

    #[test]
    fn so_many_images_are_changed_at_a_time_and_no_more() {
        run(async {
            let workers = Rc::new(workers("exec sleep 1000", SHORT));
            let change = |_| {
                let workers = workers.clone();
                tokio::task::spawn_local(async move { workers.change(&Request::Tidy, |_| {}).await.is_ok() })
            };
            let changes: Vec<_> = (0..CHANGES).map(change).collect();
            while workers.has_room() {
                sleep(Duration::from_millis(1)).await;
            }
            let refused = workers.change(&Request::Tidy, |_| {}).await;
            assert!(matches!(refused, Err(Error::TooManyOperations)), "{refused:?}");
            for change in &changes {
                assert!(!change.is_finished(), "it takes as long as it takes");
                change.abort();
            }
            while workers.changes.available_permits() < CHANGES {
                sleep(Duration::from_millis(1)).await;
            }
        });
    }

    #[test]
    fn whoever_gives_up_has_the_worker_killed() {
        run(async {
            let workers = workers("exec sleep 1000", LONG);
            assert!(tokio::time::timeout(SHORT, ask(&workers)).await.is_err());
            while workers.turns.available_permits() < WORKERS {
                sleep(Duration::from_millis(1)).await;
            }
        });
    }
}
