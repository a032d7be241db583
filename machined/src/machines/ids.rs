//! Which machines have which ids of the host: what the lists of the id index say.

use std::collections::{BTreeMap, BTreeSet};

use registry::{Class, FIRST_MACHINE_ID, IdKind, IdList, IdName, IdRange, Record, WIDE, list_text};

use super::key::Key;

/// How many of the machines with the very same range a list names. Two are enough: nobody has its ids alone.
const NAMED: usize = 2;

/// Machines by their range: its first id on the host, the number of ids, and the first inside.
type Holders = BTreeMap<(u32, u32, u32), BTreeSet<Key>>;

/// The ids of one kind.
#[derive(Debug, Default)]
pub(super) struct Ids {
    pages: BTreeMap<u16, Holders>,
    wide: Holders,
}

impl Ids {
    /// Takes in the map of a machine. Returns the lists that it changes.
    pub(super) fn gain(&mut self, map: &[IdRange], key: Key) -> BTreeSet<IdList> {
        self.change(map, |holders, range| {
            let keys = holders.entry(range).or_default();
            keys.insert(key);
            is_named(keys, key)
        })
    }

    /// Takes out the map of a machine. Returns the lists that it changes.
    pub(super) fn lose(&mut self, map: &[IdRange], key: Key) -> BTreeSet<IdList> {
        self.change(map, |holders, range| {
            let Some(keys) = holders.get_mut(&range) else { return false };
            let was_named = is_named(keys, key);
            keys.remove(&key);
            if keys.is_empty() {
                holders.remove(&range);
            }
            was_named
        })
    }

    /// `change` one list's holders of a range, and say whether its text is another one now.
    fn change(
        &mut self,
        map: &[IdRange],
        mut change: impl FnMut(&mut Holders, (u32, u32, u32)) -> bool,
    ) -> BTreeSet<IdList> {
        let mut changed = BTreeSet::new();
        let count: u32 = ranges(map)
            .map(|range| pages(range).map_or(0, |(first, last)| u32::from(last - first) + 1))
            .sum();
        for range in ranges(map) {
            let Some((first, last)) = pages(range) else { continue };
            let id = (range.outside, range.count, range.inside);
            if count > WIDE {
                if change(&mut self.wide, id) {
                    changed.insert(IdList::Wide);
                    changed.extend(self.pages.range(first..=last).map(|(&page, _)| IdList::Page(page)));
                }
                continue;
            }
            for page in first..=last {
                let holders = self.pages.entry(page).or_default();
                if change(holders, id) {
                    changed.insert(IdList::Page(page));
                }
                if holders.is_empty() {
                    self.pages.remove(&page);
                }
            }
        }
        changed
    }

    /// Who has an id of the host, and which id it is inside.
    pub(super) fn holders(&self, id: u32) -> impl Iterator<Item = (Key, u32)> {
        let page = u16::try_from(id >> 16).ok().and_then(|page| self.pages.get(&page));
        let holders = page.into_iter().chain([&self.wide]).flatten();
        holders
            .filter_map(move |(range, keys)| Some((range_of(range)?.to_machine(id)?, keys)))
            .flat_map(|(inside, keys)| keys.iter().map(move |&key| (key, inside)))
    }

    /// The lists there are.
    pub(super) fn lists(&self) -> impl Iterator<Item = IdList> {
        let wide = (!self.wide.is_empty()).then_some(IdList::Wide);
        self.pages.keys().map(|&page| IdList::Page(page)).chain(wide)
    }

    /// The text of a list; `None` if there is none.
    pub(super) fn text<'a>(
        &self,
        list: IdList,
        record: impl Fn(Key) -> Option<&'a Record>,
    ) -> Option<String> {
        let (own, wide, page) = match list {
            IdList::Page(page) => (self.pages.get(&page)?, Some(&self.wide), page),
            IdList::Wide => (Some(&self.wide).filter(|wide| !wide.is_empty())?, None, 0),
        };
        let reaches_in =
            |range: IdRange| pages(range).is_some_and(|(first, last)| (first..=last).contains(&page));
        let wide = wide.into_iter().flatten().filter(|(range, _)| range_of(range).is_some_and(reaches_in));
        let entries = own.iter().chain(wide).filter_map(|(range, keys)| Some((range_of(range)?, keys)));
        Some(list_text(entries.flat_map(|(range, keys)| {
            keys.iter().take(NAMED).filter_map(|&key| record(key)).map(move |record| (range, record))
        })))
    }
}

fn is_named(keys: &BTreeSet<Key>, key: Key) -> bool {
    keys.iter().take(NAMED).any(|&named| named == key)
}

fn range_of(&(outside, count, inside): &(u32, u32, u32)) -> Option<IdRange> {
    IdRange::new(inside, outside, count)
}

/// The ranges that have ids of a machine's own: identity maps, and what lies below, are the host's.
fn ranges(map: &[IdRange]) -> impl Iterator<Item = IdRange> {
    map.iter().copied().filter(|range| range.outside != 0 && range.last_outside() >= FIRST_MACHINE_ID)
}

/// The first and the last page that a range reaches into, but for the host's own.
fn pages(range: IdRange) -> Option<(u16, u16)> {
    let page = |id: u32| u16::try_from(id >> 16).ok();
    Some((page(range.outside.max(FIRST_MACHINE_ID))?, page(range.last_outside())?))
}

/// The map of a machine that counts: those of virtual machines do not, nor those of machines that are a user's alone.
pub(super) fn map(record: &Record, kind: IdKind) -> &[IdRange] {
    match (record.class, kind) {
        _ if record.private_to().is_some() => &[],
        (Class::Vm, _) => &[],
        (Class::Container, IdKind::User) => &record.uid_map,
        (Class::Container, IdKind::Group) => &record.gid_map,
    }
}

/// Whether a machine has users or groups for which its own name makes no user name.
pub(super) fn needs_alias(record: &Record) -> bool {
    [IdKind::User, IdKind::Group].into_iter().any(|kind| {
        ranges(map(record, kind)).any(|range| IdName::new(kind, &record.name, range.last_inside()).is_none())
    })
}
