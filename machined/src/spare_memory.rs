//! Gives memory back that nobody needs any more. The C library keeps what lies between pieces that are in use, which after
//! a start with many machines, or after their end, is most of the heap.
//!
//! # Safety
//! One call of malloc_trim(3), which takes a number and touches only memory that is not in use.
#![allow(unsafe_code, reason = "see Safety")]

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

/// How long to gather what is given back together. Looking for it takes a part of a millisecond.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether there may be memory to give back.
#[derive(Debug, Default)]
pub struct SpareMemory(Notify);

impl SpareMemory {
    /// Something large was let go of.
    pub fn freed(&self) {
        self.0.notify_one();
    }

    /// Gives it back at once.
    pub fn give_back(&self) {
        give_back();
    }

    /// Gives back what was freed, a moment after it was, for ever.
    pub async fn run(&self) {
        loop {
            self.0.notified().await;
            sleep(PAUSE).await;
            give_back();
        }
    }
}

#[cfg(target_env = "gnu")]
fn give_back() {
    // SAFETY: it may be called at any time, by any thread.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries give back by themselves, or not at all.
#[cfg(not(target_env = "gnu"))]
fn give_back() {}
