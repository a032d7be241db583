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
use crate::stuck::hangs;

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

/// The parent of a process, and the parent's, and so on.
fn parents(pid: i32) -> impl Iterator<Item = i32> {
    let parent = |process: &ProcessHandle| process.parent().ok().flatten();
    let first = ProcessHandle::open(pid).ok().and_then(|process| parent(&process));
    std::iter::successors(first, parent).take(ANCESTORS_MAX).map(|process| process.pid())
}
