//! Namespaces for the tests: one that stands for the host's, in which each test begins, and containers.
//!
//! A namespace is that of a child, `cat` reading from a pipe, so that none outlives the tests.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::addresses::{Namespaces, Nsid};

/// Runs `test` on a thread of its own, in a network namespace of its own. Says SKIPPED if that is not permitted.
pub(super) fn on_a_host(test: impl FnOnce(&Namespaces) + Send) {
    let host = match Container::try_new(&["--net"]) {
        Ok(host) => host,
        Err(why) => return skipped(&test, &format!("no network namespace: {why}")),
    };
    let outcome = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            move_into_link_name_space(host.netns().as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            test(&Namespaces::open().unwrap());
        });
        thread.join()
    });
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Says on the real stderr, not on the one that is shown for failures alone, that `test` could not run.
pub(super) fn skipped<T>(test: &T, why: &str) {
    let name = std::any::type_name_of_val(test).trim_end_matches("::{{closure}}");
    writeln!(std::io::stderr(), "SKIPPED {name}: {why}").unwrap();
}

/// A process in a network namespace of its own.
pub(super) struct Container(Child);

impl Container {
    /// A container as root starts it.
    pub(super) fn new() -> Self {
        Self::try_new(&["--net"]).unwrap()
    }

    /// A container with a user namespace.
    pub(super) fn with_user_namespace() -> Self {
        Self::try_new(&["--user", "--map-root-user", "--net"]).unwrap()
    }

    fn try_new(options: &[&str]) -> Result<Self, String> {
        let mut command = Command::new("unshare");
        command.args(options).arg("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("unshare: {error}"))?;
        // The echo says that unshare has done its work. Without it, it has closed the pipe, and says why.
        let _ = child.stdin.as_mut().unwrap().write_all(b"!");
        let mut echo = [0];
        if child.stdout.as_mut().unwrap().read_exact(&mut echo).is_err() {
            let output = child.wait_with_output().unwrap();
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(Self(child))
    }

    pub(super) fn pidfd(&self) -> OwnedFd {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        pidfd_open(pid, PidfdFlags::empty()).unwrap()
    }

    pub(super) fn netns(&self) -> OwnedFd {
        open(format!("/proc/{}/ns/net", self.0.id()), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .unwrap()
    }

    pub(super) fn nsid(&self, namespaces: &Namespaces) -> Nsid {
        namespaces.nsid_of(self.netns().as_fd()).unwrap()
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Runs `ip` with the lines of `batch` in the container.
    pub(super) fn ip(&self, batch: &str) {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.0.id()));
        run(command.args(["ip", "-batch", "-"]), batch);
    }

    /// Whether the container has an interface `name`.
    pub(super) fn has_link(&self, name: &str) -> bool {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.0.id()));
        command.args(["ip", "link", "show", name]).output().unwrap().status.success()
    }

    /// Ends the process, and waits for it.
    pub(super) fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `ip` with the lines of `batch` in the namespace that stands for the host's.
pub(super) fn host_ip(batch: &str) {
    run(Command::new("ip").args(["-batch", "-"]), batch);
}

fn run(command: &mut Command, input: &str) {
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
