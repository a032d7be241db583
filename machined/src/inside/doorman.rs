//! The doorman: a process of one thread that starts a child for each request, in the control group of the machine that
//! the request is about. It is forked before the daemon has any state, has no descriptor but its socket, and does
//! nothing that could hang.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::process::{Pid, Signal, getpid, set_parent_process_death_signal};

use super::asked::{Asked, report};
use super::bond::be_bound_to;
use super::message;
use super::request::Report;
use super::spawn::{Side, close_all_but, fork, ignore_children, leave};
use crate::own_process::PROGRAM;

/// The argument by which this program is a doorman, on its standard input.
pub const ARGUMENT: &str = "--doorman";
/// The group for our children where a machine's own group may hold no processes.
const LEAF: &str = "mymachines";

/// A doorman, as the daemon knows it.
#[derive(Debug)]
pub struct Doorman {
    pub(super) socket: OwnedFd,
    pub(super) pid: Pid,
}

impl Doorman {
    /// Forks one. To be called before anything else is done, while there is one thread.
    ///
    /// # Errors
    /// As fork(2).
    pub(super) fn fork(work: fn(Asked)) -> Result<Self, Errno> {
        let (ours, theirs) = message::pair()?;
        let daemon = getpid();
        match fork(None)? {
            Side::Parent(pid, _) => Ok(Self { socket: ours, pid }),
            Side::Child => {
                drop(ours);
                close_all_but(theirs.as_fd());
                if be_bound_to(daemon).is_ok() {
                    serve(theirs, work);
                }
                leave()
            }
        }
    }

    /// Makes one by executing a program, which is this one, on a new connection.
    ///
    /// # Errors
    /// As posix_spawn(3).
    pub(super) fn execute(mut program: Command) -> Result<Self, Errno> {
        let (ours, theirs) = message::pair()?;
        program.stdin(Stdio::from(theirs)).stdout(Stdio::null());
        let child = program.spawn().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        Ok(Self { socket: ours, pid })
    }

    /// This program.
    pub(super) fn program() -> Command {
        let mut program = Command::new(PROGRAM);
        program.arg0("machined").arg(ARGUMENT);
        program
    }
}

/// Is a doorman on its standard input, until the daemon ends.
pub(super) fn main(work: fn(Asked)) {
    // Before this program had its death told, the daemon may have ended: then the socket tells.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let Ok(socket) = std::io::stdin().as_fd().try_clone_to_owned() else { return };
    close_all_but(socket.as_fd());
    serve(socket, work);
}

fn serve(socket: OwnedFd, work: fn(Asked)) {
    if let Ok(null) = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
    // Children are reaped by nobody.
    ignore_children();
    let _ = rustix::process::chdir("/");
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let doorman = getpid();
    while let Ok(Some(message)) = message::receive(socket.as_fd(), RecvFlags::empty()) {
        let Ok(asked) = Asked::of(message) else { continue };
        match start(asked.group.as_ref().map(AsFd::as_fd)) {
            Ok(Side::Parent(pid, pidfd)) => {
                let pidfd: Vec<_> = pidfd.iter().map(AsFd::as_fd).collect();
                report(&asked.reply, &Report::Begun(pid.as_raw_nonzero().get()), &pidfd);
            }
            Err(errno) => report(&asked.reply, &Report::NotBegun(errno), &[]),
            Ok(Side::Child) => {
                drop(socket);
                if be_bound_to(doorman).is_ok() {
                    work(asked);
                }
                leave()
            }
        }
    }
}

/// Starts a child: in this group, or in a leaf of ours below it, or here.
fn start(group: Option<BorrowedFd<'_>>) -> Result<Side, Errno> {
    if let Some(group) = group.filter(|group| !is_frozen(*group)) {
        match fork(Some(group)) {
            Err(Errno::BUSY) => {
                if let Ok(side) = leaf(group).and_then(|leaf| fork(Some(leaf.as_fd()))) {
                    return Ok(side);
                }
            }
            // It has no room left, or is gone; or the kernel has no such way.
            Err(_) => {}
            started => return started,
        }
    }
    fork(None)
}

/// Whether who is in a group does not run.
fn is_frozen(group: BorrowedFd<'_>) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut text = [0; 256];
    let read = rustix::fs::openat(group, "cgroup.events", flags, Mode::empty())
        .and_then(|events| rustix::io::read(&events, &mut text).map(|length| text.get(..length)));
    read.ok().flatten().is_some_and(|text| text.split(|&byte| byte == b'\n').any(|line| line == b"frozen 1"))
}

fn leaf(group: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(group, LEAF, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(group, LEAF, flags, Mode::empty())
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs::{self, File};
    use std::path::Path;

    use super::*;

    /// This test program, as the doorman below.
    pub(in crate::inside) fn program() -> Command {
        let mut program = Command::new(PROGRAM);
        program.env("RUST_TEST_THREADS", "1").args([
            "--ignored",
            "--exact",
            "inside::doorman::tests::the_doorman",
        ]);
        program
    }

    #[test]
    #[ignore = "is no test, but the doorman of others"]
    fn the_doorman() {
        main(crate::inside::work::run);
        leave()
    }

    /// The control group of a child that is started for this one.
    fn started_in(group: &File) -> String {
        let (wait, go) = std::io::pipe().unwrap();
        match start(Some(group.as_fd())).unwrap() {
            Side::Child => {
                drop(go);
                let _ = rustix::io::read(&wait, &mut [0]);
                leave()
            }
            Side::Parent(child, _) => {
                let text = fs::read_to_string(format!("/proc/{}/cgroup", child.as_raw_nonzero())).unwrap();
                drop(go);
                rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty()).unwrap();
                text.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned()
            }
        }
    }

    #[test]
    fn a_child_starts_in_the_machines_group_or_a_leaf_of_it_or_here() {
        let name = format!("doorman-test-{}", std::process::id());
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let root = roots.into_iter().find(|root| root.join("cgroup.controllers").exists());
        let Some(path) = root.map(|root| root.join(&name)).filter(|path| fs::create_dir(path).is_ok()) else {
            println!("SKIPPED: the groups of children: it takes root and cgroup v2");
            return;
        };
        let says = |file: &str, text: &str| fs::write(path.join(file), text);
        let group = File::open(&path).unwrap();
        let here = fs::read_to_string("/proc/self/cgroup").unwrap();
        let here = here.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
        let mut found = vec![(started_in(&group), format!("/{name}"))];
        if fs::read_to_string(path.join("cgroup.controllers")).unwrap().contains("pids") {
            says("cgroup.subtree_control", "+pids").unwrap();
            found.push((started_in(&group), format!("/{name}/{LEAF}")));
            fs::remove_dir(path.join(LEAF)).unwrap();
            says("cgroup.subtree_control", "-pids").unwrap();
            says("pids.max", "0").unwrap();
            found.push((started_in(&group), here.to_owned()));
            says("pids.max", "max").unwrap();
        } else {
            println!("SKIPPED: a group that may hold no processes: the controller pids is not there");
        }
        says("cgroup.freeze", "1").unwrap();
        found.push((started_in(&group), here.to_owned()));
        fs::remove_dir(&path).unwrap();
        found.push((started_in(&group), here.to_owned()));
        for (found, expected) in found {
            assert!(found.ends_with(&expected), "{found} {expected}");
        }
    }
}
