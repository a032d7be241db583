//! Groups of the kernel's own hierarchy; without root or without one these tests say that they are skipped.

use std::process::{Child, Command};

use super::*;

/// The kernel gives numbers out in turn, and this is the last one that it gave.
const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

fn sleeper() -> Child {
    Command::new("sleep").arg("60").spawn().unwrap()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A process with the number of one that has ended; `None` if others always get it first.
fn successor_of(pid: u32) -> Option<Child> {
    for _ in 0..1000 {
        fs::write(LAST_PID, (pid - 1).to_string()).ok()?;
        let child = sleeper();
        if child.id() == pid {
            return Some(child);
        }
        end(child);
    }
    None
}

#[test]
fn who_got_the_number_of_a_dead_leader_does_not_stay_in_its_group() {
    let (Some(hierarchy), true) = (hierarchy(), rustix::process::geteuid().is_root()) else {
        println!("SKIPPED: a dead leader's number: it takes root and a unified hierarchy");
        return;
    };
    let leader = sleeper();
    let pid = leader.id();
    let handle = ProcessHandle::open(i32::try_from(pid).unwrap()).unwrap();
    end(leader);
    let Some(stranger) = successor_of(pid) else {
        println!("SKIPPED: a dead leader's number: no other process got it");
        return;
    };
    let group_of = || fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let before = group_of();
    let machine = MachineName::new(b"recycled-number").unwrap();
    let error = Group::create(&machine, &handle).unwrap_err();
    let after = group_of();
    end(stranger);
    assert_eq!(Errno::from_io_error(&error), Some(Errno::SRCH));
    assert_eq!(after, before);
    assert!(!hierarchy.join(parent()).join(machine.as_str()).exists());
    // It stays where it has groups.
    let _ = fs::remove_dir(hierarchy.join(parent()));
}
