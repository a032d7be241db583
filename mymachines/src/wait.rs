//! `wait`: until machines are there, or gone.

use std::time::Duration;

use libmachine::{Errno, MachineName, last_name, wait_for_end, wait_for_machine};
use rustix::time::{ClockId, clock_gettime};

use crate::cli;
use crate::failure::{Failure, NOT_FOUND};

/// Waits for one machine after the other, for all of them up to the same time.
///
/// # Errors
/// It cannot be waited for, or a name is none.
pub fn wait(options: &cli::Wait) -> Result<u8, Failure> {
    let mut names = Vec::new();
    for name in &options.names {
        let no_name = |_| Failure::new(format!("'{}' is no name of a machine", name.escape_debug()));
        names.push(last_name(name.as_bytes()).map_err(no_name)?);
    }
    let deadline = options.timeout.map(|seconds| now().saturating_add(Duration::from_secs(seconds)));
    let mut code = 0;
    for name in &names {
        match wait_for(name, options.gone, deadline) {
            Ok(()) => {}
            Err(Errno::TIMEDOUT) => {
                let what = if options.gone { "is still there" } else { "has not come" };
                eprintln!("mymachines: machine '{name}' {what}");
                code = NOT_FOUND;
            }
            Err(errno) => return Err(Failure::new(format!("cannot wait for machine '{name}': {errno}"))),
        }
    }
    Ok(code)
}

fn wait_for(name: &MachineName, is_end: bool, deadline: Option<Duration>) -> Result<(), Errno> {
    let deadline = deadline.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    loop {
        let waited =
            if is_end { wait_for_end(name, deadline) } else { wait_for_machine(name, deadline).map(drop) };
        if waited != Err(Errno::INTR) {
            return waited;
        }
    }
}

/// The time of `CLOCK_MONOTONIC`.
fn now() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}
