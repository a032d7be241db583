//! The daemon's side of the doorman: has children do what is to be done in machines.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use tokio::task::spawn_local;
use tokio::time::timeout;
use tracing::warn;

use super::child::{Child, Started};
use super::doorman::Doorman as Door;
use super::guest::Guest;
use super::message::{self, Channel};
use super::ongoing::{COPIES, Ongoing};
use super::request::{Answer, Bind, Report, Request, Work};
use super::terminal::{OpenedTerminal, Terminal, check_connection};
use crate::group::directory_of;
use crate::jobs::{Jobs, Party, Tasks};
use crate::machines::Key;

/// How long a file system may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// How long the doorman may take to start a child.
const START: Duration = Duration::from_secs(2);

/// Who goes inside.
pub struct Inside {
    door: RefCell<Option<(Rc<Channel>, Option<Pid>)>>,
    /// The control group of a machine, if it is known by now.
    control_group: Box<dyn Fn(Key) -> Option<String>>,
    program: fn() -> Command,
    pub(super) jobs: Jobs,
    pub(super) copies: Tasks<Ongoing>,
}

impl Inside {
    /// Through this doorman, as long as it lives. `control_group` tells that of a machine, as often as it is wanted: it may not be
    /// known yet when somebody asks for something in there.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn new(
        doorman: Option<Door>,
        control_group: impl Fn(Key) -> Option<String> + 'static,
    ) -> Result<Self, Errno> {
        let door = match doorman {
            Some(Door { socket, pid }) => Some((Rc::new(Channel::new(socket)?), Some(pid))),
            None => None,
        };
        Ok(Self {
            door: RefCell::new(door),
            control_group: Box::new(control_group),
            program: Door::program,
            jobs: Jobs::default(),
            copies: Tasks::new(COPIES),
        })
    }

    /// The root directory of a container, as its leader sees it.
    ///
    /// # Errors
    /// `ETIMEDOUT`: its file system does not answer. `ESRCH`: its leader is gone. Others as the kernel has them.
    pub async fn root_directory(&self, guest: &Guest) -> Result<OwnedFd, Errno> {
        let answer = self.run(guest, Work::Root, &[]).await?;
        let root = one(answer.fds)?;
        // What comes back is looked at, whoever sent it.
        let is_directory = FileType::from_raw_mode(fstat(&root)?.st_mode) == FileType::Directory;
        if is_directory { Ok(root) } else { Err(Errno::NOTDIR) }
    }

    /// Mounts something of the host in a container.
    ///
    /// # Errors
    /// As [`Inside::root_directory`]. `EINVAL`: it has the host's mount namespace.
    pub async fn bind(&self, guest: &Guest, bind: Bind) -> Result<(), Errno> {
        self.run(guest, Work::Bind(bind), &[]).await.map(drop)
    }

    /// Opens a terminal of a container; connects to its bus, if that is wanted; and looks whether a program is there.
    ///
    /// # Errors
    /// As [`Inside::root_directory`]. For the bus: `ENOENT`, `ECONNREFUSED`: there is none. `EAGAIN`: it takes nobody in.
    pub async fn terminal(
        &self,
        guest: &Guest,
        wants_bus: bool,
        program: Option<String>,
    ) -> Result<OpenedTerminal, Errno> {
        let work = Work::Terminal { bus: wants_bus, program };
        let answer = self.run(guest, work, &[]).await?;
        let mut fds = answer.fds.into_iter();
        let mut next = || fds.next().ok_or(Errno::BADMSG);
        let terminal = Terminal::checked(next()?, next()?)?;
        let (&lacks_program, why_no_bus) = answer.bytes.split_first().ok_or(Errno::BADMSG)?;
        let bus = match <[u8; 4]>::try_from(why_no_bus) {
            _ if !wants_bus => None,
            Ok(errno) => Some(Err(Errno::from_raw_os_error(i32::from_ne_bytes(errno)))),
            Err(_) => {
                let socket = next()?;
                Some(check_connection(socket.as_fd()).map(|()| socket))
            }
        };
        Ok(OpenedTerminal { terminal, bus, lacks_program: lacks_program != 0 })
    }

    /// Whose turn it is; shared with whatever else takes time.
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// Ends what is done for a machine that goes.
    pub fn left(&self, key: Key) {
        self.jobs.left(key);
    }

    /// Forgets the children that have ended, now and then.
    pub async fn forget_ended(&self) {
        loop {
            self.jobs.forget_ended().await;
        }
    }

    /// Has a child do something in a machine, within [`DEADLINE`]. It is killed when this is given up.
    async fn run(&self, guest: &Guest, work: Work, fds: &[BorrowedFd<'_>]) -> Result<Answer, Errno> {
        let gone = self.jobs.gone(guest.key);
        let work = async {
            let turn = self.jobs.turn(guest.party()).await?;
            let mut started = self.start(guest.party(), Some(guest), work, fds).await?;
            let answer = turn.wait_for(timeout(DEADLINE, started.answer())).await;
            started.child.is_late = answer.is_err();
            answer.unwrap_or(Err(Errno::TIMEDOUT))
        };
        let answer = tokio::select! {
            answer = work => answer,
            () = gone.wait() => Err(Errno::SRCH),
        };
        // The number may have come to mean another process meanwhile, or none.
        if guest.leader.has_exited() { Err(Errno::SRCH) } else { answer }
    }

    /// Where the control group of a machine is in the file system, if it has one of its own and that is known by now.
    pub(super) fn group_of(&self, key: Key) -> Option<PathBuf> {
        directory_of(&(self.control_group)(key)?)
    }

    /// Starts a child on behalf of a machine, in it or not.
    pub(super) async fn start(
        &self,
        party: Party,
        guest: Option<&Guest>,
        work: Work,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Started, Errno> {
        let group = guest.and_then(|guest| self.group_of(guest.key)).and_then(|path| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).ok()
        });
        let leader = guest.map(|guest| guest.leader.pid());
        let request = Request { leader, has_group: group.is_some(), work }.encode()?;
        // The doorman may have died since, and may do so with the request in its hands.
        for _ in 0..2 {
            let door = self.door()?;
            let (ours, theirs) = message::pair()?;
            let mut sent = vec![theirs.as_fd()];
            sent.extend(guest.map(|guest| guest.leader.pidfd()));
            sent.extend(group.as_ref().map(AsFd::as_fd));
            sent.extend(fds);
            let asked = timeout(START, door.send(&request, &sent)).await.unwrap_or(Err(Errno::TIMEDOUT));
            drop(theirs);
            let started = match asked {
                Ok(()) => {
                    // Given up here, it goes on: a child that begins meanwhile is killed then.
                    let begun = spawn_local(begun(self.jobs.clone(), party, Channel::new(ours)?));
                    match timeout(START, begun).await {
                        Ok(begun) => begun.unwrap_or(Err(Errno::IO)),
                        Err(_) => Err(Errno::TIMEDOUT),
                    }
                }
                Err(errno) => Err(errno),
            };
            match started {
                Err(errno @ (Errno::PIPE | Errno::CONNRESET | Errno::TIMEDOUT)) => self.lose(&door, errno),
                started => return started,
            }
        }
        Err(Errno::IO)
    }

    /// The doorman; makes a new one where there is none.
    fn door(&self) -> Result<Rc<Channel>, Errno> {
        let mut door = self.door.borrow_mut();
        if let Some((channel, _)) = &*door {
            return Ok(channel.clone());
        }
        let Door { socket, pid } = Door::execute((self.program)())?;
        let channel = Rc::new(Channel::new(socket)?);
        *door = Some((channel.clone(), Some(pid)));
        Ok(channel)
    }

    /// Lets a doorman go that does not take what it is told.
    fn lose(&self, lost: &Rc<Channel>, errno: Errno) {
        let mut door = self.door.borrow_mut();
        let Some((_, pid)) = door.take_if(|(channel, _)| Rc::ptr_eq(channel, lost)) else { return };
        warn!("The process that starts others for work in machines is gone ({errno}); starting it again.");
        if let Some(pid) = pid {
            // It hangs nowhere, and so ends at once.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
        }
    }
}

/// Waits for what the doorman says of a child.
async fn begun(jobs: Jobs, party: Party, channel: Channel) -> Result<Started, Errno> {
    let mut early = VecDeque::new();
    loop {
        let message = channel.receive().await?;
        match Report::decode(&message.bytes)? {
            Report::Begun(pid) => {
                let pidfd = message.fds.into_iter().next();
                let child = Child::new(jobs, party, pid, pidfd);
                return Ok(Started { channel, child, early });
            }
            Report::NotBegun(errno) => return Err(errno),
            Report::Progress(_) => early = VecDeque::from([message]),
            Report::Done(_) | Report::Failed(_) | Report::FailedAt(..) => early.push_back(message),
        }
    }
}

/// The root directory of the host.
///
/// # Errors
/// As the kernel has them.
pub fn root_of_host() -> Result<OwnedFd, Errno> {
    rustix::fs::open("/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// The one descriptor of these.
fn one(fds: Vec<OwnedFd>) -> Result<OwnedFd, Errno> {
    let mut fds = fds.into_iter();
    match (fds.next(), fds.next()) {
        (Some(fd), None) => Ok(fd),
        _ => Err(Errno::BADMSG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inside::reading::Reading;
    use std::io::Write;
    use std::process::Stdio;

    impl Inside {
        /// Through a doorman that is executed when it is needed.
        pub fn for_tests() -> Rc<Self> {
            Rc::new(Self {
                program: crate::inside::doorman::tests::program,
                ..Self::new(None, |_| None).unwrap()
            })
        }
    }

    fn run<F: Future<Output = ()>>(test: impl FnOnce(Rc<Inside>) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let limit = Duration::from_secs(60);
        let done = async { timeout(limit, test(Inside::for_tests())).await.unwrap() };
        tokio::task::LocalSet::new().block_on(&runtime, done);
    }

    #[test]
    fn a_root_directory_is_the_leaders() {
        run(async |inside| {
            let root = inside.root_directory(&Guest::for_tests(1)).await.unwrap();
            let (got, own) = (fstat(&root).unwrap(), rustix::fs::stat("/").unwrap());
            assert_eq!((got.st_dev, got.st_ino), (own.st_dev, own.st_ino));
        });
    }

    #[test]
    fn a_doorman_that_dies_is_made_anew_and_no_request_is_lost() {
        run(async |inside| {
            let guest = Guest::for_tests(1);
            inside.root_directory(&guest).await.unwrap();
            for _ in 0..3 {
                let pid = inside.door.borrow().as_ref().and_then(|(_, pid)| *pid).unwrap();
                rustix::process::kill_process(pid, Signal::KILL).unwrap();
                inside.root_directory(&guest).await.unwrap();
                let files = Reading::new(inside.clone());
                assert!(!files.os_release(guest.clone()).await.unwrap().unwrap().is_empty());
            }
        });
    }

    #[test]
    fn a_leader_that_is_gone_is_no_leader() {
        run(async |inside| {
            let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
            let guest = Guest::of(child.id(), 1);
            child.stdin.take().unwrap().write_all(b"").unwrap();
            child.wait().unwrap();
            assert_eq!(inside.root_directory(&guest).await.unwrap_err(), Errno::SRCH);
        });
    }

    #[test]
    fn what_is_done_for_a_machine_ends_with_it() {
        run(async |inside| {
            let guest = Guest::for_tests(1);
            inside.root_directory(&guest).await.unwrap();
            let (gone, asked) = (guest.key, inside.root_directory(&guest));
            let leave = async { inside.left(gone) };
            let (answer, ()) = tokio::join!(biased; asked, leave);
            assert_eq!(answer.unwrap_err(), Errno::SRCH);
        });
    }

    #[test]
    fn a_child_that_begins_after_it_was_given_up_is_killed() {
        run(async |inside| {
            let guest = Guest::for_tests(1);
            inside.root_directory(&guest).await.unwrap();
            while inside.jobs.unended() > 0 {
                inside.jobs.admit(guest.party()).unwrap();
                tokio::task::yield_now().await;
            }
            {
                let mut start = std::pin::pin!(inside.start(guest.party(), Some(&guest), Work::Reader, &[]));
                // It has asked for it, and is given up before the answer comes.
                let waker = std::task::Waker::noop();
                let polled = start.as_mut().poll(&mut std::task::Context::from_waker(waker));
                assert!(polled.is_pending());
            }
            while inside.jobs.unended() == 0 {
                tokio::task::yield_now().await;
            }
        });
    }

    #[test]
    fn children_that_were_given_up_in_good_time_keep_nobody_from_the_machine() {
        run(async |inside| {
            let guest = Guest::for_tests(1);
            let mut started = Vec::new();
            for _ in 0..20 {
                started.push(inside.start(guest.party(), Some(&guest), Work::Reader, &[]).await.unwrap());
            }
            drop(started);
            assert_eq!(inside.jobs.admit(guest.party()), Ok(()));
        });
    }

    #[test]
    fn many_at_a_time_get_their_turns() {
        run(async |inside| {
            let asked: Vec<_> = (0..60)
                .map(|number| {
                    let (inside, guest) = (inside.clone(), Guest::for_tests(number % 3));
                    tokio::task::spawn_local(async move { inside.root_directory(&guest).await.map(drop) })
                })
                .collect();
            for asked in asked {
                assert_eq!(asked.await.unwrap(), Ok(()));
            }
        });
    }
}
