//! The daemon's side of the kept reader: what is read by it, one file after the other.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use super::child::Child;
use super::guest::Guest;
use super::message::Channel;
use super::reader::{decode, question};
use super::request::{Report, Work};
use super::service::{DEADLINE, Inside};
use crate::jobs::Gone;
use crate::machines::Key;
use crate::os_release::Fields;

/// After this time a reader counts as hanging, and another one takes its place.
const HANGING: Duration = Duration::from_millis(100);
/// How many readers may hang at a time. A machine has one of them at the most.
const MAX_HANGING: usize = 256;
/// The same in the machines of one user but root.
const MAX_HANGING_OF_A_USER: usize = 32;

struct Job {
    guest: Guest,
    answer: oneshot::Sender<Result<Fields, Errno>>,
}

struct Reader {
    channel: Channel,
    child: Child,
}

/// What is read, and by whom.
pub(super) struct Reading {
    inside: Rc<Inside>,
    jobs: RefCell<VecDeque<Job>>,
    /// Whether somebody works them off.
    is_served: Cell<bool>,
    reader: RefCell<Option<Reader>>,
    /// The machines in which a reader hangs, and whose they are.
    hanging: RefCell<HashMap<Key, Option<u32>>>,
}

impl Reading {
    /// By those who go inside.
    pub(super) fn new(inside: Rc<Inside>) -> Rc<Self> {
        Rc::new(Self {
            inside,
            jobs: RefCell::default(),
            is_served: Cell::default(),
            reader: RefCell::default(),
            hanging: RefCell::default(),
        })
    }

    /// Whether the file of a machine is not to be had now.
    fn is_hopeless(&self, guest: &Guest) -> bool {
        let hanging = self.hanging.borrow();
        let of_user = |uid| hanging.values().filter(|&&owner| owner == Some(uid)).count();
        let is_root = |uid: &u32| *uid == 0;
        hanging.contains_key(&guest.key)
            || hanging.len() >= MAX_HANGING
            || guest
                .owner
                .filter(|uid| !is_root(uid))
                .is_some_and(|uid| of_user(uid) >= MAX_HANGING_OF_A_USER)
    }

    /// What the OS of a machine says of itself. Whoever asks for the same machine again waits in the same queue.
    ///
    /// # Errors
    /// `ENOENT`: it says nothing. `ETIMEDOUT`: its file system does not answer. `EFBIG`, `EINVAL`: the file is none
    /// of this kind, or says what no reply can carry. Others as the kernel has them.
    pub(super) fn os_release(self: &Rc<Self>, guest: Guest) -> oneshot::Receiver<Result<Fields, Errno>> {
        let (answer, receiver) = oneshot::channel();
        self.jobs.borrow_mut().push_back(Job { guest, answer });
        if !self.is_served.replace(true) {
            let this = self.clone();
            tokio::task::spawn_local(async move { this.work_off().await });
        }
        receiver
    }

    /// Reads one file after the other, until all are read.
    async fn work_off(self: Rc<Self>) {
        loop {
            let next = self.jobs.borrow_mut().pop_front();
            let Some(job) = next else { break };
            // Nobody may wait for it any more.
            if !job.answer.is_closed() {
                self.read(job).await;
            }
        }
        self.is_served.set(false);
    }

    async fn read(self: &Rc<Self>, job: Job) {
        if self.is_hopeless(&job.guest) {
            return drop(job.answer.send(Err(Errno::TIMEDOUT)));
        }
        let began = Instant::now();
        // It may go while it is read.
        let gone = self.inside.jobs.gone(job.guest.key);
        let asked = question(job.guest.leader.pid());
        for attempt in 0..2 {
            let kept = self.reader.take();
            let reader = match kept {
                Some(reader) => Ok(reader),
                None => self.reader(&job.guest).await,
            };
            let reader = match reader {
                Ok(reader) => reader,
                Err(errno) => return drop(job.answer.send(Err(errno))),
            };
            let read = async {
                reader.channel.send(&asked, &[]).await?;
                reader.channel.receive().await
            };
            match timeout(HANGING, read).await {
                Ok(Ok(message)) => {
                    self.reader.replace(Some(reader));
                    return drop(job.answer.send(told(&message.bytes)));
                }
                // It has died. It may have been ended by whoever tidies up processes.
                Ok(Err(errno)) if attempt > 0 => return drop(job.answer.send(Err(errno))),
                Ok(Err(_)) => {}
                Err(_) => {
                    let this = self.clone();
                    tokio::task::spawn_local(async move { this.wait_for(reader, job, began, gone).await });
                    return;
                }
            }
        }
    }

    /// Waits for a reader that hangs, while another one has taken its place.
    async fn wait_for(self: Rc<Self>, reader: Reader, job: Job, began: Instant, gone: Gone) {
        let key = job.guest.key;
        self.hanging.borrow_mut().insert(key, job.guest.owner);
        debug!("A process that reads a file of a machine hangs, and is left there.");
        let is_moved = self.move_into(key, &reader.child);
        let read = async {
            tokio::select! {
                read = reader.channel.receive() => read.and_then(|message| told(&message.bytes)),
                () = gone.wait() => Err(Errno::SRCH),
            }
        };
        let mut read = pin!(read);
        match timeout_at(began + DEADLINE, &mut read).await {
            Ok(read) => drop(job.answer.send(read)),
            Err(_) => {
                drop(job.answer.send(Err(Errno::TIMEDOUT)));
                if !is_moved && !self.move_into(key, &reader.child) {
                    debug!("It stays in the control group of machined.");
                }
                // Nobody else is sent there before this one comes back.
                drop(read.await);
            }
        }
        reader.child.kill();
        reader.child.ended().await;
        self.hanging.borrow_mut().remove(&key);
    }

    /// Whose file system it is pays for it, and takes it along in the end. Where that may not be, or the machine's control
    /// group is not known yet, it stays here. Returns whether it was moved.
    fn move_into(&self, key: Key, child: &Child) -> bool {
        self.inside
            .group_of(key)
            .is_some_and(|group| std::fs::write(group.join("cgroup.procs"), child.pid.to_string()).is_ok())
    }

    async fn reader(&self, guest: &Guest) -> Result<Reader, Errno> {
        let started = self.inside.start(guest.party(), None, Work::Reader, &[]).await?;
        Ok(Reader { channel: started.channel, child: started.child })
    }
}

fn told(report: &[u8]) -> Result<Fields, Errno> {
    match Report::decode(report)? {
        Report::Done(bytes) => decode(&bytes),
        Report::Failed(errno) => Err(errno),
        Report::Begun(_) | Report::NotBegun(_) | Report::FailedAt(..) | Report::Progress(_) => {
            Err(Errno::BADMSG)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_that_hang_in_machines_of_a_user_keep_nobody_elses_os_release_from_being_read() {
        let reading = Reading::new(Inside::for_tests());
        let guest = |number, owner| Guest { owner, ..Guest::for_tests(number) };
        let hang = |numbers: std::ops::Range<u64>, owner| {
            reading.hanging.borrow_mut().extend(numbers.map(|number| (Key::of_number(number), owner)));
        };
        hang(0..31, Some(1000));
        assert!(reading.is_hopeless(&guest(7, Some(1000))), "one hangs there");
        assert!(!reading.is_hopeless(&guest(500, Some(1000))));
        hang(31..32, Some(1000));
        assert!(reading.is_hopeless(&guest(500, Some(1000))));
        hang(32..200, Some(0));
        for owner in [None, Some(0), Some(1001)] {
            assert!(!reading.is_hopeless(&guest(500, owner)), "{owner:?}");
        }
        hang(200..256, None);
        assert!(reading.is_hopeless(&guest(500, None)));
    }
}
