//! What the operating system inside a container says of itself, os-release(5).
//!
//! The file is the container's, and so is the file system it lies on: reading it may take forever. It is read by
//! short-lived threads, one at a time; one that hangs is left behind and another takes over, so that a container
//! can keep only its own answer waiting. Nothing enters the container: the kernel resolves the path below its root.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque, hash_map};
use std::io::Read;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libmachine::ProcessHandle;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::{Instant, timeout_at};

use crate::machines::Key;

/// How old an answer may be when it is given again.
pub const FRESH: Duration = Duration::from_secs(5);
/// How long a container may take to let its file be read.
const DEADLINE: Duration = Duration::from_secs(5);
/// After this time a reading thread counts as hanging, and another one takes over.
const HANGING: Duration = Duration::from_millis(100);
/// The largest file that is read, in bytes.
const MAX: u64 = 64 * 1024;
/// How many keys a file may have. Those of today's systems have about 20.
const KEYS: usize = 1024;
/// How many hanging threads are left behind at the most.
const MAX_LEFT_BEHIND: usize = 32;
/// Where the file is, in the order of preference.
const PATHS: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];

/// The `KEY=value` pairs of one file.
pub type Fields = Vec<(String, String)>;

type Answer = Result<Fields, Errno>;

struct Job {
    pid: i32,
    answer: oneshot::Sender<Answer>,
}

/// What the threads share.
#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Which thread serves the queue; `None` if none does.
    serving: Option<u64>,
    /// When it took its current job.
    since: Option<std::time::Instant>,
    next: u64,
    left_behind: usize,
}

/// The files, and what was read of them lately.
#[derive(Default)]
pub struct OsReleases {
    queue: Arc<Mutex<Queue>>,
    known: RefCell<HashMap<Key, (Instant, Rc<Fields>)>>,
    /// Asked for ahead of time, and when.
    ahead: RefCell<HashMap<Key, (Instant, oneshot::Receiver<Answer>)>>,
    /// Whose last read hung, and where its end is heard of.
    hanging: RefCell<HashMap<Key, oneshot::Receiver<Answer>>>,
    /// Who was asked for last.
    last: Cell<Option<Key>>,
}

impl OsReleases {
    /// What the OS of a container says of itself; not older than [`FRESH`].
    ///
    /// # Errors
    /// `ENOENT`: it says nothing. `ETIMEDOUT`: its file system does not answer. `EFBIG`, `EINVAL`: the file is none
    /// of this kind, or says what no reply can carry. Others as the kernel has them.
    pub async fn of_machine(&self, key: Key, leader: &ProcessHandle) -> Result<Rc<Fields>, Errno> {
        if let Some(fields) = self.fresh(key) {
            return Ok(fields);
        }
        if self.still_hangs(key) {
            return Err(Errno::TIMEDOUT);
        }
        let ahead = self.ahead.borrow_mut().remove(&key);
        let mut receiver = match ahead {
            Some((_, receiver)) => receiver,
            None => self.ask(leader)?,
        };
        let deadline = Instant::now() + DEADLINE;
        let answer = loop {
            let look = deadline.min(Instant::now() + HANGING);
            match timeout_at(look, &mut receiver).await {
                Ok(answer) => break answer.unwrap_or(Err(Errno::IO)),
                Err(_) if look < deadline => self.replace_hanging()?,
                Err(_) => {
                    self.hanging.borrow_mut().insert(key, receiver);
                    return Err(Errno::TIMEDOUT);
                }
            }
        }?;
        // The number may have come to mean another process while the file was read.
        if leader.has_exited() {
            return Err(Errno::SRCH);
        }
        let fields = self.intern(answer);
        self.known.borrow_mut().insert(key, (Instant::now(), fields.clone()));
        Ok(fields)
    }

    /// Notes that a machine is asked for. Returns who was before.
    pub fn asked(&self, key: Key) -> Option<Key> {
        self.last.replace(Some(key))
    }

    /// Whether there is an answer for a machine, or will be one without another look.
    pub fn is_expected(&self, key: Key) -> bool {
        self.fresh(key).is_some() || self.ahead.borrow().contains_key(&key)
    }

    /// Has the file of a machine read that will be asked for soon.
    pub fn look_ahead(&self, key: Key, leader: &ProcessHandle) {
        let known = self.fresh(key).is_some() || self.still_hangs(key);
        if known || self.ahead.borrow().contains_key(&key) {
            return;
        }
        // What fails now fails again when it is asked for.
        if let Ok(receiver) = self.ask(leader) {
            self.ahead.borrow_mut().insert(key, (Instant::now(), receiver));
        }
    }

    fn fresh(&self, key: Key) -> Option<Rc<Fields>> {
        let known = self.known.borrow();
        known.get(&key).filter(|(read, _)| read.elapsed() < FRESH).map(|(_, fields)| fields.clone())
    }

    /// Whether a machine's last read has not come to an end yet.
    fn still_hangs(&self, key: Key) -> bool {
        let mut hanging = self.hanging.borrow_mut();
        let still = hanging.get_mut(&key).is_some_and(|read| read.try_recv() == Err(TryRecvError::Empty));
        if !still {
            hanging.remove(&key);
        }
        still
    }

    fn ask(&self, leader: &ProcessHandle) -> Result<oneshot::Receiver<Answer>, Errno> {
        let (sender, receiver) = oneshot::channel();
        self.submit(Job { pid: leader.pid(), answer: sender })?;
        Ok(receiver)
    }

    /// Forgets a machine.
    pub fn left(&self, key: Key) {
        self.known.borrow_mut().remove(&key);
        self.ahead.borrow_mut().remove(&key);
        self.hanging.borrow_mut().remove(&key);
    }

    /// Forgets what is not fresh any more, now and then.
    pub async fn forget_old(&self) {
        loop {
            tokio::time::sleep(FRESH).await;
            let mut known = self.known.borrow_mut();
            known.retain(|_, (read, _)| read.elapsed() < FRESH);
            known.shrink_to_fit();
            self.ahead.borrow_mut().retain(|_, (asked, _)| asked.elapsed() < DEADLINE);
        }
    }

    /// Many containers run the same OS: what it says is kept once.
    fn intern(&self, fields: Fields) -> Rc<Fields> {
        // The same OS as the last few: a short look is enough.
        let known = self.known.borrow();
        let same =
            known.values().take(8).find(|(_, other)| **other == fields).map(|(_, other)| other.clone());
        same.unwrap_or_else(|| Rc::new(fields))
    }

    fn submit(&self, job: Job) -> Result<(), Errno> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.jobs.push_back(job);
        if queue.serving.is_none() { start(&self.queue, &mut queue) } else { Ok(()) }
    }

    /// Another thread takes over if the one that serves the queue hangs.
    fn replace_hanging(&self) -> Result<(), Errno> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.since.is_none_or(|since| since.elapsed() < HANGING) {
            return Ok(());
        }
        if queue.left_behind >= MAX_LEFT_BEHIND {
            // Whoever waits is told; nobody else can be helped until one of them returns.
            queue.jobs.clear();
            return Err(Errno::TIMEDOUT);
        }
        queue.left_behind = queue.left_behind.saturating_add(1);
        start(&self.queue, &mut queue)
    }
}

fn start(shared: &Arc<Mutex<Queue>>, queue: &mut Queue) -> Result<(), Errno> {
    let number = queue.next;
    let thread = std::thread::Builder::new().name("os-release".into()).stack_size(128 * 1024);
    let shared = shared.clone();
    match thread.spawn(move || serve(&shared, number)) {
        Ok(_) => {
            queue.next = number.saturating_add(1);
            queue.serving = Some(number);
            queue.since = None;
            Ok(())
        }
        Err(error) => {
            queue.serving = None;
            queue.jobs.clear();
            Err(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))
        }
    }
}

fn serve(shared: &Mutex<Queue>, number: u64) {
    loop {
        let mut queue = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.serving != Some(number) {
            // It hung, and was replaced.
            queue.left_behind = queue.left_behind.saturating_sub(1);
            return;
        }
        let Some(job) = queue.jobs.pop_front() else {
            queue.serving = None;
            queue.since = None;
            return;
        };
        queue.since = Some(std::time::Instant::now());
        drop(queue);
        // Nobody may wait for it any more.
        let _ = job.answer.send(read_of_process(job.pid));
    }
}

fn read_of_process(pid: i32) -> Answer {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, format!("/proc/{pid}/root"), flags, Mode::empty())?;
    let mut missing = Err(Errno::NOENT);
    for path in PATHS {
        // Never a terminal of ours, never waiting for the other end of a FIFO, never out of its root.
        let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) {
            Ok(file) => return read_regular(file),
            Err(Errno::NOENT) => {}
            Err(errno) => missing = Err(errno),
        }
    }
    missing
}

fn read_regular(file: rustix::fd::OwnedFd) -> Answer {
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    let mut text = Vec::new();
    let read = std::fs::File::from(file).take(MAX.saturating_add(1)).read_to_end(&mut text);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX) { Err(Errno::FBIG) } else { parse(&text) }
}

/// The pairs of a file, each key once, with its last value.
///
/// # Errors
/// `EINVAL`: a key or a value cannot be carried on: D-Bus takes no NUL and nothing but UTF-8, and whoever prints a value
/// wants no control characters in it. `EFBIG`: there are more than [`KEYS`] keys.
pub(crate) fn parse(text: &[u8]) -> Answer {
    let mut fields = Fields::new();
    let mut places = HashMap::new();
    for (key, value) in registry::parse_env_file(text) {
        let value = carried(value, |c| c == '\t' || c == '\n')?;
        match places.entry(carried(key, |_| false)?) {
            hash_map::Entry::Occupied(place) => {
                if let Some((_, old)) = fields.get_mut(*place.get()) {
                    *old = value;
                }
            }
            hash_map::Entry::Vacant(place) => {
                if fields.len() >= KEYS {
                    return Err(Errno::FBIG);
                }
                fields.push((place.key().clone(), value));
                place.insert(fields.len().saturating_sub(1));
            }
        }
    }
    Ok(fields)
}

/// Text without control characters, but for those that are allowed.
fn carried(bytes: Vec<u8>, is_allowed: impl Fn(char) -> bool) -> Result<String, Errno> {
    let text = String::from_utf8(bytes).map_err(|_| Errno::INVAL)?;
    if text.chars().any(|c| c.is_control() && !is_allowed(c)) { Err(Errno::INVAL) } else { Ok(text) }
}

/// What the host's OS says of itself.
///
/// # Errors
/// As for a container.
pub fn of_host() -> Result<Fields, Errno> {
    let mut error = Errno::NOENT;
    for path in PATHS {
        match std::fs::read(format!("/{path}")) {
            Ok(text) => return parse(&text),
            Err(failed) => error = Errno::from_io_error(&failed).unwrap_or(error),
        }
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_key_counts_at_its_first_place() {
        let fields = parse(b"ID=debian\nVERSION_ID=\"12\"\nID='sid'\n").unwrap();
        assert_eq!(fields, [("ID".into(), "sid".into()), ("VERSION_ID".into(), "12".into())]);
    }

    #[test]
    fn a_process_of_the_host_has_the_hosts_release() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert_eq!(read_of_process(me), of_host());
    }

    #[test]
    fn what_no_reply_can_carry_makes_a_file_invalid() {
        for damaged in
            ["EVIL=a\0b\n", "EV\0IL=ab\n", "EVIL='\u{1b}[2J'\n", "E\tVIL=a\n", "A=1\nB=\u{9b}\n", "A=\u{7f}"]
        {
            assert_eq!(parse(damaged.as_bytes()), Err(Errno::INVAL), "{damaged:?}");
        }
        for damaged in [&b"A=\xff\n"[..], b"\xff=a\n", b"A=\xed\xa0\x80\n"] {
            assert_eq!(parse(damaged), Err(Errno::INVAL), "{damaged:?}");
        }
        assert_eq!(parse("A='a\tb\nc'\n\u{c4}=\u{fffe}\n".as_bytes()).unwrap().len(), 2);
    }

    #[test]
    fn a_file_has_so_many_keys_at_the_most() {
        let of = |keys: usize| (0..keys).map(|key| format!("K{key}=\nK{key}=x\n")).collect::<String>();
        assert_eq!(parse(of(KEYS).as_bytes()).unwrap().len(), KEYS);
        assert_eq!(parse(of(KEYS + 1).as_bytes()), Err(Errno::FBIG));
    }

    #[tokio::test]
    async fn answers_are_read_once_while_they_are_fresh() {
        let releases = OsReleases::default();
        let me = ProcessHandle::open(i32::try_from(std::process::id()).unwrap()).unwrap();
        let first = releases.of_machine(Key::of_number(1), &me).await.unwrap();
        let again = releases.of_machine(Key::of_number(1), &me).await.unwrap();
        assert!(Rc::ptr_eq(&first, &again));
        let other = releases.of_machine(Key::of_number(2), &me).await.unwrap();
        assert!(Rc::ptr_eq(&first, &other), "the same OS is kept once");
        assert!(!first.is_empty());
    }

    #[tokio::test]
    async fn a_file_system_that_answers_again_is_asked_again() {
        let releases = OsReleases::default();
        let me = ProcessHandle::open(i32::try_from(std::process::id()).unwrap()).unwrap();
        let key = Key::of_number(1);
        let (read, receiver) = oneshot::channel();
        releases.hanging.borrow_mut().insert(key, receiver);
        for _ in 0..2 {
            assert_eq!(releases.of_machine(key, &me).await, Err(Errno::TIMEDOUT));
        }
        read.send(Err(Errno::IO)).unwrap();
        assert!(!releases.of_machine(key, &me).await.unwrap().is_empty(), "what it says now");
    }

    #[tokio::test]
    async fn a_thread_that_hangs_is_replaced() {
        let releases = OsReleases::default();
        // The first job hangs: its thread is one that never comes back to the queue.
        {
            let mut queue = releases.queue.lock().unwrap();
            queue.serving = Some(queue.next);
            queue.next += 1;
            queue.since = Some(std::time::Instant::now());
        }
        let me = ProcessHandle::open(i32::try_from(std::process::id()).unwrap()).unwrap();
        let fields = releases.of_machine(Key::of_number(1), &me).await.unwrap();
        assert!(!fields.is_empty());
        assert_eq!(releases.queue.lock().unwrap().left_behind, 1);
    }
}
