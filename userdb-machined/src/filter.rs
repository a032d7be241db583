//! The conditions of a query that name nobody.

use std::ops::RangeInclusive;

use registry::{FIRST_MACHINE_ID, IdKind, MappedId};

use crate::fuzzy::is_like;
use crate::record;

/// How many ids are looked up one by one. A search among more of them would be an enumeration.
const RANGE_MAX: u32 = 1024;

/// What the records asked for must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The ids on the host.
    pub ids: RangeInclusive<u32>,
    /// Texts of which one must be like the name, or the real name or description; none: any.
    pub fuzzy_names: Vec<String>,
    /// Whether users of containers are among those asked for.
    pub containers: bool,
    /// Whether a UUID is asked for, which no user of a machine has.
    pub by_uuid: bool,
}

impl Default for Filter {
    fn default() -> Self {
        Self { ids: 0..=u32::MAX, fuzzy_names: Vec::new(), containers: true, by_uuid: false }
    }
}

impl Filter {
    /// Whether a user or group is among those asked for.
    pub fn has(&self, kind: IdKind, found: &MappedId) -> bool {
        let is_sought = |name: &str| self.fuzzy_names.iter().any(|sought| is_like(name, sought));
        self.containers
            && !self.by_uuid
            && self.ids.contains(&found.outside)
            && (self.fuzzy_names.is_empty()
                || is_sought(found.name.as_str())
                || is_sought(&record::description(kind, found)))
    }

    /// The ids on the host that can be among those asked for; `None` if they are too many to look at.
    pub fn candidates(&self) -> Option<RangeInclusive<u32>> {
        let (first, last) = (FIRST_MACHINE_ID.max(*self.ids.start()), *self.ids.end());
        if !self.containers || self.by_uuid || first > last {
            // Nobody.
            return Some(RangeInclusive::new(1, 0));
        }
        (last - first < RANGE_MAX).then_some(first..=last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::{IdName, MachineName};

    fn found(id: u32) -> MappedId {
        let machine = MachineName::new(b"web").unwrap();
        let name = IdName::new(IdKind::User, &machine, 0).unwrap();
        MappedId { machine, inside: 0, outside: id, name }
    }

    fn has(filter: &Filter) -> bool {
        filter.has(IdKind::User, &found(100_000))
    }

    #[test]
    fn every_condition_counts() {
        let all = Filter::default;
        assert!(has(&all()));
        assert!(has(&Filter { ids: 100_000..=100_000, ..all() }));
        assert!(!has(&Filter { ids: 100_001..=200_000, ..all() }));
        assert!(!has(&Filter { ids: RangeInclusive::new(200_000, 50_000), ..all() }));
        assert!(!has(&Filter { containers: false, ..all() }));
        assert!(!has(&Filter { by_uuid: true, ..all() }));
        let named =
            |names: &[&str]| Filter { fuzzy_names: names.iter().map(ToString::to_string).collect(), ..all() };
        assert!(has(&named(&["nobody", "web"])));
        assert!(has(&named(&["uid 0 of container"])), "the real name");
        assert!(named(&["gid 0 of container"]).has(IdKind::Group, &found(100_000)), "the description");
        assert!(!has(&named(&["nobody"])));
    }

    #[test]
    fn a_search_is_an_enumeration_unless_few_ids_are_left() {
        let ids = |first, last| Filter { ids: RangeInclusive::new(first, last), ..Filter::default() };
        assert_eq!(Filter::default().candidates(), None);
        assert_eq!(ids(100_000, 101_024).candidates(), None);
        assert_eq!(ids(100_000, 101_023).candidates(), Some(100_000..=101_023));
        assert_eq!(ids(0, 65_536).candidates(), Some(65_536..=65_536));
        for none in [ids(0, 65_535), ids(200_000, 100_000), Filter { containers: false, ..Filter::default() }]
        {
            assert_eq!(none.candidates().unwrap().count(), 0);
        }
        assert_eq!(Filter { by_uuid: true, ..Filter::default() }.candidates().unwrap().count(), 0);
        assert_eq!(ids(u32::MAX, u32::MAX).candidates(), Some(u32::MAX..=u32::MAX));
    }
}
