//! Tasks that wait for something of a machine, and end with that.

use std::cell::RefCell;
use std::collections::HashMap;

use tokio::task::{AbortHandle, JoinHandle};

use crate::machines::Key;

/// The tasks, one for a machine at the most.
#[derive(Debug, Default)]
pub(super) struct Followed(RefCell<HashMap<Key, AbortHandle>>);

impl Followed {
    /// From now on this task waits for the machine.
    pub(super) fn start(&self, key: Key, task: &JoinHandle<()>) {
        if let Some(earlier) = self.0.borrow_mut().insert(key, task.abort_handle()) {
            earlier.abort();
        }
    }

    /// Nothing is waited for any more.
    pub(super) fn stop(&self, key: Key) {
        if let Some(task) = self.0.borrow_mut().remove(&key) {
            task.abort();
        }
    }
}
