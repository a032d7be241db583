//! Which machines have which ids of the host: what the lists of the id index say.

use std::collections::BTreeSet;
use std::iter::from_fn;
use std::ops::Bound::{Excluded, Included, Unbounded};

use registry::{Class, FIRST_MACHINE_ID, IdKind, IdList, IdName, IdRange, Record, WIDE, list_text};

use super::key::Key;

/// How many of the machines with the very same range a list names. Two are enough: nobody has its ids alone.
const NAMED: usize = 2;

/// A range as it is put in order: its first id on the host, the number of ids, and the first inside.
type Range = (u32, u32, u32);

const LAST_RANGE: Range = (u32::MAX, u32::MAX, u32::MAX);

/// The ids of one kind: which machine has which range in which list. Most lists have one entry, so that they are kept together.
#[derive(Debug, Default)]
pub(super) struct Ids(BTreeSet<(IdList, Range, Key)>);

impl Ids {
    /// Takes in the map of a machine. Returns the lists that it changes.
    pub(super) fn gain(&mut self, map: &[IdRange], key: Key) -> BTreeSet<IdList> {
        self.change(map, |ids, list, range| {
            ids.0.insert((list, range, key));
            ids.is_named(list, range, key)
        })
    }

    /// Takes out the map of a machine. Returns the lists that it changes.
    pub(super) fn lose(&mut self, map: &[IdRange], key: Key) -> BTreeSet<IdList> {
        self.change(map, |ids, list, range| {
            let was_named = ids.is_named(list, range, key);
            ids.0.remove(&(list, range, key));
            was_named
        })
    }

    /// `change` one list's holders of a range, and say whether its text is another one now.
    fn change(
        &mut self,
        map: &[IdRange],
        mut change: impl FnMut(&mut Self, IdList, Range) -> bool,
    ) -> BTreeSet<IdList> {
        let mut changed = BTreeSet::new();
        let count: u32 = ranges(map)
            .map(|range| pages(range).map_or(0, |(first, last)| u32::from(last - first) + 1))
            .sum();
        for range in ranges(map) {
            let Some((first, last)) = pages(range) else { continue };
            let id = (range.outside, range.count, range.inside);
            if count > WIDE {
                if change(self, IdList::Wide, id) {
                    changed.insert(IdList::Wide);
                    let reaches = |list: &IdList| *list <= IdList::Page(last);
                    changed.extend(self.lists_from(IdList::Page(first)).take_while(reaches));
                }
                continue;
            }
            for page in first..=last {
                if change(self, IdList::Page(page), id) {
                    changed.insert(IdList::Page(page));
                }
            }
        }
        changed
    }

    fn is_named(&self, list: IdList, range: Range, key: Key) -> bool {
        self.keys(list, range).take(NAMED).any(|named| named == key)
    }

    /// Who has a range in a list.
    fn keys(&self, list: IdList, range: Range) -> impl Iterator<Item = Key> {
        self.0.range((list, range, Key::FIRST)..=(list, range, Key::LAST)).map(|&(.., key)| key)
    }

    /// The ranges in a list, each once.
    fn ranges(&self, list: IdList) -> impl Iterator<Item = Range> {
        let mut next = Included((list, (0, 0, 0), Key::FIRST));
        from_fn(move || {
            let &(_, range, _) = self.0.range((next, Included((list, LAST_RANGE, Key::LAST)))).next()?;
            next = Excluded((list, range, Key::LAST));
            Some(range)
        })
    }

    /// The lists there are, from this one on.
    fn lists_from(&self, first: IdList) -> impl Iterator<Item = IdList> {
        let mut next = Included((first, (0, 0, 0), Key::FIRST));
        from_fn(move || {
            let &(list, ..) = self.0.range((next, Unbounded)).next()?;
            next = Excluded((list, LAST_RANGE, Key::LAST));
            Some(list)
        })
    }

    /// Who has an id of the host, and which id it is inside.
    pub(super) fn holders(&self, id: u32) -> impl Iterator<Item = (Key, u32)> {
        let page = u16::try_from(id >> 16).ok().map(IdList::Page);
        let lists = page.into_iter().chain([IdList::Wide]);
        lists.flat_map(move |list| self.ranges(list).map(move |range| (list, range))).flat_map(
            move |(list, range)| {
                let inside = range_of(range).and_then(|range| range.to_machine(id));
                inside
                    .into_iter()
                    .flat_map(move |inside| self.keys(list, range).map(move |key| (key, inside)))
            },
        )
    }

    /// The lists there are.
    pub(super) fn lists(&self) -> impl Iterator<Item = IdList> {
        self.lists_from(IdList::Page(0))
    }

    /// The text of a list; `None` if there is none.
    pub(super) fn text<'a>(
        &self,
        list: IdList,
        record: impl Fn(Key) -> Option<&'a Record>,
    ) -> Option<String> {
        self.ranges(list).next()?;
        let reaches_in = |range: &Range| match list {
            IdList::Page(page) => {
                range_of(*range).and_then(pages).is_some_and(|(first, last)| (first..=last).contains(&page))
            }
            IdList::Wide => false,
        };
        let own = self.ranges(list).map(|range| (list, range));
        let wide = self.ranges(IdList::Wide).filter(reaches_in).map(|range| (IdList::Wide, range));
        let entries = own.chain(wide).flat_map(|(list, range)| {
            self.keys(list, range).take(NAMED).filter_map(move |key| Some((range_of(range)?, key)))
        });
        Some(list_text(entries.filter_map(|(range, key)| Some((range, record(key)?)))))
    }
}

fn range_of((outside, count, inside): Range) -> Option<IdRange> {
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
