//! Daemons that systemd lost track of. Where two units become one by an alias while one of them runs, as in `systemctl
//! enable machined`, systemd before 258 may believe of the outcome that it does not run, and starts it again beside what
//! runs: then there are two in the control group of one service. What this start brought along is no predecessor: a
//! wrapper, as a shell or strace in `ExecStart=`, and what it started.

use std::path::Path;
use std::time::Duration;

use libmachine::ProcessHandle;
use registry::ANCESTORS_MAX;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::group::unified_processes;

/// How a unit's name ends that is this daemon's, by whatever name.
const UNIT: &str = "machined.service";
/// How long one has that is told to end.
const GRACE: Duration = Duration::from_secs(5);
/// How often it is looked at, in the few moments of a start that found one: nothing tells when a process hangs.
const LOOK: Duration = Duration::from_millis(10);

/// Ends the other processes of the service that this process is; in no other group are there any to end.
pub async fn end() {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let Ok(this) = ProcessHandle::open(own) else { return };
    let is_service = |group: &str| {
        Path::new(group).file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(UNIT))
    };
    let all = unified_processes(&this, is_service).await;
    let first = parents(own).take_while(|parent| all.contains(parent)).last().unwrap_or(own);
    let others = all.into_iter().filter(|&pid| pid != first && parents(pid).all(|parent| parent != first));
    let others: Vec<_> = others.filter_map(|pid| ProcessHandle::open(pid).ok()).collect();
    for (signal, word) in [(Signal::TERM, "ending"), (Signal::KILL, "killing")] {
        for other in others.iter().filter(|other| !other.has_exited() && !hangs(other.pid())) {
            warn!("Process {} was left over in the service; {word} it.", other.pid());
            // Gone in between is what is wanted.
            let _ = other.signal(signal);
        }
        let deadline = Instant::now() + GRACE;
        while others.iter().any(|other| !other.has_exited() && !hangs(other.pid()))
            && Instant::now() < deadline
        {
            sleep(LOOK).await;
        }
    }
}

/// Whether a process was killed already, and cannot end: it waits for a file system that does not answer. Nothing that it
/// has is in our way, as whoever goes where that may happen holds nothing of the daemon's.
fn hangs(pid: i32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    is_hanging(&status)
}

fn is_hanging(status: &str) -> bool {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let kill = 1_u64 << 8;
    let is_killed = ["SigPnd:", "ShdPnd:"]
        .into_iter()
        .filter_map(field)
        .any(|mask| u64::from_str_radix(mask, 16).is_ok_and(|mask| mask & kill != 0));
    is_killed && field("State:").is_some_and(|state| state.starts_with('D')) && field("Threads:") == Some("1")
}

/// The parent of a process, and the parent's, and so on.
fn parents(pid: i32) -> impl Iterator<Item = i32> {
    let parent = |process: &ProcessHandle| process.parent().ok().flatten();
    let first = ProcessHandle::open(pid).ok().and_then(|process| parent(&process));
    std::iter::successors(first, parent).take(ANCESTORS_MAX).map(|process| process.pid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_killed_and_waits_for_the_kernel_hangs() {
        let status = |state: &str, threads: u32, pending: &str, shared: &str| {
            format!("Name:\tx\nState:\t{state}\nThreads:\t{threads}\nSigPnd:\t{pending}\nShdPnd:\t{shared}\n")
        };
        let (none, kill) = ("0000000000000000", "0000000000000100");
        for hanging in [status("D (disk sleep)", 1, none, kill), status("D (disk sleep)", 1, kill, none)] {
            assert!(is_hanging(&hanging), "{hanging}");
        }
        for other in [
            status("D (disk sleep)", 1, none, none),
            status("D (disk sleep)", 1, none, "0000000000004000"),
            status("S (sleeping)", 1, none, kill),
            status("R (running)", 1, kill, kill),
            // A daemon of before may have its locks.
            status("D (disk sleep)", 2, none, kill),
            String::new(),
        ] {
            assert!(!is_hanging(&other), "{other}");
        }
    }
}
