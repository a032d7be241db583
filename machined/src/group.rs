//! Control groups of machines on hosts without systemd: made, signalled, emptied and removed here.
//!
//! A machine that is registered with `allocateUnit` gets a group of its own, `machines/NAME` below the root of the
//! unified hierarchy (or `machines/NAME~2`, while the one of its predecessor is still ending), and its leader is moved there. cgroups(7) and the kernel's cgroup-v2.rst.

use std::collections::HashSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use libmachine::ProcessHandle;
use registry::{MachineName, Record};
use rustix::fs::{XattrFlags, getxattr, setxattr};
use rustix::io::Errno;
use rustix::process::Signal;
use tokio::time::timeout;

mod vacated;
mod walk;

use walk::Walk;

/// `CGROUP2_SUPER_MAGIC`, linux/magic.h.
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
/// Where the unified hierarchy is mounted: alone, or beside the old ones.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// The group of all machines' groups, below the root of the hierarchy.
const PARENT: &str = "machines";
/// The same for the daemon of a user: below the group that the user's session was given.
static USERS_PARENT: OnceLock<String> = OnceLock::new();
/// What stands between a name and its number; no machine name has it.
const NUMBER: char = '~';
/// How many groups of machines of one name may be about to end.
const MAX_PREDECESSORS: u32 = 64;
/// The attribute of a group that is to end, xattr(7). It goes when the group goes, and is nobody else's.
const DOOMED: &str = "user.machined.doomed";

/// The control group of a machine. One that was removed and made again under the same name is another one.
#[derive(Clone, Debug)]
pub struct Group {
    path: PathBuf,
    name: String,
    id: Option<u64>,
}

/// Where a leader came from.
#[derive(Debug)]
pub struct Home {
    procs: PathBuf,
    pid: i32,
}

/// Where the unified hierarchy is; `None` where it is not mounted. Once it is found it stays there.
fn hierarchy() -> Option<&'static Path> {
    static FOUND: OnceLock<&Path> = OnceLock::new();
    let look = || {
        MOUNTS.into_iter().map(Path::new).find(|mount| {
            rustix::fs::statfs(*mount).is_ok_and(|stat| u64::try_from(stat.f_type) == Ok(CGROUP2_SUPER_MAGIC))
        })
    };
    FOUND.get().copied().or_else(|| look().map(|found| *FOUND.get_or_init(|| found)))
}

/// Has machines' groups made below that of this process, which is a user's own. To be called once, at the start.
pub fn make_below_own() {
    let own = ProcessHandle::open(rustix::process::getpid().as_raw_nonzero().get());
    if let Some(own) = own.ok().and_then(|own| unified_path(&own)) {
        let own = own.trim_matches('/');
        let _ = USERS_PARENT.set(format!("{own}{}{PARENT}", if own.is_empty() { "" } else { "/" }));
    }
}

fn parent() -> &'static str {
    USERS_PARENT.get().map_or(PARENT, String::as_str)
}

/// Where a machine's control group is in the file system; `None` where it is not known, or is the daemon's too.
pub fn directory_of(group: &str) -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let is_above =
        |group: &str| own.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let name = group
        .strip_prefix('/')
        .filter(|name| !name.is_empty() && !name.split('/').any(|part| part == ".."))?;
    if is_above(group) { None } else { Some(hierarchy()?.join(name)) }
}

/// The directory of a group; `None` where the unified hierarchy is not mounted.
pub fn directory(group: &str) -> Option<PathBuf> {
    Some(hierarchy()?.join(group.trim_start_matches('/')))
}

impl Group {
    /// Makes the group of a machine and moves its leader there.
    ///
    /// Returns the group, and where the leader came from.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: no unified hierarchy. `EEXIST`: too many groups of this name are about to end. `ESRCH`: the leader
    /// has ended. What the kernel says to the rest; nothing is left behind then.
    pub fn create(machine: &MachineName, leader: &ProcessHandle) -> io::Result<(Self, Option<Home>)> {
        let hierarchy = hierarchy().ok_or(Errno::OPNOTSUPP)?;
        let parent = hierarchy.join(parent());
        make(&parent)?;
        let mut group = Self::make_one(&parent, machine)?;
        group.id = inode(&group.path);
        let home = unified_path(leader).map(|path| {
            let path = hierarchy.join(path.trim_start_matches('/'));
            Home { procs: path.join("cgroup.procs"), pid: leader.pid() }
        });
        let moved = fs::write(group.path.join("cgroup.procs"), leader.pid().to_string()).and_then(|()| {
            // The number may have come to mean another process since: it must not stay there.
            if leader.has_exited() { Err(Errno::SRCH.into()) } else { Ok(()) }
        });
        if let Err(error) = moved {
            group.give_back(hierarchy, home.as_ref());
            return Err(error);
        }
        Ok((group, home))
    }

    /// Removes a group that was made for a leader which had ended. Who has its number now is moved to where its parent is: it
    /// was born there, a moment ago. Where that cannot be seen, to where the leader came from.
    fn give_back(&self, hierarchy: &Path, home: Option<&Home>) {
        let strangers = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        for pid in strangers.lines().filter_map(|line| line.parse().ok()) {
            let parent = ProcessHandle::open(pid).ok().and_then(|stranger| stranger.parent().ok()?);
            let birthplace = parent
                .and_then(|parent| unified_path(&parent))
                .map(|path| hierarchy.join(path.trim_start_matches('/')).join("cgroup.procs"));
            let procs = birthplace.or_else(|| home.map(|home| home.procs.clone()));
            // It may have ended, too.
            let _ = procs.map(|procs| fs::write(procs, pid.to_string()));
        }
        let _ = fs::remove_dir(&self.path);
    }

    /// Makes a group that is certainly new. The one of a machine of the same name that has just ended may still be
    /// there, and its end be minded: then it gets a number behind its name.
    fn make_one(parent: &Path, machine: &MachineName) -> io::Result<Self> {
        for number in 1..=MAX_PREDECESSORS {
            let name = if number == 1 { machine.to_string() } else { format!("{machine}{NUMBER}{number}") };
            let mut group =
                Self { path: parent.join(&name), name: format!("/{}/{name}", self::parent()), id: None };
            if matches!(group.is_populated(), Ok(true)) {
                continue;
            }
            // One that is empty is free at once; one with groups below it when those are gone.
            let _ = fs::remove_dir(&group.path);
            match fs::create_dir(&group.path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    group.id = inode(&group.path);
                    tokio::task::spawn_local(async move { group.remove().await });
                }
                made => return made.map(|()| group),
            }
        }
        Err(Errno::EXIST.into())
    }

    /// Takes back [`Group::create`].
    pub fn undo(&self, home: Option<&Home>) {
        if let Some(home) = home {
            let _ = fs::write(&home.procs, home.pid.to_string());
        }
        let _ = fs::remove_dir(&self.path);
    }

    /// The group that a record names, if it is one that this daemon made for the machine, and not a unit's.
    pub fn of_record(record: &Record) -> Option<Self> {
        let name = record.cgroup.as_deref().filter(|_| record.unit.is_none())?;
        let machine = name.strip_prefix('/')?.strip_prefix(parent())?.strip_prefix('/')?;
        let (owner, number) = machine.split_once(NUMBER).unwrap_or((machine, "2"));
        if owner != record.name.as_str() || number.parse::<u32>().is_err() {
            return None;
        }
        let path = hierarchy()?.join(parent()).join(machine);
        Some(Self { path, name: name.to_owned(), id: record.cgroup_id })
    }

    /// Its path from the root of the hierarchy, as `/proc/PID/cgroup` has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id, the inode number of its directory.
    pub fn id(&self) -> Option<u64> {
        self.id
    }

    /// Whether what is there now under its name is this group. Only this daemon makes these groups, and in the same
    /// thread: what is found holds until the next await.
    fn is_there(&self) -> bool {
        self.id.is_none() || inode(&self.path) == self.id
    }

    /// Whether there is a process in it or below.
    fn is_populated(&self) -> io::Result<bool> {
        Ok(fs::read_to_string(self.path.join("cgroup.events"))?.lines().any(|line| line == "populated 1"))
    }

    /// Sends a signal to every process in the group and below, again until there is none that did not get it.
    ///
    /// # Errors
    /// `NotFound`: there is no process left.
    pub async fn signal(&self, signal: Signal) -> io::Result<()> {
        if !self.is_there() {
            return Err(ErrorKind::NotFound.into());
        }
        if signal == Signal::KILL && fs::write(self.path.join("cgroup.kill"), "1").is_ok() {
            return Ok(());
        }
        // Kernels before 5.14 have no cgroup.kill; and other signals have no file.
        let frozen = signal == Signal::KILL && fs::write(self.path.join("cgroup.freeze"), "1").is_ok();
        let result = self.signal_each(signal, |_| true).await;
        if frozen && self.is_there() {
            let _ = fs::write(self.path.join("cgroup.freeze"), "0");
        }
        result
    }

    /// Sends a signal to each such process, again until there is none that did not get it.
    async fn signal_each(&self, signal: Signal, is_such: impl Fn(&ProcessHandle) -> bool) -> io::Result<()> {
        let mut told = HashSet::new();
        for _ in 0..64 {
            let before = told.len();
            self.signal_others(signal, &is_such, &mut told).await;
            if told.len() == before {
                break;
            }
        }
        if told.is_empty() { Err(ErrorKind::NotFound.into()) } else { Ok(()) }
    }

    /// Sends a signal to the processes that were not told yet.
    async fn signal_others(
        &self,
        signal: Signal,
        is_such: &impl Fn(&ProcessHandle) -> bool,
        told: &mut HashSet<i32>,
    ) {
        let Some(mut walk) = self.walk() else { return };
        while walk.descend().await {
            for pid in walk.processes() {
                walk.step().await;
                if told.contains(&pid) {
                    continue;
                }
                // The number may have come to mean another process since it was read.
                if let Ok(process) = ProcessHandle::open(pid)
                    && self.has(&process)
                    && is_such(&process)
                {
                    // Gone in between: nothing to tell it.
                    let _ = process.signal(signal);
                    told.insert(pid);
                }
            }
            walk.ascend();
        }
    }

    /// Whether a process is in it or below.
    fn has(&self, process: &ProcessHandle) -> bool {
        let path = unified_path(process);
        let below = path.as_deref().and_then(|path| path.strip_prefix(&self.name));
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
    }

    /// A walk through this very group.
    fn walk(&self) -> Option<Walk> {
        Walk::start(&self.path).ok().filter(|walk| self.id.is_none() || walk.id() == self.id)
    }

    /// Notes on the group that it is to [end](Self::end), so that the next run of the daemon sees to that if this one
    /// cannot. Returns whether that is noted.
    pub fn doom(&self) -> bool {
        self.is_there() && setxattr(&self.path, DOOMED, b"", XattrFlags::empty()).is_ok()
    }

    fn is_doomed(&self) -> bool {
        getxattr(&self.path, DOOMED, &mut [0_u8; 1][..]).is_ok()
    }

    /// Ends all processes of the group: SIGTERM, and SIGKILL when the grace is over. Then removes it.
    pub async fn end(self, grace: Duration) {
        // Who makes groups as fast as they are looked at does not put off SIGKILL.
        let is_empty = matches!(timeout(grace, self.signal(Signal::TERM)).await, Ok(Err(_)));
        if !is_empty && !self.is_empty_within(grace).await {
            let _ = self.signal(Signal::KILL).await;
            self.is_empty_within(grace).await;
        }
        self.remove().await;
    }

    async fn is_empty_within(&self, time: Duration) -> bool {
        let is_empty = || !self.is_there() || !matches!(self.is_populated(), Ok(true));
        timeout(time, vacated::wait(&self.path, is_empty)).await.is_ok()
    }

    /// Ends the groups that an earlier run was to end, and removes those of machines that are gone, as far as they are
    /// empty. Does not wait for any that has processes or groups below it.
    pub fn sweep(is_in_use: impl Fn(&str) -> bool, grace: Duration) {
        let Some(hierarchy) = hierarchy() else { return };
        let mut left = Vec::new();
        for path in children(&hierarchy.join(parent())) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let (name, id) = (format!("/{}/{name}", parent()), inode(&path));
            let group = Self { path, name, id };
            if group.is_doomed() {
                tokio::task::spawn_local(group.end(grace));
            } else if !is_in_use(&group.name) && fs::remove_dir(&group.path).is_err() {
                left.push(group);
            }
        }
        tokio::task::spawn_local(async move {
            for group in left {
                group.remove().await;
            }
        });
    }

    /// Removes the group and those below it, as far as they are empty.
    async fn remove(&self) {
        let Some(mut walk) = self.walk() else { return };
        if matches!(self.is_populated(), Ok(false)) {
            // Nobody makes new ones below it while they are removed.
            let _ = fs::write(self.path.join("cgroup.max.descendants"), "0");
        }
        while walk.descend().await {
            if let Some(name) = walk.ascend() {
                walk.remove(&name);
            }
        }
        if self.is_there() {
            // Not empty, or gone: both are fine.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// The processes of the group that a process is in, and of those below, if the group is one that is asked for.
pub async fn unified_processes(process: &ProcessHandle, is_wanted: impl FnOnce(&str) -> bool) -> Vec<i32> {
    match unified_path(process) {
        Some(group) if is_wanted(&group) => processes_of(&group).await,
        _ => Vec::new(),
    }
}

/// The processes of a group, and of those below.
pub async fn processes_of(group: &str) -> Vec<i32> {
    let mut found = Vec::new();
    let walk = directory(group).and_then(|path| Walk::start(&path).ok());
    let Some(mut walk) = walk else { return found };
    while walk.descend().await {
        found.extend(walk.processes());
        walk.ascend();
    }
    found
}

/// Whether all processes of a group and of those below are such; not if they are more than `many`, or cannot be seen.
pub async fn is_all_of(group: &str, many: usize, is_such: impl Fn(&ProcessHandle) -> bool) -> bool {
    let Some(hierarchy) = hierarchy() else { return false };
    let Ok(mut walk) = Walk::start(&hierarchy.join(group.trim_start_matches('/'))) else { return false };
    let is_such = |pid| match ProcessHandle::open(pid) {
        Ok(process) => is_such(&process) || process.has_exited(),
        Err(error) => matches!(error, libmachine::Error::NoSuchProcess(_)),
    };
    let mut seen = 0;
    while walk.descend().await {
        for pid in walk.processes() {
            walk.step().await;
            seen += 1;
            if seen > many || !is_such(pid) {
                return false;
            }
        }
        walk.ascend();
    }
    seen > 0 && walk.has_seen_all()
}

/// Sends a signal to those processes of a group, and of those below, that are such at that very moment.
///
/// # Errors
/// `NotFound`: there are none.
pub async fn signal_such(
    group: &str,
    signal: Signal,
    is_such: impl Fn(&ProcessHandle) -> bool,
) -> io::Result<()> {
    let path = directory(group).ok_or(ErrorKind::NotFound)?;
    let group = Group { path, name: group.trim_end_matches('/').to_owned(), id: None };
    group.signal_each(signal, is_such).await
}

/// Moves this process to the group of another one.
///
/// # Errors
/// What the kernel says; `EOPNOTSUPP`: no unified hierarchy.
pub fn join(other: &ProcessHandle) -> io::Result<()> {
    move_to_group_of(other, 0)
}

/// Moves a process to the group of this one.
///
/// # Errors
/// As [`join`].
pub fn take_over(other: &ProcessHandle) -> io::Result<()> {
    let own = ProcessHandle::open(rustix::process::getpid().as_raw_nonzero().get());
    move_to_group_of(&own.map_err(io::Error::other)?, other.pid())
}

fn move_to_group_of(process: &ProcessHandle, pid: i32) -> io::Result<()> {
    let (hierarchy, path) = hierarchy().zip(unified_path(process)).ok_or(Errno::OPNOTSUPP)?;
    fs::write(hierarchy.join(path.trim_start_matches('/')).join("cgroup.procs"), pid.to_string())
}

/// Where a process is in the unified hierarchy, also on a host that has systemd's own beside it.
fn unified_path(process: &ProcessHandle) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", process.pid())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

/// The id of the group with this path in the daemon's cgroup namespace; `None` where there is none, or no unified hierarchy.
pub fn id_of(group: &str) -> Option<u64> {
    inode(&hierarchy()?.join(group.trim_start_matches('/')))
}

/// The inode number of a group's directory: its id, never used twice while the host runs.
fn inode(path: &Path) -> Option<u64> {
    rustix::fs::stat(path).ok().map(|stat| stat.st_ino)
}

fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// The directories right below a group.
fn children(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests;
