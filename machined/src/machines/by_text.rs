//! Machines by a text of theirs, which stands in their records and not here again.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

use super::holders::Change;
use super::key::Key;

/// The machines that have a text: a name, a unit, a control group. Whoever asks says how the text of a machine is found.
#[derive(Debug, Default)]
pub(super) struct ByText {
    /// Two texts may have the same hash, so that it decides nothing.
    hasher: RandomState,
    keys: BTreeSet<(u64, Key)>,
}

impl ByText {
    /// A machine has this text, too. Returns whose it is now, if that is another one than before.
    pub(super) fn gain<'a>(
        &mut self,
        text: &str,
        key: Key,
        of: impl Fn(Key) -> Option<&'a str>,
    ) -> Option<Change> {
        let change = Change::by_gaining(key, self.having(text, of).filter(|other| *other != key));
        self.keys.insert((self.hasher.hash_one(text), key)).then_some(change).flatten()
    }

    /// A machine has this text no more. Returns whose it is now, if that is another one than before.
    pub(super) fn lose<'a>(
        &mut self,
        text: &str,
        key: Key,
        of: impl Fn(Key) -> Option<&'a str>,
    ) -> Option<Change> {
        let was_there = self.keys.remove(&(self.hasher.hash_one(text), key));
        was_there.then(|| Change::by_losing(self.having(text, of))).flatten()
    }

    /// The one machine that has this text alone.
    pub(super) fn only<'a>(&self, text: &str, of: impl Fn(Key) -> Option<&'a str>) -> Option<Key> {
        let mut having = self.having(text, of);
        having.next().filter(|_| having.next().is_none())
    }

    /// All machines that have a text.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.keys.iter().map(|&(_, key)| key)
    }

    /// The machines that have this text.
    pub(super) fn having<'a>(
        &self,
        text: &str,
        of: impl Fn(Key) -> Option<&'a str>,
    ) -> impl Iterator<Item = Key> {
        let hash = self.hasher.hash_one(text);
        let alike = self.keys.range((hash, Key::FIRST)..=(hash, Key::LAST));
        alike.map(|&(_, key)| key).filter(move |&key| of(key) == Some(text))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_text_is_nobodys_until_one_machine_is_left_that_has_it() {
        let [one, two, three] = [1, 2, 3].map(Key::of_number);
        let texts = HashMap::from([(one, "x"), (two, "x"), (three, "y")]);
        let of = |key| texts.get(&key).copied();
        let mut by_text = ByText::default();
        assert_eq!(by_text.gain("x", one, of), Some(Change::Only(one)));
        assert_eq!(by_text.gain("x", one, of), None, "it had it before");
        assert_eq!(by_text.gain("y", three, of), Some(Change::Only(three)));
        assert_eq!(by_text.gain("x", two, of), Some(Change::Nobodys));
        assert_eq!([by_text.only("x", of), by_text.only("y", of)], [None, Some(three)]);
        assert_eq!(by_text.lose("x", one, of), Some(Change::Only(two)));
        assert_eq!(by_text.lose("x", one, of), None, "it has it no more");
        assert_eq!(by_text.only("x", of), Some(two));
        assert_eq!(by_text.lose("x", two, of), Some(Change::Nobodys));
        assert_eq!(by_text.keys().collect::<Vec<_>>(), [three]);
    }

    #[test]
    fn of_texts_with_one_hash_each_has_its_own_machine() {
        let [one, two] = [1, 2].map(Key::of_number);
        let mut by_text = ByText::default();
        // As if the hash of "x" were that of "y", too.
        let hash = by_text.hasher.hash_one("x");
        by_text.keys.extend([(hash, one), (hash, two)]);
        let of = |key| Some(if key == one { "x" } else { "y" });
        assert_eq!(by_text.only("x", of), Some(one));
        assert_eq!(by_text.lose("x", one, of), Some(Change::Nobodys));
    }
}
