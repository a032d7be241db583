//! Who has something that only one machine should have, but several may: an address, a control group.

use std::collections::BTreeSet;

use super::key::Key;

/// Whose something is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// This machine's alone.
    Only(Key),
    /// Nobody's, or that of more than one.
    Nobodys,
}

impl Change {
    /// A machine has got what these had before.
    pub(super) fn by_gaining(key: Key, mut before: impl Iterator<Item = Key>) -> Option<Self> {
        match (before.next(), before.next()) {
            (None, _) => Some(Self::Only(key)),
            (Some(_), None) => Some(Self::Nobodys),
            (Some(_), Some(_)) => None,
        }
    }

    /// A machine has lost what these have now.
    pub(super) fn by_losing(mut now: impl Iterator<Item = Key>) -> Option<Self> {
        match (now.next(), now.next()) {
            (None, _) => Some(Self::Nobodys),
            (Some(only), None) => Some(Self::Only(only)),
            (Some(_), Some(_)) => None,
        }
    }
}

/// The machines that have each of these.
#[derive(Debug)]
pub(super) struct Holders<T>(BTreeSet<(T, Key)>);

impl<T> Default for Holders<T> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<T: Ord + Copy> Holders<T> {
    /// A machine has it, too. Returns whose it is now, if that is another one than before.
    pub(super) fn gain(&mut self, thing: T, key: Key) -> Option<Change> {
        let change = Change::by_gaining(key, self.having(thing));
        self.0.insert((thing, key)).then_some(change).flatten()
    }

    /// A machine has it no more. Returns whose it is now, if that is another one than before.
    pub(super) fn lose(&mut self, thing: T, key: Key) -> Option<Change> {
        self.0.remove(&(thing, key)).then(|| Change::by_losing(self.having(thing))).flatten()
    }

    /// The one machine that has it alone.
    pub(super) fn only(&self, thing: T) -> Option<Key> {
        let mut having = self.having(thing);
        having.next().filter(|_| having.next().is_none())
    }

    /// What is had, each once, with the machine that has it alone.
    pub(super) fn things(&self) -> impl Iterator<Item = (T, Option<Key>)> {
        let is_first = |&(thing, key): &(T, Key)| self.having(thing).next() == Some(key);
        self.0.iter().copied().filter(is_first).map(|(thing, _)| (thing, self.only(thing)))
    }

    /// Whether any machine has it.
    pub(super) fn has(&self, thing: T) -> bool {
        self.having(thing).next().is_some()
    }

    /// All machines that have it.
    pub(super) fn having(&self, thing: T) -> impl Iterator<Item = Key> {
        self.0.range((thing, Key::FIRST)..=(thing, Key::LAST)).map(|&(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_have_is_nobodys_until_one_is_left() {
        let [one, two, three] = [1, 2, 3].map(Key::of_number);
        let mut holders = Holders::<char>::default();
        assert_eq!(holders.gain('x', one), Some(Change::Only(one)));
        assert_eq!(holders.only('x'), Some(one));
        assert_eq!(holders.gain('x', two), Some(Change::Nobodys));
        assert_eq!(holders.gain('x', three), None);
        assert_eq!(holders.things().collect::<Vec<_>>(), [('x', None)]);
        assert_eq!(holders.lose('x', one), None);
        assert_eq!(holders.lose('x', one), None, "it has it no more");
        assert_eq!(holders.lose('x', three), Some(Change::Only(two)));
        assert_eq!(holders.lose('x', one), None);
        assert_eq!(holders.things().collect::<Vec<_>>(), [('x', Some(two))]);
        assert_eq!(holders.lose('x', two), Some(Change::Nobodys));
        assert_eq!(holders.lose('x', two), None);
        assert!(holders.0.is_empty());
    }
}
