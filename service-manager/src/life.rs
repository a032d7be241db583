//! The life of a daemon on one thread, and its last words.

use std::future::Future;
use std::process::ExitCode;

use tokio::runtime::Builder;
use tokio::task::LocalSet;

use crate::{Failure, log};

/// Runs a daemon on an event loop of this thread. All that it held is given up before this returns.
///
/// # Errors
/// There can be no event loop, or the daemon failed.
pub fn run<T>(daemon: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new("cannot make an event loop", error))?;
    LocalSet::new().block_on(&runtime, daemon)
}

/// The exit status of a daemon that has ended. If it failed, the log is told why.
pub fn exit_status(ended: Result<(), Failure>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            log::say_last(&format!("{}: {}", log::identifier(), log::with_causes(&failure)));
            ExitCode::FAILURE
        }
    }
}
