//! Processes that were killed and cannot end: they wait for a file system that does not answer.

use std::path::{Path, PathBuf};

use libmachine::ProcessHandle;
use tracing::debug;

use crate::group::{processes_of, take_over};
use crate::own_process::PROGRAM;

/// How many processes of ours may hang in a machine, and more.
const MOST: usize = 8;

/// Whether a process was killed already, and cannot end: it waits for a file system that does not answer. Nothing that it
/// has is in our way, as whoever goes where that may happen holds nothing of the daemon's.
pub fn hangs(pid: i32) -> bool {
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

/// Takes those of our processes that hang out of the group of a machine, to where this one is, so that the group is empty
/// when all others have ended.
pub async fn withdraw(group: &str) {
    let Some(program) = program(Path::new(PROGRAM)) else { return };
    let is_ours = |pid| program_of(pid).is_some_and(|of_process| of_process == program);
    let found = processes_of(group).await.into_iter().filter(|&pid| is_ours(pid) && hangs(pid));
    for process in found.take(MOST).filter_map(|pid| ProcessHandle::open(pid).ok()) {
        // The number is that of the one that hangs, or of nobody who does.
        if hangs(process.pid())
            && let Err(error) = take_over(&process)
        {
            debug!("Cannot move process {} out of {group}: {error}", process.pid());
        }
    }
}

/// The program that a process runs, by its path alone: the file may be where nobody answers.
fn program_of(pid: i32) -> Option<PathBuf> {
    program(Path::new(&format!("/proc/{pid}/exe")))
}

fn program(link: &Path) -> Option<PathBuf> {
    let program = std::fs::read_link(link).ok()?;
    // A newer one may have been installed since.
    Some(program.to_str()?.trim_end_matches(" (deleted)").into())
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

    #[test]
    fn a_program_is_known_by_its_path() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(program_of(own), Some(std::env::current_exe().unwrap()));
        assert_eq!(program_of(own), program(Path::new(PROGRAM)));
    }
}
