//! Whether polkit knows the actions.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Finding, first_of, has_systemd};

const ABOUT: &str = "polkit";
const ACTION: &str = "org.freedesktop.machine1.register-machine";
const OWN_FILE: &str = "/usr/local/share/polkit-1/actions/mymachines.policy";
const SEEN_FILE: &str = "/usr/share/polkit-1/actions/mymachines.policy";
const PATIENCE: Duration = Duration::from_secs(3);

pub fn check() -> Vec<Finding> {
    let daemons = ["/usr/lib/polkit-1/polkitd", "/usr/libexec/polkitd", "/usr/libexec/polkit-1/polkitd"];
    if first_of(&daemons).is_none() {
        return vec![Finding::note(
            ABOUT,
            "there is no polkit: root, and who registered a machine, may manage it",
        )];
    }
    let Some(output) = answer(Command::new("pkaction").args(["--action-id", ACTION])) else {
        return vec![Finding::note(
            ABOUT,
            "pkaction is missing or gets no answer: it cannot be told what polkit knows",
        )];
    };
    if output {
        return vec![Finding::good(ABOUT, format!("it knows {ACTION}"))];
    }
    let finding =
        Finding::wrong(ABOUT, format!("it does not know {ACTION}: only root may register machines"));
    let restart = if has_systemd() { "systemctl restart polkit" } else { "restart polkit" };
    vec![match (first_of(&[OWN_FILE]), first_of(&[SEEN_FILE])) {
        // Before 125 it looks into one directory only.
        (Some(_), None) => finding.mend(format!("ln -s {OWN_FILE} {SEEN_FILE} && {restart}")),
        (_, Some(_)) => finding.mend(restart),
        (None, None) => finding.mend("make install   # the policy file is missing"),
    }]
}

/// Whether a command ended well; `None` where it cannot be run, or does not end.
fn answer(command: &mut Command) -> Option<bool> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    let begun = Instant::now();
    let pid = i32::try_from(child.id()).ok()?;
    let handle = libmachine::ProcessHandle::open(pid);
    // Its end makes the pidfd readable.
    if let Ok(handle) = &handle {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let patience = Timespec { tv_sec: 3, tv_nsec: 0 };
        let _ = poll(&mut [PollFd::from_borrowed_fd(handle.pidfd(), PollFlags::IN)], Some(&patience));
    }
    let ended = child.try_wait().ok().flatten();
    if ended.is_none() {
        debug_assert!(begun.elapsed() >= PATIENCE || handle.is_err(), "it was waited for");
        let _ = child.kill();
        let _ = child.wait();
    }
    ended.map(|status| status.success())
}
