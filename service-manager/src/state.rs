//! Where a daemon is in its life, sd_notify(3), and the signals that end it.

use std::future::pending;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::debug;

use crate::Failure;

/// The daemon can be called.
pub fn ready() {
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        debug!("Nobody to tell that the daemon is ready: {error}");
    }
}

/// The daemon ends.
pub fn stopping() {
    // Nobody to tell is no problem at the end either.
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
}

/// Tells the service manager that the event loop turns, if it wants to know, sd_watchdog_enabled(3).
pub async fn watchdog() {
    let Some(interval) = sd_notify::watchdog_enabled() else { return pending().await };
    loop {
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        tokio::time::sleep(interval / 2).await;
    }
}

/// The signals of one kind.
///
/// # Errors
/// They cannot be handled.
pub fn signals(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::new("cannot handle signals", error))
}

/// The signals that tell a daemon to end, SIGTERM and SIGINT.
#[derive(Debug)]
pub struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    /// From now on they no longer end the process by themselves.
    ///
    /// # Errors
    /// They cannot be handled.
    pub fn handle() -> Result<Self, Failure> {
        Ok(Self {
            terminate: signals(SignalKind::terminate())?,
            interrupt: signals(SignalKind::interrupt())?,
        })
    }

    /// Waits for one of them.
    pub async fn came(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
