//! A look at those whom the kernel has met.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::addresses::neighbour::{Mac, Neighbour};

/// When neighbours are looked at again of a machine that has none, at first.
pub(super) const FIRST_LOOK: Duration = Duration::from_secs(1);

/// Somebody whom the kernel has met.
#[derive(Debug, Clone, Copy)]
pub(super) struct Met {
    pub(super) on: u32,
    pub(super) seen: Instant,
}

/// A look at neighbours, as far as it is not over.
#[derive(Debug)]
pub(super) struct Look<K> {
    /// For whom.
    pub(super) of: Vec<K>,
    /// Those who are not taken in yet, each with the interface, and whether that is a bridge.
    pub(super) neighbours: Vec<(u32, bool, Neighbour)>,
    /// What a bridge has said of hardware addresses.
    pub(super) ports: HashMap<(u32, Mac), Option<u32>>,
}

impl<K> Default for Look<K> {
    fn default() -> Self {
        Self { of: Vec::new(), neighbours: Vec::new(), ports: HashMap::new() }
    }
}
