//! Ids of machines' users and groups, and what they are on the host.

use registry::{IdKind, map_to_host};

use super::services::Operations;
use crate::machines::Key;

impl Operations {
    /// The host's id of an id inside a machine; `None` if it has none.
    pub fn id_on_host(&self, key: Key, kind: IdKind, inside: u32) -> Option<u32> {
        self.daemon.machines(|machines| {
            let record = machines.get(key)?;
            let map = match kind {
                IdKind::User => &record.uid_map,
                IdKind::Group => &record.gid_map,
            };
            map_to_host(map, inside)
        })
    }

    /// The machine that has an id of the host, and the id inside; `None` if none has, or more than one.
    pub fn machine_of_id(&self, kind: IdKind, outside: u32) -> Option<(Key, u32)> {
        let holders: Vec<_> = self.daemon.machines(|machines| machines.holders(kind, outside).collect());
        let mut living = holders.into_iter().filter(|(key, _)| self.daemon.is_there(*key));
        let first = living.next()?;
        living.next().is_none().then_some(first)
    }
}
