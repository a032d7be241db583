//! This terminal, joined with one inside a machine: what is typed goes there, and what is printed there comes here.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio, read, write};
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr, tcsetwinsize,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::low_level::pipe;

/// The key that leaves the session, Ctrl-], and how often it has to be typed within a second.
const LEAVE: u8 = 0x1d;
const TIMES: usize = 3;
/// What ends the input of a program that reads lines, Ctrl-D.
const END_OF_INPUT: u8 = 4;
/// So much is read at a time, and no more is kept for whoever reads slowly.
const CHUNK: usize = 16 * 1024;
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// How long until the terminal is looked at again that no program has yet: nothing tells when one takes it.
const SOON: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The program or the machine ended.
    Over,
    /// The user left, or this process was told to end; the terminal inside is hung up.
    Left,
}

/// A terminal inside a machine.
#[derive(Debug)]
pub struct Session {
    /// Its end on this side.
    pub pty: OwnedFd,
    /// The machine's first process: the session ends with it.
    pub leader: Option<OwnedFd>,
    /// Whether the next program may come after one has closed the terminal, as a login prompt does.
    pub outlives_its_program: bool,
}

impl Session {
    /// Passes on in both directions until it is over.
    ///
    /// # Errors
    /// This terminal, or the one inside, cannot be read, written or set up.
    pub fn run(&self) -> io::Result<End> {
        let (input, output) = (io::stdin(), io::stdout());
        let is_terminal = isatty(&input);
        let resized = signals(&[SIGWINCH])?;
        let ended = signals(&[SIGINT, SIGTERM, SIGHUP])?;
        let _raw = if is_terminal { Some(Raw::new(input.as_fd())?) } else { None };
        ioctl_fionbio(&self.pty, true)?;
        self.resize(output.as_fd());
        let events = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        // By edges: that everybody has hung up stays true until the next one comes.
        let both = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(&events, &self.pty, EventData::new_u64(0), both)?;
        let mut flow = Flow {
            typed: Vec::new(),
            printed: Vec::new(),
            has_more_input: true,
            is_taken: is_terminal,
            may_read: true,
            may_write: true,
            keys: is_terminal.then(Keys::default),
        };
        loop {
            if let Some(end) = flow.pass_on(self, output.as_fd())? {
                return Ok(end);
            }
            // The service manager throws away what was typed before the program has the terminal. A person sees that.
            flow.is_taken |= tcgetpgrp(&self.pty).is_ok();
            let takes_input = flow.has_more_input && flow.is_taken && flow.typed.is_empty();
            let wanted = |condition, flags| if condition { flags } else { PollFlags::empty() };
            let mut polled = vec![
                PollFd::new(&events, PollFlags::IN),
                PollFd::new(&resized, PollFlags::IN),
                PollFd::new(&ended, PollFlags::IN),
                PollFd::new(&output, wanted(!flow.printed.is_empty(), PollFlags::OUT)),
            ];
            if takes_input {
                polled.push(PollFd::new(&input, PollFlags::IN));
            }
            let at_leader = polled.len();
            polled.extend(self.leader.iter().map(|leader| PollFd::new(leader, PollFlags::IN)));
            match poll(&mut polled, (!flow.is_taken).then_some(&SOON)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let is_up = |index: usize| polled.get(index).is_some_and(|one| !one.revents().is_empty());
            if is_up(0) {
                flow.look(&events)?;
            }
            if is_up(1) {
                drain(resized.as_fd());
                self.resize(output.as_fd());
            }
            if is_up(2) {
                return Ok(End::Left);
            }
            let (has_input, is_dead) = (takes_input && is_up(4), is_up(at_leader));
            if has_input && flow.take_input(input.as_fd())? {
                return Ok(End::Left);
            }
            if is_dead {
                flow.may_read = true;
                flow.pass_on(self, output.as_fd())?;
                return Ok(End::Over);
            }
        }
    }

    /// Makes the terminal inside as large as this one. One that has no size leaves it as it is.
    fn resize(&self, output: BorrowedFd<'_>) {
        if let Ok(size) = tcgetwinsize(output) {
            let _ = tcsetwinsize(&self.pty, size);
        }
    }
}

/// What is under way.
#[derive(Debug)]
struct Flow {
    typed: Vec<u8>,
    printed: Vec<u8>,
    has_more_input: bool,
    /// A program has the terminal inside.
    is_taken: bool,
    /// There may be something to read from the terminal inside.
    may_read: bool,
    /// It may take something.
    may_write: bool,
    /// What ends the session; only where a person types.
    keys: Option<Keys>,
}

impl Flow {
    /// Passes on what is there, as far as both sides take it. Says whether it is over.
    fn pass_on(&mut self, session: &Session, output: BorrowedFd<'_>) -> io::Result<Option<End>> {
        loop {
            if self.may_write && !self.typed.is_empty() {
                match write(&session.pty, &self.typed) {
                    Ok(count) => drop(self.typed.drain(..count.min(self.typed.len()))),
                    Err(Errno::AGAIN) => self.may_write = false,
                    Err(Errno::INTR) => {}
                    // Nobody has it open.
                    Err(Errno::IO) => self.typed.clear(),
                    Err(errno) => return Err(errno.into()),
                }
            }
            if !self.printed.is_empty() {
                // Standard output may be what others use too, so it is not made non-blocking: it is asked first.
                let mut polled = [PollFd::from_borrowed_fd(output, PollFlags::OUT)];
                poll(&mut polled, Some(&NOW))?;
                if polled.iter().all(|one| one.revents().is_empty()) {
                    return Ok(None);
                }
                match write(output, self.printed.get(..PIPE.min(self.printed.len())).unwrap_or_default()) {
                    Ok(count) => drop(self.printed.drain(..count.min(self.printed.len()))),
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(Errno::PIPE) => return Ok(Some(End::Left)),
                    Err(errno) => return Err(errno.into()),
                }
                continue;
            }
            if !self.may_read {
                return Ok(None);
            }
            self.printed.reserve(CHUNK);
            match read(&session.pty, spare_capacity(&mut self.printed)) {
                Ok(0) | Err(Errno::IO) if session.outlives_its_program => self.may_read = false,
                Ok(0) | Err(Errno::IO) => return Ok(Some(End::Over)),
                Err(Errno::AGAIN) => self.may_read = false,
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// What has become possible at the terminal inside.
    fn look(&mut self, events: &OwnedFd) -> io::Result<()> {
        let mut seen = Vec::with_capacity(1);
        match epoll::wait(events, spare_capacity(&mut seen), Some(&NOW)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for event in &seen {
            let flags = event.flags;
            self.may_read |= flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR);
            self.may_write |= flags.contains(EventFlags::OUT);
        }
        Ok(())
    }

    /// Takes what was typed. Says whether the user leaves by it.
    fn take_input(&mut self, input: BorrowedFd<'_>) -> io::Result<bool> {
        self.typed.reserve(CHUNK);
        match read(input, spare_capacity(&mut self.typed)) {
            Ok(0) => {
                self.has_more_input = false;
                self.typed.push(END_OF_INPUT);
            }
            Ok(_) => {
                if let Some(keys) = &mut self.keys {
                    let now = Instant::now();
                    return Ok(self.typed.iter().any(|key| keys.leaves(*key, now)));
                }
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            // The terminal is gone.
            Err(Errno::IO) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        }
        Ok(false)
    }
}

/// What every pipe takes at once that takes anything.
const PIPE: usize = 4096;

/// How often the key that leaves was typed.
#[derive(Debug, Default)]
struct Keys {
    times: Vec<Instant>,
}

impl Keys {
    fn leaves(&mut self, key: u8, now: Instant) -> bool {
        if key != LEAVE {
            self.times.clear();
            return false;
        }
        self.times.retain(|time| now.saturating_duration_since(*time) < Duration::from_secs(1));
        self.times.push(now);
        self.times.len() >= TIMES
    }
}

/// A terminal that passes every key on; as it was before, when this is dropped.
struct Raw<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Raw<'a> {
    fn new(terminal: BorrowedFd<'a>) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(terminal, OptionalActions::Drain, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Drain, &self.before);
    }
}

/// Becomes readable when one of these signals comes.
fn signals(numbers: &[i32]) -> io::Result<UnixStream> {
    let (seen, sent) = UnixStream::pair()?;
    for number in numbers {
        pipe::register(*number, sent.try_clone()?)?;
    }
    Ok(seen)
}

fn drain(from: BorrowedFd<'_>) {
    let _ = ioctl_fionbio(from, true);
    let mut bytes = [0; 64];
    while read(from, &mut bytes).is_ok_and(|count| count > 0) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_times_within_a_second_leave() {
        let begin = Instant::now();
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        let mut keys = Keys::default();
        assert!(!keys.leaves(LEAVE, at(0)) && !keys.leaves(LEAVE, at(100)) && keys.leaves(LEAVE, at(900)));
        let mut slow = Keys::default();
        assert!(!slow.leaves(LEAVE, at(0)) && !slow.leaves(LEAVE, at(600)) && !slow.leaves(LEAVE, at(1100)));
        assert!(slow.leaves(LEAVE, at(1200)));
        let mut other = Keys::default();
        assert!(!other.leaves(LEAVE, at(0)) && !other.leaves(LEAVE, at(1)));
        assert!(!other.leaves(b'x', at(2)) && !other.leaves(LEAVE, at(3)));
    }
}
