//! The process that is forked from the daemon: it holds nothing that could hang, and sees to it that somebody works.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid};

use crate::packet::tell_hanging;
use crate::process;
use crate::worker;

/// How many workers there may be that do not end.
pub const WORKERS_MAX: usize = 64;
/// How long a worker has to close what it holds.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long one takes that hangs: killed as it is, it does not end.
const HANGS: Duration = Duration::from_secs(3);
/// How soon a worker is made again where there could be none: nothing tells when a process or a descriptor is free, and of the
/// workers that were killed some hang.
const PAUSE: Duration = Duration::from_millis(100);

/// A worker that closes.
struct Busy {
    pid: Pid,
    since: Instant,
}

/// Keeps a worker at the socket, for as long as the daemon lives.
pub fn run([work]: [OwnedFd; 1]) {
    let Ok((hears, says)) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) else { return };
    let mut busy: Vec<Busy> = Vec::new();
    let mut waiting: Option<(Pid, OwnedFd)> = None;
    let mut told = 0;
    loop {
        reap(&mut busy, &mut waiting);
        let hanging = busy.iter().filter(|busy| busy.since.elapsed() >= HANGS).count();
        let hanging = u32::try_from(hanging).unwrap_or(u32::MAX);
        if hanging != told && tell_hanging(&work, hanging) {
            told = hanging;
        }
        if waiting.is_none() && busy.len() < WORKERS_MAX {
            waiting = hire(&work, &says);
        }
        for late in busy.iter().filter(|busy| busy.since.elapsed() >= PATIENCE) {
            // Gone in between is what is wanted.
            let _ = kill_process(late.pid, Signal::KILL);
        }
        let pause = match (&waiting, busy.is_empty()) {
            (Some(_), true) => None,
            (Some(_), false) => Some(PATIENCE),
            (None, _) => Some(PAUSE),
        };
        if wait(&work, &hears, waiting.as_ref().map(|(_, pidfd)| pidfd), pause) {
            return;
        }
        if let Some((pid, _)) = heard(&hears).and_then(|says| waiting.take_if(|(pid, _)| *pid == says)) {
            busy.push(Busy { pid, since: Instant::now() });
        }
    }
}

/// A worker at the socket.
fn hire(work: &OwnedFd, says: &OwnedFd) -> Option<(Pid, OwnedFd)> {
    let pid = process::fork([work.as_fd(), says.as_fd()], c"closer-worker", worker::run).ok()?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty());
    if pidfd.is_err() {
        let _ = kill_process(pid, Signal::KILL);
    }
    Some((pid, pidfd.ok()?))
}

/// Takes note of those that have ended.
fn reap(busy: &mut Vec<Busy>, waiting: &mut Option<(Pid, OwnedFd)>) {
    while let Ok(Some((pid, _))) = waitpid(None, WaitOptions::NOHANG) {
        busy.retain(|worker| worker.pid != pid);
        waiting.take_if(|(worker, _)| *worker == pid);
    }
}

/// Waits until something happens; returns whether it is the end of the daemon.
fn wait(work: &OwnedFd, hears: &OwnedFd, worker: Option<&OwnedFd>, pause: Option<Duration>) -> bool {
    let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
    // Work itself is for workers.
    let mut watched = vec![PollFd::new(work, PollFlags::empty()), PollFd::new(hears, PollFlags::IN)];
    watched.extend(worker.map(|worker| PollFd::new(worker, PollFlags::IN)));
    match poll(&mut watched, pause.as_ref()) {
        Ok(_) => watched.first().is_some_and(|work| work.revents().contains(PollFlags::HUP)),
        Err(Errno::INTR) => false,
        Err(_) => {
            std::thread::sleep(PAUSE);
            false
        }
    }
}

/// Who says that it begins to close, if somebody does.
fn heard(hears: &OwnedFd) -> Option<Pid> {
    let mut pid = [0; 4];
    let length = rustix::io::read(hears, &mut pid).ok()?;
    (length == pid.len()).then(|| Pid::from_raw(i32::from_ne_bytes(pid))).flatten()
}
